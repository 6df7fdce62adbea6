// What dl.c loads.
// build: gcc -shared -fPIC
static volatile int calls;
int plugin(int n) { return n * 3 + calls++; }
