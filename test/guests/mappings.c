// The address space: private and shared mappings of files and of nothing, memory changed by another process,
// mremap, brk, madvise, mprotect, and a file that changes below a mapping.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "facts.h"

int main(void) {
  enum { SIZE = 65536 };
  // Shared between parent and child: what the parent loads was stored by the child.
  volatile long *both = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fact("shared %lx %d", (long)both, SIZE);
  both[0] = 1;
  pid_t child = fork();
  if (!child) {
    both[1] = 0x1234567890abcdef;
    for (int i = 2; i < 100; i++) both[i] = i * both[0];
    _exit(0);
  }
  waitpid(child, NULL, 0);
  long sum = 0;
  for (int i = 0; i < 100; i++) sum += both[i];
  fact("sum %lx", sum);
  check(both[1] == 0x1234567890abcdef, "child's store");
  char copy[64];
  memcpy(copy, (void *)both, sizeof copy);
  write(1, "", 0);
  fact("copied %lx %lx", (long)copy, *(long *)(copy + 8));

  char name[] = "/tmp/grind-test-XXXXXX";
  int file = mkstemp(name);
  unlink(name);
  check(ftruncate(file, SIZE) == 0 && pwrite(file, "contents of a file", 18, 4096) == 18, "file");
  volatile char *private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  volatile char *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  fact("private %lx %d", (long)private, SIZE);
  fact("sharedfile %lx %d", (long)shared, SIZE);
  private[4096] = 'C';
  shared[4097] = 'O';
  check(pwrite(file, "X", 1, 4098) == 1, "pwrite");
  fact("bytes %c%c%c %c%c%c", private[4096], private[4100], private[4101], shared[4096], shared[4097], shared[4098]);

  volatile long *moving = mmap(NULL, 4 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 4 * SIZE / 8; i += 512) moving[i] = i;
  // What lies behind it keeps it from growing where it is.
  mmap((char *)moving + 4 * SIZE, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  volatile long *moved = mremap((void *)moving, 4 * SIZE, 8 * SIZE, MREMAP_MAYMOVE);
  fact("mremap %lx %lx %d", (long)moving, (long)moved, 8 * SIZE);
  long total = 0;
  for (int i = 0; i < 8 * SIZE / 8; i += 512) total += moved[i];
  fact("total %ld", total);
  madvise((void *)moved, 8 * SIZE, MADV_DONTNEED);
  for (int i = 0; i < 8 * SIZE / 8; i += 512) check(moved[i] == 0, "DONTNEED zeroes");
  munmap((void *)moved, SIZE);
  mprotect((char *)moved + SIZE, SIZE, PROT_READ);
  fact("mprotect %lx %d", (long)moved + SIZE, SIZE);

  char *top = sbrk(0);
  check(brk(top + 3 * 4096) == 0, "brk");
  for (int i = 0; i < 3 * 4096; i++) ((volatile char *)top)[i] = (char)i;
  fact("brk %lx %d", (long)top, 3 * 4096);
  check(brk(top + 100) == 0 && brk(top + 8192) == 0, "brk again");
  fact("again %d", ((volatile char *)top)[50]);

  char a[10], b[20];
  lseek(file, 4096, SEEK_SET);
  struct iovec parts[2] = {{a, 10}, {b, 20}};
  fact("readv %ld %lx %lx", readv(file, parts, 2), (long)a, (long)b);
  fact("text %.10s", a);
  return 0;
}
