// A fork while locks are held: the child has those of the thread that forked, and none of the others.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../memcheck/bug.h"

static pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;

static void *holder(void *unused) {
  pthread_mutex_lock(&other);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  pthread_mutex_unlock(&other);
  return unused;
}

int main(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_mutex_lock(&mine);
  pthread_create(&thread, NULL, holder, NULL);
  pthread_barrier_wait(&barrier);
  pid_t child = fork();
  if (child == 0) {
    pthread_mutex_unlock(&mine);
    BUG(pthread_mutex_unlock(&mine), 0);  // expect: UnlockUnlocked
    pthread_mutex_init(&other, NULL);     // as a handler of pthread_atfork may do
    _exit(0);
  }
  waitpid(child, NULL, 0);
  pthread_mutex_unlock(&mine);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  return 0;
}
