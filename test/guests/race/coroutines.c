// A race within a coroutine, whose stack lies far from that of the main thread, which runs it.
// build: gcc -O0 -pthread
#include <stdlib.h>
#include <ucontext.h>
#include <valgrind/helgrind.h>

#include "race.h"

enum { SIZE = 1 << 16 };
static ucontext_t outside, inside;
static int value, tag, guarded;

static void run(void) {
  guarded++;
  swapcontext(&inside, &outside);
  value++;  // expect: Race
}

static void *first(void *unused) {
  value++;
  guarded++;
  ANNOTATE_HAPPENS_BEFORE(&tag);
  GUARD(if (0)) value++;
  pass_turn();
  return unused;
}

static void second(void) {
  wait_for_turn();
  ANNOTATE_HAPPENS_AFTER(&tag);
  char *stack = malloc(SIZE);
  getcontext(&inside);
  inside.uc_stack.ss_sp = stack;
  inside.uc_stack.ss_size = SIZE;
  inside.uc_link = &outside;
  makecontext(&inside, run, 0);
  swapcontext(&outside, &inside);
  swapcontext(&outside, &inside);
  free(stack);
}

int main(void) {
  pthread_t thread;
  if (pipe(turn) != 0) return 1;
  pthread_create(&thread, NULL, first, NULL);
  second();
  pthread_join(thread, NULL);
  return 0;
}
