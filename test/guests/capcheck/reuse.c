// Numbers that were closed and given out again: a value of before is used for what it is no more.
// build: gcc -O1 -pthread
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static char text[16];
static struct {
  long unrelated;
  int log;
} state;

static NOINLINE void work(int file) {
  read(file, text, 1);  // expect: FdUseAfterReuse
}

// The log was closed, the data file has its number now.
static void stale_in_memory(void) {
  state.log = open("/dev/null", O_WRONLY);
  write(state.log, text, 1);
  close(state.log);
  BUG(0, state.log = -1);
  int data = open("/tmp", O_RDWR | O_TMPFILE, 0600);
  if (state.log >= 0)
    write(state.log, "log", 3);  // expect: FdUseAfterReuse
  close(data);
}

static void stale_copy(void) {
  int *copy = malloc(sizeof *copy);
  int ends[2];
  pipe(ends);
  *copy = ends[0];
  write(ends[1], text, 1);
  close(ends[0]);
  close(ends[1]);
  int file = open("/etc/passwd", O_RDONLY);
  BUG(work(*copy), work(file));
  close(file);
  free(copy);
}

// The second close ends what belongs to someone else.
static void closed_twice(void) {
  int mine = open("/etc/passwd", O_RDONLY);
  close(mine);
  int theirs = socket(AF_UNIX, SOCK_STREAM, 0);
  BUG(close(mine), 0);  // expect: FdDoubleClose
  BUG(0, close(theirs));
}

// What the program does on purpose: the number stays, and what it is of becomes another file.
static void on_purpose(void) {
  int log = open("/dev/null", O_WRONLY), other = open("/dev/zero", O_RDWR), saved = dup(log);
  dup2(other, log);
  write(log, text, 1);
  close(log);
  if (fcntl(saved, F_DUPFD, log) != log) abort();
  write(log, text, 1);
  close(log);
  close(other);
  close(saved);
}

// The same number over and over, each time got anew.
static void in_turn(void) {
  for (int i = 0; i < 5; i++) {
    int file = open("/etc/passwd", O_RDONLY);
    state.log = file;
    work(state.log);
    close(state.log);
  }
  FILE *stream = fopen("/etc/passwd", "r");
  fgets(text, sizeof text, stream);
  fclose(stream);
  stream = fopen("/etc/group", "r");
  fgets(text, sizeof text, stream);
  fclose(stream);
}

int main(void) {
  stale_in_memory();
  stale_copy();
  closed_twice();
  on_purpose();
  in_turn();
  return 0;
}
