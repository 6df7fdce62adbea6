// What the guests for race share. A line that ends with `// expect: Race` has the later access of a race;
// with -DCLEAN there is none. Order that no detector may take for synchronisation comes
// from pipes.
#ifndef RACE_H
#define RACE_H
#include <pthread.h>
#include <unistd.h>

#ifdef CLEAN
#define IS_CLEAN 1
#define GUARD(...) __VA_ARGS__
#else
#define IS_CLEAN 0
#define GUARD(...)
#endif
#define NOINLINE __attribute__((noinline))

// Computes a value and stores it where only its thread does.
static __thread volatile unsigned long keep_value;
#define KEEP(value) (keep_value = (unsigned long)(value))

typedef void *Body(void *);
static int turn[2];

static void pass_turn(void) {
  if (write(turn[1], "", 1) != 1) _exit(1);
}
static void wait_for_turn(void) {
  char byte;
  if (read(turn[0], &byte, 1) != 1) _exit(1);
}

// Two threads: what `first` does before it passes the turn comes before what `second` does after waiting for it.
static void two_threads(Body *first, Body *second) {
  pthread_t a, b;
  if (pipe(turn) != 0) _exit(1);
  pthread_create(&a, NULL, first, NULL);
  pthread_create(&b, NULL, second, NULL);
  pthread_join(a, NULL);
  pthread_join(b, NULL);
  close(turn[0]);
  close(turn[1]);
}
#endif
