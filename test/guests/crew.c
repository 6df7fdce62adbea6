// Four threads that share work for the benchmark of race: a matrix product in rounds between barriers, a
// histogram under a lock, a table of words under many locks, sorting. About 100 million accesses, no race.
// build: gcc -O1 -pthread
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 120, THREADS = 4, ROUNDS = 4, TEXT = 400000, KEYS = 200000, BUCKETS = 1024, LOCKS = 64 };

struct node {
  struct node *next;
  unsigned key, count;
};

static double a[N][N], b[N][N], c[N][N];
static long histogram[256];
static unsigned char text[TEXT];
static int keys[KEYS];
static struct node *buckets[BUCKETS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, locks[LOCKS];
static pthread_barrier_t barrier;

static void product(long me, int round) {
  for (int i = me; i < N; i += THREADS)
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum + round;
    }
  pthread_barrier_wait(&barrier);
  for (int i = me; i < N; i += THREADS)
    for (int j = 0; j < N; j++) a[i][j] = c[i][j] / N;
  pthread_barrier_wait(&barrier);
}

static void count(long me) {
  for (int block = me; block < TEXT / 1000; block += THREADS) {
    long own[256] = {0};
    for (int i = 0; i < 1000; i++) own[text[block * 1000 + i]]++;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < 256; i++) histogram[i] += own[i];
    pthread_mutex_unlock(&mutex);
  }
}

static void enter(unsigned key) {
  unsigned bucket = key * 2654435761u >> 22;
  pthread_mutex_t *lock = &locks[bucket % LOCKS];
  pthread_mutex_lock(lock);
  struct node *node = buckets[bucket];
  while (node && node->key != key) node = node->next;
  if (!node) {
    node = malloc(sizeof *node);
    *node = (struct node){buckets[bucket], key, 0};
    buckets[bucket] = node;
  }
  node->count++;
  pthread_mutex_unlock(lock);
}

static void sort(int *v, int n) {
  if (n < 2) return;
  int pivot = v[n / 2], i = 0, j = n - 1;
  while (i <= j) {
    while (v[i] < pivot) i++;
    while (v[j] > pivot) j--;
    if (i > j) break;
    int swap = v[i];
    v[i++] = v[j];
    v[j--] = swap;
  }
  sort(v, j + 1);
  sort(v + i, n - i);
}

static void *work(void *number) {
  long me = (long)number;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < 3; i++) product(me, round);
    count(me);
    for (int i = 0; i < 20000; i++) enter((i * 7919u + me * 31u) % 5000);
    int part = KEYS / THREADS;
    for (int i = 0; i < part; i++) keys[me * part + i] = (i * 7919 + round * 31) % 100003;
    sort(keys + me * part, part);
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < TEXT; i++) text[i] = i * 31;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) a[i][j] = i + j, b[i][j] = i - j;
  for (int i = 0; i < LOCKS; i++) pthread_mutex_init(&locks[i], NULL);
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  printf("%g %ld\n", a[3][4], histogram[3]);
  return 0;
}
