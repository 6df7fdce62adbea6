// Streams of threads' own: the C++ library fills a table of characters for all of them, at its first use.
// build: g++ -O0 -pthread
#include <iomanip>
#include <sstream>
#include <thread>

#include "race.h"

static int written;

static void write_some() {
  std::ostringstream stream;
  stream << std::setw(4) << 12 << ' ' << 1.5 << std::endl;
  KEEP(stream.str().size() + stream.narrow('x', '?'));
}
static void first() {
  write_some();
  GUARD(if (0)) written = 1;
  pass_turn();
}
static void second() {
  wait_for_turn();
  write_some();
  written = 2;  // expect: Race
}

int main() {
  if (pipe(turn) != 0) return 1;
  std::thread a(first), b(second);
  a.join();
  b.join();
}
