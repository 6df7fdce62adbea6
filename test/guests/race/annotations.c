// What annotations of helgrind.h say.
// build: gcc -O0 -pthread
#include <valgrind/helgrind.h>

#include "race.h"

static int value[8], tag, lock, benign, unchecked;

static void *first(void *unused) {
  value[0] = value[1] = value[2] = value[3] = benign = unchecked = 1;
  ANNOTATE_HAPPENS_BEFORE(&tag);
  GUARD(if (0)) value[1] = 2;
  ANNOTATE_RWLOCK_ACQUIRED(&lock, 1);
  value[2]++;
  ANNOTATE_RWLOCK_RELEASED(&lock, 1);
  pass_turn();
  return unused;
}

static void *second(void *unused) {
  wait_for_turn();
  benign++;
  unchecked++;
  VALGRIND_HG_CLEAN_MEMORY(&value[3], sizeof value[3]);
  value[3]++;
  GUARD(if (0)) KEEP(value[0]);  // expect: Race
  ANNOTATE_HAPPENS_AFTER(&tag);
  value[0]++;
  value[1]++;  // expect: Race
  ANNOTATE_RWLOCK_ACQUIRED(&lock, 1);
  value[2]++;
  ANNOTATE_RWLOCK_RELEASED(&lock, 1);
  return unused;
}

int main(void) {
  ANNOTATE_RWLOCK_CREATE(&lock);
  ANNOTATE_BENIGN_RACE_SIZED(&benign, sizeof benign, "as it should be");
  VALGRIND_HG_DISABLE_CHECKING(&unchecked, sizeof unchecked);
  two_threads(first, second);
  ANNOTATE_RWLOCK_DESTROY(&lock);
  return 0;
}
