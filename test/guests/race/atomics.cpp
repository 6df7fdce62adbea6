// C++'s means of synchronisation.
// build: g++ -O0 -pthread
#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "race.h"

static std::atomic<bool> ready{false};
static std::atomic<int> number{0};
static std::atomic<int *> pointer{nullptr};
static std::atomic_flag spin = ATOMIC_FLAG_INIT;
static std::once_flag once;
static std::mutex mutex;
static std::shared_mutex shared;
static std::condition_variable condition;
static int value[8], initialised, counted;
static bool go;

struct Counted {
  int field = 1;
  ~Counted() { field = 0; }
};

static int &local() {
  static int *made = new int(5);
  return *made;
}

template <class... Functions> static void threads(Functions... functions) {
  std::vector<std::thread> all;
  (all.emplace_back(functions), ...);
  for (std::thread &thread : all) thread.join();
}

static void spins() {
  for (int i = 0; i < 20; i++) {
    while (spin.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
    counted++;
    spin.clear(std::memory_order_release);
  }
}

static void first_racer() {
  GUARD(std::lock_guard<std::mutex> lock(mutex));
  value[7] = 1;
  pass_turn();
}
static void second_racer() {
  wait_for_turn();
  GUARD(std::lock_guard<std::mutex> lock(mutex));
  value[7]++;  // expect: Race
}

int main() {
  threads([] { value[0] = 1; ready.store(true, std::memory_order_release); },
          [] { while (!ready.load(std::memory_order_acquire)) std::this_thread::yield(); value[0]++; });
  threads([] { pointer.store(new int(3)); }, [] { while (!pointer.load()) std::this_thread::yield(); ++*pointer; });
  threads([] { value[1] = 1; number = 1; }, [] { while (number != 1) std::this_thread::yield(); value[1]++; });
  threads(spins, spins);
  auto once_user = [] { std::call_once(once, [] { initialised = 7; }); KEEP(initialised); KEEP(local()); };
  threads(once_user, once_user, once_user);
  threads([] { std::unique_lock<std::mutex> lock(mutex); condition.wait(lock, [] { return go; }); value[2]++; },
          [] { value[2] = 1; { std::lock_guard<std::mutex> lock(mutex); go = true; } condition.notify_one(); });
  auto reader = [] { std::shared_lock<std::shared_mutex> lock(shared); KEEP(value[3]); };
  threads([] { std::unique_lock<std::shared_mutex> lock(shared); value[3] = 1; }, reader, reader);
  {
    auto owned = std::make_shared<Counted>();
    auto user = [owned] { KEEP(owned->field); };
    owned.reset();
    threads(std::move(user), [] {});
  }
  auto result = std::async(std::launch::async, [] { return std::vector<int>{1, 2, 3}; });
  KEEP(result.get().size());
  if (pipe(turn) != 0) return 1;
  threads(first_racer, second_racer);
  delete pointer.load();
  return counted != 40;
}
