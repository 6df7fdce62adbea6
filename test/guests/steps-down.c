// A daemon that gives up its rights: it changes its root, becomes nobody, forks, and starts a program, which it can only
// outside of that root. Before each step and after it it does enough to fill some pieces of a trace.
#include <sys/wait.h>
#include "facts.h"

static volatile long sums[1 << 16];

// A system call is some rows of a trace.
static void work(int times) {
  for (int i = 0; i < times; i++) {
    sums[i & 0xffff] += i;
    if (i % 4 == 0) check(lseek(0, 0, SEEK_CUR) != 1, "lseek");
  }
}

int main(int count, char **arguments) {
  work(60000);
  if (count > 1) check(chroot(arguments[1]) == 0 && chdir("/") == 0, "chroot");
  check(setgid(65534) == 0 && setuid(65534) == 0, "setuid");
  work(60000);
  pid_t child = fork();
  if (child == 0) {
    work(60000);
    execl("/bin/true", "true", NULL);
    _exit(7);
  }
  int status;
  check(waitpid(child, &status, 0) == child, "waitpid");
  fact("child %d %d", child, WEXITSTATUS(status));
  work(60000);
  fact("sum %ld", sums[5]);
  return 0;
}
