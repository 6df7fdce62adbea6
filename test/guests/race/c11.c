// The threads of C11, whose functions call those of POSIX threads inside the C library.
// build: gcc -O1 -pthread
#include <stdatomic.h>
#include <threads.h>

#include "race.h"

static mtx_t mutex;
static cnd_t condition;
static once_flag once = ONCE_FLAG_INIT;
static atomic_int published;
static int value, initialised, racy, ready;

// Stores that release and loads that acquire are plain instructions, and nobody waits: only the types tell.
static struct {
  int plain;
  struct {
    _Atomic(int *) pointer;
    atomic_char letters[3];
  } parts[2];
} box;
static int content, early, late;

static void initialise(void) { initialised = 5; }

static int first(void *unused) {
  call_once(&once, initialise);
  KEEP(initialised);
  value = 1;
  GUARD(mtx_lock(&mutex));
  racy = 1;
  GUARD(mtx_unlock(&mutex));
  atomic_store_explicit(&published, 1, memory_order_release);
  content = 1;
  atomic_store_explicit(&box.parts[1].pointer, &content, memory_order_release);
  early = 1;
  atomic_store_explicit(&box.parts[0].letters[2], 1, memory_order_release);
  if (!IS_CLEAN) late = 1;
  box.plain = IS_CLEAN;
  pass_turn();
  mtx_lock(&mutex);
  while (!ready) cnd_wait(&condition, &mutex);
  mtx_unlock(&mutex);
  return 0;
}

static int second(void *unused) {
  wait_for_turn();
  GUARD(mtx_lock(&mutex));
  KEEP(racy);  // expect: Race
  GUARD(mtx_unlock(&mutex));
  call_once(&once, initialise);
  KEEP(initialised);
  if (atomic_load_explicit(&box.parts[1].pointer, memory_order_acquire)) content++;
  if (atomic_load_explicit(&box.parts[0].letters[2], memory_order_acquire)) early++;
  KEEP(late);  // expect: Race
  if (!IS_CLEAN) KEEP(box.plain);  // expect: Race
  while (!atomic_load_explicit(&published, memory_order_acquire)) thrd_yield();
  value++;
  mtx_lock(&mutex);
  ready = 1;
  cnd_broadcast(&condition);
  mtx_unlock(&mutex);
  return 0;
}

int main(void) {
  thrd_t a, b;
  mtx_init(&mutex, mtx_plain);
  cnd_init(&condition);
  if (pipe(turn) != 0) _exit(1);
  atomic_fetch_add(&published, 0);
  thrd_create(&a, first, NULL);
  thrd_create(&b, second, NULL);
  thrd_join(a, NULL);
  thrd_join(b, NULL);
  value = racy = ready = 0;
  return 0;
}
