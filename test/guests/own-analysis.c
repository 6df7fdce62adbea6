// Something for analyses of the user's own to find: test/plugin.test.ts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) static void tell(const char *text) {
  if (write(1, text, strlen(text)) < 0) abort(); // expect SecretWritten 2
}

__attribute__((noinline)) static void fill(volatile char *block, long size) {
  for (long i = 0; i < size; i++) block[i] = 7;
}

__attribute__((noinline)) static void close_badly(void) {
  close(77); // expect FailedCall 2
}

static char *make_large(void) {
  return malloc(40000); // expect LargeBlock 1
}

int main(void) {
  tell("nothing to hide\n");
  for (int i = 0; i < 2; i++) {
    tell("the password is hunter2\n");
    close_badly();
  }
  char *block = make_large();
  memset(block, 0, 8);
  fill(block, 40000);
  fill(block, 8);
  free(block);
  return 0;
}
