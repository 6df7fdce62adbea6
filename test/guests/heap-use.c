// Heap blocks that are used in known ways. A comment `expect` at the line of an allocation says what is to be measured of
// the blocks allocated there: columns of heap_sites and their values.
// build: gcc -O1 -fno-builtin -fno-tree-vectorize
#include <emmintrin.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include "facts.h"

static volatile long sink;

#define STORE(p, type, at, value) (*(volatile type *)((char *)(p) + (at)) = (value))
#define LOAD(p, type, at) (sink += (long)*(volatile type *)((char *)(p) + (at)))

/* Half of it is never accessed, and what is stored is never loaded. */
__attribute__((noinline)) static void partly(void) {
  char *p = malloc(64); // expect blocks=1 bytes=64 written_bytes=32 read_bytes=0 untouched_bytes=32 write_only_bytes=32
  for (int i = 0; i < 32; i += 4) STORE(p, int, i, i);
  free(p);
}

/* Counters of one and of two bytes go through zero, and stand on exactly zero in the end. */
__attribute__((noinline)) static void often(void) {
  char *p = calloc(1, 24); // expect blocks=1 read_bytes=131840 written_bytes=300 untouched_bytes=16 write_only_bytes=0
  for (int i = 0; i < 300; i++) STORE(p, char, 0, i);
  for (int i = 0; i < 256; i++) LOAD(p, char, 0);
  for (int i = 0; i < 256; i++) LOAD(p, char, 1);
  for (int i = 0; i < 65536; i++) LOAD(p, short, 2);
  for (int i = 0; i < 64; i++) LOAD(p, int, 4);
  free(p);
}

/* Accesses of all widths, at multiples of them and not. */
__attribute__((noinline)) static void widths(void) {
  char *p = malloc(256);
  for (int at = 0; at < 19; at++) {
    STORE(p, char, at, 1);
    STORE(p, short, at + 20, 2);
    STORE(p, int, at + 60, 3);
    STORE(p, long, at + 100, 4);
    _mm_storeu_si128((__m128i *)(p + 140 + at), _mm_set1_epi8(5));
    LOAD(p, char, 3 * at);
    LOAD(p, short, 4 * at + 1);
    LOAD(p, int, 5 * at);
    LOAD(p, long, 6 * at + at % 3);
    sink += _mm_cvtsi128_si64(_mm_loadu_si128((__m128i *)(p + 7 * at)));
  }
  free(p);
}

/* Beyond several granules of 64 KiB, with accesses that reach from one into the next; most is never touched. */
__attribute__((noinline)) static void large(void) {
  size_t size = 300000;
  char *p = malloc(size); // expect blocks=1 bytes=300000 largest_bytes=300000
  uintptr_t edge = ((uintptr_t)p | 0xffff) + 1;
  for (int i = 1; i < 8; i++) {
    STORE(edge - i, long, 0, i);
    LOAD(edge - i, long, 0);
    STORE(edge - 2 * i, int, 65536, i);
  }
  for (size_t i = 200000; i < 280000; i += 8) STORE(p, long, i, i);
  free(p);
}

/* A block that grows and shrinks is one block, of the place that first made it. */
__attribute__((noinline)) static void moved(void) {
  char *p = malloc(40); // expect blocks=5 bytes=4380 copied_bytes=220 read_bytes=64 written_bytes=45 untouched_bytes=4095 write_only_bytes=5
  memset(p, 1, 40);
  for (int i = 0; i < 40; i += 4) LOAD(p, int, i);
  p = realloc(p, 100);
  STORE(p, int, 40, 1);
  p = realloc(p, 4000);
  STORE(p, char, 3999, 1);
  p = realloc(p, 40);
  LOAD(p, int, 0);
  p = realloc(p, 200);
  for (int i = 44; i < 200; i += 8) LOAD(p, char, i);
  free(p);
}

/* Many short-lived blocks, and a few that live long, of one size. */
__attribute__((noinline)) static void lives(void) {
  void *kept[5];
  for (int i = 0; i < 5; i++) kept[i] = malloc(48); // expect blocks=5 bytes=240 short_lived_blocks=0 peak_blocks=0
  for (int i = 0; i < 1000; i++) {
    char *p = malloc(16); // expect blocks=1000 bytes=16000 short_lived_blocks=1000 most_blocks=1 most_bytes=16
    STORE(p, long, 8, i);
    free(p);
  }
  for (int i = 0; i < 5; i++) free(kept[i]);
}

/* What the kernel reads and writes is accessed, too. */
__attribute__((noinline)) static void kernel(const char *path) {
  char *p = malloc(1000); // expect blocks=1 read_bytes=100 written_bytes=60 untouched_bytes=840 write_only_bytes=60
  int fd = open(path, O_RDONLY);
  check(read(fd, p + 7, 60) == 60, "read");
  close(fd);
  fd = open("/dev/null", O_WRONLY);
  check(write(fd, p + 500, 100) == 100, "write");
  close(fd);
  free(p);
}

/* As large as the heap gets, several times over. */
__attribute__((noinline)) static void peak(void) {
  for (int i = 0; i < 3; i++) {
    char *a = malloc(1000000); // expect blocks=3 peak_blocks=1 peak_bytes=1000000 most_bytes=1000000 end_blocks=0
    char *b = memalign(4096, 5000); // expect blocks=3 peak_blocks=1 peak_bytes=5000
    STORE(a, char, 999999, 1);
    free(b);
    free(a);
  }
}

/* Blocks of the program's own, as valgrind.h announces them. */
#include <valgrind/valgrind.h>
static char pool[4096];
__attribute__((noinline)) static void custom(void) {
  VALGRIND_MALLOCLIKE_BLOCK(pool + 64, 100, 0, 0);
  STORE(pool, long, 64, 1);
  VALGRIND_RESIZEINPLACE_BLOCK(pool + 64, 100, 200, 0);
  VALGRIND_FREELIKE_BLOCK(pool + 64, 0);
}

int main(int argc, char **argv) {
  char *leak = malloc(33); // expect blocks=1 end_blocks=1 end_bytes=33 written_bytes=1 untouched_bytes=32
  STORE(leak, char, 32, 1);
  sink += (long)malloc(0); // expect blocks=1 bytes=0 end_blocks=1
  partly();
  often();
  widths();
  large();
  moved();
  lives();
  kernel(argv[0]);
  peak();
  custom();
  if (argc > 1) { /* the child uses what it inherits, and frees it */
    long *shared = malloc(800);
    for (int i = 0; i < 100; i++) shared[i] = i;
    pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < 100; i++) sink += shared[i];
      char *own = malloc(5000);
      STORE(own, char, 0, 1);
      free(shared);
      _exit(0);
    }
    check(waitpid(child, NULL, 0) == child, "waitpid");
    free(shared);
  }
  return 0;
}
