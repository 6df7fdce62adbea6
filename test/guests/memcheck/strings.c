// Vectorised string code reads whole vectors beyond a string's end, and is right to: nothing is to be found.
// build: gcc -O3 -mavx2
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

static volatile size_t sink;

static void library(size_t size) {
  char *a = malloc(size + 1);
  char *b = malloc(size + 1);
  for (size_t i = 0; i < size; i++)
    a[i] = b[i] = (char)('a' + i % 23);
  a[size] = b[size] = 0;
  sink = strlen(a);
  sink = strcmp(a, b) == 0;
  sink = memcmp(a, b, size) == 0;
  sink = strchr(a, 'q') != NULL;
  sink = strrchr(a, 'z') != NULL;
  sink = memchr(a, 'z', size) != NULL;
  sink = strspn(a, "abcdefg");
  sink = strcspn(a, "xyz");
  sink = strpbrk(a, "xw") != NULL;
  sink = strstr(a, "bcd") != NULL;
  sink = strncmp(a, b, size + 1) == 0;
  char *copy = strdup(a);
  strcpy(b, copy);
  strncpy(b, copy, size + 1);
  memmove(b, copy, size + 1);
  free(copy);
  free(a);
  free(b);
}

// The dynamic linker has string code of its own.
static void linker(size_t size) {
  char *name = malloc(size + 1);
  memset(name, 'a', size);
  name[0] = '/';
  name[size] = 0;
  sink = dlopen(name, RTLD_NOW) != NULL;
  free(name);
}

NOINLINE static int sum(const int *values, int count) {
  int total = 0;
  for (int i = 0; i < count; i++)
    total += values[i] > 3 ? values[i] : 1;
  return total;
}

int main(void) {
  for (size_t size = 1; size < 80; size += 3)
    library(size);
  for (size_t size = 1; size < 40; size++)
    linker(size);
  int *values = malloc(37 * sizeof(int));
  for (int i = 0; i < BUG(36, 37); i++)
    values[i] = i;
  if (sum(values, 37) == 5)  // expect: UninitCondition
    sink = 1;
  free(values);
  return 0;
}
