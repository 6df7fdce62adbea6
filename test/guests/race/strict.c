// Ordinary loads and stores of what atomic instructions change: those of plain types race in C, but compile to the same
// code as loads and stores of atomic types, so they are told of with --strict-atomics=yes only.
// build: gcc -O1 -pthread
#include <stdatomic.h>
#include <stdio.h>
#include "race.h"

static int count, reset, seen, lock, guarded;
static _Atomic int proper;

static void *adds(void *unused) {
  (void)unused;
  __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&reset, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&seen, 1, __ATOMIC_RELAXED);
  atomic_fetch_add(&proper, 1);
  pass_turn();
  return NULL;
}

static void *uses(void *unused) {
  (void)unused;
  wait_for_turn();
  __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED); // both are atomic
  GUARD(__atomic_fetch_add(&reset, 1, __ATOMIC_RELAXED);)
  if (!IS_CLEAN) {
    reset = 0;  // expect strict: Race
    KEEP(seen); // expect strict: Race
  }
  atomic_store_explicit(&proper, 0, memory_order_relaxed);
  return NULL;
}

// Order by atomic instructions is order for ordinary accesses, too.
static void *publishes(void *unused) {
  (void)unused;
  guarded = 1;
  __atomic_fetch_add(&lock, 1, __ATOMIC_RELEASE);
  pass_turn();
  return NULL;
}
static void *consumes(void *unused) {
  (void)unused;
  wait_for_turn();
  if (__atomic_fetch_add(&lock, 0, __ATOMIC_ACQUIRE)) guarded = 2;
  return NULL;
}

int main(void) {
  two_threads(adds, uses);
  two_threads(publishes, consumes);
  KEEP(count), KEEP(lock), KEEP(reset); // after the threads have ended
  printf("%d %d %d\n", seen, guarded, (int)proper);
  return 0;
}
