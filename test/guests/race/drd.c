// What annotations of drd.h say.
// build: gcc -O0 -pthread
#include <valgrind/drd.h>

#include "race.h"

static int value[8], tag, benign, ignored, semaphore;

static void *first(void *unused) {
  value[0] = value[1] = value[2] = benign = ignored = 1;
  ANNOTATE_HAPPENS_BEFORE(&tag);
  ANNOTATE_SEM_POST_PRE(&semaphore);
  GUARD(if (0)) value[2] = 2;
  pass_turn();
  return unused;
}

static void *second(void *unused) {
  wait_for_turn();
  benign++;
  ANNOTATE_IGNORE_READS_BEGIN();
  KEEP(ignored);
  ANNOTATE_IGNORE_READS_END();
  GUARD(if (0)) KEEP(value[0]);  // expect: Race
  ANNOTATE_HAPPENS_AFTER(&tag);
  value[0]++;
  ANNOTATE_SEM_WAIT_POST(&semaphore);
  value[1]++;
  value[2]++;  // expect: Race
  return unused;
}

int main(void) {
  ANNOTATE_BENIGN_RACE_SIZED(&benign, sizeof benign, "as it should be");
  ANNOTATE_SEM_INIT_PRE(&semaphore, 0);
  two_threads(first, second);
  return 0;
}
