// Locks that threads wait for, and how often; prints their addresses and for how long at least.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <sched.h>

#include "../facts.h"

static pthread_mutex_t wanted, alone = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;

static void *wants(void *unused) {
  pthread_mutex_lock(&wanted);
  pthread_mutex_unlock(&wanted);
  return unused;
}

static void *reads(void *unused) {
  pthread_rwlock_rdlock(&shared);
  if (pthread_rwlock_trywrlock(&shared) == 0)
    return NULL;
  pthread_rwlock_unlock(&shared);
  return unused;
}

int main(void) {
  pthread_t thread;
  pthread_mutex_init(&wanted, NULL);
  for (int i = 0; i < 3; i++) {
    pthread_mutex_lock(&alone);
    pthread_mutex_unlock(&alone);
  }
  pthread_mutex_lock(&wanted);
  pthread_create(&thread, NULL, wants, NULL);
  while (*(volatile int *)&wanted.__data.__lock != 2)
    sched_yield();
  for (volatile int i = 0; i < 100000; i++)
    ;
  pthread_mutex_unlock(&wanted);
  pthread_join(thread, NULL);
  pthread_rwlock_rdlock(&shared);
  pthread_create(&thread, NULL, reads, NULL);
  pthread_join(thread, NULL);
  pthread_rwlock_unlock(&shared);
  fact("wanted %lx 300000", (long)&wanted);
  fact("alone %lx", (long)&alone);
  fact("shared %lx", (long)&shared);
  return 0;
}
