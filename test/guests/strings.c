// Instructions with a rep prefix: each repetition is an access of its own.
#include <stdint.h>
#include "facts.h"

static _Alignas(64) unsigned char from[4096], to[4096], filled[4096], words[4096];

int main(void) {
  for (int i = 0; i < 4096; i++) from[i] = (unsigned char)(i ^ i >> 8);
  void *d = to, *s = from;
  long n = 300;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
  fact("movsb %lx %lx 300", (long)from, (long)to);
  d = to + 1024, s = from + 1024, n = 100;
  __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n)::"memory");
  fact("movsq %lx %lx 100", (long)from + 1024, (long)to + 1024);
  d = filled, n = 200;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(0x5a) : "memory");
  fact("stosb %lx %lx 200", (long)filled, 0x5al);
  d = words, n = 70;
  __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0x1122334455667788) : "memory");
  fact("stosq %lx %lx 70", (long)words, 0x1122334455667788);
  d = to + 299, s = from + 299, n = 100;  // backwards
  __asm__ volatile("std\n rep movsb\n cld" : "+D"(d), "+S"(s), "+c"(n)::"memory");
  d = from, n = 4096;
  __asm__ volatile("repne scasb" : "+D"(d), "+c"(n) : "a"(from[777]) : "memory", "cc");
  fact("scasb %lx %ld", (long)from, 4096 - n);
  d = to, s = from, n = 300;
  __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(n)::"memory", "cc");
  fact("cmpsb %ld", n);
  for (int i = 0; i < 300; i++) check(to[i] == from[i], "copied bytes");
  for (int i = 1024; i < 1824; i++) check(to[i] == from[i], "copied words");
  fact("sum %d", to[299]);
  return 0;
}
