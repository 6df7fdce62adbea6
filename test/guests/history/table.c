#include "table.h"
#include <stdlib.h>
#include <string.h>

struct entry {
  struct entry *next;
  int count;
  char word[];
};

struct table {
  size_t slots;
  struct entry *lists[];
};

struct table *table_new(size_t slots) {
  struct table *table = calloc(1, sizeof *table + slots * sizeof(struct entry *));
  table->slots = slots;
  return table;
}

static unsigned hash_word(const char *word) {
  unsigned hash = 5381;
  for (const char *at = word; *at; at++) {
    hash = hash * 33;
    hash ^= (unsigned char)*at;
  }
  return hash;
}

static struct entry *find_word(struct table *table, const char *word) {
  struct entry **list = &table->lists[hash_word(word) % table->slots];
  for (struct entry *entry = *list; entry; entry = entry->next)
    if (strcmp(entry->word, word) == 0) return entry;
  size_t length = strlen(word);
  struct entry *entry = malloc(sizeof *entry + length + 1);
  entry->next = *list;
  entry->count = 0;
  memcpy(entry->word, word, length + 1);
  return *list = entry;
}

int table_count(struct table *table, const char *word) {
  return ++find_word(table, word)->count;
}

long table_total(const struct table *table) {
  long total = 0;
  for (size_t slot = 0; slot < table->slots; slot++)
    for (const struct entry *entry = table->lists[slot]; entry; entry = entry->next)
      total += entry->count;
  return total;
}

void table_free(struct table *table) {
  for (size_t slot = 0; slot < table->slots; slot++)
    for (struct entry *entry = table->lists[slot]; entry;) {
      struct entry *next = entry->next;
      free(entry);
      entry = next;
    }
  free(table);
}
