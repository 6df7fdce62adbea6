// A child has what its parent knew: blocks, definedness and origins. Its findings are its own.
// build: gcc -O0
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bug.h"

static volatile int sink;

NOINLINE static void child(int *inherited, int *freed) {
  if (inherited[BUG(1, 0)] == 3)  // expect: UninitCondition
    sink = 1;
  sink = BUG(freed, inherited)[0];  // expect: InvalidRead
  char *own = malloc(10);
  own[BUG(10, 9)] = 1;  // expect: InvalidWrite
  free(own);
}

int main(void) {
  int *block = malloc(2 * sizeof(int));
  int *freed = calloc(2, sizeof(int));
  block[0] = 1;
  free(freed);
  pid_t pid = fork();
  if (pid == 0) {
    child(block, freed);
    free(block);
    exit(0);
  }
  waitpid(pid, NULL, 0);
  free(block);
  return 0;
}
