// Races that the recorded schedule hides: a lock that was taken in this order orders the accesses, by chance.
// build: gcc -O0 -pthread
#include <semaphore.h>

#include "race.h"

static int value[16];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;

static void *use_mutex(void) {
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

// The textbook's: before the lock in one thread, after it in the other.
static void *before_lock(void *unused) {
  GUARD(pthread_mutex_lock(&other));
  value[0] = 1;
  GUARD(pthread_mutex_unlock(&other));
  use_mutex();
  pass_turn();
  return unused;
}
static void *after_lock(void *unused) {
  wait_for_turn();
  use_mutex();
  GUARD(pthread_mutex_lock(&other));
  value[0] = 2;  // expect: Race
  GUARD(pthread_mutex_unlock(&other));
  return unused;
}

// Within the section of the later thread; the earlier one has accessed under the lock, too.
static void *twice(void *unused) {
  if (!IS_CLEAN) value[1] = 1;
  pthread_mutex_lock(&mutex); value[1] = 2; pthread_mutex_unlock(&mutex);
  pass_turn();
  return unused;
}
static void *once_locked(void *unused) {
  wait_for_turn();
  pthread_mutex_lock(&mutex);
  value[1] = 3;  // expect: Race
  pthread_mutex_unlock(&mutex);
  return unused;
}

// The order goes through a third thread, which takes both locks.
static void *between(void *unused) {
  pthread_mutex_lock(&mutex); pthread_mutex_lock(&other);
  pthread_mutex_unlock(&other); pthread_mutex_unlock(&mutex);
  return unused;
}
static void *writes_first(void *unused) {
  pthread_t thread;
  pthread_create(&thread, NULL, between, NULL);
  if (!IS_CLEAN) pthread_join(thread, NULL);
  value[2] = 1;
  use_mutex();
  if (IS_CLEAN) pthread_join(thread, NULL);
  pthread_create(&thread, NULL, between, NULL);
  pthread_join(thread, NULL);
  GUARD(pthread_mutex_lock(&other); value[3] = 1; pthread_mutex_unlock(&other));
  pass_turn();
  return unused;
}
static void *writes_third(void *unused) {
  wait_for_turn();
  pthread_mutex_lock(&other); KEEP(value[3]); pthread_mutex_unlock(&other);
  value[2] = 2;  // expect: Race
  return unused;
}

// Readers of a readers-writer lock do not wait for a reader before them; a writer does, in this order.
static void *reader(void *unused) {
  KEEP(value[4]);
  pthread_rwlock_rdlock(&rwlock); KEEP(value[5]); pthread_rwlock_unlock(&rwlock);
  pass_turn();
  return unused;
}
static void *writer(void *unused) {
  wait_for_turn();
  pthread_rwlock_wrlock(&rwlock); value[5] = 1; pthread_rwlock_unlock(&rwlock);
  GUARD(if (0))
  value[4] = 1;  // expect: Race
  return unused;
}

// What was read decides: without the writer's section the reader would not have come here.
static void *publishes(void *unused) {
  value[6] = 1;
  pthread_mutex_lock(&mutex); value[7] = 1; pthread_mutex_unlock(&mutex);
  pass_turn();
  return unused;
}
static void *consumes(void *unused) {
  int ready;
  wait_for_turn();
  pthread_mutex_lock(&mutex); ready = value[7]; pthread_mutex_unlock(&mutex);
  if (ready) value[6]++;
  return unused;
}

// Nothing turns these round.
static void *posts(void *unused) {
  value[8] = 1;
  use_mutex();
  sem_post(&semaphore);
  pthread_mutex_lock(&mutex);
  value[9] = 1;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  return unused;
}
static void *waits(void *unused) {
  while (sem_wait(&semaphore) != 0) {}
  use_mutex();
  value[8]++;
  pthread_mutex_lock(&mutex);
  while (!value[9]) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  value[8]++;
  return unused;
}

int main(void) {
  sem_init(&semaphore, 0, 0);
  two_threads(before_lock, after_lock);
  two_threads(twice, once_locked);
  two_threads(writes_first, writes_third);
  two_threads(reader, writer);
  two_threads(publishes, consumes);
  two_threads(posts, waits);
  return 0;
}
