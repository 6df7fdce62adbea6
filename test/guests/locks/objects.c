// Semaphores and barriers that were never initialised, are initialised twice, or end while threads wait.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sched.h>

#include "../memcheck/bug.h"

static sem_t never, plain, twice;
static pthread_barrier_t barrier, none;

static void semaphores(void) {
  sem_init(&plain, 0, 1);
  sem_wait(&plain);
  sem_trywait(&plain);
  sem_post(&plain);
  BUG(sem_post(&never), 0);     // expect: Misc
  BUG(sem_wait(&never), 0);     // expect: Misc
  BUG(sem_destroy(&never), 0);  // expect: Misc
  BUG(sem_init(&never, 0, 1u << 31), 0);  // expect: PthAPIerror
  sem_init(&twice, 0, 0);
  BUG(, sem_destroy(&twice));
  sem_init(&twice, 0, 0);  // expect: Misc
}

static void *waiter(void *unused) {
  sem_wait(&twice);
  return unused;
}

// Destroyed while a thread waits. (glibc does not mind; the upper half of its word counts who waits.)
static void destroyed(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, waiter, NULL);
  while (((volatile unsigned *)&twice)[1] == 0)
    sched_yield();
  BUG(sem_destroy(&twice), 0);  // expect: Misc
  sem_post(&twice);             // expect: Misc
  pthread_join(thread, NULL);
}

static void *arrives(void *unused) {
  pthread_barrier_wait(&barrier);
  return unused;
}

static void barriers(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 1);
  memcpy(&none, &barrier, sizeof none);
  BUG(pthread_barrier_wait(&none), 0);  // expect: Misc
  BUG(pthread_barrier_init(&none, NULL, 0), 0);  // expect: Misc PthAPIerror
  BUG(pthread_barrier_destroy(&none), 0);        // expect: Misc
  pthread_barrier_destroy(&barrier);
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&thread, NULL, arrives, NULL);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  BUG(, pthread_barrier_destroy(&barrier));
  pthread_barrier_init(&barrier, NULL, 2);  // expect: Misc
  pthread_barrier_destroy(&barrier);
}

static void locals(void) {
  for (int round = 0; round < 2; round++) {
    pthread_barrier_t local;
    sem_t semaphore;
    pthread_barrier_init(&local, NULL, 1);
    pthread_barrier_wait(&local);
    sem_init(&semaphore, 0, 1);
    sem_wait(&semaphore);
  }
}

int main(void) {
  semaphores();
  barriers();
  destroyed();
  locals();
  locals();
  return 0;
}
