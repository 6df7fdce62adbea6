// Each means of synchronisation of POSIX threads, and what it does not order.
// build: gcc -O0 -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "race.h"

static int value[16];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, recursive;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t semaphore;
static int ready, in_once;

static void *under_locks(void *unused) {
  pthread_mutex_lock(&mutex); value[0]++; pthread_mutex_unlock(&mutex);
  pthread_mutex_lock(&recursive); pthread_mutex_lock(&recursive);
  value[1]++;
  pthread_mutex_unlock(&recursive); value[1]++; pthread_mutex_unlock(&recursive);
  pthread_spin_lock(&spin); value[2]++; pthread_spin_unlock(&spin);
  pthread_rwlock_wrlock(&rwlock); value[3]++; pthread_rwlock_unlock(&rwlock);
  pthread_rwlock_rdlock(&rwlock); KEEP(value[3]); pthread_rwlock_unlock(&rwlock);
  while (pthread_mutex_trylock(&mutex) != 0) sched_yield();
  value[0]++;
  pthread_mutex_unlock(&mutex);
  return unused;
}

// Readers are not ordered with one another.
static void *first_reader(void *unused) {
  pthread_rwlock_rdlock(&rwlock); GUARD(if (0)) value[4] = 1; pthread_rwlock_unlock(&rwlock);
  pass_turn();
  return unused;
}
static void *second_reader(void *unused) {
  wait_for_turn();
  pthread_rwlock_rdlock(&rwlock);
  KEEP(value[4]);  // expect: Race
  pthread_rwlock_unlock(&rwlock);
  return unused;
}

// A lock that is tried and not taken orders nothing.
static void *holder(void *unused) {
  value[5] = 1;
  pthread_mutex_lock(&mutex);
  pass_turn();
  while (!__atomic_load_n(&ready, __ATOMIC_RELAXED)) usleep(1000);
  pthread_mutex_unlock(&mutex);
  return unused;
}
static void *trier(void *unused) {
  struct timespec past = {1, 0};
  wait_for_turn();
  int failed = pthread_mutex_trylock(&mutex) == EBUSY && pthread_mutex_timedlock(&mutex, &past) == ETIMEDOUT;
  if (failed && !IS_CLEAN)
    KEEP(value[5]);  // expect: Race
  __atomic_store_n(&ready, 1, __ATOMIC_RELAXED);
  return unused;
}

static void *posts(void *unused) {
  value[6] = 1;
  sem_post(&semaphore);
  pthread_mutex_lock(&mutex);
  value[7] = 1;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  value[8] = 1;
  pthread_barrier_wait(&barrier);
  KEEP(value[9]);
  pthread_barrier_wait(&barrier);
  GUARD(if (0)) value[10] = 1;
  pass_turn();
  return unused;
}
static void *waits(void *unused) {
  while (sem_wait(&semaphore) != 0) {}
  value[6]++;
  pthread_mutex_lock(&mutex);
  while (!value[7]) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  value[9] = 2;
  pthread_barrier_wait(&barrier);
  value[8]++;
  pthread_barrier_wait(&barrier);
  wait_for_turn();
  value[10]++;  // expect: Race
  return unused;
}

static void initialise(void) { in_once = 5; }
static void *uses_once(void *unused) {
  pthread_once(&once, initialise);
  KEEP(in_once);
  return unused;
}

// What a thread did before it was created or after it was joined.
static void *grandchild(void *unused) {
  value[11]++;
  return unused;
}
static void *child(void *unused) {
  pthread_t thread;
  value[11] = 1;
  pthread_create(&thread, NULL, grandchild, NULL);
  pthread_join(thread, NULL);
  value[11]++;
  return unused;
}

int main(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&recursive, &attributes);
  pthread_spin_init(&spin, 0);
  pthread_barrier_init(&barrier, NULL, 2);
  sem_init(&semaphore, 0, 0);
  two_threads(under_locks, under_locks);
  two_threads(first_reader, second_reader);
  two_threads(holder, trier);
  two_threads(posts, waits);
  two_threads(uses_once, uses_once);
  pthread_t thread;
  pthread_create(&thread, NULL, child, NULL);
  pthread_join(thread, NULL);
  value[11]++;
  return 0;
}
