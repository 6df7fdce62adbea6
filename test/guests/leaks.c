// Loses blocks in the ways that there are: a comment says how many bytes are lost at its line, and how.
// With the argument `kept` it keeps a second pointer to everything and frees it.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
  struct node *next;
  char text[40];
};

char *global;
struct node *list;
static volatile int keep;

static void *kept[16];
static int kept_count;
/* The clean twin has another pointer to everything, at which it frees it. */
static void *note(void *p) {
  if (keep) kept[kept_count++] = p;
  return p;
}

static void overwritten(void) {
  global = note(malloc(101));
  strcpy(global, "x");
  global = NULL; // LOST 101: was overwritten
}

static void out_of_scope(void) {
  char *local = note(malloc(102));
  local[0] = 'x';
} // LOST 102: went out of scope

static void freed_with_holder(void) {
  char **holder = malloc(64);
  holder[3] = note(malloc(103));
  free(holder); // LOST 103: was freed with its block
}

static void list_cut(void) {
  for (int i = 0; i < 5; i++) {
    struct node *node = note(malloc(sizeof *node + 100));
    node->next = list;
    list = node;
  }
  list->next = NULL; // LOST 148: was overwritten
}

static void reset_by_read(FILE *file) {
  static char *pointer;
  pointer = note(malloc(105));
  setvbuf(file, NULL, _IONBF, 0);
  if (fread(&pointer, sizeof pointer, 1, file) != 1) abort(); // LOST 105: was overwritten by the kernel
}

__attribute__((noinline)) static void clear_stack(void) {
  volatile char room[4096];
  memset((void *)room, 0, sizeof room);
}

static char *interior(void) {
  static char *inside;
  char *block = note(malloc(106));
  inside = block + 17;
  block = NULL; // LOST 106: was overwritten
  return inside;
}

int main(int argc, char **argv) {
  keep = argc > 1 && strcmp(argv[1], "kept") == 0;
  overwritten();
  clear_stack();
  out_of_scope();
  clear_stack();
  freed_with_holder();
  clear_stack();
  list_cut();
  clear_stack();
  FILE *zero = fopen("/dev/zero", "r");
  reset_by_read(zero);
  clear_stack();
  interior();
  clear_stack();
  uint64_t sum = 0;
  for (int i = 0; i < 300000; i++) sum += (uint64_t)i * i;
  printf("%lu\n", (unsigned long)sum);
  fclose(zero);
  for (int i = 0; i < kept_count; i++) free(kept[i]);
  if (!keep) free(list);
  return 0;
}
