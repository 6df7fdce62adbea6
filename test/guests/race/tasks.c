// Tasks of OpenMP, ordered by what the standard says, not by who executes them and when.
// build: gcc -O0 -fopenmp
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef THREADS
#define THREADS 4
#endif
#ifdef CLEAN
#define ONLY_CLEAN(directive) _Pragma(#directive)
#else
#define ONLY_CLEAN(directive)
#endif
#define IN_ONE_THREAD _Pragma("omp parallel num_threads(THREADS)") _Pragma("omp single")

enum { TASKS = 6 };

static int siblings, awaited, chained, grouped, looped, creators, grandchildren, elsewhere, locked;
static int own[THREADS], keys[2], of_thread;
#pragma omp threadprivate(of_thread)

// Each is called by two that race, whichever comes first.
static void add_sibling(void) { siblings++; }           // expect: Race
static void add_awaited(void) { awaited++; }            // expect: Race
static void add_chained(void) { chained++; }            // expect: Race
static void add_grouped(void) { grouped++; }            // expect: Race
static void add_looped(void) { looped++; }              // expect: Race
static void add_creators(void) { creators++; }          // expect: Race
static void add_grandchild(void) { grandchildren++; }   // expect: Race
static void add_elsewhere(void) { elsewhere++; }        // expect: Race

static void races(void) {
  IN_ONE_THREAD
  {
    for (int i = 0; i < 2; i++) {
#ifdef CLEAN
#pragma omp task if (0)
#else
#pragma omp task
#endif
      add_sibling();
    }

#pragma omp task
    add_awaited();
    ONLY_CLEAN(omp taskwait)
#pragma omp task
    add_awaited();

    // A dependence on another address is none.
    for (int i = 0; i < 2; i++) {
#ifdef CLEAN
#pragma omp task depend(inout : chained)
#else
#pragma omp task depend(inout : keys[i])
#endif
      add_chained();
    }
#pragma omp taskwait

    // A task that is not of the group goes on after its end.
#ifndef CLEAN
#pragma omp task
    add_grouped();
#endif
#pragma omp taskgroup
    {
#ifdef CLEAN
#pragma omp task
      add_grouped();
#endif
#pragma omp task
      siblings += 0 * THREADS, locked = 0;
    }
    add_grouped();
#pragma omp taskwait

    // Tasks of one loop are not ordered, and nobody waits for them without a group.
#ifdef CLEAN
#pragma omp taskloop num_tasks(1)
#else
#pragma omp taskloop num_tasks(3) nogroup
#endif
    for (int i = 0; i < 6; i++) add_looped();
#pragma omp taskwait

#pragma omp task
    add_creators();
    ONLY_CLEAN(omp taskwait)
    add_creators();

    // A task waits for its children, not for theirs.
#pragma omp task
    {
#pragma omp task
      add_grandchild();
      ONLY_CLEAN(omp taskwait)
    }
#pragma omp taskwait
    add_grandchild();
  }
  // Dependences hold between children of one task only.
  IN_ONE_THREAD
  {
    for (int i = 0; i < 2; i++) {
#ifdef CLEAN
#pragma omp task depend(inout : elsewhere)
#else
#pragma omp task
#endif
      {
#pragma omp task depend(inout : elsewhere)
        add_elsewhere();
#pragma omp taskwait
      }
    }
  }
}

/** Locals of tasks lie where those of others lay; a stack is used by all that a thread executes. */
static int fibonacci(int n) {
  int a, b;
  if (n < 2) return n;
#pragma omp task shared(a) final(n < 5) mergeable
  a = fibonacci(n - 1);
#pragma omp task shared(b) untied
  b = fibonacci(n - 2);
#pragma omp taskwait
  return a + b;
}

static void ordered(void) {
  int undeferred = 0, included = 0, copied = 0, sum = 0, product = 1, in = 0, mutual = 0, event = 0;
  int tree = 0, inner = 0, *block = malloc(sizeof *block);
  IN_ONE_THREAD
  {
    undeferred++;
#pragma omp task if (0) shared(undeferred)
    undeferred++;
    undeferred++;

    // What a final task creates is executed at once.
#pragma omp task final(1) shared(included)
    for (int i = 0; i < 3; i++) {
#pragma omp task shared(included)
      included++;
      included++;
    }

    // Variables of the creator that change after the creation, copied by a function.
    int length = 3, variable[length];
    for (int i = 0; i < 3; i++) variable[i] = i;
#pragma omp task firstprivate(variable) shared(copied)
    copied = variable[2];
    variable[2] = 7;

    tree = fibonacci(9);

#pragma omp taskloop reduction(+ : sum) grainsize(2)
    for (int i = 0; i < 20; i++) sum += i;
#pragma omp taskgroup task_reduction(* : product)
    for (int i = 1; i < 4; i++) {
#pragma omp task in_reduction(* : product)
      product *= i;
    }

    // Several that read between two that write; and some that exclude one another.
#pragma omp task shared(in) depend(out : in)
    in = 1;
    for (int i = 0; i < TASKS; i++) {
#pragma omp task shared(in) depend(in : in)
      if (in != 1) abort();
    }
#pragma omp task shared(in) depend(inout : in)
    in = 2;
    for (int i = 0; i < TASKS; i++) {
#pragma omp task shared(mutual) depend(mutexinoutset : mutual)
      mutual++;
    }
#pragma omp taskwait depend(in : mutual, in)
    if (mutual != TASKS || in != 2) abort();

    // Order among tasks that is the program's own.
    for (int i = 0; i < TASKS; i++) {
#pragma omp task
      {
#pragma omp critical
        locked++;
      }
    }

    // A thread executes one task after the other.
    for (int i = 0; i < TASKS; i++) {
#pragma omp task
      {
        own[omp_get_thread_num()]++;
        of_thread++;
      }
    }

    // A detached task is complete when its event is fulfilled.
    omp_event_handle_t done;
#pragma omp task detach(done) shared(event)
    event = 1;
#pragma omp task firstprivate(done) shared(event)
    {
      omp_fulfill_event(done);
    }
#pragma omp taskwait
    if (event != 1) abort();

    // A team within a task.
#pragma omp task shared(inner)
    {
#pragma omp parallel num_threads(2)
#pragma omp atomic
      inner++;
      inner++;
    }
  }
  // The end of a parallel region completes all tasks, also such that others created.
#pragma omp parallel num_threads(THREADS)
  {
#pragma omp single nowait
    {
#pragma omp task
      *block = 1;
    }
#pragma omp barrier
    if (*block != 1) abort();
  }
  free(block);
  printf("%d %d %d %d %d %d %d %d\n", undeferred, included, copied, sum, product, tree, inner, locked);
}

int main(void) {
  races();
  ordered();
  printf("%d %d %d\n", siblings, looped, elsewhere);
  return 0;
}
