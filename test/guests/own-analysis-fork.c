// A block before a fork, one in the child, one in the parent after it: test/plugin.test.ts.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  void *volatile block = malloc(10100);
  if (fork() == 0) {
    block = malloc(10200);
    _exit(0);
  }
  wait(NULL);
  block = malloc(10300);
  return block == NULL;
}
