// Unlocking what is not locked, what another thread holds, and what is no lock; and the wrong kind of lock.
// build: gcc -O0 -pthread
#include <pthread.h>

#include "../memcheck/bug.h"

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, checked, recursive;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER, spoilt = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;

static void init(pthread_mutex_t *mutex, int type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

static void not_locked(void) {
  pthread_mutex_lock(&plain);
  pthread_mutex_unlock(&plain);
  BUG(pthread_mutex_unlock(&plain), 0);  // expect: UnlockUnlocked
  pthread_rwlock_rdlock(&spoilt);
  pthread_rwlock_unlock(&spoilt);
  BUG(pthread_rwlock_unlock(&spoilt), 0);  // expect: UnlockUnlocked
  pthread_mutex_lock(&recursive);
  pthread_mutex_lock(&recursive);
  pthread_mutex_unlock(&recursive);
  pthread_mutex_unlock(&recursive);
  BUG(pthread_mutex_unlock(&recursive), 0);  // expect: UnlockUnlocked PthAPIerror
}

static void *unlocker(void *mutex) {
  BUG(pthread_mutex_unlock(mutex), 0);  // expect: UnlockForeign*2 PthAPIerror
  return NULL;
}

static void by_another(pthread_mutex_t *mutex) {
  pthread_t thread;
  pthread_mutex_lock(mutex);
  pthread_create(&thread, NULL, unlocker, mutex);
  pthread_join(thread, NULL);
  // An ordinary mutex was unlocked, and is taken again without a word; one that checks was not.
  if (mutex == &checked)
    pthread_mutex_unlock(mutex);
  BUG(pthread_mutex_lock(mutex), mutex == &checked && pthread_mutex_lock(mutex));
  pthread_mutex_unlock(mutex);
}

static void *reader(void *unused) {
  pthread_rwlock_rdlock(&shared);
  pthread_rwlock_unlock(&shared);
  return unused;
}

// Two readers: each lets go its own.
static void readers(void) {
  pthread_t thread;
  pthread_rwlock_rdlock(&shared);
  pthread_create(&thread, NULL, reader, NULL);
  pthread_join(thread, NULL);
  pthread_rwlock_rdlock(&shared);
  pthread_rwlock_unlock(&shared);
  pthread_rwlock_unlock(&shared);
}

static void no_lock(void) {
  static int zero[20];
  BUG(pthread_mutex_unlock((pthread_mutex_t *)zero), 0);  // expect: UnlockBogus
}

static void wrong_kind(void) {
  pthread_rwlock_wrlock(&shared);
  BUG(pthread_mutex_unlock((pthread_mutex_t *)&shared), pthread_rwlock_unlock(&shared));  // expect: Misc
}

static void spins(void) {
  pthread_spin_init(&spin, 0);
  pthread_spin_lock(&spin);
  pthread_spin_unlock(&spin);
  pthread_spin_trylock(&spin);
  pthread_spin_unlock(&spin);
  pthread_spin_destroy(&spin);
}

int main(void) {
  init(&checked, PTHREAD_MUTEX_ERRORCHECK);
  init(&recursive, PTHREAD_MUTEX_RECURSIVE);
  not_locked();
  by_another(&plain);
  by_another(&checked);
  readers();
  spins();
  no_lock();
  wrong_kind();
  return 0;
}
