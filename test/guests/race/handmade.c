// Synchronisation that nobody announces: flags that are waited for, locks made of atomic instructions.
// build: gcc -O1 -pthread
#include <sched.h>

#include "race.h"

static volatile int flag;
static int lock, ticket_next, ticket_now, tickets;
static int value[8];
static volatile int early, unheeded;
static int ahead[2];
static int polled;

static void take(int *one) {
  while (__sync_lock_test_and_set(one, 1)) sched_yield();
}
static void give(int *one) { __sync_lock_release(one); }

static void take_ticket(void) {
  int mine = __atomic_fetch_add(&ticket_next, 1, __ATOMIC_RELAXED);
  while (__atomic_load_n(&ticket_now, __ATOMIC_ACQUIRE) != mine) sched_yield();
}
static void give_ticket(void) { __atomic_store_n(&ticket_now, ticket_now + 1, __ATOMIC_RELEASE); }

static void count(void) {
  for (int i = 0; i < 50; i++) {
    take(&lock);
    value[1]++;
    give(&lock);
    take_ticket();
    tickets++;
    give_ticket();
  }
}

// So long that others wait.
static void pause_here(void) {
  for (int i = 0; i < 5; i++) usleep(2000);
}

static void *waits(void *unused) {
  ahead[0] = ahead[1] = 1;
  early = 1;
  if (!IS_CLEAN) unheeded = 1;
  pass_turn();
  while (!flag) sched_yield();
  value[0]++;
  count();
  wait_for_turn();
  GUARD(take(&lock));
  value[2]++;  // expect: Race
  GUARD(give(&lock));
  return unused;
}

static void *sets(void *unused) {
  wait_for_turn();
  while (!early) {}  // never gone round
  ahead[0]++;
  if (!IS_CLEAN && unheeded)  // expect: Race
    value[3]++;
  pause_here();
  value[0] = 1;
  take_ticket();
  flag = 1;
  pause_here();
  tickets++;
  give_ticket();
  count();
  GUARD(take(&lock));
  value[2] = 1;
  GUARD(give(&lock));
  pass_turn();
  return unused;
}

// Reads again and again, but waits for something else, which it asks for under a lock.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int counted, finished;

// Both accesses stand in one line: either may come second.
static __attribute__((noinline)) int counted_after(int change) { return change ? counted += change : counted; }  // expect: Race

static void *counts(void *unused) {
  for (int i = 0; i < 20; i++) {
    pthread_mutex_lock(&mutex);
    counted_after(1);
    pthread_mutex_unlock(&mutex);
    usleep(500);
  }
  pthread_mutex_lock(&mutex);
  finished = 1;
  pthread_mutex_unlock(&mutex);
  return unused;
}

static void *looks(void *unused) {
  for (int done = 0; !done;) {
    GUARD(pthread_mutex_lock(&mutex));
    if (counted_after(0) < 0) _exit(1);
    GUARD(pthread_mutex_unlock(&mutex));
    pthread_mutex_lock(&mutex);
    done = finished;
    pthread_mutex_unlock(&mutex);
    usleep(200);
  }
  return unused;
}

int main(void) {
  two_threads(waits, sets);
  two_threads(counts, looks);
  return value[1] != 100 || tickets != 101;
}
