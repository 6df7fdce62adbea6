// A lock of its own that only its annotations tell of: a token that goes through a pipe, as on a system whose locks
// no tool knows.
// build: gcc -O0 -pthread
#include <valgrind/helgrind.h>

#include "race.h"

typedef struct {
  int ends[2];
} token_lock;

static token_lock good, silent;
static int value[3];

static void make(token_lock *lock) {
  if (pipe(lock->ends) != 0 || write(lock->ends[1], "", 1) != 1) _exit(1);
}

static void take(token_lock *lock) {
  char token;
  if (read(lock->ends[0], &token, 1) != 1) _exit(1);
}

static void give(token_lock *lock) {
  if (write(lock->ends[1], "", 1) != 1) _exit(1);
}

// The announcements stand within the section that they are for.
static void lock(token_lock *lock) {
  take(lock);
  ANNOTATE_HAPPENS_AFTER(lock);
}

static void unlock(token_lock *lock) {
  ANNOTATE_HAPPENS_BEFORE(lock);
  give(lock);
}

static void *count(void *unused) {
  for (int i = 0; i < 20; i++) {
    lock(&good);
    value[0]++;
    unlock(&good);
    GUARD(lock(&good));
    take(&silent);
    value[1]++;  // expect: Race
    give(&silent);
    GUARD(unlock(&good));
  }
  return unused;
}

static void *count_as_lock(void *unused) {
  for (int i = 0; i < 20; i++) {
    take(&good);
    ANNOTATE_RWLOCK_ACQUIRED(&good, 1);
    value[2]++;
    ANNOTATE_RWLOCK_RELEASED(&good, 1);
    give(&good);
  }
  return unused;
}

int main(void) {
  make(&good);
  make(&silent);
  two_threads(count, count);
  ANNOTATE_RWLOCK_CREATE(&good);
  two_threads(count_as_lock, count_as_lock);
  ANNOTATE_RWLOCK_DESTROY(&good);
  return 0;
}
