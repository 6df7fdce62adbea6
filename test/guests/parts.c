// Three parts, each with a counter of its own; the middle one can be marked with requests of grind.h.
// build: gcc -O1
#include <string.h>
#include "../../recorder/grind.h"
#include "facts.h"

enum { ROUNDS = 100 };
static volatile long counters[3];

__attribute__((noinline)) static void first_part(void) {
  for (int i = 0; i < ROUNDS; i++) counters[0]++;
}
__attribute__((noinline)) static void middle_part(void) {
  counters[1] = counters[0];  // what was stored before the recording began is known
  for (int i = 0; i < ROUNDS; i++) counters[1]++;
}
__attribute__((noinline)) static void last_part(void) {
  for (int i = 0; i < ROUNDS; i++) counters[2]++;
}

int main(int argc, char **argv) {
  int marked = argc > 1 && !strcmp(argv[1], "marked");
  char *block = malloc(1000);
  fact("block %lx", (long)block);
  first_part();
  fact("first %lx", (long)&counters[0]);
  if (marked) GRIND_START;
  middle_part();
  if (marked) GRIND_STOP;
  fact("middle %lx", (long)&counters[1]);
  last_part();
  fact("last %lx", (long)&counters[2]);
  free(block);
  return 5;
}
