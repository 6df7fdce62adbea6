// Leaks of each kind, the heuristics for interior pointers, and leak checks in the middle of the run.
// build: g++ -O0 -std=c++17
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <valgrind/memcheck.h>

#include "bug.h"

struct Node {
  Node *next;
  char text[24];
};

static Node *reachable;
static char *interior;
static char *volatile scratch;

// Overwrites what earlier calls left on the stack and in registers.
NOINLINE static void wipe() {
  volatile char room[4096];
  for (size_t i = 0; i < sizeof room; i++)
    room[i] = 0;
  __asm__ volatile("xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi;"
                   "xor %%edi, %%edi; xor %%r8, %%r8; xor %%r9, %%r9; xor %%r10, %%r10; xor %%r11, %%r11"
                   :
                   :
                   : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
}

NOINLINE static void lost() {
  Node *first = (Node *)calloc(1, sizeof(Node));  // expect: Leak_DefinitelyLost
  first->next = (Node *)calloc(1, sizeof(Node));  // expect: Leak_IndirectlyLost
  scratch = (char *)first;
#ifdef CLEAN
  free(first->next);
  free(first);
#endif
  scratch = nullptr;
}

NOINLINE static void cycle() {
  Node *a = (Node *)calloc(1, sizeof(Node));  // expect: Leak_DefinitelyLost
  Node *b = (Node *)calloc(1, sizeof(Node));  // expect: Leak_IndirectlyLost
  a->next = b;
  b->next = a;
#ifdef CLEAN
  free(a);
  free(b);
#endif
}

NOINLINE static void kept() {
  reachable = (Node *)calloc(1, sizeof(Node));  // expect: Leak_StillReachable
  reachable->next = (Node *)calloc(1, sizeof(Node));  // expect: Leak_StillReachable
#ifdef CLEAN
  free(reachable->next);
  free(reachable);
#endif
}

NOINLINE static void possible() {
  interior = (char *)calloc(1, 100) + 50;  // expect: Leak_PossiblyLost
#ifdef CLEAN
  free(interior - 50);
#endif
}

// As an old std::string: length, capacity, count, characters; the program holds a pointer to those.
static char *string_like;
NOINLINE static void heuristic_string() {
  size_t *block = (size_t *)calloc(1, 24 + 30 + 1);  // expect: Leak_StillReachable
  block[0] = 10;
  block[1] = 30;
  string_like = (char *)(block + 3);
#ifdef CLEAN
  free(block);
#endif
}

static char *sized;
NOINLINE static void heuristic_length64() {
  uint64_t *block = (uint64_t *)calloc(1, 48);  // expect: Leak_StillReachable
  block[0] = 40;
  sized = (char *)(block + 1);
#ifdef CLEAN
  free(block);
#endif
}

struct Element {
  ~Element() { KEEP(this); }
  char bytes[11];
};
static Element *elements;
NOINLINE static void heuristic_newarray() {
  elements = new Element[5];  // expect: Leak_StillReachable
#ifdef CLEAN
  delete[] elements;
#endif
}

struct Left {
  virtual ~Left() {}
  virtual void left() {}
  int l = 1;
};
struct Right {
  virtual ~Right() {}
  virtual void right() {}
  int r = 2;
};
struct Both : Left, Right {
  int b = 3;
};
static Right *second_base;
NOINLINE static void heuristic_bases() {
  second_base = new Both;  // expect: Leak_StillReachable
#ifdef CLEAN
  delete second_base;
#endif
}

// Found while it runs; it is freed before the end.
static uintptr_t disguised;
NOINLINE static void middle() {
  disguised = ~(uintptr_t)calloc(1, 77);  // expect: Leak_DefinitelyLost
}

NOINLINE static void reappear() { free((void *)~disguised); }

// What cannot be read holds no pointers, whoever took that right away: here first a function that runs on
// the real processor, unseen.
static char *pages, *outside;
static long protect(long, void *address, long size, long protection) {
  long result = SYS_mprotect;
  __asm__ volatile("syscall" : "+a"(result) : "D"(address), "S"(size), "d"(protection) : "rcx", "r11", "memory");
  outside[0] = 7;
  return result;
}
NOINLINE static void behind_protection() {
  pages = (char *)memalign(4096, 8192);  // expect: Leak_StillReachable
  memset(pages, 0, 8192);
  outside = (char *)calloc(1, 4);  // expect: Leak_StillReachable
  *(char **)pages = (char *)calloc(1, 66);  // expect: Leak_DefinitelyLost
  *(char **)(pages + 4096) = (char *)calloc(1, 67);  // expect: Leak_DefinitelyLost
}

NOINLINE static void reveal() {
  mprotect(pages, 8192, PROT_READ | PROT_WRITE);
  free(*(char **)pages);
  free(*(char **)(pages + 4096));
  free(pages);
  if (outside[0] != 7) VALGRIND_PRINTF("the function that ran unseen changed nothing\n");
  free(outside);
}

int main() {
#ifndef CLEAN
  behind_protection();
  VALGRIND_NON_SIMD_CALL3(protect, pages, 4096, PROT_NONE);
  mprotect(pages + 4096, 4096, PROT_NONE);
  wipe();
  VALGRIND_DO_ADDED_LEAK_CHECK;
  reveal();
  middle();
  wipe();
  VALGRIND_DO_ADDED_LEAK_CHECK;
  reappear();
  disguised = 0;
#endif
  lost();
  cycle();
  kept();
  possible();
  heuristic_string();
  heuristic_length64();
  heuristic_newarray();
  heuristic_bases();
  wipe();
  return 0;
}
