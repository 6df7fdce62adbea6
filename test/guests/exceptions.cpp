// C++: exceptions through several frames and in threads, RTTI, containers, streams.
// build: g++ -std=c++17 -pthread
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include "facts.h"

struct Guard {
  int &count;
  ~Guard() { count++; }
};
static int thrower(int depth, int &count) {
  Guard guard{count};
  if (depth == 0) throw std::runtime_error("depth reached");
  return thrower(depth - 1, count) + 1;
}
int main() {
  int unwound = 0, caught = 0;
  for (int i = 1; i <= 5; i++) try {
      thrower(i, unwound);
    } catch (const std::exception &e) {
      caught += std::string(e.what()) == "depth reached";
    }
  fact("main %d %d", caught, unwound);
  std::vector<std::thread> threads;
  std::vector<int> results(3);
  for (int t = 0; t < 3; t++)
    threads.emplace_back([t, &results] {
      int n = 0;
      try {
        thrower(10 + t, n);
      } catch (...) {
        results[t] = n;
      }
    });
  for (auto &t : threads) t.join();
  fact("threads %d %d %d", results[0], results[1], results[2]);
  std::map<std::string, int> words;
  std::istringstream in("a b a c b a");
  for (std::string w; in >> w;) words[w]++;
  fact("words %d %d %d", words["a"], words["b"], words["c"]);
  return 0;
}
