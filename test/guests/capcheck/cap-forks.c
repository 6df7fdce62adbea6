// A forked process has copies of its parent's capabilities: they are not its leaks, but it can misuse them.
// build: gcc -O0
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../recorder/grind-capabilities.h"
#include "../memcheck/bug.h"

static int space, object;

static void child(void (*task)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    task();
    exit(0);
  }
  waitpid(pid, NULL, 0);
}

static void does_nothing(void) {}

static void frees(void) {
  GRIND_CAP_UNMAP(&space, 1);
  GRIND_CAP_FREE(&space, 1);
  BUG(GRIND_CAP_FREE(&space, 1), );  // expect: CapDoubleFree
  GRIND_CAP_ALLOC(&space, 2);        // expect: CapLeak
  BUG(, GRIND_CAP_FREE(&space, 2));
}

// Nobody who dies of a signal gives anything back.
static void dies(void) {
  GRIND_CAP_ALLOC(&space, 3);
  raise(SIGKILL);
}

int main(void) {
  GRIND_CAP_ALLOC(&space, 1);
  GRIND_CAP_MAP(&space, 1, &object, GRIND_CAP_ALL_RIGHTS);
  child(does_nothing);
  child(frees);
  child(dies);
  GRIND_CAP_UNMAP(&space, 1);
  GRIND_CAP_FREE(&space, 1);
  return 0;
}
