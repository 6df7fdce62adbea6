// System calls that change what they were given: sets of descriptors, times that are left, offsets in files, buffers
// beyond the result, lengths that are passed and returned, a header by a call that fails, and the time left of a wait that the
// program's end cuts off.
// build: gcc -O1 -pthread
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "facts.h"

static fd_set reading, writing;
static struct timeval left = {5, 0};
static struct timespec also_left = {5, 0}, polls_left = {5, 0};
static loff_t from = 3, to = 1, spliced = 2;
static uint64_t lengths[5];
static struct msghdr message;
static struct __user_cap_header_struct header __attribute__((aligned(8)));
static struct timespec cut_off = {500, 0};
static uint64_t own_path[12], own_path_at[12];

static void show(const char *name, volatile void *words, int count) {
  for (int i = 0; i < count; i++) fact("%s %lx %lx", name, (long)((uint64_t *)words + i), ((volatile uint64_t *)words)[i]);
}

// A name that is shorter than the room for it comes back with its length.
static void converse(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX}, got[4];
  struct iovec part = {name.sun_path, 1};
  int listener = socket(AF_UNIX, SOCK_STREAM, 0), one = socket(AF_UNIX, SOCK_STREAM, 0), type;
  int sender = socket(AF_UNIX, SOCK_DGRAM, 0), receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
  for (int i = 0; i < 5; i++) lengths[i] = i == 4 ? 64 : sizeof got[0];
  check(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0 && listen(listener, 1) == 0, "listen");
  check(getsockname(listener, (struct sockaddr *)got, (socklen_t *)&lengths[0]) == 0, "getsockname");
  check(connect(one, (struct sockaddr *)got, lengths[0]) == 0, "connect");
  check(accept(listener, (struct sockaddr *)&got[1], (socklen_t *)&lengths[1]) >= 0, "accept");
  check(getpeername(one, (struct sockaddr *)&got[2], (socklen_t *)&lengths[2]) == 0, "getpeername");
  check(bind(sender, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0, "bind");
  check(bind(receiver, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0, "bind");
  socklen_t length = sizeof got[0];
  check(getsockname(receiver, (struct sockaddr *)got, &length) == 0, "getsockname");
  for (int i = 0; i < 2; i++) check(sendto(sender, "x", 1, 0, (struct sockaddr *)got, length) == 1, "sendto");
  check(recvfrom(receiver, name.sun_path, 1, 0, (struct sockaddr *)&got[3], (socklen_t *)&lengths[3]) == 1, "recvfrom");
  check(getsockopt(one, SOL_SOCKET, SO_TYPE, &type, (socklen_t *)&lengths[4]) == 0, "getsockopt");
  message = (struct msghdr){&got[3], sizeof got[3], &part, 1, &got[2], sizeof got[2], 0};
  check(recvmsg(receiver, &message, 0) == 1, "recvmsg");
  show("length", lengths, 5);
  show("message", &message, 7);
}

static void *wait_for_ever(void *unused) {
  syscall(SYS_ppoll, NULL, 0, &cut_off, NULL, 8);
  return unused;
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
  converse();
  check(syscall(SYS_capget, &header, NULL) == 0 && header.version, "capget");
  show("header", &header, 1);
  pthread_t waiting;
  pthread_create(&waiting, NULL, wait_for_ever, NULL);
  usleep(20000);
  return 0;
}
