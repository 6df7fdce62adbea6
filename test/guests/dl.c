// dlopen, a call into the plugin, dlclose, and once more.
#include <dlfcn.h>
#include "facts.h"

int main(int argc, char **argv) {
  check(argc == 2, "argument");
  for (int i = 0; i < 3; i++) {
    void *library = dlopen(argv[1], RTLD_NOW);
    check(library != NULL, "dlopen");
    int (*plugin)(int) = (int (*)(int))dlsym(library, "plugin");
    fact("plugin %lx %d %d", (long)plugin, plugin(10), plugin(20));
    dlclose(library);
  }
  return 0;
}
