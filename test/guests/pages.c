// Static, without a C library: maps memory, gives it back in whole and in part, moves it, and moves the break, so that the
// pages in use can be compared with massif's --pages-as-heap to the last one.
// build: gcc -static -nostdlib -O1 -fno-stack-protector -fno-pie -no-pie
enum { PAGE = 4096 };

static long call(long number, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = -1;
  register long r9 __asm__("r9") = 0;
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

static long map(long size) { return call(9, 0, size, 3, 0x22); }  // read and write, private and anonymous

__attribute__((noinline)) static void large(void) {
  long block = map(100 * PAGE);
  *(volatile char *)block = 1;
  call(11, block, 100 * PAGE, 0, 0);
}

__attribute__((noinline)) static void parts(void) {
  long block = map(30 * PAGE);
  call(11, block + 10 * PAGE, 10 * PAGE, 0, 0);
  call(10, block, 5 * PAGE, 1, 0);  // mprotect changes nothing
}

__attribute__((noinline)) static void moved(void) {
  long block = map(8 * PAGE);
  call(25, block, 8 * PAGE, 16 * PAGE, 1);
}

__attribute__((noinline)) static void broken(void) {
  long end = call(12, 0, 0, 0, 0);
  call(12, end + 7 * PAGE, 0, 0, 0);
  call(12, end + 4 * PAGE, 0, 0, 0);
}

__attribute__((naked)) void _start(void) { __asm__("andq $-16, %rsp\n call go\n ud2"); }

__attribute__((noreturn, used)) static void go(void) {
  parts();
  moved();
  broken();
  large();
  call(231, 0, 0, 0, 0);  // exit_group
  __builtin_unreachable();
}
