// Two threads that share lines of memory in every way. Arguments: which one, and how often each thread goes round.
// build: gcc -O1 -pthread
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

static struct {
  volatile long left, right;
} neighbours __attribute__((aligned(LINE)));

static struct {
  volatile long left;
  char between[LINE - sizeof(long)];
  volatile long right;
} strangers __attribute__((aligned(LINE)));

static _Atomic long common __attribute__((aligned(LINE)));

static struct {
  pthread_mutex_t lock;
  volatile long value;
} guarded __attribute__((aligned(LINE))) = {PTHREAD_MUTEX_INITIALIZER, 0};

static pthread_barrier_t round_end __attribute__((aligned(LINE)));

static long rounds;

static void *count(void *counter) {
  volatile long *own = counter;
  for (long i = 0; i < rounds; i++) *own += 1;  // false sharing, unless the counters are apart
  return NULL;
}

static void *count_common(void *unused) {
  for (long i = 0; i < rounds; i++) atomic_fetch_add(&common, 1);  // true sharing
  return unused;
}

static void *count_guarded(void *unused) {
  for (long i = 0; i < rounds; i++) {
    pthread_mutex_lock(&guarded.lock);
    guarded.value += 1;  // true sharing
    pthread_mutex_unlock(&guarded.lock);
    pthread_barrier_wait(&round_end);  // so that the lock goes to and fro whoever runs when
  }
  return unused;
}

static void run(void *(*function)(void *), volatile long *left, volatile long *right) {
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, function, (void *)left);
  pthread_create(&threads[1], NULL, function, (void *)right);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static volatile long *make_counters(void) { return calloc(2, sizeof(long)); }

int main(int argc, char **argv) {
  const char *kind = argc > 1 ? argv[1] : "false";
  rounds = argc > 2 ? atol(argv[2]) : 10000;
  if (strcmp(kind, "false") == 0) run(count, &neighbours.left, &neighbours.right);
  if (strcmp(kind, "apart") == 0) run(count, &strangers.left, &strangers.right);
  if (strcmp(kind, "true") == 0) run(count_common, NULL, NULL);
  if (strcmp(kind, "guarded") == 0) {
    pthread_barrier_init(&round_end, NULL, 2);
    run(count_guarded, NULL, NULL);
  }
  if (strcmp(kind, "heap") == 0) {
    volatile long *counters = make_counters();
    run(count, &counters[0], &counters[1]);
  }
  if (strcmp(kind, "stack") == 0) {
    struct {
      volatile long left, right;
    } own __attribute__((aligned(LINE))) = {0, 0};
    run(count, &own.left, &own.right);
  }
  return 0;
}
