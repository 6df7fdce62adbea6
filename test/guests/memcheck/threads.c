// Threads: each with its own stack and registers, and blocks that go from one to another.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static int *box;
static volatile int sink;

static void *consumer(void *unused) {
  pthread_mutex_lock(&lock);
  while (box == NULL)
    pthread_cond_wait(&filled, &lock);
  if (box[BUG(1, 0)] == 7)  // expect: UninitCondition
    sink = 1;
  free(box);
  pthread_mutex_unlock(&lock);
  return unused;
}

static void *producer(void *unused) {
  int *made = malloc(2 * sizeof(int));
  made[0] = 6;
  pthread_mutex_lock(&lock);
  box = made;
  pthread_cond_broadcast(&filled);
  pthread_mutex_unlock(&lock);
  return unused;
}

static void *late(void *unused) {
  sink = box[BUG(0, 0)];  // expect: InvalidRead
  return unused;
}

static void *worker(void *argument) {
  int *values = malloc(100 * sizeof(int));
  for (int i = 0; i < 100; i++)
    values[i] = (int)(long)argument;
  int sum = 0;
  for (int round = 0; round < 200; round++)
    for (int i = 0; i < 100; i++)
      sum += values[i];
  free(values);
  return (void *)(long)sum;
}

static void run(void *(*first)(void *), void *(*second)(void *)) {
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, first, (void *)1);
  pthread_create(&threads[1], NULL, second, (void *)2);
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
}

int main(void) {
  run(consumer, producer);
  run(worker, BUG(late, worker));
  run(worker, worker);
  return 0;
}
