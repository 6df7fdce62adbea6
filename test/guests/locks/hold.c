// Locks held for long; time counts in guest instructions.
// build: gcc -O0 -pthread
// analyze: --exclusive-threshold=100000 --shared-threshold=300000
#include <pthread.h>

#include "../memcheck/bug.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static const struct timespec past = {1, 0};

static void work(int rounds) {
  for (volatile int i = 0; i < rounds; i++)
    ;
}

int main(void) {
  for (int i = 0; i < 3; i++) {
    pthread_mutex_lock(&mutex);
    work(BUG(40000, 10000));
    pthread_mutex_unlock(&mutex);  // expect: HoldTime*3
  }
  pthread_mutex_lock(&mutex);
  work(BUG(40000, 10000));
  pthread_cond_timedwait(&condition, &mutex, &past);  // expect: HoldTime
  work(10000);
  pthread_mutex_unlock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  work(BUG(40000, 10000));
  pthread_rwlock_unlock(&rwlock);  // expect: HoldTime
  pthread_rwlock_rdlock(&rwlock);
  work(40000);
  pthread_rwlock_unlock(&rwlock);
  pthread_rwlock_rdlock(&rwlock);
  work(BUG(90000, 40000));
  pthread_rwlock_unlock(&rwlock);  // expect: HoldTime
  return 0;
}
