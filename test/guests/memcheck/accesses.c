// Accesses of each width outside of blocks: after, before, freed, across the end, below the stack pointer.
// build: gcc -O0 -mavx2
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

static char *fresh(size_t size) {
  char *block = malloc(size);
  memset(block, 1, size);
  HIDE(block);
  return block;
}

NOINLINE static void reads(void) {
  char *p = fresh(64);
  KEEP(*(uint8_t *)(p + BUG(64, 0)));   // expect: InvalidRead
  KEEP(*(uint16_t *)(p + BUG(64, 0)));  // expect: InvalidRead
  KEEP(*(uint32_t *)(p + BUG(64, 0)));  // expect: InvalidRead
  KEEP(*(uint64_t *)(p + BUG(64, 0)));  // expect: InvalidRead
  KEEP(*(uint8_t *)(p + BUG(-1, 0)));   // expect: InvalidRead
  KEEP(*(uint32_t *)(p + BUG(61, 0)));  // expect: InvalidRead
  free(p);
}

NOINLINE static void writes(void) {
  char *p = fresh(64);
  *(uint8_t *)(p + BUG(64, 0)) = 1;   // expect: InvalidWrite
  *(uint32_t *)(p + BUG(64, 0)) = 1;  // expect: InvalidWrite
  *(uint64_t *)(p + BUG(64, 0)) = 1;  // expect: InvalidWrite
  *(uint8_t *)(p + BUG(-16, 0)) = 1;  // expect: InvalidWrite
  *(uint64_t *)(p + BUG(60, 0)) = 1;  // expect: InvalidWrite
  *(float *)(p + BUG(64, 0)) = 1;     // expect: InvalidWrite
  *(double *)(p + BUG(64, 0)) = 1;    // expect: InvalidWrite
  free(p);
}

// The vectors live in registers only.
NOINLINE static void vectors(void) {
  char *p = fresh(64);
  __asm__ volatile("movdqu (%0), %%xmm0" : : "r"(p + BUG(56, 0)) : "xmm0");   // expect: InvalidRead
  __asm__ volatile("movdqu %%xmm0, (%0)" : : "r"(p + BUG(64, 0)) : "memory");  // expect: InvalidWrite*2
  __asm__ volatile("vmovdqu (%0), %%ymm0" : : "r"(p + BUG(40, 0)) : "xmm0");  // expect: InvalidRead
  __asm__ volatile("vmovdqu %%ymm0, (%0)" : : "r"(p + BUG(64, 0)) : "memory");  // expect: InvalidWrite*4
  free(p);
}

NOINLINE static void freed(void) {
  int *p = (int *)fresh(40);
  free(BUG(p, NULL));
  KEEP(p[3]);  // expect: InvalidRead
  p[4] = 5;    // expect: InvalidWrite
  p[5]++;      // expect: InvalidRead InvalidWrite
  free(BUG(NULL, p));
}

// A hundred accesses by the same instruction are one finding.
NOINLINE static int repeated(void) {
  int *p = (int *)fresh(40);
  int sum = 0;
  for (int i = 0; i < 100; i++)
    sum += p[BUG(10, 9)];  // expect: InvalidRead*100
  free(p);
  return sum;
}

NOINLINE static char *frame(void) {
  volatile char local[600];
  local[100] = 1;
  char *address = (char *)&local[100];
  HIDE(address);
  return address;
}

NOINLINE static void below(void) {
  char *gone = frame();
  char here = 0;
  KEEP(*BUG(gone, &here));  // expect: InvalidRead
}

// What lies within a block, at its edges, and in the red zone of the stack is no error.
NOINLINE static void edges(void) {
  char *p = fresh(33);
  KEEP(*(uint8_t *)(p + 32));
  KEEP(*(uint64_t *)(p + 25));
  __asm__ volatile("movb $1, -1(%%rsp); movb -1(%%rsp), %%al; movb $2, -128(%%rsp)" : : : "rax", "memory");
  free(p);
  p = fresh(1);
  KEEP(*p);
  free(p);
}

int main(void) {
  reads();
  writes();
  vectors();
  freed();
  KEEP(repeated());
  below();
  edges();
  return 0;
}
