// Coroutines: on stacks far from and near to each other, registered or not; a large frame and longjmp over it.
// build: gcc -O0
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <valgrind/valgrind.h>

#include "bug.h"

enum { SIZE = 1 << 16 };
static ucontext_t outside, inside[2];
static volatile int sink;

NOINLINE static int deep(int n, int *value, int which) {
  volatile int local[16];
  local[n] = n;
  if (n > 0)
    return deep(n - 1, value, which) + local[n];
  swapcontext(&inside[which], &outside);
  if (*value == 4)  // expect: UninitCondition*2
    sink = 1;
  return local[0];
}

static void run(int which) {
  int value[2];
  value[BUG(1, 0)] = 3;
  int *v = value;
  HIDE(v);
  sink = deep(5, v, which);
  swapcontext(&inside[which], &outside);
}

// Goes to and fro between them, so that each finds its stack as it left it.
NOINLINE static void both(char *stacks[2]) {
  for (int i = 0; i < 2; i++) {
    getcontext(&inside[i]);
    inside[i].uc_stack.ss_sp = stacks[i];
    inside[i].uc_stack.ss_size = SIZE;
    inside[i].uc_link = &outside;
    makecontext(&inside[i], (void (*)(void))run, 1, i);
  }
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 2; i++)
      swapcontext(&outside, &inside[i]);
}

NOINLINE static void registered(void) {
  char *near = malloc(2 * SIZE);
  unsigned a = VALGRIND_STACK_REGISTER(near, near + SIZE - 1);
  unsigned b = VALGRIND_STACK_REGISTER(near + SIZE, near + 2 * SIZE - 1);
  both((char *[2]){near, near + SIZE});
  VALGRIND_STACK_DEREGISTER(a);
  VALGRIND_STACK_DEREGISTER(b);
  free(near);
}

static jmp_buf back;

NOINLINE static void jump_over(int n) {
  char large[100000];
  memset(large, n, sizeof large);
  if (n == 0)
    longjmp(back, large[5] + 1);
  jump_over(n - 1);
}

NOINLINE static void large_frames(void) {
  int value[2];
  value[BUG(1, 0)] = 1;
  int *v = value;
  HIDE(v);
  if (setjmp(back) == 0)
    jump_over(5);
  if (v[0] == 2)  // expect: UninitCondition
    sink = 1;
}

int main(void) {
  registered();
  large_frames();
  return 0;
}
