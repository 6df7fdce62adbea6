// Ends in the way the argument says.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include "facts.h"

static volatile long last;
static void *other(void *how) {
  if (!strcmp(how, "thread-exit")) exit(6);
  if (!strcmp(how, "thread-segv")) *(volatile int *)8 = 1;
  return NULL;
}

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "return";
  fact("last %lx", (long)&last);
  for (long i = 1; i <= 1000; i++) last = i;
  if (!strcmp(how, "segv")) *(volatile int *)8 = 1;
  if (!strcmp(how, "abort")) abort();
  if (!strcmp(how, "kill")) kill(getpid(), SIGKILL);
  if (!strcmp(how, "term")) raise(SIGTERM);
  if (!strcmp(how, "_exit")) _exit(5);
  if (!strcmp(how, "exit")) exit(4);
  if (!strcmp(how, "fpe")) return last / (last - 1000);
  if (!strcmp(how, "ill")) __builtin_trap();
  if (!strcmp(how, "overflow")) {
    char deep[1 << 20];
    memset(deep, 1, sizeof deep);
    __asm__ volatile("" : : "r"(deep) : "memory");
    return main(argc, argv) + deep[5];
  }
  if (!strncmp(how, "thread", 6)) {
    pthread_t thread;
    pthread_create(&thread, NULL, other, (void *)how);
    pthread_join(thread, NULL);
    syscall(SYS_exit, 0);
  }
  if (!strcmp(how, "hang"))
    for (;; usleep(1000))
      for (int i = 0; i < 1000; i++) last++;
  return 3;
}
