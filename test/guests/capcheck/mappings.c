// Mappings unmapped twice or with a wrong size, replaced while they live, given to the kernel after their end; segments of
// shared memory that stay.
// build: gcc -O0
// analyze: --track-maps=yes
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../memcheck/bug.h"

#define PAGE 4096
#define ANONYMOUS MAP_PRIVATE | MAP_ANONYMOUS

static NOINLINE char *get(size_t pages) {
  return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS, -1, 0);  // expect: MapLeak
}

static void leak(void) {
  char *memory = mmap(NULL, PAGE, PROT_READ, ANONYMOUS, -1, 0);  // expect: MapLeak
  BUG(KEEP(memory), munmap(memory, PAGE));
}

static void twice(void) {
  char *memory = get(3);
  munmap(memory, 3 * PAGE);
  BUG(munmap(memory, 3 * PAGE), 0);  // expect: MapDoubleUnmap
  BUG(munmap(memory + 1, PAGE), 0);  // expect: MapBad
}

static void given(void) {
  char *memory = get(1);
  munmap(memory, PAGE);
  BUG(write(1, memory, 10), 0);  // expect: MapUseAfterUnmap
}

static void too_small(void) {
  char *memory = get(5);  // which leaves some
  // Four pages or eight: that what stays is not aligned does not depend on where it lies.
  size_t part = ((unsigned long)memory + 2 * PAGE) % 65536 ? 2 : 1;
  munmap(memory, BUG(part, 5) * PAGE);  // expect: MapSize
}

static void too_large(void) {
  char *memory = get(8);
  munmap(memory + 4 * PAGE, 4 * PAGE);  // a hole, in which nothing lies
  munmap(memory, BUG(6, 4) * PAGE);     // expect: MapSize
}

static void aligned(void) {  // what allocators do
  char *memory = get(32);
  unsigned long start = ((unsigned long)memory + 65535) & ~65535UL;
  if ((char *)start > memory) munmap(memory, (char *)start - memory);
  munmap((char *)start, 16 * PAGE);
  char *end = (char *)start + 16 * PAGE;
  if (memory + 32 * PAGE > end) munmap(end, memory + 32 * PAGE - end);
}

static void overmapped(void) {
  char *memory = get(4), *own = mmap(NULL, 4 * PAGE, PROT_NONE, ANONYMOUS, -1, 0);
  mmap(own, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED, -1, 0);  // room kept free for it
  char *place = BUG(memory, own) + PAGE;
  mmap(place, PAGE, PROT_READ, ANONYMOUS | MAP_FIXED, -1, 0);  // expect: MapOvermap
  munmap(memory, 4 * PAGE);  // expect: MapPartialUnmap
  munmap(own, 4 * PAGE);
}

static NOINLINE char *get_at(char *place, size_t pages) {
  return mmap(place, pages * PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void partly(void) {
  char *room = get(4);
  munmap(room, 4 * PAGE);
  char *first = get_at(room, 1);
  char *second = mmap(room + PAGE, 2 * PAGE, PROT_READ, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  munmap(first, BUG(2, 1) * PAGE);  // expect: MapPartialUnmap
  munmap(second + BUG(PAGE, 0), BUG(1, 2) * PAGE);
}

static void moved(void) {
  char *memory = get(2);
  memory = mremap(memory, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
  memory[63 * PAGE] = 1;
  memory = mremap(memory, 64 * PAGE, PAGE, 0);
  munmap(memory, PAGE);
}

static void segments(void) {
  int segment = shmget(IPC_PRIVATE, PAGE, 0600);  // expect: MapSegmentLeak
  char *memory = shmat(segment, NULL, 0);
  memory[0] = 1;
  shmdt(memory);
  BUG(shmdt(memory), 0);  // expect: MapDoubleUnmap
  int other = shmget(IPC_PRIVATE, PAGE, 0600);
  shmctl(other, IPC_RMID, NULL);
  BUG(0, shmctl(segment, IPC_RMID, NULL));
  if (!fork()) {  // so that tests leave nothing behind, another process does it
    shmctl(segment, IPC_RMID, NULL);
    _exit(0);
  }
  wait(NULL);
}

static void growth(void) {
  for (int i = 0; i < 40; i++) {
    char *memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);  // expect: MapGrowth MapLeak*40
    for (volatile int wait = 0; wait < 1000; wait++) continue;
    BUG(KEEP(memory), munmap(memory, PAGE));
  }
}

int main(void) {
  leak();
  twice();
  given();
  too_small();
  too_large();
  aligned();
  overmapped();
  partly();
  moved();
  segments();
  growth();
  return 0;
}
