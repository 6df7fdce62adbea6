// Locked instructions, with the values before and after.
// build: gcc -O1 -mcx16
#include <stdint.h>
#include "facts.h"

static _Alignas(64) volatile uint64_t cell64 = 5, exchanged = 17, failing = 9;
static _Alignas(64) volatile uint32_t cell32 = 6;
static _Alignas(64) volatile uint16_t cell16 = 7;
static _Alignas(64) volatile uint8_t cell8 = 8;
static _Alignas(64) volatile uint64_t pair[2] = {1, 2};

int main(void) {
  fact("xadd %lx %lu", (long)&cell64, __sync_fetch_and_add(&cell64, 0xff00ff00ff00ull));
  fact("xadd32 %lx %u", (long)&cell32, __sync_fetch_and_add(&cell32, 100));
  fact("xadd16 %lx %u", (long)&cell16, __sync_fetch_and_add(&cell16, 100));
  fact("xadd8 %lx %u", (long)&cell8, __sync_fetch_and_add(&cell8, 100));
  fact("xchg %lx %lu", (long)&exchanged, __atomic_exchange_n(&exchanged, 0xdeadbeefcafef00dull, __ATOMIC_SEQ_CST));
  fact("cas %lx %d", (long)&cell64, __sync_bool_compare_and_swap(&cell64, 5 + 0xff00ff00ff00ull, 0x123456789abcdefull));
  fact("casfail %lx %d", (long)&failing, __sync_bool_compare_and_swap(&failing, 1000, 1));
  uint64_t low = 3, high = 4, expectedLow = 1, expectedHigh = 2;
  uint8_t swapped;
  __asm__ volatile("lock cmpxchg16b %1\n sete %0"
                   : "=q"(swapped), "+m"(pair), "+a"(expectedLow), "+d"(expectedHigh)
                   : "b"(low), "c"(high)
                   : "cc", "memory");
  fact("cas16 %lx %d", (long)pair, swapped);
  for (int i = 0; i < 50; i++) __asm__ volatile("lock incq %0" : "+m"(cell64));
  fact("final64 %lx %lx", (long)&cell64, cell64);
  fact("final32 %lx %x", (long)&cell32, cell32);
  fact("finalpair %lx %lx %lx", (long)pair, pair[0], pair[1]);
  return 0;
}
