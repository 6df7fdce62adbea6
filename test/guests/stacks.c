// Recursion to known depths, by one thread or several at once; also on another stack and in a signal handler.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static pthread_barrier_t barrier;
static ucontext_t here, there;
static char other_stack[64 << 10];

static int deep(int n, int meets) {
  char frame[1000];
  memset(frame, n, sizeof frame);
  if (n == 0) {
    if (meets) pthread_barrier_wait(&barrier);
    return frame[7];
  }
  return deep(n - 1, meets) + frame[3];
}

static void *thread(void *depth) { return (void *)(long)deep((int)(long)depth, 1); }
static void handler(int number) { deep(number, 0); }
static void other(void) { deep(20, 0); }

int main(int argc, char **argv) {
  char *block = malloc(50000);
  int sum = deep(100, 0);
  block[0] = (char)sum;
  sum += deep(300, 0);
  free(block);
  if (argc == 1) return sum == 12345;

  signal(SIGUSR1, handler);
  raise(SIGUSR1);
  // A stack far from the thread's own counts on top of it.
  getcontext(&there);
  there.uc_stack.ss_sp = other_stack;
  there.uc_stack.ss_size = sizeof other_stack;
  there.uc_link = &here;
  makecontext(&there, other, 0);
  swapcontext(&here, &there);

  pthread_t threads[3];
  pthread_barrier_init(&barrier, NULL, 3);
  for (long i = 0; i < 3; i++) pthread_create(&threads[i], NULL, thread, (void *)(200 + i));
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  sum += deep(10, 0);
  printf("%d\n", sum == 12345);
  return 0;
}
