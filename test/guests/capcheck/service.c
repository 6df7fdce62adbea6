// A small service in the manner of a microkernel, which passes capabilities between tasks: a memory service gives
// dataspaces to its clients, through the gate that a name service knows. It announces what it does with
// recorder/grind-capabilities.h; each mistake stands beside what would be right.
// build: gcc -O0 -pthread
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../../recorder/grind-capabilities.h"
#include "../memcheck/bug.h"

// ---- The kernel: objects, and which of them each task has at which index.

enum protocol { NAMES = 1, MEMORY, DATASPACE };
enum { READ = 1, WRITE = 2, SLOTS = 32 };

struct object {
  const char *name;
  enum protocol protocol;
  int uses;
};

struct task {
  const char *name;
  struct object *slots[SLOTS];
  unsigned allocated;  // bit by index: the allocator's, not the kernel's
};

static struct object *create(const char *name, enum protocol protocol) {
  struct object *object = malloc(sizeof *object);
  *object = (struct object){name, protocol, 0};
  GRIND_CAP_OBJECT(object, name, protocol);
  return object;
}

static void destroy(struct object *object) {
  GRIND_CAP_OBJECT_END(object);
  // Kept: a real kernel would not follow a capability to an object that is gone.
}

// What the macros say is what these do.
#define MAP(task, index, object, rights)                \
  do {                                                  \
    (task)->slots[index] = (object);                    \
    GRIND_CAP_MAP(task, (index), (object), (rights));   \
  } while (0)
#define UNMAP(task, index)                              \
  do {                                                  \
    (task)->slots[index] = NULL;                        \
    GRIND_CAP_UNMAP(task, index);                       \
  } while (0)
#define CALL(task, index, protocol, rights)             \
  do {                                                  \
    GRIND_CAP_INVOKE(task, (index), (protocol), rights); \
    if ((task)->slots[index])                           \
      (task)->slots[index]->uses++;                     \
  } while (0)

// ---- The allocator of indices, which each task has for itself.

static int take(struct task *task) {
  int index = __builtin_ctz(~task->allocated);
  task->allocated |= 1u << index;
  return index;
}

#define ALLOC(task, index)                              \
  do {                                                  \
    (index) = take(task);                               \
    GRIND_CAP_ALLOC(task, index);                       \
  } while (0)
#define FREE(task, index)                               \
  do {                                                  \
    (task)->allocated &= ~(1u << (index));              \
    GRIND_CAP_FREE(task, index);                        \
  } while (0)

static void begin(struct task *task, const char *name) {
  memset(task, 0, sizeof *task);
  task->name = name;
  GRIND_CAP_SPACE(task, name);
}

// ---- The tasks.

static struct task server, client;
static struct object *names, *memory;
static int names_at, gate_at;  // in the client's space

static void start(void) {
  begin(&server, "memory service");
  begin(&client, "client");
  names = create("name service", NAMES);
  memory = create("memory gate", MEMORY);
  ALLOC(&client, names_at);
  MAP(&client, names_at, names, READ);
}

// The service hands its gate to who asks for it.
static void open_gate(void) {
  int own;
  ALLOC(&server, own);
  MAP(&server, own, memory, READ | WRITE);
  CALL(&client, names_at, NAMES, READ);
  ALLOC(&client, gate_at);
  GRIND_CAP_SEND(&server, own, &memory, READ | WRITE);
  client.slots[gate_at] = memory;
  GRIND_CAP_RECEIVE(&client, gate_at, &memory);
  CALL(&client, gate_at, MEMORY, WRITE);
  UNMAP(&server, own);
  FREE(&server, own);
}

static int dataspace(struct object *object) {
  int index;
  ALLOC(&client, index);
  MAP(&client, index, object, READ);
  CALL(&client, index, DATASPACE, READ);
  return index;
}

static void give_back(int index) {
  UNMAP(&client, index);
  FREE(&client, index);
}

static void leaks(struct object *object) {
  int index, bare;
  ALLOC(&client, index);  // expect: CapLeak
  MAP(&client, index, object, READ);
  BUG((void)index, give_back(index));
  ALLOC(&client, bare);  // expect: CapLeak
  BUG((void)bare, FREE(&client, bare));
}

static void after_free(struct object *object) {
  int index = dataspace(object);
  give_back(index);
  BUG(CALL(&client, index, DATASPACE, READ), );  // expect: CapUseAfterFree
  BUG(MAP(&client, index, object, READ), );      // expect: CapUseAfterFree
  BUG(UNMAP(&client, index), );                  // expect: CapUseAfterFree
  BUG(FREE(&client, index), );                   // expect: CapDoubleFree
}

static void not_mapped(struct object *object) {
  int index;
  ALLOC(&client, index);
  BUG(CALL(&client, index, DATASPACE, READ), );  // expect: CapUnmapped
  BUG(UNMAP(&client, index), );                  // expect: CapUnmapped
  MAP(&client, index, object, READ);
  UNMAP(&client, index);
  BUG(CALL(&client, index, DATASPACE, READ), );                       // expect: CapUnmapped
  BUG(GRIND_CAP_SEND(&client, index, &index, READ), );                // expect: CapUnmapped
  BUG(UNMAP(&client, index), );                                       // expect: CapDoubleUnmap
  FREE(&client, index);
  BUG(CALL(&client, 30, DATASPACE, READ), );  // expect: CapInvalid
  BUG(FREE(&client, 31), );                   // expect: CapInvalid
}

static void over(struct object *object, struct object *other) {
  int index = dataspace(object);
  MAP(&client, index, object, READ | WRITE);  // the same one again: more rights
  GRIND_CAP_OVERMAP(&client, index, other, READ);
  BUG(, UNMAP(&client, index));
  MAP(&client, index, object, READ);  // expect: CapOvermap
  GRIND_CAP_SEND(&client, names_at, &index, READ);
  BUG(, UNMAP(&client, index));
  GRIND_CAP_RECEIVE(&client, index, &index);  // expect: CapOvermap
  UNMAP(&client, index);
  FREE(&client, index);
}

// The index goes back to the allocator with its capability, which the next one finds there.
static void freed_mapped(struct object *object, struct object *other) {
  int index = dataspace(object), again;
  BUG(, UNMAP(&client, index));
  FREE(&client, index);  // expect: CapFreeMapped
  ALLOC(&client, again);
  MAP(&client, again, other, READ);  // expect: CapOvermap
  BUG(GRIND_CAP_ALLOC(&client, again), );  // expect: CapDoubleAlloc
  give_back(again);
}

static void wrong_use(struct object *object) {
  int index = dataspace(object);
  CALL(&client, index, BUG(MEMORY, DATASPACE), READ);        // expect: CapProtocol
  CALL(&client, index, DATASPACE, BUG(READ | WRITE, READ));  // expect: CapRights
  give_back(index);
}

static void dangling(void) {
  struct object *object = create("short-lived", DATASPACE);
  int index = dataspace(object);
  BUG(, give_back(index));
  destroy(object);
  BUG(CALL(&client, index, DATASPACE, READ), );  // expect: CapDangling
  BUG(give_back(index), );
}

static void messages(struct object *object) {
  int index = dataspace(object), other;
  ALLOC(&server, other);
  GRIND_CAP_GRANT(&client, index, &object, READ);
  BUG(CALL(&client, index, DATASPACE, READ), );  // expect: CapUnmapped
  GRIND_CAP_RECEIVE(&server, other, &object);
  BUG(GRIND_CAP_RECEIVE(&server, other, &object), );  // expect: CapEmptyMessage
  BUG(GRIND_CAP_SEND(&server, other, &other, READ), );  // expect: CapLost
  UNMAP(&server, other);
  FREE(&server, other);
  FREE(&client, index);
}

// What a task has when it ends, the kernel takes back.
static void *short_task(void *unused) {
  struct task task;
  int index;
  begin(&task, "short task");
  ALLOC(&task, index);
  MAP(&task, index, memory, READ);
  CALL(&task, index, MEMORY, READ);
  GRIND_CAP_SPACE_END(&task);
  BUG(CALL(&task, index, MEMORY, READ), );  // expect: CapSpaceEnded
  return unused;
}

int main(void) {
  start();
  open_gate();
  struct object *first = create("first", DATASPACE), *second = create("second", DATASPACE);
  leaks(first);
  after_free(first);
  not_mapped(first);
  over(first, second);
  freed_mapped(first, second);
  wrong_use(first);
  dangling();
  messages(first);
  pthread_t thread;
  pthread_create(&thread, NULL, short_task, NULL);
  pthread_join(thread, NULL);
  give_back(gate_at);
  give_back(names_at);
  return 0;
}
