// Reads on and on until it faults, in a loop that the engine unrolls; the handler says how far it came.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include "facts.h"

static volatile long steps, sum;

static void on_fault(int signal) {
  (void)signal;
  fact("steps %ld", steps);
  _exit(0);
}

int main(int argc, char **argv) {
  volatile char *at = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap((char *)at + 4096, 4096);
  fact("address %lx", (long)&steps);
  signal(SIGSEGV, on_fault);
  at += argc > 1 ? 64 * atoi(argv[1]) : 0;
  for (;;) {
    sum += *at;
    at += 64;
    steps++;
  }
}
