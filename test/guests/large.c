// Many large heap blocks, at addresses that are used again: what each holds when it is new, as
// `fresh <address> <size> <words> <sum of the words looked at>`, and when it is freed, as `kept …`. Sizes lie
// around those at which the engine's heap and the recorder treat blocks differently.
// build: gcc -O1 -fno-builtin
#include <malloc.h>
#include <stdint.h>
#include "facts.h"

#define SLOTS 24
#define ROUNDS 250
#define WORD sizeof(uint64_t)

static const size_t sizes[] = {40, 4096, 200000, 262112, 262143, 262144, 262145, 300008, 999999, 1 << 20, 1500000, 3 << 20, 5000000};
#define SIZES (sizeof sizes / sizeof *sizes)

static struct { char *at; size_t size; uint64_t seed; } slots[SLOTS];
static uint64_t random_state = 1;

static unsigned below(unsigned limit) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (random_state >> 33) % limit;
}

// Offsets of the words that are looked at: the ends, both sides of the first and last page boundary, some between.
static int places(char *at, size_t size, size_t *offsets) {
  int count = 0;
  size_t last = size / WORD * WORD, first_page = -(uintptr_t)at & 4095, last_page = size - ((uintptr_t)(at + size) & 4095);
  size_t wanted[] = {0, WORD, first_page - WORD, first_page, last_page - WORD, last_page, last - 2 * WORD, last - WORD};
  for (int i = 0; i < 8; i++)
    if (wanted[i] < last) offsets[count++] = wanted[i];
  for (size_t offset = 4096; offset + WORD <= last; offset += size / 12 / WORD * WORD) offsets[count++] = offset;
  return count;
}

__attribute__((noinline)) static uint64_t look(char *at, const size_t *offsets, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum += *(volatile uint64_t *)(at + offsets[i]);
  return sum;
}

static uint64_t show(const char *when, char *at, size_t size) {
  size_t offsets[32];
  int count = places(at, size, offsets);
  uint64_t sum = look(at, offsets, count);
  fact("%s %lx %zu %d %lx", when, (long)at, size, count, sum);
  return sum;
}

static char *allocate(size_t size) {
  switch (below(4)) {
    case 0: return calloc(1, size);
    case 1: return memalign(4096 << below(3), size);
    default: return malloc(size);
  }
}

// All that may be looked at, wherever a copy of the block lies, and something on each page.
static void fill(char *at, size_t size, uint64_t seed) {
  for (size_t offset = 0; offset + WORD <= size; offset += offset < 8192 || offset + 8192 > size ? WORD : 4096 - offset % 4096)
    *(uint64_t *)(at + offset) = seed ^ offset;
  size_t offsets[32];
  for (int i = places(at, size, offsets); i--;) *(uint64_t *)(at + offsets[i]) = seed ^ offsets[i];
}

static uint64_t expected(char *at, size_t size, uint64_t seed) {
  size_t offsets[32];
  uint64_t sum = 0;
  for (int i = places(at, size, offsets); i--;) sum += seed ^ offsets[i];
  return sum;
}

int main(void) {
  for (int round = 0; round < ROUNDS; round++) {
    int slot = below(SLOTS);
    char *at = slots[slot].at;
    size_t size = slots[slot].size;
    if (at) {
      check(show("kept", at, size) == expected(at, size, slots[slot].seed), "nobody else writes to a block");
      free(at);
    }
    size = slots[slot].size = sizes[below(SIZES)];
    at = allocate(size);
    check(at != NULL, "allocate");
    show("fresh", at, size);
    fill(at, size, slots[slot].seed = random_state);
    if (below(8) == 0) {
      size_t old = (size + 15) & ~15ul;
      at = realloc(at, old + 300000);
      check(at != NULL, "realloc");
      show("fresh", at + old, 300000);
    }
    slots[slot].at = at;
  }
  return 0;
}
