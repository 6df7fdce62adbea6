#include "table.h"
#include <stdio.h>
#include <stdlib.h>

static int last_digit(const char *digits, int count) {
  int last = 0;
  for (int i = 0; i <= count; i++) last = digits[i]; // expect: kept InvalidRead
  return last;
}

static void make_word(char *word, unsigned number) {
  int length = 0;
  do {
    word[length++] = (char)('a' + number % 26);
    number /= 26;
  } while (number);
  word[length] = 0;
}

static void count_words(struct table *table, unsigned words) {
  char word[16];
  for (unsigned i = 0; i < words; i++) {
    make_word(word, i * i % 3001);
    table_count(table, word);
  }
}

int main(void) {
  struct table *table = table_new(64);
  count_words(table, 2000);
  char *digits = calloc(1, 4);
  printf("%ld %d\n", table_total(table), last_digit(digits, 4) != 0);
  free(digits);
  table_free(table);
  return 0;
}
