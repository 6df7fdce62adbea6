// What races, by kind of memory and of access: globals, blocks, stacks, single bytes, freed and new blocks.
// build: gcc -O0 -pthread
#include <stdlib.h>
#include <string.h>

#include "race.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
#define LOCK GUARD(pthread_mutex_lock(&mutex))
#define UNLOCK GUARD(pthread_mutex_unlock(&mutex))

static int shared, other;
static char bytes[16];
static long *block;
static int *on_stack;
static char *buffer;

static void *writes(void *unused) {
  LOCK; shared = 1; UNLOCK;
  KEEP(other);
  LOCK; block[2] = 5; UNLOCK;
  LOCK; *on_stack = 7; UNLOCK;
  bytes[0] = bytes[2] = bytes[4] = 1;
  LOCK; memset(bytes + 8, 1, 4); UNLOCK;
  pass_turn();
  return unused;
}

static void *follows(void *unused) {
  wait_for_turn();
  LOCK; KEEP(shared); UNLOCK;  // expect: Race
  LOCK; shared = 2; UNLOCK;    // expect: Race
  KEEP(other);
  LOCK; ((char *)block)[19] = 1; UNLOCK;  // expect: Race
  LOCK; *on_stack = 8; UNLOCK;            // expect: Race
  bytes[1] = bytes[3] = bytes[5] = 1;
  LOCK; KEEP(*(int *)(bytes + 11)); UNLOCK;  // expect: Race
  return unused;
}

static void *frees(void *unused) {
  LOCK; KEEP(buffer[3]); UNLOCK;
  pass_turn();
  return unused;
}

static void *frees_after(void *unused) {
  wait_for_turn();
  LOCK; UNLOCK;
  free(buffer);  // expect: Race
  char *again = malloc(100);
  again[3] = 1;
  free(again);
  return unused;
}

static int descriptors[2];

static void *receives(void *unused) {
  LOCK;
  if (read(descriptors[0], bytes, 4) != 4) _exit(1);
  UNLOCK;
  pass_turn();
  return unused;
}

static void *looks(void *unused) {
  wait_for_turn();
  LOCK; KEEP(bytes[3]); UNLOCK;  // expect: Race
  return unused;
}

// What a thread leaves on its stack does not race with the next thread there.
static void *uses_stack(void *unused) {
  static __thread int own;
  volatile char area[4096];
  own++;
  for (int i = 0; i < 4096; i++) area[i] = 1;
  return unused;
}

int main(void) {
  int local = 0;
  on_stack = &local;
  block = malloc(40);
  two_threads(writes, follows);
  buffer = malloc(100);
  two_threads(frees, frees_after);
  if (pipe(descriptors) != 0 || write(descriptors[1], "abcd", 4) != 4) _exit(1);
  two_threads(receives, looks);
  for (int i = 0; i < 10; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, uses_stack, NULL);
    pthread_detach(thread);
    usleep(2000);
  }
  shared = other = block[2] = local = 0;
  free(block);
  return 0;
}
