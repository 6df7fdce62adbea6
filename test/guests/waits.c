// System calls that change what they were given: sets of descriptors, times that are left, offsets in files, buffers
// beyond the result.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "facts.h"

static fd_set reading, writing;
static struct timeval left = {5, 0};
static struct timespec also_left = {5, 0}, polls_left = {5, 0};
static loff_t from = 3, to = 1, spliced = 2;
static uint64_t own_path[12], own_path_at[12];

static void show(const char *name, volatile void *words, int count) {
  for (int i = 0; i < count; i++) fact("%s %lx %lx", name, (long)((uint64_t *)words + i), ((volatile uint64_t *)words)[i]);
}

int main(void) {
  int ready[2], idle[2];
  check(pipe(ready) == 0 && pipe(idle) == 0, "pipe");
  check(write(ready[1], "x", 1) == 1, "write");
  for (int round = 0; round < 2; round++) {
    FD_ZERO(&reading);
    FD_SET(ready[0], &reading);
    FD_SET(idle[0], &reading);
    FD_SET(idle[1], &writing);
    if (round == 0) check(select(10, &reading, &writing, NULL, &left) == 2, "select");
    else check(syscall(SYS_pselect6, 10, &reading, &writing, NULL, &also_left, NULL) == 2, "pselect");
    show("reading", &reading, 1);
    show("writing", &writing, 1);
    fact("isset %d %d", FD_ISSET(ready[0], &reading), FD_ISSET(idle[0], &reading));
  }
  show("select", &left, 2);
  show("pselect", &also_left, 2);
  struct pollfd one = {.fd = ready[0], .events = POLLIN};
  check(syscall(SYS_ppoll, &one, 1, &polls_left, NULL, 8) == 1, "ppoll");
  show("ppoll", &polls_left, 2);
  FILE *file = tmpfile(), *copy = tmpfile();
  check(write(fileno(file), "some text to copy", 17) == 17, "write");
  fact("copied %ld", (long)copy_file_range(fileno(file), &from, fileno(copy), &to, 6, 0));
  show("from", &from, 1);
  show("to", &to, 1);
  fact("spliced %ld", (long)splice(fileno(file), &spliced, idle[1], NULL, 4, 0));
  show("spliced", &spliced, 1);
  check(readlink("/proc/self/exe", (char *)own_path, sizeof own_path) > 0, "readlink");
  check(readlinkat(AT_FDCWD, "/proc/self/exe", (char *)own_path_at, sizeof own_path_at) > 0, "readlinkat");
  show("path", own_path, 12);
  show("path_at", own_path_at, 12);
  return 0;
}
