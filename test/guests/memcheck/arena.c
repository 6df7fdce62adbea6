// An allocator of its own, annotated as U-Boot's are: that of the early boot takes what comes next and frees nothing; the
// later one has a header before each block, bins of free ones, and grows blocks in place.
// build: gcc -O0
// analyze: --leak-check=full
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>

#include "bug.h"

enum { EARLY = 4096, ARENA = 1 << 16, ALIGN = 16 };

static _Alignas(ALIGN) char early[EARLY], arena[ARENA];
static size_t early_used;

// ---- Early: no headers, so no space between blocks.

NOINLINE static void *malloc_simple(size_t size) {
  size_t at = (early_used + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (at + size > EARLY) return NULL;
  early_used = at + size;
  VALGRIND_MALLOCLIKE_BLOCK(early + at, size, 0, 0);
  return early + at;
}

// ---- Later: chunks with their sizes, and a list of free ones. The size stands before a block, as its red zone.

typedef struct chunk {
  size_t size;  // of the whole chunk
  struct chunk *next;  // of a free one; of a used one the block begins here
} chunk;
enum { HEADER = offsetof(chunk, next), LEAST = sizeof(chunk) };

static chunk *freed;
static size_t arena_used = ALIGN - HEADER;

static size_t padded(size_t size) {
  size_t whole = (size + 2 * HEADER + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  return whole < LEAST ? LEAST : whole;
}

static chunk *chunk_of(void *block) { return (chunk *)((char *)block - HEADER); }
static void *block_of(chunk *one) { return (char *)one + HEADER; }

// What the program must not touch, the allocator may.
static void open_chunk(chunk *one) { VALGRIND_MAKE_MEM_DEFINED(one, sizeof *one); }
static void close_chunk(chunk *one) { VALGRIND_MAKE_MEM_NOACCESS(one, sizeof *one); }

static chunk *from_list(size_t whole) {
  chunk *before = NULL, *one = freed;
  while (one) {
    open_chunk(one);
    chunk *next = one->next;
    if (one->size >= whole) {
      if (before) {
        open_chunk(before);
        before->next = next;
        close_chunk(before);
      } else {
        freed = next;
      }
      return one;
    }
    close_chunk(one);
    before = one;
    one = next;
  }
  return NULL;
}

NOINLINE static void *boot_malloc(size_t size) {
  size_t whole = padded(size);
  chunk *one = from_list(whole);
  if (!one) {
    if (arena_used + whole > ARENA) return NULL;
    one = (chunk *)(arena + arena_used);
    arena_used += whole;
    VALGRIND_MAKE_MEM_UNDEFINED(one, HEADER);
    one->size = whole;
  }
  close_chunk(one);
  VALGRIND_MALLOCLIKE_BLOCK(block_of(one), size, HEADER, 0);  // expect: Leak_DefinitelyLost
  return block_of(one);
}

NOINLINE static void boot_free(void *block) {
  VALGRIND_FREELIKE_BLOCK(block, HEADER);  // expect: InvalidFree
  chunk *one = chunk_of(block);
  open_chunk(one);
  one->next = freed;
  close_chunk(one);
  freed = one;
}

NOINLINE static void *boot_realloc(void *block, size_t old_size, size_t size) {
  chunk *one = chunk_of(block);
  VALGRIND_MAKE_MEM_DEFINED(&one->size, sizeof one->size);
  size_t whole = one->size;
  VALGRIND_MAKE_MEM_NOACCESS(&one->size, sizeof one->size);
  if (whole >= padded(size)) {
    VALGRIND_RESIZEINPLACE_BLOCK(block, old_size, size, HEADER);
    return block;
  }
  void *moved = boot_malloc(size);
  memcpy(moved, block, old_size < size ? old_size : size);
  boot_free(block);
  return moved;
}

// ---- What the program does with them.

static volatile int sink;
static void *kept[3];

NOINLINE static void early_blocks(void) {
  char *first = kept[0] = malloc_simple(20);
  char *second = kept[1] = malloc_simple(8);
  memset(first, 1, 20);
  memset(second, 2, 8);
  KEEP(first[BUG(20, 19)]);  // expect: InvalidRead
  int *third = kept[2] = malloc_simple(sizeof *third);
  BUG((void)0, *third = 1);
  if (*third == 3)  // expect: UninitCondition
    sink = 1;
}

NOINLINE static void blocks(void) {
  char *block = boot_malloc(40);
  memset(block, 1, 40);
  block[BUG(40, 39)] = 1;  // expect: InvalidWrite
  KEEP(block[BUG(-1, 0)]);  // expect: InvalidRead
  boot_free(block);
  KEEP(*BUG(block + 24, early));  // expect: InvalidRead
  char *again = boot_malloc(30);  // the same chunk
  KEEP(again != block);
  BUG((void)0, memset(again, 1, 30));
  if (again[29] == 5)  // expect: UninitCondition
    sink = 1;
  boot_free(again);
}

NOINLINE static void resized(void) {
  char *block = boot_malloc(10);
  memset(block, 1, 10);
  block = boot_realloc(block, 10, 12);
  BUG((void)0, block[11] = 0);
  if (block[11] == 7)  // expect: UninitCondition
    sink = 1;
  block = boot_realloc(block, 12, 4);
  KEEP(block[BUG(4, 3)]);  // expect: InvalidRead
  block = boot_realloc(block, 4, 500);
  block[499] = 1;
  block[BUG(500, 499)] = 1;  // expect: InvalidWrite
  boot_free(block);
}

NOINLINE static void forgotten(void) {
  char *volatile block = boot_malloc(77);
  BUG((void)0, boot_free(block));
  block = NULL;
}

// The last of all: the list of free ones is in no state to be used afterwards.
NOINLINE static void freed_twice(void) {
  char *block = boot_malloc(50);
  boot_free(block);
  BUG(boot_free(block), (void)0);
}

int main(void) {
  VALGRIND_MAKE_MEM_NOACCESS(early, EARLY);
  VALGRIND_MAKE_MEM_NOACCESS(arena, ARENA);
  early_blocks();
  blocks();
  resized();
  forgotten();
  freed_twice();
  return 0;
}
