// A stack that overflows: the call that cannot leave its return address kills the program.
// build: gcc -O0
#include <stdio.h>

#include "bug.h"

NOINLINE static void prints(void) { puts("here"); }

NOINLINE static void overflows(void) {
  volatile char room[BUG(40000000, 40)];
  prints();  // expect: InvalidWrite
  room[0] = 1;
}

int main(void) {
  overflows();
  return 0;
}
