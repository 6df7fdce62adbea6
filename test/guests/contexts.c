// Leaving frames and changing stacks: setjmp, coroutines on heap stacks, deep recursion, large frames, alloca.
#include <alloca.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include "facts.h"

static ucontext_t mainContext, coroutine;
static volatile long steps;
static jmp_buf point;

static void body(int times) {
  for (int i = 0; i < times; i++) {
    steps += i;
    swapcontext(&coroutine, &mainContext);
  }
}
__attribute__((noinline)) static long deep(long n) {
  volatile long here[4] = {n, n + 1, n + 2, n + 3};
  return n == 0 ? (long)here[3] : deep(n - 1) + here[1];
}
__attribute__((noinline)) static long large(int seed) {
  volatile char frame[3 << 20];
  for (int i = 0; i < 3 << 20; i += 4096) frame[i] = (char)(seed + (i >> 12));
  long sum = 0;
  for (int i = 0; i < 3 << 20; i += 4096) sum += frame[i];
  return sum;
}
__attribute__((noinline)) static void jump(int n) {
  if (n == 0) longjmp(point, 5);
  volatile char pad[200];
  pad[n] = (char)n;
  jump(pad[n] - 1);
  pad[0] = pad[n];
}

int main(void) {
  int value = setjmp(point);
  if (!value) jump(20);
  fact("setjmp %d", value);
  char *stack = malloc(65536);
  getcontext(&coroutine);
  coroutine.uc_stack.ss_sp = stack, coroutine.uc_stack.ss_size = 65536, coroutine.uc_link = &mainContext;
  makecontext(&coroutine, (void (*)(void))body, 1, 5);
  for (int i = 0; i < 6; i++) swapcontext(&mainContext, &coroutine);
  fact("coroutine %lx %ld", (long)stack, steps);
  fact("deep %ld", deep(20000));
  fact("large %ld", large(3));
  volatile long sum = 0;
  for (int i = 1; i < 20; i++) {
    char *p = alloca(i * 100);
    memset(p, i, i * 100);
    sum += p[i * 100 - 1];
  }
  fact("alloca %ld", sum);
  return 0;
}
