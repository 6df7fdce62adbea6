// Parameters of system calls: registers, buffers, strings and fields of structures.
// build: gcc -O0
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "bug.h"

static void *block(size_t size) {
  void *p = BUG(malloc(size), calloc(1, size));
  HIDE(p);
  return p;
}

NOINLINE static void buffers(int fd) {
  char *p = block(16);
  syscall(SYS_write, fd, p, 16);  // expect: SyscallParam
  syscall(SYS_write, fd, BUG((void *)0xffff0000, p), 4);  // expect: SyscallParam
  struct iovec *v = block(sizeof *v);
  v->iov_base = "x";
#ifdef CLEAN
  v->iov_len = 1;
#else
  v->iov_len = ((size_t *)p)[1] & 1;
#endif
  writev(fd, v, 1);  // expect: SyscallParam
  memset(p, 0, 16);
  p[BUG(15, 14)] = 'x';
  syscall(SYS_read, BUG(fd, fd), p + BUG(8, 0), BUG(16, 8));  // expect: SyscallParam
  free(v);
  free(p);
}

NOINLINE static void numbers(void) {
  int *p = block(sizeof *p);
  syscall(SYS_close, *p | (1 << 30));  // expect: SyscallParam
  free(p);
}

NOINLINE static void strings(void) {
  char *name = malloc(4);
  memcpy(name, "/no", 3);
#ifdef CLEAN
  name[3] = 0;
#else
  name[3] = 'e';
#endif
  KEEP(access(name, R_OK));  // expect: SyscallParam
  free(name);
}

NOINLINE static void fields(void) {
  struct timespec *t = block(sizeof *t);
  t->tv_sec = 0;
#ifdef CLEAN
  t->tv_nsec = 1;
#endif
  nanosleep(t, NULL);  // expect: SyscallParam
  free(t);
  struct itimerval *timer = block(sizeof *timer);
  memset(&timer->it_value, 0, sizeof timer->it_value);
  setitimer(ITIMER_REAL, timer, NULL);  // expect: SyscallParam*2
  free(timer);
  struct sockaddr_un *address = block(sizeof *address);
  address->sun_family = AF_UNIX;
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  KEEP(connect(s, (struct sockaddr *)address, sizeof *address));  // expect: SyscallParam
  close(s);
  free(address);
}

NOINLINE static void controls(void) {
  struct termios *t = block(sizeof *t);
  syscall(SYS_ioctl, 0, TCSETS, t);  // expect: SyscallParam
  free(t);
}

int main(void) {
  int fd = open("/dev/null", O_RDWR);
  buffers(fd);
  numbers();
  strings();
  fields();
  controls();
  close(fd);
  return 0;
}
