// A recursion without end: the stack overflows at a call, which is no invalid write.
// build: gcc -O1
#include "bug.h"

static volatile int sink;

NOINLINE static int recurses(void) {
  volatile char room[100000];
  sink = recurses();
  return room[5];
}

int main(void) { return recurses(); }
