// Wrong uses of allocators: mismatched, twice, not a block, overlapping copies, strange sizes.
// build: g++ -O0 -fno-builtin -Wno-all
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

static long hidden(long value) {
  HIDE(value);
  return value;
}

struct Thing {
  ~Thing() { KEEP(this); }
  int value[4];
};

NOINLINE static void mismatched() {
  int *a = new int;
  BUG(free(a), delete a);  // expect: MismatchedFree
  int *b = new int[4];
  BUG(delete b, delete[] b);  // expect: MismatchedFree
  int *c = (int *)malloc(8);
  BUG(delete[] c, free(c));  // expect: MismatchedFree
  int *d = new int[4];
  BUG(d = (int *)realloc(d, 40), (void)0);  // expect: MismatchedFree
  BUG(free(d), delete[] d);
  Thing *e = new Thing[3];
  delete[] e;
}

NOINLINE static void freed_twice() {
  char *p = (char *)malloc(20);
  free(p);
  BUG(free(p), free(NULL));  // expect: InvalidFree
  char *q = (char *)malloc(20);
  BUG(free(q + 4), free(q));  // expect: InvalidFree
  BUG(free(q), (void)0);
  char local[16];
  char *r = local;
  HIDE(r);
  BUG(free(r), (void)0);  // expect: InvalidFree
  r = (char *)realloc(BUG(r, NULL), 10);  // expect: InvalidFree
  free(r);
}

NOINLINE static void overlapping() {
  char *p = (char *)calloc(100, 1);
  strcpy(p, "0123456789");
  strcpy(p, p + BUG(3, 20));  // expect: Overlap
  strncpy(p + BUG(3, 50), p, hidden(8));  // expect: Overlap
  memmove(p + 10, p, hidden(20));
  memcpy(p + 20, p, hidden(20));
  free(p);
}

NOINLINE static void strange() {
  free(malloc(hidden(BUG(-4, 4))));  // expect: FishyValue
  free(calloc(hidden(BUG(-4, 4)), 1));  // expect: FishyValue
  void *p = malloc(hidden(10));
  void *q = realloc(p, hidden(BUG(-1, 1)));  // expect: FishyValue
  free(BUG(p, q));
  KEEP(q);
  void *aligned = NULL;
  KEEP(posix_memalign(&aligned, 64, hidden(100)));
  free(aligned);
}

int main() {
  mismatched();
  freed_twice();
  overlapping();
  strange();
  return 0;
}
