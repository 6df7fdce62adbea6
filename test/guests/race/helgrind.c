// One mistake of each sort that Helgrind tells of as the race analysis does.
// build: gcc -O0 -pthread
#include "race.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static int plain, guarded;

static void *first(void *unused) {
  GUARD(pthread_mutex_lock(&a);)
  plain = 1;
  GUARD(pthread_mutex_unlock(&a);)
  pthread_mutex_lock(&a);
  guarded = 1;
  pthread_mutex_lock(&b);
  pthread_mutex_unlock(&b);
  pthread_mutex_unlock(&a);
  pass_turn();
  return unused;
}

static void *second(void *unused) {
  wait_for_turn();
  GUARD(pthread_mutex_lock(&a);)
  plain = 2;    // expect: Race
  guarded = 2;  // expect: Race
  GUARD(pthread_mutex_unlock(&a);)
  pthread_mutex_lock(IS_CLEAN ? &a : &b);
  pthread_mutex_lock(IS_CLEAN ? &b : &a);  // expect: LockOrder
  pthread_mutex_unlock(&a);
  pthread_mutex_unlock(&b);
  return unused;
}

int main(void) {
  two_threads(first, second);
  if (!IS_CLEAN) pthread_mutex_unlock(&a);  // expect: UnlockUnlocked
  return 0;
}
