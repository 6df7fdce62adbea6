// OpenMP as GCC's library does it, which is built without annotations.
// build: gcc -O0 -fopenmp
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE = 400, THREADS = 3 };

static int array[SIZE], sum, count, ordered, chained, last, atomic, tree, front[100];

/** Parents find in the library's memory, without a lock, that their children are done. */
static int fibonacci(int n) {
  int a, b;
  if (n < 2) return n;
#pragma omp task shared(a)
  a = fibonacci(n - 1);
#pragma omp task shared(b)
  b = fibonacci(n - 2);
#pragma omp taskwait
  return a + b;
}

static void every_construct(void) {
#pragma omp parallel for num_threads(THREADS)
  for (int i = 0; i < SIZE; i++) array[i] = i;
#pragma omp parallel for reduction(+ : sum) num_threads(THREADS)
  for (int i = 0; i < SIZE; i++) sum += array[i];
#pragma omp parallel for schedule(dynamic, 7) num_threads(THREADS)
  for (int i = 0; i < SIZE; i++) {
#pragma omp critical
    count++;
#pragma omp atomic
    atomic++;
  }
#pragma omp parallel num_threads(THREADS)
  {
    int me = omp_get_thread_num(), all = omp_get_num_threads();
    array[me] = me;
#pragma omp barrier
    array[100 + me] = array[(me + 1) % all];
#pragma omp single
    for (int i = 0; i < 30; i++) {
#pragma omp task firstprivate(i)
      array[200 + i] = i;
    }
#pragma omp taskwait
#pragma omp for ordered
    for (int i = 0; i < 10; i++) {
#pragma omp ordered
      ordered += i;
    }
#pragma omp sections
    {
#pragma omp section
      array[0] = 1;
#pragma omp section
      array[1] = 2;
    }
#pragma omp master
    count++;
  }
  omp_lock_t lock;
  omp_init_lock(&lock);
#pragma omp parallel num_threads(THREADS)
  {
    omp_set_lock(&lock);
    count++;
    omp_unset_lock(&lock);
  }
  omp_destroy_lock(&lock);
#pragma omp parallel num_threads(4)
#pragma omp single
  tree = fibonacci(11);
#pragma omp parallel for ordered(1) schedule(static, 1) num_threads(THREADS)
  for (int i = 1; i < 100; i++) {
#pragma omp ordered depend(sink : i - 1)
    front[i] = front[i - 1] + 1;
#pragma omp ordered depend(source)
  }
}

int main(void) {
  every_construct();
#ifndef CLEAN
#pragma omp parallel num_threads(THREADS)
  chained++;  // expect: Race
#pragma omp parallel num_threads(THREADS)
  last = omp_get_thread_num();  // expect: Race
#endif
  printf("%d %d %d %d %d %d %d %d\n", sum, count, ordered, chained, last, atomic, tree, front[99]);
  return 0;
}
