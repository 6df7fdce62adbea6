// Threads that wait for each other for good; the first one ends the program when they do.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;

static void *a_then_b(void *unused) {
  pthread_mutex_lock(&a);
  BUG(pthread_barrier_wait(&barrier), 0);
  pthread_mutex_lock(&b);
  pthread_mutex_unlock(&b);
  pthread_mutex_unlock(&a);
  return unused;
}

#ifndef CLEAN
static int is_waited_for(pthread_mutex_t *mutex) {
  return *(volatile int *)&mutex->__data.__lock == 2;
}

static void *b_then_a(void *unused) {
  pthread_mutex_lock(&b);
  pthread_barrier_wait(&barrier);
  while (!is_waited_for(&b))  // so that this is the second to wait
    sched_yield();
  pthread_mutex_lock(&a);  // expect: Deadlock LockOrder
  return unused;
}
#endif

static void *twice(void *unused) {
  pthread_mutex_lock(&own);
  BUG(pthread_mutex_lock(&own), 0);  // expect: Misc
  pthread_mutex_unlock(&own);
  return unused;
}

int main(void) {
  pthread_t threads[3];
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&threads[0], NULL, a_then_b, NULL);
  pthread_create(&threads[1], NULL, BUG(b_then_a, a_then_b), NULL);
  pthread_create(&threads[2], NULL, twice, NULL);
#ifdef CLEAN
  for (int i = 0; i < 3; i++)
    pthread_join(threads[i], NULL);
#else
  while (!is_waited_for(&a) || !is_waited_for(&b) || !is_waited_for(&own))
    sched_yield();
#endif
  _exit(0);
}
