// Threads that take mutexes at random, as the seed says: alone, one in another, again and again without anybody else; and
// access what they protect, what they do not, and an atomic variable. Races, and such that only other schedules show.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { THREADS = 3, LOCKS = 4, STEPS = 400 };

static pthread_mutex_t locks[LOCKS];
static volatile long protected_by[LOCKS][4], shared[4], own[THREADS][8];
static int counter;
static unsigned seed;

static void *work(void *number) {
  long me = (long)number;
  unsigned state = seed * 2654435761u + me * 40503u + 1;
#define RANDOM(n) ((state = state * 1664525u + 1013904223u) >> 16) % (n)
  for (int i = 0; i < STEPS; i++) {
    int lock = RANDOM(LOCKS), what = RANDOM(40), at = RANDOM(4), times = 1 + RANDOM(3);
    for (int time = 0; time < times; time++) {
      own[me][at]++;
      pthread_mutex_lock(&locks[lock]);
      own[me][4 + at] += protected_by[lock][at];
      if (what < 20) protected_by[lock][at]++;
      if (what == 20 && lock + 1 < LOCKS) {
        pthread_mutex_lock(&locks[lock + 1]);
        protected_by[lock + 1][at]++;
        pthread_mutex_unlock(&locks[lock + 1]);
      }
      if (what == 21) __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
      if (what == 22) free(malloc(at * 8));
      pthread_mutex_unlock(&locks[lock]);
      if (what == 23) __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
      if (what == 24) shared[lock] = i;
      if (what == 25) protected_by[lock][at] = i;
      if (what == 26) sched_yield();
      own[me][at]--;
    }
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
