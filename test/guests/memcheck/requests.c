// Client requests: access and definedness, pools, an allocator of the program's own, ranges not judged.
// build: gcc -O0
// unlike Memcheck: CHECK_MEM_IS_DEFINED CHECK_MEM_IS_ADDRESSABLE COUNT_ERRORS GET_VBITS COUNT_LEAKS
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "bug.h"

static volatile int sink;

NOINLINE static void access_and_definedness(void) {
  char *p = calloc(64, 1);
  VALGRIND_MAKE_MEM_NOACCESS(p, 8);
  sink = p[BUG(7, 8)];  // expect: InvalidRead
  VALGRIND_MAKE_MEM_UNDEFINED(p + 8, 8);
  if (p[BUG(8, 16)])  // expect: UninitCondition
    sink = 1;
  VALGRIND_MAKE_MEM_DEFINED(p, 16);
  if (p[7] || p[8])
    sink = 2;
  VALGRIND_MAKE_MEM_UNDEFINED(p + 32, BUG(4, 0));
  (void)VALGRIND_CHECK_MEM_IS_DEFINED(p, 64);  // expect: ClientCheck
  (void)VALGRIND_CHECK_MEM_IS_ADDRESSABLE(p, BUG(65, 64));  // expect: ClientCheck
  int value = 3;
  VALGRIND_MAKE_MEM_UNDEFINED(&value, BUG(sizeof value, 0));
  (void)VALGRIND_CHECK_VALUE_IS_DEFINED(value);  // expect: ClientCheck
  VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(p + 64, 4);
  sink = p[66];
  VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(p + 64, 4);
  sink = p[BUG(66, 63)];  // expect: InvalidRead
  VALGRIND_DISABLE_ERROR_REPORTING;
  sink = p[66];
  VALGRIND_ENABLE_ERROR_REPORTING;
  free(p);
}

// A trivial allocator, announced as the manual says.
static char arena[4096];
static size_t used;

static void *own_malloc(size_t size) {
  char *p = arena + used + 16;
  used += size + 32;
  VALGRIND_MALLOCLIKE_BLOCK(p, size, 16, 0);
  return p;
}

static void own_free(void *p) {
  VALGRIND_FREELIKE_BLOCK(p, 16);  // expect: InvalidFree
}

NOINLINE static void own_allocator(void) {
  VALGRIND_MAKE_MEM_NOACCESS(arena, sizeof arena);
  char *a = own_malloc(10);
  a[0] = 1;
  a[BUG(10, 9)] = 1;  // expect: InvalidWrite
  a[BUG(-1, 0)] = 1;  // expect: InvalidWrite
  if (a[BUG(1, 0)])  // expect: UninitCondition
    sink = 1;
  VALGRIND_RESIZEINPLACE_BLOCK(a, 10, 20, 16);
  a[19] = 1;
  char *b = own_malloc(12);
  b[0] = 1;
  own_free(a);
  sink = BUG(a, b)[0];  // expect: InvalidRead
  own_free(b);
#ifndef CLEAN
  own_free(a);
#endif
}

NOINLINE static void pools(void) {
  char *space = malloc(1000);
  VALGRIND_MAKE_MEM_NOACCESS(space, 1000);
  VALGRIND_CREATE_MEMPOOL(&arena, 8, 0);
  char *a = space + 8;
  VALGRIND_MEMPOOL_ALLOC(&arena, a, 20);
  char *b = space + 100;
  VALGRIND_MEMPOOL_ALLOC(&arena, b, 20);
  memset(a, 1, 20);
  memset(b, 1, 20);
  sink = a[BUG(20, 19)];  // expect: InvalidRead
  VALGRIND_MEMPOOL_FREE(&arena, a);
  sink = BUG(a, b)[3];  // expect: InvalidRead
  VALGRIND_MEMPOOL_FREE(&arena, BUG(a, b));  // expect: InvalidFree
  VALGRIND_DESTROY_MEMPOOL(&arena);
  sink = BUG(b[3], 0);  // expect: InvalidRead
#ifndef CLEAN
  VALGRIND_MEMPOOL_FREE(&arena, b);  // expect: InvalidMemPool
#endif
  free(space);
}

// What the recorder cannot know: it answers as if all were well, which the report tells.
NOINLINE static void questions(void) {
  static char *kept;
  unsigned long leaked, dubious, reachable, suppressed;
  char bits[4], value[4] = {0};
  sink = VALGRIND_COUNT_ERRORS;
  VALGRIND_MAKE_MEM_UNDEFINED(value, BUG(4, 0));
  VALGRIND_GET_VBITS(value, bits, 4);
  kept = BUG(malloc(40), 0);  // expect: Leak_StillReachable
  VALGRIND_DO_LEAK_CHECK;
  VALGRIND_COUNT_LEAKS(leaked, dubious, reachable, suppressed);
  free(kept);
  VALGRIND_DO_LEAK_CHECK;
}

int main(void) {
  access_and_definedness();
  questions();
  own_allocator();
  pools();
  return 0;
}
