// Orders of taking locks: two and three locks, gate locks, read locks, tries, new locks at old places.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include "../memcheck/bug.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t c = PTHREAD_MUTEX_INITIALIZER, d = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t r = PTHREAD_RWLOCK_INITIALIZER, s = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t k = PTHREAD_RWLOCK_INITIALIZER, l = PTHREAD_RWLOCK_INITIALIZER;

// One after another, but not because one waits for the other's end: they could run at the same time.
static pthread_barrier_t turn;

static void run(void *(*first)(void *), void *(*second)(void *)) {
  pthread_t threads[2];
  pthread_barrier_init(&turn, NULL, 2);
  pthread_create(&threads[0], NULL, first, NULL);
  pthread_create(&threads[1], NULL, second, NULL);
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
  pthread_barrier_destroy(&turn);
}

static void both(pthread_mutex_t *outer, pthread_mutex_t *inner) {
  pthread_mutex_lock(outer);
  pthread_mutex_lock(inner);
  pthread_mutex_unlock(inner);
  pthread_mutex_unlock(outer);
}

static void *a_then_b(void *unused) {
  both(&a, &b);
  pthread_barrier_wait(&turn);
  return unused;
}

static void *b_then_a(void *unused) {
  pthread_barrier_wait(&turn);
  pthread_mutex_lock(BUG(&b, &a));
  pthread_mutex_lock(BUG(&a, &b));  // expect: LockOrder
  pthread_mutex_unlock(&a);
  pthread_mutex_unlock(&b);
  return unused;
}

static pthread_mutex_t x = PTHREAD_MUTEX_INITIALIZER, y = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t z = PTHREAD_MUTEX_INITIALIZER;

static sem_t steps[3];

static void *x_then_y(void *unused) {
  both(&x, &y);
  sem_post(&steps[1]);
  return unused;
}

static void *y_then_z(void *unused) {
  sem_wait(&steps[1]);
  both(&y, &z);
  sem_post(&steps[2]);
  return unused;
}

static void *z_then_x(void *unused) {
  sem_wait(&steps[2]);
  pthread_mutex_lock(BUG(&z, &x));
  pthread_mutex_lock(BUG(&x, &z));  // expect: LockOrder
  pthread_mutex_unlock(&x);
  pthread_mutex_unlock(&z);
  return unused;
}

// Three threads, of which each pair agrees.
static void circle(void) {
  void *(*functions[])(void *) = {x_then_y, y_then_z, z_then_x};
  pthread_t threads[3];
  for (int i = 0; i < 3; i++)
    sem_init(&steps[i], 0, 0);
  for (int i = 0; i < 3; i++)
    pthread_create(&threads[i], NULL, functions[i], NULL);
  for (int i = 0; i < 3; i++)
    pthread_join(threads[i], NULL);
  for (int i = 0; i < 3; i++)
    sem_destroy(&steps[i]);
}

// A gate keeps the threads apart.
static void *gated_a_b(void *unused) {
  pthread_mutex_lock(&gate);
  both(&c, &d);
  pthread_mutex_unlock(&gate);
  pthread_barrier_wait(&turn);
  return unused;
}

static void *gated_b_a(void *unused) {
  pthread_barrier_wait(&turn);
  pthread_mutex_lock(&gate);
  both(&d, &c);
  pthread_mutex_unlock(&gate);
  return unused;
}

// Readers do not wait for readers, but for a writer.
static void read_both(pthread_rwlock_t *outer, pthread_rwlock_t *inner) {
  pthread_rwlock_rdlock(outer);
  pthread_rwlock_rdlock(inner);
  pthread_rwlock_unlock(inner);
  pthread_rwlock_unlock(outer);
}

static void *read_k_l(void *unused) {
  read_both(&k, &l);
  pthread_barrier_wait(&turn);
  return unused;
}

static void *read_l_k(void *unused) {
  pthread_barrier_wait(&turn);
  read_both(&l, &k);
  return unused;
}

static void *read_r_s(void *unused) {
  read_both(&r, &s);
  pthread_barrier_wait(&turn);
  return unused;
}

static void *write_s_r(void *unused) {
  pthread_barrier_wait(&turn);
  pthread_rwlock_wrlock(BUG(&s, &r));
  pthread_rwlock_wrlock(BUG(&r, &s));  // expect: LockOrder
  pthread_rwlock_unlock(&r);
  pthread_rwlock_unlock(&s);
  return unused;
}

static pthread_mutex_t p = PTHREAD_MUTEX_INITIALIZER, q = PTHREAD_MUTEX_INITIALIZER;

static void *p_then_q(void *unused) {
  both(&p, &q);
  pthread_barrier_wait(&turn);
  return unused;
}

// Who tries does not wait.
static void *q_then_try_p(void *unused) {
  struct timespec soon;
  pthread_barrier_wait(&turn);
  pthread_mutex_lock(&q);
  if (pthread_mutex_trylock(&p) == 0)
    pthread_mutex_unlock(&p);
  clock_gettime(CLOCK_REALTIME, &soon);
  soon.tv_sec += 10;
  if (pthread_mutex_timedlock(&p, &soon) == 0)
    pthread_mutex_unlock(&p);
  pthread_mutex_unlock(&q);
  return unused;
}

static pthread_mutex_t t = PTHREAD_MUTEX_INITIALIZER, u = PTHREAD_MUTEX_INITIALIZER;

static void *t_then_u(void *unused) {
  both(&t, &u);
  pthread_barrier_wait(&turn);
  return unused;
}

// But a lock taken by a try is held as any other.
static void *try_u_then_t(void *unused) {
  pthread_barrier_wait(&turn);
  pthread_mutex_trylock(BUG(&u, &t));
  pthread_mutex_lock(BUG(&t, &u));  // expect: LockOrder
  pthread_mutex_unlock(&t);
  pthread_mutex_unlock(&u);
  return unused;
}

// Locks that were destroyed, or whose memory was freed, are others than those that come to lie there.
static void *new_locks(void *unused) {
  static pthread_mutex_t first, second;
  for (int round = 0; round < 2; round++) {
    pthread_mutex_t *heap = malloc(sizeof *heap);
    *heap = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_init(&first, NULL);
    pthread_mutex_init(&second, NULL);
    both(round ? &second : &first, round ? &first : &second);
    both(round ? heap : &gate, round ? &gate : heap);
    pthread_mutex_destroy(&first);
    pthread_mutex_destroy(&second);
    free(heap);
    for (int i = 0; i < 600; i++)  // so that the block is not kept back
      free(malloc(100000));
  }
  return unused;
}

static pthread_mutex_t recursive;

static void *recurse(void *unused) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&recursive, &attributes);
  pthread_mutex_lock(&recursive);
  pthread_mutex_lock(&a);
  pthread_mutex_lock(&recursive);  // is held already: it need not wait
  pthread_mutex_unlock(&recursive);
  pthread_mutex_unlock(&a);
  pthread_mutex_unlock(&recursive);
  pthread_mutex_destroy(&recursive);
  return unused;
}

// One thread in both orders: no deadlock here, but the places are there.
static void alone(void) {
  static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER, n = PTHREAD_MUTEX_INITIALIZER;
  both(&m, &n);
  pthread_mutex_lock(BUG(&n, &m));
  pthread_mutex_lock(BUG(&m, &n));  // expect: LockOrder
  pthread_mutex_unlock(&m);
  pthread_mutex_unlock(&n);
}

static pthread_mutex_t v = PTHREAD_MUTEX_INITIALIZER, w = PTHREAD_MUTEX_INITIALIZER;

static void *v_then_w(void *unused) {
  both(&v, &w);
  return unused;
}

static void *w_then_v(void *unused) {
  both(&w, &v);
  return unused;
}

// Threads of which the second begins when the first has ended.
static void in_turn(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, v_then_w, NULL);
  pthread_join(thread, NULL);
  pthread_create(&thread, NULL, w_then_v, NULL);
  pthread_join(thread, NULL);
}

int main(void) {
  run(a_then_b, b_then_a);
  circle();
  run(gated_a_b, gated_b_a);
  run(read_k_l, read_l_k);
  run(read_r_s, write_s_r);
  run(p_then_q, q_then_try_p);
  run(t_then_u, try_u_then_t);
  new_locks(NULL);
  recurse(NULL);
  alone();
  in_turn();
  return 0;
}
