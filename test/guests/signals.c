// Signals: a handler, a handler on an alternate stack, leaving a SIGSEGV handler by siglongjmp, repairing the
// fault and returning, a timer that interrupts a loop, and a blocked signal taken by sigtimedwait.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include "facts.h"

static volatile int handled, faults, alarms;
static volatile long onStack;
static sigjmp_buf back;
static char *page;
static _Alignas(16) char alternate[65536];

static void count(int signal) { handled += signal; }
static void count2(int signal) {
  char here;
  onStack = &here >= alternate && &here < alternate + sizeof alternate;
  (void)signal;
}
static void leave(int signal) { siglongjmp(back, signal); }
static void repair(int signal, siginfo_t *info, void *context) {
  faults++;
  fact("fault %d %lx %lx", signal, (long)info->si_addr, (long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]);
  mprotect(page, 4096, PROT_READ | PROT_WRITE);
}
static void skip(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;  // over ud2
}
static void tick(int signal) { alarms++, (void)signal; }

int main(void) {
  signal(SIGUSR1, count);
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  fact("handled %d", handled / SIGUSR1);

  sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = sizeof alternate}, NULL);
  sigaction(SIGUSR2, &(struct sigaction){.sa_handler = count2, .sa_flags = SA_ONSTACK}, NULL);
  raise(SIGUSR2);
  fact("alternate %lx %ld", (long)alternate, onStack);

  signal(SIGSEGV, leave);
  volatile int jumped = 0;
  for (int i = 0; i < 3; i++)
    if (sigsetjmp(back, 1) == 0)
      *(volatile int *)(16l + i) = 1;
    else
      jumped++;
  fact("jumped %d", jumped);

  page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = repair, .sa_flags = SA_SIGINFO}, NULL);
  *(volatile long *)(page + 8) = 0x77;
  fact("repaired %lx %d %lx", (long)page, faults, *(volatile long *)(page + 8));

  sigaction(SIGILL, &(struct sigaction){.sa_sigaction = skip, .sa_flags = SA_SIGINFO}, NULL);
  __asm__ volatile("ud2");
  fact("skipped 1");

  signal(SIGALRM, tick);
  struct itimerval every = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, NULL);
  volatile long spins = 0;
  while (alarms < 3) spins++;
  setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
  fact("alarms 1");

  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, NULL);
  raise(SIGHUP);
  siginfo_t info;
  fact("waited %d", sigtimedwait(&set, &info, NULL));
  return 0;
}
