// The first thread ends before another one, which goes on for several times as long as the recorder takes to look, and
// ends the process.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "facts.h"

static void *rest(void *first) {
  pthread_join(*(pthread_t *)first, NULL);
  for (int i = 0; i < 20; i++) {
    free(malloc(100 + i));
    usleep(50000);
  }
  fact("rounds %d", 20);
  exit(3);
}

int main(void) {
  static pthread_t self, other;
  self = pthread_self();
  pthread_create(&other, NULL, rest, &self);
  pthread_exit(NULL);
}
