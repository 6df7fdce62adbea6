// fork, vfork + exec, posix_spawn, a pipe between processes, waiting, and a child that outlives nobody.
#define _GNU_SOURCE
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include "facts.h"

static volatile long shared = 1;
static int status(pid_t pid) {
  int s = -1;
  check(waitpid(pid, &s, 0) == pid, "waitpid");
  return WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
}

int main(int argc, char **argv) {
  if (argc > 1) {  // what the children run
    fact("%s %d %d", argv[1], getpid(), getppid());
    return argc;
  }
  fact("main %d", getpid());
  int ends[2];
  check(!pipe(ends), "pipe");
  shared = 10;
  pid_t child = fork();
  if (!child) {
    char text[16] = "";
    check(read(ends[0], text, 5) == 5, "read");
    shared += text[4];
    fact("forked %d %lx %ld", getpid(), (long)&shared, shared);
    pid_t grandchild = fork();
    if (!grandchild) {
      shared *= 2;
      fact("grandchild %d %lx %ld", getpid(), (long)&shared, shared);
      _exit(7);
    }
    _exit(status(grandchild) + 1);
  }
  shared = 20;
  check(write(ends[1], "hello", 5) == 5, "write");
  fact("fork %d %d %ld", child, status(child), shared);
  child = vfork();
  if (!child) {
    execl(argv[0], argv[0], "vforked", NULL);
    _exit(1);
  }
  fact("vfork %d %d", child, status(child));
  char *arguments[] = {argv[0], "spawned", "x", NULL};
  check(!posix_spawn(&child, argv[0], NULL, NULL, arguments, environ), "spawn");
  fact("spawn %d %d", child, status(child));
  child = fork();
  if (!child) raise(9);
  fact("killed %d %d", child, status(child));
  fact("system %d", WEXITSTATUS(system("exit 9")));
  execl(argv[0], argv[0], "replaced", "x", "y", NULL);
  return 1;
}
