// An access far below the stack pointer, where the stack once reached.
// build: gcc -O0
#include "bug.h"

static volatile int sink;

NOINLINE static void reaches_down(void) {
  volatile char room[30000];
  for (int i = 0; i < 30000; i++)
    room[i] = 1;
}

int main(void) {
  int value = 0;
  reaches_down();
#ifndef CLEAN
  __asm__ volatile("movl -8192(%%rsp), %0" : "=r"(value));  // expect: InvalidRead
#endif
  sink = value;
  return 0;
}
