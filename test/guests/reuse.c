// Uses pointers to freed blocks after the memory was used again; a comment STALE with a kind marks these
// accesses. With the argument `clean` it does what a correct program may do with old pointers: keep, copy,
// compare and subtract them.
// build: gcc -O1 -fno-tree-vectorize -Wno-use-after-free
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 500000 };

struct node {
  struct node *next;
  long value;
  char text[48];
};

static struct node *stale_node;
static char *stale_text;
static struct node *copies[2];
static volatile long sink;

/* Frees so much that the engine gives the memory of earlier blocks out again: up to that block. */
__attribute__((noinline)) static char *reuse(uintptr_t wanted) {
  for (int i = 0; i < 1000; i++) {
    char *block = malloc(LARGE);
    memset(block, i, LARGE);
    sink = block[i];
    uintptr_t start = (uintptr_t)block;
    if (start <= wanted && wanted + sizeof(struct node) <= start + LARGE) return block;
    free(block);
  }
  fputs("the memory was not used again\n", stderr);
  exit(3);
}

__attribute__((noinline)) static void wrong(struct node *node, char *text) {
  sink = node->value; // STALE InvalidReadReused
  node->value = 7;    // STALE InvalidWriteReused
  char *further = text + 3;
  sink = further[2]; // STALE InvalidReadReused
  memcpy(&copies[1], &copies[0], sizeof copies[0]);
  sink = copies[1]->text[1]; // STALE InvalidReadReused
}

__attribute__((noinline)) static void right(struct node *old, char *now, char *text) {
  if ((char *)old == now) sink = 1; /* compares */
  ptrdiff_t offset = text - (char *)old;
  sink = now[offset % 16];                /* a difference of old pointers */
  char *moved = text + (now - (char *)old); /* moved to the new block */
  sink = moved[0];
  stale_text = text; /* copies without use */
  memcpy(&copies[1], &copies[0], sizeof copies[0]);
}

int main(int argc, char **argv) {
  int clean = argc > 1 && strcmp(argv[1], "clean") == 0;
  struct node *node = malloc(sizeof *node);
  memset(node, 0, sizeof *node);
  copies[0] = stale_node = node;
  stale_text = node->text;
  uintptr_t address = (uintptr_t)node;
  free(node);
  char *now = reuse(address);
  if (clean) right(stale_node, now, stale_text);
  else wrong(stale_node, stale_text);
  stale_node = (struct node *)now; /* a new pointer in the place of the old one */
  sink = stale_node->value;
  char *grown = malloc(100);
  memset(grown, 2, 100);
  char *inside = grown + 50;
  char *before = grown;
  grown = realloc(grown, 200);
  inside = grown + (inside - before);
  sink = *inside;
  free(grown);
  free(now);
  return 0;
}
