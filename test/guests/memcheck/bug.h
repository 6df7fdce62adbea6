// What the guests for memcheck share. A line that ends with `// expect: KIND …` gives one finding of
// each kind named (KIND*3 three of them); with -DCLEAN, where BUG takes its second argument, there is none.
#ifndef BUG_H
#define BUG_H

#ifdef CLEAN
#define BUG(bad, good) good
#else
#define BUG(bad, good) bad
#endif

#define NOINLINE __attribute__((noinline))

// Computes a value and stores it: one that nothing uses would not even be loaded.
static volatile unsigned long keep_value;
#define KEEP(value) (keep_value = (unsigned long)(value))

// Lets the compiler know nothing of a pointer.
#define HIDE(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

#endif
