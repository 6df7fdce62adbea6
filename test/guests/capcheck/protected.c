// A store to memory that is read-only by now, which a handler only tells of.
// build: gcc -O0
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static void tell(int number) {
  (void)number;
  _exit(1);
}

int main(void) {
  signal(SIGSEGV, tell);
  char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory[5000] = 1;
  mprotect(memory, 8192, PROT_READ);
  BUG(memory[5000] = 2, 0);  // expect: MapPermission
  munmap(memory, 8192);
  return 0;
}
