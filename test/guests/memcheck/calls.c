// Call stacks: of a function that called another before its stack grew.
// build: gcc -O1
#include <alloca.h>
#include <stdlib.h>

#include "bug.h"

static volatile int sink;

NOINLINE static void callee(int n) { sink = n; }

NOINLINE static int grows(int n, const char *p) {
  callee(n);
  volatile char *room = alloca(n);
  room[0] = 1;
  sink = p[BUG(10, 9)];  // expect: InvalidRead
  return room[0];
}

int main(void) {
  char *p = calloc(10, 1);
  int result = grows(100, p);
  free(p);
  return result != 1;
}
