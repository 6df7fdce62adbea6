// build: gcc -O1
// A program in three versions, and with other input: where they part is announced with `expect: VERSION WHAT` at the line.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef LIMIT
#define LIMIT 40
#endif

static volatile int counters[8];
static volatile long kept;

__attribute__((noinline)) static void rare(int i) { counters[1] += i; }

__attribute__((noinline)) static void often(int i) { counters[2] += i; }

__attribute__((noinline)) static void choose(int i) {
#ifdef LONGER
  counters[3]++; // another shape: this function is compared from outside
  counters[3] *= 3;
#endif
  if (i > LIMIT) // expect: limit branch
    rare(i);
  else
    often(i);
}

__attribute__((noinline)) static void letters(const char *text) {
  for (const char *at = text; *at; at++) {
    counters[5] = *at; // expect: input value
    if (*at == 'x')    // expect: input branch
      counters[4]++;
  }
}

static void *work(void *argument) {
  long number = (long)argument;
  volatile int found = 0; // its own: what threads share has values that the schedule decides
  pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&own); // the thread that comes first has the linker look for the function
  pthread_mutex_unlock(&own);
  for (int i = 0; i < 60000; i++)
    if ((i ^ number) % 5 == 0) // never different: threads are compared one by one, whatever the schedule
      found++;
  return NULL;
}

int main(int argc, char **argv) {
  char *block = malloc(24); // its address is stored, and lies elsewhere after a larger environment or mapping
  kept = (long)block;
  if (getenv("MOVE"))
    mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 60; i++)
    choose(i);
  if (argc > 1 && argv[1][0] == '/') {
    char text[64] = "";
    int file = open(argv[1], O_RDONLY);
    if (read(file, text, sizeof text - 1) < 0) // expect: input read
      return 2;
    letters(text);
    close(file);
  } else if (argc > 1 && strcmp(argv[1], "time") == 0) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    counters[7] = (int)now.tv_nsec; // expect: time value
  } else if (argc > 1 && strcmp(argv[1], "threads") == 0) {
    pthread_t threads[3];
    for (long i = 0; i < 3; i++)
      pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 3; i++)
      pthread_join(threads[i], NULL);
  }
  printf("%d %d %d\n", counters[1], counters[2], counters[4]);
  free(block);
  return 0;
}
