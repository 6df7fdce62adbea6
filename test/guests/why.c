// Copies an undefined value and a wild pointer about before it uses them. The comments CHAIN name the
// lines in the order in which the values pass them: `grind why` must name these.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
  long id;
  long count;
  char *name;
};

static struct record table[4];
static long saved;
static long total;
static char *cursor;

__attribute__((noinline)) static void fill(struct record *r) {
  r->id = 1; /* and forgets the count */
}

__attribute__((noinline)) static void copy(long *to, const long *from) {
  *to = *from; // CHAIN undefined 2
}

__attribute__((noinline)) static void undefined_value(void) {
  struct record *r = malloc(sizeof *r); // CHAIN undefined 1
  fill(r);
  copy(&saved, &r->count);
  total = saved + 5;        // CHAIN undefined 3
  if (total > 7) puts("x"); // CHAIN undefined 4
  free(r);
}

__attribute__((noinline)) static char *compute(long index) {
  return (char *)(index * 0x1000 + 16);
}

__attribute__((noinline)) static void wild_pointer(long index) {
  table[2].name = compute(index); // CHAIN wild 1
  cursor = table[2].name;         // CHAIN wild 2
  for (volatile long i = 0; i < 100000; i++) saved = i;
  if (index == 0) puts("y");
  if (index > 99) *cursor = 'x'; // CHAIN wild 3
}

__attribute__((noinline)) static void system_call(void) {
  char *room = malloc(16); // CHAIN syscall 1
  char out[16];
  memcpy(out, room, 16);
  if (write(1, out, 0) != 0 || write(2, out, 3) < 0) abort(); // CHAIN syscall 2
  free(room);
}

int main(int argc, char **argv) {
  (void)argv;
  undefined_value();
  system_call();
  wild_pointer(99 + argc);
  return 0;
}
