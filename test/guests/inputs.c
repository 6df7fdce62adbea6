// What comes from outside and differs each time: random numbers, clocks, ids; and what is passed in: arguments,
// environment, working folder, standard input, terminal.
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include "facts.h"

int main(int argc, char **argv) {
  static volatile uint64_t random[4];
  check(getrandom((void *)random, sizeof random, 0) == sizeof random, "getrandom");
  fact("random %lx %lx %lx %lx %lx", (long)random, random[0], random[1], random[2], random[3]);
  static struct timespec now;
  static struct timeval day;
  clock_gettime(CLOCK_REALTIME, &now);
  gettimeofday(&day, NULL);
  fact("clock %lx %lx %lx", (long)&now, now.tv_sec, now.tv_nsec);
  fact("day %lx %lx %lx", (long)&day, day.tv_sec, day.tv_usec);
  static volatile uint64_t sum;
  sum = random[0] ^ (random[1] + (uint64_t)now.tv_nsec);
  fact("sum %lx %lx", (long)&sum, sum);
  char directory[512];
  fact("directory %s", getcwd(directory, sizeof directory));
  for (int i = 1; i < argc; i++) fact("argument %s", argv[i]);
  const char *variable = getenv("GUEST_VARIABLE");
  fact("variable %s", variable ? variable : "-");
  fact("terminal %d %d %d", isatty(0), isatty(1), isatty(2));
  static char buffer[4096];
  long total = 0, n;
  unsigned hash = 5381;
  while ((n = read(0, buffer, sizeof buffer)) > 0) {
    total += n;
    for (long i = 0; i < n; i++) hash = hash * 33 + (unsigned char)buffer[i];
  }
  fact("stdin %ld %x", total, hash);
  write(2, "to standard error\n", 18);
  return 0;
}
