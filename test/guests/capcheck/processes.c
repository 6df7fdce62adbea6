// Descriptors across threads, forks and execs: closed while another thread waits, passed on to a program that does not
// know of them.
// build: gcc -O0 -pthread
// analyze: --track-fds=yes
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static int pair[2], ends[2];
static char text[16];

static _Atomic int sleeper;

static void *reads(void *unused) {
  sleeper = gettid();
  read(pair[0], text, 1);
  return unused;
}

static void *polls(void *unused) {
  sleeper = gettid();
  struct pollfd wanted = {.fd = ends[0], .events = POLLIN};
  poll(&wanted, 1, 5000);
  return unused;
}

// Until the thread sleeps in a system call, which the kernel tells by its number and first argument.
static void settle(const char *call) {
  char path[64], state[64] = "";
  while (!sleeper) usleep(1000);
  sprintf(path, "/proc/self/task/%d/syscall", sleeper);
  while (strncmp(state, call, strlen(call)) != 0) {
    int file = open(path, O_RDONLY);
    read(file, state, sizeof state - 1);
    close(file);
    usleep(1000);
  }
  sleeper = 0;
}

static void waited(void) {
  pthread_t reader, poller;
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  pthread_create(&reader, NULL, reads, NULL);
  sprintf(text, "0 0x%x ", pair[0]);
  settle(text);
  BUG(0, shutdown(pair[0], SHUT_RDWR));
  close(pair[0]);  // expect: FdCloseInUse
  close(pair[1]);
  pthread_join(reader, NULL);
  pipe(ends);
  pthread_create(&poller, NULL, polls, NULL);
  settle("7 ");
  BUG(0, (close(ends[1]), pthread_join(poller, NULL)));
  close(ends[0]);  // expect: FdCloseInUse
  BUG((close(ends[1]), pthread_join(poller, NULL)), 0);
}

static void passed_on(const char *program) {
  int secret = open("/etc/passwd", O_RDONLY | BUG(0, O_CLOEXEC));
  int known = dup(0);
  char number[16];
  sprintf(number, "%d", known);
  if (!fork()) {
    execl(program, program, number, NULL);  // expect: FdExecLeak
    _exit(1);
  }
  wait(NULL);
  close(secret);
  close(known);
}

// The child has copies of its own, which it need not close.
static void forked(void) {
  int file = open("/etc/passwd", O_RDONLY);
  if (!fork()) {
    BUG(0, close(file));
    int own = open("/etc/group", O_RDONLY);  // expect: FdLeak
    BUG((void)own, close(own));
    _exit(0);
  }
  wait(NULL);
  read(file, text, 1);
  close(file);
}

// A descriptor that came with a message.
static void received(void) {
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec bytes = {text, 1};
  struct msghdr message = {
      .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *part = CMSG_FIRSTHDR(&message);
  int file = open("/etc/passwd", O_RDONLY), both[2], got;
  socketpair(AF_UNIX, SOCK_DGRAM, 0, both);
  *part = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof file)};
  memcpy(CMSG_DATA(part), &file, sizeof file);
  sendmsg(both[0], &message, 0);
  close(file);
  recvmsg(both[1], &message, 0);  // expect: FdLeak
  memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
  BUG((void)got, close(got));
  close(both[0]);
  close(both[1]);
}

int main(int argc, char **argv) {
  if (argc > 1) {  // what passed_on begins: it uses what it was told of
    char byte;
    (void)!read(atoi(argv[1]), &byte, 1);
    return 0;
  }
  waited();
  passed_on(argv[0]);
  forked();
  received();
  return 0;
}
