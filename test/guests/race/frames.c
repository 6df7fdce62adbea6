// One place on a stack, in frames that come after one another and are lent to other threads.
// build: gcc -O0 -pthread
#include <semaphore.h>

#include "race.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t lent[2], returned;
static int *loan[2], *wanted, sum;
static volatile int *left;

/** Two threads that only the owner of the frames orders with one another. */
static void *by_semaphore(void *which) {
  long me = (long)which;
  for (int i = 0; i < 20; i++) {
    sem_wait(&lent[me]);
    *loan[me] += i;
    sem_post(&returned);
  }
  return 0;
}

static int lend(int to) {
  int local = 1;
  loan[to] = &local;
  sem_post(&lent[to]);
  sem_wait(&returned);
  return local;
}

/** The borrower only takes locks, and the owner looks again and again. */
static void *by_lock(void *unused) {
  for (int done = 0; done < 10;) {
    pthread_mutex_lock(&mutex);
    if (wanted) {
      *wanted += 1;
      wanted = 0;
      done++;
    }
    pthread_mutex_unlock(&mutex);
    usleep(100);
  }
  return 0;
}

static int lend_under_lock(void) {
  int local = 1, is_back = 0;
  pthread_mutex_lock(&mutex);
  wanted = &local;
  pthread_mutex_unlock(&mutex);
  while (!is_back) {
    usleep(100);
    pthread_mutex_lock(&mutex);
    is_back = wanted == 0;
    pthread_mutex_unlock(&mutex);
  }
  return local;
}

/** Below what the calls that follow need of the stack. */
enum { DEEP = 4096 };

/** Still goes to a frame that its thread has left. */
static void *keeps(void *unused) {
  wait_for_turn();
  if (!IS_CLEAN) *left = 3;  // expect: Race
  sem_post(&returned);
  return unused;
}
static void leaves(void) {
  volatile int locals[DEEP];
  locals[0] = 1;
  left = &locals[0];
}
static int follows(void) {
  volatile int locals[DEEP];
  locals[0] = 2;
  return locals[0];
}
static void *lives_on(void *unused) {
  leaves();
  sum += follows();
  pass_turn();
  sem_wait(&returned);
  return unused;
}

int main(void) {
  pthread_t threads[3];
  sem_init(&lent[0], 0, 0);
  sem_init(&lent[1], 0, 0);
  sem_init(&returned, 0, 0);
  for (long i = 0; i < 2; i++) pthread_create(&threads[i], 0, by_semaphore, (void *)i);
  for (int i = 0; i < 40; i++) sum += lend(i % 2);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
  pthread_create(&threads[2], 0, by_lock, 0);
  for (int i = 0; i < 10; i++) sum += lend_under_lock();
  pthread_join(threads[2], 0);
  two_threads(lives_on, keeps);
  return sum == 0;
}
