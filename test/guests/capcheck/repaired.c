// A store that is forbidden until a handler allows it, as garbage collectors do: no mistake.
// build: gcc -O0
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

static volatile sig_atomic_t repaired;
static char *guarded;

static void repair(int number) {
  (void)number;
  repaired++;
  mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

int main(void) {
  signal(SIGSEGV, repair);
  guarded = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *guarded = 1;
  if (repaired != 1) abort();
  munmap(guarded, 4096);
  return 0;
}
