// What every guest uses to print its facts: one line each, `name field field …`, written straight to
// standard output so that printing neither allocates nor buffers. test/guest.ts parses them.
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2), unused)) static void fact(const char *format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  line[length++] = '\n';
  for (int done = 0; done < length;) {
    ssize_t n = write(1, line + done, length - done);
    if (n <= 0) _exit(99);
    done += n;
  }
}

__attribute__((unused)) static void check(int holds, const char *what) {
  if (!holds) {
    fact("failed %s", what);
    _exit(98);
  }
}
