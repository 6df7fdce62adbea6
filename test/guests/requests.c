// Client requests of valgrind.h and memcheck.h, with their arguments.
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#include "facts.h"

static _Alignas(64) char pool[4096], area[4096], stack[4096];

// What the program is answered, all being well; the same as under Memcheck.
static void answers(void) {
  static unsigned char bits[16], bytes[16] = {1, 2, 3};
  for (int i = 0; i < 16; i++) bits[i] = 7;
  int first = VALGRIND_CREATE_BLOCK(area, 8, "first"), second = VALGRIND_CREATE_BLOCK(area + 8, 8, "second");
  fact("blocks %d %d %d", first, second, (int)VALGRIND_CREATE_BLOCK(area, 0, "none"));
  fact("discard %d %d", (int)VALGRIND_DISCARD(first), (int)VALGRIND_DISCARD(first));
  fact("again %d %d", (int)VALGRIND_CREATE_BLOCK(area, 8, "third"), (int)VALGRIND_CREATE_BLOCK(area, 8, "fourth"));
  fact("get %d %d", (int)VALGRIND_GET_VBITS(bytes, bits, 16), (int)VALGRIND_GET_VBITS(8, bits, 16));
  fact("bits %d %d", bits[0], bits[15]);
  fact("set %d %d", (int)VALGRIND_SET_VBITS(bytes, bits, 16), (int)VALGRIND_SET_VBITS(8, bits, 16));
  fact("ranges %d %d", (int)VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(area, 8),
       (int)VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(area, 0));
  long page = sysconf(_SC_PAGESIZE);
  char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(two + page, page);
  fact("check %ld %ld", VALGRIND_CHECK_MEM_IS_ADDRESSABLE(two, page) - 0L,
       (char *)VALGRIND_CHECK_MEM_IS_DEFINED(two, 2 * page) - two);
  char *brk = sbrk(100);
  fact("brk %ld %ld", (long)VALGRIND_CHECK_MEM_IS_ADDRESSABLE(brk, 100),
       (char *)VALGRIND_CHECK_MEM_IS_ADDRESSABLE(brk, 200) - brk);
  long leaked = 1, dubious = 2, reachable = 3, suppressed = 4;
  VALGRIND_COUNT_LEAKS(leaked, dubious, reachable, suppressed);
  fact("leaks %ld %ld %ld %ld", leaked, dubious, reachable, suppressed);
  VALGRIND_CREATE_MEMPOOL(pool, 0, 0);
  VALGRIND_MOVE_MEMPOOL(pool, pool + 64);
  fact("pools %d %d", (int)VALGRIND_MEMPOOL_EXISTS(pool), (int)VALGRIND_MEMPOOL_EXISTS(pool + 64));
  VALGRIND_DESTROY_MEMPOOL(pool + 64);
  fact("gone %d", (int)VALGRIND_MEMPOOL_EXISTS(pool + 64));
}

int main(int argc, char **argv) {
  if (argc > 1) {
    answers();
    return 0;
  }
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
