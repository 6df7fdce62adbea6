// Walks blocks of two allocation sites: of nodes it reads one field and writes another, each in a cache line of its own.
// build: gcc -O1
#include <stdio.h>
#include <stdlib.h>

struct node {
  struct node *next;
  long padding[7];
  long key;   // 64 bytes in
  long more[7];
  long count; // 128 bytes in
};

__attribute__((noinline)) static struct node *make_nodes(int n) {
  struct node *first = NULL;
  for (int i = 0; i < n; i++) {
    void *block;
    if (posix_memalign(&block, 64, sizeof *first) != 0) abort();
    struct node *node = block;
    node->next = first;
    first = node;
  }
  return first;
}

__attribute__((noinline)) static long walk(struct node *first) {
  long sum = 0;
  for (struct node *node = first; node; node = node->next) {
    sum += node->key;
    node->count = sum;
  }
  return sum;
}

__attribute__((noinline)) static char *make_table(size_t size) {
  void *block;
  if (posix_memalign(&block, 64, size) != 0) abort();
  return block;
}

__attribute__((noinline)) static void fill(volatile char *table, size_t size) {
  for (size_t i = 0; i < size; i += 64) table[i] = 1;
}

int main(void) {
  struct node *nodes = make_nodes(200);
  char *table = make_table(1 << 16);
  // Each walk finds nothing in a small cache: the table has been there since.
  long sum = 0;
  for (int i = 0; i < 10; i++) {
    fill(table, 1 << 16);
    sum += walk(nodes);
  }
  printf("sum %ld\n", sum);
}
