// Descriptors used after their end, closed twice, never closed, replaced while alive, used for what they are not.
// build: gcc -O0
// analyze: --track-fds=yes
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static char text[16];

static void leaks(void) {
  int file = open("/etc/passwd", O_RDONLY);  // expect: FdLeak
  BUG((void)file, close(file));
  int ends[2];
  pipe(ends);  // expect: FdLeak
  close(ends[0]);
  BUG((void)ends, close(ends[1]));
  int copy = dup(0);  // expect: FdLeak
  BUG((void)copy, close(copy));
  int moved = fcntl(0, F_DUPFD_CLOEXEC, 50);  // expect: FdLeak
  BUG((void)moved, close(moved));
}

static void after_close(void) {
  int file = open("/etc/passwd", O_RDONLY);
  read(file, text, 1);
  close(file);
  BUG(read(file, text, 1), 0);    // expect: FdUseAfterClose
  BUG(lseek(file, 0, SEEK_SET), 0);  // expect: FdUseAfterClose
  fcntl(file, F_GETFD);  // asks whether it is open
}

static void twice(void) {
  int file = open("/etc/passwd", O_RDONLY);
  close(file);
  BUG(close(file), 0);  // expect: FdDoubleClose
  int ends[2];
  pipe(ends);
  syscall(SYS_close_range, ends[0], ends[1], 0);
  BUG(close(ends[1]), 0);  // expect: FdDoubleClose
}

static void bad(void) {
  BUG(write(777, text, 1), 0);  // expect: FdBad
  BUG(close(778), 0);           // expect: FdBad
  close(-1);
  int low = dup(0);
  for (int number = low; number < low + 20; number++)  // what daemons do
    close(number);
}

static void overmap(void) {
  int file = open("/etc/passwd", O_RDONLY);
  int other = open("/etc/group", O_RDONLY);
  BUG(0, close(other));
  dup2(file, other);  // expect: FdOvermap
  close(file);
  close(other);
  int saved = dup(1);  // what shells do
  dup2(2, 1);
  dup2(saved, 1);
  close(saved);
  int kept = open("/etc/passwd", O_RDONLY), copy = dup(kept);
  dup2(0, kept);  // the file is still open
  dup2(1, kept);  // a place of its own by now
  close(kept);
  close(copy);
}

static void protocol(void) {
  int file = open("/etc/passwd", O_RDONLY), folder = open("/etc", O_RDONLY | O_DIRECTORY);
  int sink = open("/dev/null", O_WRONLY);
  int event = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0), poll = epoll_create1(0);
  int pair[2], ends[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  pipe(ends);
  struct epoll_event none = {0};
  struct itimerspec never = {0};
  BUG(send(file, text, 1, 0), send(pair[0], text, 1, 0));  // expect: FdProtocol
  BUG(write(file, text, 1), write(sink, text, 1));         // expect: FdProtocol
  BUG(read(sink, text, 1), read(file, text, 1));           // expect: FdProtocol
  BUG(lseek(pair[0], 5, SEEK_SET), lseek(file, 5, SEEK_SET));  // expect: FdProtocol
  BUG(epoll_wait(event, &none, 1, 0), epoll_wait(poll, &none, 1, 0));  // expect: FdProtocol
  BUG(timerfd_settime(event, 0, &never, NULL), timerfd_settime(timer, 0, &never, NULL));  // expect: FdProtocol
  BUG(openat(file, "passwd", O_RDONLY), close(openat(folder, "passwd", O_RDONLY)));  // expect: FdProtocol
  BUG(syscall(SYS_getdents64, file, text, 16), 0);  // expect: FdProtocol
  BUG(read(poll, text, 1), 0);                      // expect: FdProtocol
  BUG(syscall(SYS_ioctl, file, 0xae00, 0), 0);      // expect: FdProtocol
  BUG(syscall(SYS_ioctl, file, 0x400454ca, 0), 0);  // expect: FdProtocol
  lseek(ends[0], 0, SEEK_CUR);        // finds out whether there are positions
  getsockopt(file, SOL_SOCKET, SO_TYPE, text, &(socklen_t){4});  // whether it is a socket
  int all[] = {file, folder, sink, event, timer, poll, pair[0], pair[1], ends[0], ends[1]};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) close(all[i]);
}

static void watched(void) {
  int poll = epoll_create1(0), ends[2];
  struct epoll_event event = {.events = EPOLLIN};
  pipe(ends);
  int copy = BUG(dup(ends[0]), ends[0]);
  event.data.fd = ends[0];
  epoll_ctl(poll, EPOLL_CTL_ADD, ends[0], &event);
  close(ends[0]);  // expect: FdCloseInUse
  BUG(close(copy), 0);
  close(ends[1]);
  close(poll);
}

static void growth(void) {
  static int files[64];
  for (int i = 0; i < 64; i++) {
    files[i] = open("/dev/null", O_RDONLY);  // expect: FdGrowth FdLeak*64
    for (volatile int wait = 0; wait < 1000; wait++) continue;
    BUG(0, close(files[i]));
  }
}

int main(void) {
  leaks();
  after_close();
  twice();
  bad();
  overmap();
  protocol();
  watched();
  growth();
  return 0;
}
