// Static, without a C library, heap or environment, so that Cachegrind and we run the very same instructions: loops over
// arrays, instructions that read and write the same memory, branches that depend on data, indirect calls.
// build: gcc -O1 -static -nostdlib -fno-stack-protector -fno-pie -no-pie
static int table[4096];
static long counts[512];
static unsigned char bytes[100000];

static unsigned next(unsigned x) { return x * 1664525u + 1013904223u; }

__attribute__((noinline)) static void add(unsigned x) { counts[x % 512]++; }
__attribute__((noinline)) static void set(unsigned x) { bytes[x % 100000] = (unsigned char)x; }
__attribute__((noinline)) static void mix(unsigned x) { table[x % 4096] ^= bytes[(x >> 7) % 100000]; }

static void (*volatile const calls[])(unsigned) = {add, set, mix};

__attribute__((noinline)) static int run(void) {
  unsigned x = 1;
  for (int i = 0; i < 30000; i++) {
    x = next(x);
    calls[(x >> 16) % 3](x);
    if (x & 0x40000) add(x >> 3);
  }
  for (int i = 0; i < 4096; i++)
    if (table[i] & 1) x += (unsigned)table[i];
  // Words that lie across lines.
  for (int i = 0; i < 1000; i++) x += *(volatile unsigned *)(bytes + 61 + 64 * i % 90000);
  return (int)x;
}

__attribute__((used)) static char stack[4096] __attribute__((aligned(64)));

// A stack of its own: where the given one begins depends on the environment.
__attribute__((naked)) void _start(void) { asm("lea stack+4096(%rip), %rsp\n call go\n ud2"); }

__attribute__((noreturn, used)) static void go(void) {
  int result = run();
  asm volatile("syscall" ::"a"(60), "D"(result & 1) : "rcx", "r11", "memory");
  __builtin_unreachable();
}
