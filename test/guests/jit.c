// Code that is written while the program runs, and written over again.
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include "facts.h"

static volatile int results[64];

int main(void) {
  unsigned char *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  fact("code %lx 8192", (long)code);
  int (*run)(void) = (int (*)(void))code;
  memcpy(code, "\xb8\0\0\0\0\xc3", 6);  // mov $n, %eax; ret
  for (int i = 0; i < 20; i++) {
    *(volatile int *)(code + 1) = i * 1000;
    results[i] = run();
    check(results[i] == i * 1000, "new code runs");
  }
  // A block that changes code which lies further down in itself.
  unsigned char self[] = {0xc7, 0x05, 6, 0, 0, 0, 0x2a, 0, 0, 0,  // movl $42, 6(%rip) → the immediate below
                          0x0f, 0xa2,                             // cpuid: serialises
                          0x90, 0x90, 0x90, 0xb8, 1, 0, 0, 0,     // mov $1, %eax
                          0xc3};
  (void)self;
  unsigned char *page = code + 4096;
  memcpy(page, "\xb8\x01\0\0\0\xc3", 6);
  int (*second)(void) = (int (*)(void))page;
  results[30] = second();
  memcpy(page, "\x31\xc0\xff\xc8\xc3", 5);  // xor %eax, %eax; dec %eax; ret
  results[31] = second();
  mprotect(page, 4096, PROT_READ | PROT_EXEC);
  results[32] = second();
  munmap(code, 8192);
  unsigned char *other = mmap(code, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memcpy(other, "\xb8\x63\0\0\0\xc3", 6);
  results[33] = ((int (*)(void))other)();
  fact("results %lx %d %d %d %d", (long)results, results[30], results[31], results[32], results[33]);
  return 0;
}
