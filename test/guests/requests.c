// Client requests of valgrind.h and memcheck.h, with their arguments.
#include <stdint.h>
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#include "facts.h"

static _Alignas(64) char pool[4096], area[4096], stack[4096];

int main(void) {
  fact("running %d", RUNNING_ON_VALGRIND);
  fact("area %lx", (long)area);
  fact("pool %lx", (long)pool);
  VALGRIND_MAKE_MEM_NOACCESS(area, 1024);
  VALGRIND_MAKE_MEM_UNDEFINED(area + 64, 128);
  VALGRIND_MAKE_MEM_DEFINED(area + 192, 32);
  VALGRIND_MAKE_MEM_DEFINED_IF_ADDRESSABLE(area, 256);
  fact("check %ld %ld", (long)VALGRIND_CHECK_MEM_IS_ADDRESSABLE(area + 64, 16), (long)VALGRIND_CHECK_MEM_IS_DEFINED(area + 192, 16));
  VALGRIND_MALLOCLIKE_BLOCK(area + 2048, 100, 16, 0);
  VALGRIND_RESIZEINPLACE_BLOCK(area + 2048, 100, 200, 16);
  VALGRIND_FREELIKE_BLOCK(area + 2048, 16);
  VALGRIND_CREATE_MEMPOOL(pool, 8, 1);
  VALGRIND_MEMPOOL_ALLOC(pool, pool + 64, 40);
  VALGRIND_MEMPOOL_ALLOC(pool, pool + 128, 48);
  VALGRIND_MEMPOOL_CHANGE(pool, pool + 64, pool + 256, 56);
  VALGRIND_MEMPOOL_FREE(pool, pool + 128);
  VALGRIND_MEMPOOL_TRIM(pool, pool, 512);
  fact("exists %d", (int)VALGRIND_MEMPOOL_EXISTS(pool));
  VALGRIND_DESTROY_MEMPOOL(pool);
  unsigned id = VALGRIND_STACK_REGISTER(stack, stack + sizeof stack);
  VALGRIND_STACK_DEREGISTER(id);
  fact("stack %lx", (long)stack);
  VALGRIND_PRINTF("printed by the guest: %d\n", 42);
  VALGRIND_PRINTF_BACKTRACE("with a backtrace: %s\n", "here");
  VALGRIND_DO_LEAK_CHECK;
  fact("errors %u", (unsigned)VALGRIND_COUNT_ERRORS);
  return 0;
}
