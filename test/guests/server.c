// Listens on loopback, answers each connection in a thread of its own, and leaves by SIGTERM with status 0.
// build: gcc -pthread
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include "facts.h"

static volatile sig_atomic_t stopping;
static void stop(int signal) { stopping = signal; }
static void *answer(void *argument) {
  int connection = (int)(long)argument;
  char text[256];
  ssize_t n = read(connection, text, sizeof text);
  for (ssize_t i = 0; i < n; i++)
    if (text[i] >= 'a' && text[i] <= 'z') text[i] -= 32;
  if (n > 0) check(write(connection, text, n) == n, "write");
  close(connection);
  return NULL;
}

int main(void) {
  sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  check(!bind(listener, (void *)&address, size) && !listen(listener, 5), "listen");
  getsockname(listener, (void *)&address, &size);
  fact("port %d %d", ntohs(address.sin_port), getpid());
  int served = 0;
  while (!stopping) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) continue;
    pthread_t thread;
    pthread_create(&thread, NULL, answer, (void *)(long)connection);
    pthread_join(thread, NULL);
    served++;
  }
  fact("stopped %d %d", stopping, served);
  return 0;
}
