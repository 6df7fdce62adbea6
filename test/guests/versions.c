// Two versions of one program, the second with -DNEXT: a defect that stays, one that is mended, one that is new, and a
// function that became slower. Lines of the first function move.
// build: gcc -O0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef NEXT
enum { ENTRIES = 300, EXTRA = 7 };

static int *spare; // its block is lost

static void keep_spare(void) {
  spare = malloc(EXTRA * sizeof *spare); // expect: new Leak_DefinitelyLost
  spare = NULL;
}
#else
enum { ENTRIES = 300 };
#endif

static int last_of(const int *values, int count) {
  return values[count]; // expect: kept InvalidRead
}

#ifndef NEXT
static int sum_of(const int *values, int count) {
  int sum = 0;
  for (int i = 0; i <= count; i++) sum += values[i]; // expect: fixed InvalidRead
  return sum;
}
#else
static int sum_of(const int *values, int count) {
  int sum = 0;
  for (int i = 0; i < count; i++) sum += values[i];
  return sum;
}
#endif

// Looks for a value: from the middle, or from the beginning.
static int find(const int *values, int count, int wanted) {
#ifdef NEXT
  for (int i = 0; i < count; i++)
    if (values[i] == wanted) return i;
#else
  int low = 0;
  while (low < count) {
    int middle = (low + count) / 2;
    if (values[middle] < wanted) low = middle + 1;
    else count = middle;
  }
  return low;
#endif
  return -1;
}

static int unchanged(int n) { return n < 2 ? n : unchanged(n - 1) + unchanged(n - 2); }

int main(void) {
  int *values = malloc(ENTRIES * sizeof *values);
  for (int i = 0; i < ENTRIES; i++) values[i] = 3 * i;
  long found = 0;
  for (int i = 0; i < ENTRIES; i++) found += find(values, ENTRIES, 3 * i);
  volatile int keep = last_of(values, ENTRIES) + sum_of(values, ENTRIES);
#ifdef NEXT
  keep_spare();
#endif
  printf("%ld %d %d\n", found, unchanged(12), keep != 0);
  free(values);
  return 0;
}
