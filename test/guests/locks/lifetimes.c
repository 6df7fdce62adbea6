// Locks whose time ends while they are held: destroyed, initialised again, freed, left by their thread.
// build: gcc -O0 -pthread
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

#include "../memcheck/bug.h"

static pthread_mutex_t mutex, again, left = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t unused_recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rwlock;

static void destroyed(void) {
  pthread_mutex_init(&mutex, NULL);
  pthread_mutex_lock(&mutex);
  BUG(pthread_mutex_destroy(&mutex), 0);  // expect: Misc PthAPIerror
  pthread_mutex_unlock(&mutex);  // the call failed: it is still there
  pthread_mutex_destroy(&mutex);
  BUG(pthread_mutex_destroy(&mutex), 0);  // expect: Misc
  pthread_rwlock_init(&rwlock, NULL);
  pthread_rwlock_rdlock(&rwlock);
  BUG(pthread_rwlock_destroy(&rwlock), 0);  // expect: Misc
  pthread_rwlock_unlock(BUG(&(pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER, &rwlock));  // expect: UnlockBogus
}

// Never used: there is nothing to be known of them.
static void never_used(void) {
  static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
  static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_mutex_destroy(&plain);
  pthread_mutex_destroy(&unused_recursive);
  pthread_rwlock_destroy(&shared);
  pthread_cond_destroy(&condition);
}

static void initialised_again(void) {
  pthread_mutex_init(&again, NULL);
  pthread_mutex_lock(&again);
  pthread_mutex_unlock(&again);
  BUG(, pthread_mutex_destroy(&again));
  pthread_mutex_init(&again, NULL);  // expect: Misc
  pthread_mutex_destroy(&again);
}

// A new one each time, though at the same place and never destroyed.
static void on_stack(void) {
  pthread_mutex_t local;
  pthread_mutex_init(&local, NULL);
  pthread_mutex_lock(&local);
  pthread_mutex_unlock(&local);
}

static void freed(void) {
  for (int round = 0; round < 2; round++) {
    pthread_mutex_t *heap = malloc(sizeof *heap);
    pthread_mutex_init(heap, NULL);
    pthread_mutex_lock(heap);
    BUG(, pthread_mutex_unlock(heap));
    free(heap);  // expect: FreeMemLock*2
  }
}

static void *leaver(void *unused) {
  pthread_mutex_lock(&left);  // expect: Misc
  BUG(, pthread_mutex_unlock(&left));
  return unused;
}

static void *robust_leaver(void *robust) {
  pthread_mutex_lock(robust);  // expect: Misc
  pthread_exit(NULL);
}

// What a thread that died held goes to the next one, who is told so.
static void robust(void) {
  pthread_mutex_t heir;
  pthread_mutexattr_t attributes;
  pthread_t thread;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&heir, &attributes);
  pthread_create(&thread, NULL, BUG(robust_leaver, leaver), &heir);
  pthread_join(thread, NULL);
  if (pthread_mutex_lock(&heir))
    pthread_mutex_consistent(&heir);
  pthread_mutex_unlock(&heir);
  pthread_mutex_destroy(&heir);
}

int main(void) {
  pthread_t thread;
  destroyed();
  never_used();
  initialised_again();
  on_stack();
  on_stack();
  freed();
  robust();
  pthread_create(&thread, NULL, leaver, NULL);
  pthread_join(thread, NULL);
  return 0;
}
