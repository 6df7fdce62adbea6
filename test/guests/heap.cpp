// Every allocator function; each block is printed as `block <function> <address> <size> <alignment>` and
// each release as `release <function> <address>`.
// build: g++ -std=c++17 -fno-builtin
#include <malloc.h>
#include <cstdint>
#include <new>
#include "facts.h"

static void *block(const char *function, void *at, size_t size, size_t alignment = 0) {
  fact("block %s %lx %zu %zu", function, (long)at, size, alignment);
  return at;
}
template <class F> static void release(const char *function, void *at, F free_it) {
  fact("release %s %lx", function, (long)at);
  free_it();
}
struct alignas(64) Wide { char bytes[192]; };

__attribute__((noinline)) static void many(int count) {
  for (int i = 1; i <= count; i++) {
    volatile char *p = (volatile char *)block("malloc", malloc(i * 7), i * 7);
    p[0] = 1, p[i * 7 - 1] = 2;
    release("free", (void *)p, [&] { free((void *)p); });
  }
}

int main() {
  void *a = block("malloc", malloc(100), 100);
  void *b = block("calloc", calloc(10, 12), 120);
  for (int i = 0; i < 120; i++) check(((volatile char *)b)[i] == 0, "calloc zeroes");
  for (int i = 0; i < 100; i++) ((volatile char *)a)[i] = (char)i;
  void *old = a;
  a = realloc(a, 5000);
  fact("realloc %lx %lx 5000", (long)old, (long)a);
  for (int i = 0; i < 100; i++) check(((volatile char *)a)[i] == (char)i, "realloc copies");
  old = a, a = realloc(a, 50);
  fact("realloc %lx %lx 50", (long)old, (long)a);
  void *m = block("memalign", memalign(256, 33), 33, 256), *p = nullptr;
  check(posix_memalign(&p, 128, 77) == 0, "posix_memalign");
  block("posix_memalign", p, 77, 128);
  void *q = block("aligned_alloc", aligned_alloc(64, 640), 640, 64);
  int *one = new int(42);
  block("new", one, 4);
  int *few = new int[25];
  block("new_array", few, 100);
  Wide *wide = new Wide;
  block("new_aligned", wide, 192, 64);
  Wide *wides = new Wide[3];
  block("new_array_aligned", wides, 576, 64);
  char *quiet = new (std::nothrow) char;
  block("new_nothrow", quiet, 1);
  void *nothing = block("malloc", malloc(0), 0);
  void *fresh = realloc(nullptr, 31);
  fact("realloc 0 %lx 31", (long)fresh);
  many(20);
  release("free", b, [&] { free(b); });
  release("free", m, [&] { free(m); });
  release("free", p, [&] { free(p); });
  release("free", q, [&] { free(q); });
  release("delete", one, [&] { delete one; });
  release("delete_array", few, [&] { delete[] few; });
  release("delete", wide, [&] { delete wide; });
  release("delete_array", wides, [&] { delete[] wides; });
  release("delete", quiet, [&] { delete quiet; });
  release("free", nothing, [&] { free(nothing); });
  release("free", fresh, [&] { free(fresh); });
  fact("usable %zu", malloc_usable_size(a));
  fact("leaked %lx", (long)a);  // stays allocated
  volatile char *big = (volatile char *)block("malloc", malloc(100 << 20), 100 << 20);
  for (long i = 0; i < 100; i++) big[i << 20] = (char)i;
  long sum = 0;
  for (long i = 0; i < 100; i++) sum += big[i << 20];
  fact("sparse %lx %ld", (long)big, sum);
  free((void *)big);
  return 0;
}
