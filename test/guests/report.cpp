// Calls the allocator from several places, for tests of how findings are reported.
// build: g++ -O1
#include <cstdlib>

namespace shop {
__attribute__((noinline)) void *order(unsigned size) { return std::malloc(size); }
static inline __attribute__((always_inline)) void *inner(unsigned size) { return std::calloc(1, size); }
__attribute__((noinline)) void *outer(unsigned size) {
  void *p = inner(size);
  asm volatile("" ::"r"(p));
  return p;
}
}  // namespace shop

extern "C" __attribute__((noinline)) void *plain(unsigned size) {
  void *p = std::malloc(size);
  asm volatile("" ::"r"(p));
  return p;
}

int main() {
  for (int i = 0; i < 3; i++) std::free(shop::order(1000));
  std::free(shop::outer(2000));
  std::free(plain(3000));
  shop::order(4000);
}
