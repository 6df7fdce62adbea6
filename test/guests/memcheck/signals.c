// Signal handlers: on the stack that was interrupted, on one of their own, left by longjmp; faults.
// build: gcc -O0
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bug.h"

static volatile int sink;
static int *shared;
static sigjmp_buf back;

static void handler(int number) {
  sink = number;
  if (shared[BUG(0, 1)])  // expect: UninitCondition*3
    sink = 0;
}

static void leaving(int number) {
  sink = shared[BUG(2, 1)];  // expect: InvalidRead*3
  siglongjmp(back, number);
}

static void info(int number, siginfo_t *details, void *context) {
  KEEP(context);
  sink = number + details->si_signo + (details->si_code > 0);
}

NOINLINE static int after_signal(int n) {
  int local[64];
  for (int i = 0; i < BUG(63, 64); i++)
    local[i] = i;
  kill(getpid(), SIGUSR1);
  int *l = local;
  HIDE(l);
  if (l[n] == 5)  // expect: UninitCondition
    return 1;
  return 0;
}

NOINLINE static void on_alternate_stack(void) {
  stack_t stack = {.ss_size = 65536};
  stack.ss_sp = malloc(stack.ss_size);
  sigaltstack(&stack, NULL);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, NULL);
  raise(SIGUSR2);
  raise(SIGUSR2);
  action.sa_sigaction = info;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  sigaction(SIGUSR2, &action, NULL);
  raise(SIGUSR2);
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, NULL);
  free(stack.ss_sp);
}

NOINLINE static void jumping(void) {
  signal(SIGUSR1, leaving);
  for (volatile int i = 0; i < 3; i++) {
    if (sigsetjmp(back, 1) == 0)
      raise(SIGUSR1);
  }
}

static void fault(int number) { siglongjmp(back, number); }

NOINLINE static int faulting(void) {
  char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  signal(SIGSEGV, fault);
  int *value = BUG(malloc(sizeof(int)), calloc(1, sizeof(int)));
  if (sigsetjmp(back, 1) == 0)
    *(BUG(page, (char *)value)) = 1;  // expect: InvalidWrite
  mprotect(page, 4096, PROT_READ | PROT_WRITE);
  page[0] = 1;
  if (page[0] + page[1] == 3)
    sink = 1;
  if (*value == 3)  // expect: UninitCondition
    sink = 2;
  free(value);
  munmap(page, 4096);
  return sink;
}

int main(void) {
  shared = malloc(2 * sizeof(int));
  shared[1] = 1;
  signal(SIGUSR1, handler);
  KEEP(after_signal(63));
  on_alternate_stack();
  jumping();
  KEEP(faulting());
  free(shared);
  return 0;
}
