// Writes to so many cache lines, ten times over.
#include <stdlib.h>

int main(int argc, char **argv) {
  int lines = argc > 1 ? atoi(argv[1]) : 1;
  volatile char *memory = malloc((size_t)lines * 64);
  for (int round = 0; round < 10; round++)
    for (int i = 0; i < lines; i++) memory[64 * (size_t)i] = (char)round;
  return 0;
}
