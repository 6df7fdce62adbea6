// Reads random bytes, which no compression makes smaller, and prints the sum of each part's words.
// build: gcc -O1
#include <fcntl.h>
#include <stdint.h>
#include "facts.h"

enum { PARTS = 4000, WORDS = 512 };
static volatile uint64_t words[WORDS];

__attribute__((noinline)) static uint64_t sum_of_words(void) {
  uint64_t sum = 0;
  for (int i = 0; i < WORDS; i++) sum += words[i];
  return sum;
}

int main(void) {
  int random = open("/dev/urandom", O_RDONLY);
  check(random >= 0, "open");
  fact("words %lx %d", (long)words, WORDS);
  for (int i = 0; i < PARTS; i++) {
    check(read(random, (void *)words, sizeof words) == sizeof words, "read");
    fact("sum %lu", sum_of_words());
  }
  return 7;
}
