// A program without libc: nothing runs but what stands here, so that its instruction, load and store
// counts can be compared with other tools to the last one.
// build: gcc -static -nostdlib -O1
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

static char text[64];
static int length;

static void put(const char *name, unsigned long value) {
  length = 0;
  while (*name) text[length++] = *name++;
  text[length++] = ' ';
  for (int shift = 60; shift >= 0; shift -= 4) text[length++] = "0123456789abcdef"[value >> shift & 15];
  text[length++] = '\n';
  call(1, 1, (long)text, length);
}

volatile unsigned char bytes[4096];
volatile unsigned short words[512];
volatile unsigned int ints[512];
volatile unsigned long longs[512];
__attribute__((aligned(64))) volatile unsigned char split[128];

enum { LOADS = 1000, STORES = 500 };

__attribute__((noinline)) static void work(void) {
  for (int i = 0; i < LOADS; i++) bytes[i];
  for (int i = 0; i < STORES; i++) longs[i] = 0x1111111111111111ul * (i & 15) + i;
  for (int i = 0; i < 100; i++) words[i] = (unsigned short)(i * 3);
  for (int i = 0; i < 100; i++) ints[i] = (unsigned)i * 0x01010101u;
  for (int i = 0; i < 50; i++) ints[i] += 1;  // one load and one store
  *(volatile unsigned long *)(split + 60) = 0x8877665544332211ul;  // crosses a cache line
}

__attribute__((naked)) void _start(void) { __asm__("xor %ebp, %ebp\n andq $-16, %rsp\n call main\n ud2"); }

int main(void) {
  put("bytes", (unsigned long)bytes);
  put("words", (unsigned long)words);
  put("ints", (unsigned long)ints);
  put("longs", (unsigned long)longs);
  put("split", (unsigned long)split);
  put("loads", LOADS);
  put("stores", STORES);
  work();
  call(231, 7, 0, 0);  // exit_group
  return 0;
}
