// OpenMP: a parallel sum, a critical section, an atomic, a barrier.
// build: gcc -fopenmp
#include <omp.h>
#include "facts.h"

static volatile long cells[64], inCritical, atomics;

int main(void) {
  long sum = 0;
  omp_set_num_threads(3);
#pragma omp parallel for reduction(+ : sum)
  for (int i = 0; i < 3000; i++) sum += i;
  fact("sum %ld", sum);
#pragma omp parallel
  {
    cells[omp_get_thread_num()] = 1000 + omp_get_thread_num();
#pragma omp barrier
#pragma omp critical
    inCritical++;
#pragma omp atomic
    atomics += 2;
  }
  fact("threads %ld %ld", inCritical, atomics);
  fact("cells %lx %ld %ld %ld", (long)cells, cells[0], cells[1], cells[2]);
  return 0;
}
