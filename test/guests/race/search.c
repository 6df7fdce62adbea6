// Loops that look for less than a variable has: they read it again and again, and nobody waits for it.
// build: gcc -O0 -pthread
#include "race.h"

enum { COUNT = 100 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int least = 1000;

static void take(int value) {
  pthread_mutex_lock(&mutex);
  if (value < least) least = value;
  pthread_mutex_unlock(&mutex);
}

static void *first(void *unused) {
  take(5);
  pass_turn();
  return unused;
}
static void *second(void *unused) {
  wait_for_turn();
  GUARD(pthread_mutex_lock(&mutex));
  for (int i = 0; i < COUNT; i++) {
    int value = i * 37 % 101 + 10;
    if (value < least)  // expect: Race
      take(value);
  }
  GUARD(pthread_mutex_unlock(&mutex));
  return unused;
}

int main(void) {
  two_threads(first, second);
  return 0;
}
