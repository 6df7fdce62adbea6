// Uses of undefined values: conditions, addresses, jumps; through memory, bit-fields, shifts, arithmetic.
// build: gcc -O1 -fno-inline -fno-if-conversion -fno-if-conversion2
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

static volatile int sink;

// An undefined value in a defined place.
static int undefined(void) {
  int *block = malloc(sizeof(int));
  HIDE(block);
#ifdef CLEAN
  *block = 1;
#endif
  int value = *block;
  free(block);
  return value;
}

static void condition(void) {
  if (undefined() == 3)  // expect: UninitCondition
    sink = 1;
}

static volatile int table[16];

static void address(void) {
  sink = table[undefined() & 15];  // expect: UninitValue
}

static void destination(void) {
  table[undefined() & 15] = 1;  // expect: UninitValue
}

static void one(void) { sink = 1; }

// Subtracted from itself a value is 0, but as Memcheck sees it still undefined.
static uintptr_t unknown_zero(void) {
  uintptr_t value = (uintptr_t)undefined();
  volatile uintptr_t same = value;
  return value - same;
}

static void jump(void) {
  void (*known)(void) = (void (*)(void))((uintptr_t)one + (unknown_zero() & 0));
  known();
  void (*unknown)(void) = (void (*)(void))((uintptr_t)one + unknown_zero());
  unknown();  // expect: UninitValue
}

struct Fields {
  unsigned a : 3;
  unsigned b : 5;
  unsigned c : 24;
};

static int field_a(struct Fields *f) { return f->a == 5; }
static int field_c(struct Fields *f) { return f->c == 5; }

static void bit_fields(void) {
  struct Fields *f = malloc(sizeof *f);
  HIDE(f);
  f->a = 5;
  f->b = 7;
#ifdef CLEAN
  f->c = 1;
#endif
  if (field_a(f))
    sink = 1;
  if (field_c(f))  // expect: UninitCondition
    sink = 2;
  free(f);
}

static void shifts(void) {
  unsigned value = (unsigned)undefined();
  unsigned defined = value << 16;
  HIDE(defined);
  if ((uint16_t)defined == 0)
    sink = 1;
  if (defined >> 16 == 7)  // expect: UninitCondition
    sink = 2;
  if (1u << (value & 3) == 4)  // expect: UninitCondition
    sink = 3;
}

static void arithmetic(void) {
  unsigned value = (unsigned)undefined();
  // the low byte is known whatever is added above it
  unsigned sum = (value << 8) + 5;
  HIDE(sum);
  if ((uint8_t)sum == 5)
    sink = 1;
  if ((sum & 0x100) == 0)  // expect: UninitCondition
    sink = 2;
  // bits that are known to differ decide
  if ((sum | 1) == 4)
    sink = 3;
  double real = (double)(int)value;
  HIDE(real);
  if (real > 1.0)  // expect: UninitCondition
    sink = 4;
}

struct Padded {
  char c;
  int i;
};

static void padding(void) {
  struct Padded *a = malloc(sizeof *a);
  struct Padded *b = malloc(sizeof *b);
  HIDE(a);
  HIDE(b);
#ifdef CLEAN
  memset(a, 0, sizeof *a);
#endif
  a->c = 1;
  a->i = 2;
  memcpy(b, a, sizeof *b);
  if (b->c == 1 && b->i == 2)
    sink = 1;
  if (((char *)b)[1])  // expect: UninitCondition
    sink = 2;
  free(a);
  free(b);
}

static int dice(int *values, int count) {
  int sum = 0;
  for (int i = 0; i < count; i++)
    sum += values[i];
  return sum;
}

static void local(void) {
  int values[8];
  int *v = values;
  HIDE(v);
  for (int i = 0; i < BUG(7, 8); i++)
    v[i] = i;
  if (dice(v, 8) == 99)  // expect: UninitCondition
    sink = 1;
}

int main(void) {
  condition();
  address();
  destination();
  jump();
  bit_fields();
  shifts();
  arithmetic();
  padding();
  local();
  return 0;
}
