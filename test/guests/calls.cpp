// build: g++ -O2 -pthread
// Calls whose number is known, of every kind that a call graph has to tell apart. Lines `expect CALLER CALLEE COUNT` say how
// often one of the functions below calls another, by a call or by a jump at its end; with `thread N`, in that thread alone.
// What is not expected must not be found: functions that are not named as a caller here call none of the others.
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <unistd.h>

#define OWN extern "C" __attribute__((noipa))
#define WITH_FRAME extern "C" __attribute__((noipa, optimize("no-optimize-sibling-calls")))

static volatile int sink;

OWN void leaf(int n) { sink = n; }

// Recursion, twice from one function.
WITH_FRAME int fibonacci(int n) // expect main fibonacci 1
{
   if (n < 2) return n;
   return fibonacci(n - 1) + fibonacci(n - 2); // expect fibonacci fibonacci 176
}

// Functions that call one another.
WITH_FRAME int is_odd(int n);
WITH_FRAME int is_even(int n) // expect main is_even 1
{
   return n == 0 ? 1 : is_odd(n - 1); // expect is_even is_odd 6
}
WITH_FRAME int is_odd(int n)
{
   return n == 0 ? 0 : is_even(n - 1); // expect is_odd is_even 5
}

// The same by jumps: a loop.
OWN int jumps_odd(int n);
OWN int jumps_even(int n) // expect main jumps_even 3
{
   return n == 0 ? 1 : jumps_odd(n - 1); // expect jumps_even jumps_odd 150
}
OWN int jumps_odd(int n)
{
   return n == 0 ? 0 : jumps_even(n - 1); // expect jumps_odd jumps_even 150
}

// A jump to another function, which returns to the first one's caller.
OWN void jumps_to_leaf(int n) // expect main jumps_to_leaf 20
{
   leaf(n + 1); // expect jumps_to_leaf leaf 20
}

// Calls by pointer, from one instruction.
OWN void first(int n) { sink = n + 1; }
OWN void second(int n) { sink = n + 2; }
typedef void (*function)(int);
static function volatile functions[] = { first, second, leaf };
WITH_FRAME void by_pointer() // expect main by_pointer 1
{
   for (int i = 0; i < 30; i++) functions[i % 3](i); // expect by_pointer first 10
   // expect by_pointer second 10
   // expect by_pointer leaf 10
}

// Calls that are dropped: three of them each time.
static jmp_buf target;
WITH_FRAME void dives(int depth)
{
   if (depth == 0) longjmp(target, 1);
   dives(depth - 1); // expect dives dives 8
   sink = depth;
}
WITH_FRAME void jumps_back() // expect main jumps_back 1
{
   for (volatile int i = 0; i < 4; i = i + 1)
      if (setjmp(target) == 0) dives(2); // expect jumps_back dives 4
      else leaf(i); // expect jumps_back leaf 4
}

// The same by exceptions.
WITH_FRAME void throws(int depth)
{
   if (depth == 0) throw 1;
   throws(depth - 1); // expect throws throws 9
   sink = depth;
}
WITH_FRAME void catches() // expect main catches 1
{
   for (int i = 0; i < 3; i++) {
      try {
         throws(3); // expect catches throws 3
      } catch (int n) {
         leaf(n); // expect catches leaf 3
      }
   }
}

// Signal handlers: one that returns, one on a stack of its own, one that does not come back.
static sigjmp_buf before;
OWN void handler(int) { leaf(0); } // expect handler leaf 2
OWN void leaving_handler(int)
{
   leaf(0); // expect leaving_handler leaf 1
   siglongjmp(before, 1);
}
WITH_FRAME void handle(void (*how)(int), int flags)
{
   struct sigaction action = {};
   action.sa_handler = how;
   action.sa_flags = flags;
   sigaction(SIGUSR1, &action, nullptr);
   kill(getpid(), SIGUSR1);
   leaf(1); // expect handle leaf 2
}
WITH_FRAME void signals() // expect main signals 1
{
   stack_t other = {};
   other.ss_sp = malloc(65536);
   other.ss_size = 65536;
   sigaltstack(&other, nullptr);
   handle(handler, 0); // expect signals handle 3
   handle(handler, SA_ONSTACK);
   if (sigsetjmp(before, 1) == 0) handle(leaving_handler, SA_ONSTACK);
   leaf(2); // expect signals leaf 1
}

// Threads, which do the same at the same time.
OWN void step(int n)
{
   leaf(n); // expect step leaf 300
   // expect thread 2 step leaf 100
   // expect thread 4 step leaf 100
}
WITH_FRAME void* work(void*)
{
   for (int i = 0; i < 100; i++) step(i); // expect work step 300
   // expect thread 3 work step 100
   return nullptr;
}

int main()
{
   fibonacci(10);
   is_even(11);
   for (int i = 0; i < 3; i++) jumps_even(100);
   for (int i = 0; i < 20; i++) jumps_to_leaf(i);
   by_pointer();
   jumps_back();
   catches();
   signals();
   pthread_t threads[3];
   for (pthread_t& thread : threads) pthread_create(&thread, nullptr, work, nullptr);
   for (pthread_t thread : threads) pthread_join(thread, nullptr);
   printf("done\n");
}
