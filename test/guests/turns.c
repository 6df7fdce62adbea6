// Two threads that take turns: the one whose turn it is writes down the turn and passes it on.
// build: gcc -O1 -pthread
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include "facts.h"

enum { TURNS = 200 };
static volatile long turn, turns[TURNS], sum;

static void *player(void *argument) {
  long me = (long)argument;
  while (turn < TURNS) {
    if (turn % 2 != me) {
      sched_yield();
      continue;
    }
    turns[turn] = me + 1;
    sum += turn * (me + 1);
    turn++;
  }
  return NULL;
}

int main(void) {
  pthread_t thread[2];
  for (long i = 0; i < 2; i++) check(!pthread_create(&thread[i], NULL, player, (void *)i), "create");
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  fact("turn %lx %ld", (long)&turn, turn);
  fact("turns %lx", (long)turns);
  fact("sum %lx %ld", (long)&sum, sum);
  return 0;
}
