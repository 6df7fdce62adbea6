// Calls that return an error, and those whose "error" is an answer.
// build: gcc -O0 -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "../memcheck/bug.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, checked;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;

static const struct timespec past = {1, 0};

static void errors(void) {
  BUG(pthread_join(pthread_self(), NULL), 0);  // expect: PthAPIerror
  pthread_mutex_lock(&checked);
  BUG(pthread_mutex_lock(&checked), 0);  // expect: PthAPIerror Misc
  pthread_mutex_unlock(&checked);
  pthread_rwlock_wrlock(&rwlock);
  BUG(pthread_rwlock_rdlock(&rwlock), 0);  // expect: PthAPIerror Misc
  pthread_rwlock_unlock(&rwlock);
  pthread_mutex_lock(&mutex);
  BUG(pthread_cond_timedwait(&(pthread_cond_t)PTHREAD_COND_INITIALIZER, &mutex, &(struct timespec){0, -1}), 0);  // expect: PthAPIerror
  pthread_mutex_unlock(&mutex);
  sem_init(&semaphore, 0, 0x7fffffff);
  BUG(sem_post(&semaphore), 0);  // expect: PthAPIerror
  sem_wait(&semaphore);
}

static void *waits(void *unused) {
  sem_wait(&semaphore);
  return unused;
}

static void detached_twice(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, waits, NULL);
  pthread_detach(thread);
  BUG(pthread_detach(thread), 0);  // expect: PthAPIerror
  sem_post(&semaphore);
}

static void *tries(void *unused) {
  pthread_mutex_trylock(&mutex);
  pthread_mutex_timedlock(&mutex, &past);
  pthread_rwlock_trywrlock(&rwlock);
  pthread_rwlock_timedrdlock(&rwlock, &past);
  sem_open("/grind-no-such-semaphore", 0);
  return unused;
}

static void answers(void) {
  pthread_t thread;
  pthread_mutex_lock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  pthread_create(&thread, NULL, tries, NULL);
  pthread_join(thread, NULL);
  pthread_rwlock_unlock(&rwlock);
  pthread_mutex_unlock(&mutex);
}

int main(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&checked, &attributes);
  errors();
  detached_twice();
  answers();
  return 0;
}
