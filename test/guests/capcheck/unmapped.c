// An access to memory that was unmapped, which ends the process.
// build: gcc -O0
#include <sys/mman.h>

#include "../memcheck/bug.h"

int main(void) {
  char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory[5000] = 1;
  munmap(memory, 8192);
  BUG(memory[5000] = 2, 0);  // expect: MapUseAfterUnmap
  return 0;
}
