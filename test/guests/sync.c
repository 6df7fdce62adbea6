// Synchronisation that fails, times out or is tried; prints the objects' addresses.
// build: gcc -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include "facts.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, recursive;
static pthread_rwlock_t rwlock;
static pthread_cond_t cond;
static sem_t sem;

int main(void) {
  struct timespec past = {1, 0};
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&recursive, &attributes);
  pthread_rwlock_init(&rwlock, NULL);
  pthread_cond_init(&cond, NULL);
  sem_init(&sem, 0, 1);
  pthread_mutex_lock(&held);
  check(pthread_mutex_trylock(&held) == EBUSY, "trylock");
  check(pthread_mutex_timedlock(&held, &past) == ETIMEDOUT, "timedlock");
  check(pthread_cond_timedwait(&cond, &held, &past) == ETIMEDOUT, "timedwait");
  pthread_rwlock_wrlock(&rwlock);
  check(pthread_rwlock_tryrdlock(&rwlock) == EBUSY, "tryrdlock");
  check(pthread_rwlock_timedwrlock(&rwlock, &past) == EDEADLK, "timedwrlock");
  check(sem_trywait(&sem) == 0, "trywait");
  check(sem_trywait(&sem) == -1 && errno == EAGAIN, "trywait again");
  check(sem_timedwait(&sem, &past) == -1 && errno == ETIMEDOUT, "timedwait");
  pthread_mutex_destroy(&recursive);
  fact("held %lx", (long)&held);
  fact("recursive %lx", (long)&recursive);
  fact("rwlock %lx", (long)&rwlock);
  fact("cond %lx", (long)&cond);
  fact("sem %lx", (long)&sem);
  return 0;
}
