// Condition variables with the wrong mutex or none, destroyed too early, signalled from outside.
// build: gcc -O0 -pthread
// analyze: --check-cond-signal-mutex=yes
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../memcheck/bug.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER, second = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static int waiting, go;

static const struct timespec past = {1, 0};

// (The mutex is unlocked for the wait and locked after it, as if all were well.)
static void wrong_mutex(void) {
  static pthread_mutex_t unseen = PTHREAD_MUTEX_INITIALIZER;
  BUG(, pthread_mutex_lock(&unseen));
  pthread_cond_timedwait(&condition, &unseen, &past);  // expect: Misc
  pthread_mutex_unlock(&unseen);
  pthread_mutex_lock(&mutex);
  BUG(pthread_mutex_unlock(&mutex), 0);
  pthread_cond_timedwait(&condition, &mutex, &past);  // expect: Misc
  pthread_mutex_unlock(&mutex);
}

static void *holder(void *unused) {
  pthread_mutex_lock(&other);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  BUG(, pthread_mutex_unlock(&other));
  return unused;
}

static void held_by_another(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&thread, NULL, holder, NULL);
  pthread_barrier_wait(&barrier);
#ifndef CLEAN
  pthread_cond_timedwait(&condition, &other, &past);  // expect: Misc
  pthread_mutex_unlock(&other);
#endif
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&barrier);
}

static void locked_twice(void) {
  pthread_mutex_lock(&recursive);
  BUG(pthread_mutex_lock(&recursive), 0);
  pthread_cond_timedwait(&condition, &recursive, &past);  // expect: Misc
  BUG(pthread_mutex_unlock(&recursive), 0);
  pthread_mutex_unlock(&recursive);
}

static void *waiter(void *unused) {
  pthread_mutex_lock(&mutex);
  waiting++;
  while (!go)
    pthread_cond_wait(&second, &mutex);
  pthread_mutex_unlock(&mutex);
  return unused;
}

// While a thread waits with one mutex, another must not be used.
static void two_mutexes(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, waiter, NULL);
  for (int there = 0; !there; pthread_mutex_unlock(&mutex)) {
    pthread_mutex_lock(&mutex);
    there = waiting;
  }
  static pthread_mutex_t third = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(BUG(&third, &mutex));
  pthread_cond_timedwait(&second, BUG(&third, &mutex), &past);  // expect: Misc
  pthread_mutex_unlock(BUG(&third, &mutex));
  BUG(pthread_mutex_lock(&mutex), pthread_mutex_lock(&mutex));
  go = 1;
  BUG(pthread_mutex_unlock(&mutex), 0);
  pthread_cond_broadcast(&second);  // expect: Misc
  BUG(, pthread_mutex_unlock(&mutex));
  pthread_join(thread, NULL);
}

// Those who were woken are no reason to keep it.
static void destroyed_when_woken(void) {
  pthread_t thread;
  pthread_mutex_lock(&mutex);
  waiting = go = 0;
  pthread_mutex_unlock(&mutex);
  pthread_create(&thread, NULL, waiter, NULL);
  for (int there = 0; !there; pthread_mutex_unlock(&mutex)) {
    pthread_mutex_lock(&mutex);
    there = waiting;
  }
  pthread_mutex_lock(&mutex);
  go = 1;
  pthread_cond_broadcast(&second);
  pthread_mutex_unlock(&mutex);
  pthread_cond_destroy(&second);
  pthread_join(thread, NULL);
}

static void *cleaner(void *unused) {
  pthread_mutex_unlock(&mutex);
  return unused;
}

// A wait that is cancelled ends with the mutex locked.
static void *cancelled(void *unused) {
  static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
  pthread_mutex_lock(&mutex);
  waiting = 1;
  pthread_cleanup_push((void (*)(void *))cleaner, NULL);
  for (;;)
    pthread_cond_wait(&never, &mutex);
  pthread_cleanup_pop(1);
  return unused;
}

static void cancel(void) {
  pthread_t thread;
  waiting = 0;
  pthread_create(&thread, NULL, cancelled, NULL);
  for (int there = 0; !there; pthread_mutex_unlock(&mutex)) {
    pthread_mutex_lock(&mutex);
    there = waiting;
  }
  pthread_cancel(thread);
  pthread_join(thread, NULL);
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
}

// As memory that held something else, and after its end.
static void uninitialised(void) {
  static pthread_cond_t garbage, ended, fine;
  BUG(memset(&garbage, 0x80, sizeof garbage), pthread_cond_init(&garbage, NULL));
  pthread_mutex_lock(&mutex);
  pthread_cond_signal(&fine);
  pthread_cond_timedwait(&fine, &mutex, &past);
  BUG(pthread_cond_timedwait(&garbage, &mutex, &(struct timespec){0, -1}), pthread_cond_signal(&garbage));  // expect: Misc PthAPIerror
  pthread_cond_init(&ended, NULL);
  pthread_cond_signal(&ended);
  pthread_cond_destroy(&ended);
  BUG(pthread_cond_signal(&ended), pthread_cond_init(&ended, NULL));  // expect: Misc
  pthread_cond_init(&fine, NULL);
  pthread_mutex_unlock(&mutex);
}

int main(void) {
  uninitialised();
  wrong_mutex();
  locked_twice();
  two_mutexes();
  destroyed_when_woken();
  cancel();
  held_by_another();
  return 0;
}
