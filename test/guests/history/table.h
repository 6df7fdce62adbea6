// A table of words with their counts.
#include <stddef.h>

struct table;

struct table *table_new(size_t slots);
void table_free(struct table *);
/** Counts a word; returns how often it was counted until now. */
int table_count(struct table *, const char *word);
/** All counts together. */
long table_total(const struct table *);
