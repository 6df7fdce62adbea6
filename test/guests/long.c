// Runs for some 300 million instructions, so that the trace has keyframes: a generator fills a table, system
// calls change its course, heap blocks come and go, and a second thread waits, then works, then ends.
// build: gcc -O1 -pthread
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include "facts.h"

enum { PHASES = 30, STEPS = 1100000, CELLS = 4096 };
static volatile uint64_t cells[CELLS], total;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int phase;

__attribute__((noinline)) static uint64_t work(uint64_t x) {
  for (int i = 0; i < STEPS; i++) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    if (!(x & 0xfc0)) cells[x >> 52] ^= x;
  }
  return x;
}

static void *helper(void *argument) {
  uint64_t x = (uint64_t)argument;
  for (int wanted = 3; wanted < PHASES; wanted += 6) {
    pthread_mutex_lock(&mutex);
    while (phase < wanted) pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
    x = work(x + total);
  }
  return (void *)x;
}

int main(void) {
  pthread_t thread;
  check(!pthread_create(&thread, NULL, helper, (void *)77), "create");
  uint64_t x = 1;
  unsigned char *mapped = NULL;
  void *blocks[8] = {0};
  for (int i = 0; i < PHASES; i++) {
    x = work(x + getppid());
    free(blocks[i % 8]);
    uint64_t *block = blocks[i % 8] = malloc(100 + i * 50);
    block[1] = x;
    if (i % 4 == 0) mapped = mmap(NULL, 3 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mapped[x % (3 << 12)] = i;
    if (i % 4 == 3) munmap(mapped, 3 << 12);
    pthread_mutex_lock(&mutex);
    phase = i;
    total += x;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
  }
  void *result;
  pthread_join(thread, &result);
  fact("cells %lx %d", (long)cells, CELLS);
  fact("total %lx %lx %lx", (long)&total, total, (long)result);
  for (int i = 0; i < CELLS; i += 512) fact("cell %lx %lx", (long)&cells[i], cells[i]);
  return 0;
}
