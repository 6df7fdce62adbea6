// Threads that go over much memory, as the seed says: their own, what a mutex protects, what nothing does, with an atomic variable
// in between. Races, and such that only other schedules show, far apart.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 3, LOCKS = 3, STEPS = 5, LENGTH = 40000 };

static pthread_mutex_t locks[LOCKS];
static volatile int protected_by[LOCKS][LENGTH], own[THREADS][LENGTH];
static int counter;
static unsigned seed;

static void *work(void *number) {
  long me = (long)number;
  unsigned state = seed * 2654435761u + me * 40503u + 1;
#define RANDOM(n) ((state = state * 1664525u + 1013904223u) >> 16) % (n)
  for (int step = 0; step < STEPS; step++) {
    int lock = RANDOM(LOCKS), forgets = RANDOM(6) == 0, wrong = RANDOM(LENGTH), when = RANDOM(LENGTH);
    if (!forgets) pthread_mutex_lock(&locks[lock]);
    for (int i = 0; i < LENGTH; i++) {
      own[me][i] += i & 1 ? protected_by[lock][i] : i;
      if (i % 7 == lock) protected_by[lock][i] = i;
      if (i == when) __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    }
    if (!forgets) pthread_mutex_unlock(&locks[lock]);
    protected_by[lock][wrong]++;
  }
  return NULL;
}

int main(int argc, char **argv) {
  seed = argc > 1 ? atoi(argv[1]) : 1;
  pthread_t threads[THREADS];
  for (int i = 0; i < LOCKS; i++) pthread_mutex_init(&locks[i], NULL);
  for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  return 0;
}
