// Threads and every pthread synchronisation object; prints the objects' addresses and how often each was used.
// build: gcc -pthread
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/syscall.h>
#include "facts.h"

enum { WORKERS = 3, ROUNDS = 40 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t sem;
static volatile long counter, tokens, onceRuns, spun, reads;
static __thread volatile long local;

static void initOnce(void) { onceRuns++; }

static void *worker(void *argument) {
  long me = (long)argument;
  pthread_once(&once, initOnce);
  fact("worker %ld %ld %lx", me, syscall(SYS_gettid), (long)&local);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&mutex);
    counter++;
    pthread_mutex_unlock(&mutex);
    pthread_rwlock_rdlock(&rwlock);
    local += counter;
    pthread_rwlock_unlock(&rwlock);
    pthread_spin_lock(&spin);
    spun++;
    pthread_spin_unlock(&spin);
    if (i % 10 == 0) sched_yield();
  }
  pthread_rwlock_wrlock(&rwlock);
  reads += 1;
  pthread_rwlock_unlock(&rwlock);
  sem_wait(&sem);
  pthread_mutex_lock(&mutex);
  while (tokens == 0) pthread_cond_wait(&cond, &mutex);
  tokens--;
  pthread_mutex_unlock(&mutex);
  return (void *)(me * 11);
}

int main(void) {
  pthread_t thread[WORKERS];
  pthread_spin_init(&spin, 0);
  pthread_barrier_init(&barrier, NULL, WORKERS);
  sem_init(&sem, 0, 0);
  fact("main %ld %d", syscall(SYS_gettid), getpid());
  for (long i = 0; i < WORKERS; i++) check(!pthread_create(&thread[i], NULL, worker, (void *)(i + 1)), "create");
  for (int i = 0; i < WORKERS; i++) sem_post(&sem);
  for (int i = 0; i < WORKERS; i++) {
    pthread_mutex_lock(&mutex);
    tokens++;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
  }
  for (long i = 0; i < WORKERS; i++) {
    void *result;
    pthread_join(thread[i], &result);
    check(result == (void *)((i + 1) * 11), "result");
  }
  pthread_barrier_destroy(&barrier);
  sem_destroy(&sem);
  fact("counter %lx %ld", (long)&counter, counter);
  fact("spun %lx %ld", (long)&spun, spun);
  fact("once %lx %ld", (long)&once, onceRuns);
  fact("mutex %lx", (long)&mutex);
  fact("cond %lx", (long)&cond);
  fact("rwlock %lx", (long)&rwlock);
  fact("spin %lx", (long)&spin);
  fact("barrier %lx", (long)&barrier);
  fact("sem %lx", (long)&sem);
  return 0;
}
