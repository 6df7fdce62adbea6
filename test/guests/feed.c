// Reads argv[1] MiB of random bytes, 1 MiB at a time: as much input as wanted for a trace to hold.
#include <fcntl.h>
#include "facts.h"

static char buffer[1 << 20];

int main(int argc, char **argv) {
  int source = open("/dev/urandom", O_RDONLY);
  for (int i = 0; i < atoi(argv[argc - 1]); i++) {
    check(read(source, buffer, sizeof buffer) == sizeof buffer, "read");
    fact("round %d", i);
  }
  return 6;
}
