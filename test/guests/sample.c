// The program that the installation records: a list of squares is built, summed and freed, all but its head.
// build: gcc -O1
#include "facts.h"

struct Node {
  long square;
  struct Node *next;
};

__attribute__((noinline)) static struct Node *build(int count) {
  struct Node *head = NULL;
  for (int i = 1; i <= count; i++) {
    struct Node *node = malloc(sizeof *node);
    *node = (struct Node){(long)i * i, head};
    head = node;
  }
  return head;
}

__attribute__((noinline)) static long sum(const struct Node *node) {
  long total = 0;
  for (; node; node = node->next) total += node->square;
  return total;
}

__attribute__((noinline)) static void release(struct Node *node) {
  while (node) {
    struct Node *next = node->next;
    free(node);
    node = next;
  }
}

int main(void) {
  struct Node *list = build(1000);
  fact("sum %ld", sum(list));
  release(list->next);
  return 0;
}
