// Floating point of every kind, results as bit patterns at known addresses: SSE in all rounding modes, x87,
// conversions, denormals, NaNs, and instructions that only the host can execute (cpuid, rdtsc, fxsave, xsave).
// build: gcc -O1 -msse4.2 -mavx2 -mfma -frounding-math -lm
#include <cpuid.h>
#include <fenv.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "facts.h"

static _Alignas(64) uint64_t results[4096];
static int used;
static volatile double inputs[] = {0.0,  -0.0,    1.0,     -1.5,     3.7,     1e300,    -1e300,  1e-310,           4.9e-324,
                                   0.1,  1.0 / 3, 2.5,     -2.5,     1e18,    9.3e18,   4e9,     -3e9,             INFINITY,
                                   -INFINITY, NAN, 123456.789, 0.5, 1.5};
enum { INPUTS = sizeof inputs / sizeof *inputs };

static void keep(double value) { memcpy(&results[used++ & 4095], &value, 8); }
static void keepFloat(float value) { results[used] = 0, memcpy(&results[used++ & 4095], &value, 4); }
static void keepInt(int64_t value) { results[used++ & 4095] = value; }

static void sse(void) {
  for (int i = 0; i < INPUTS; i++) {
    double a = inputs[i], b = inputs[(i + 7) % INPUTS];
    keep(a + b), keep(a - b), keep(a * b), keep(a / b), keep(__builtin_sqrt(a));
    keepFloat((float)a), keep((double)(float)b), keepFloat((float)a * (float)b), keepFloat((float)a / (float)b);
    keepInt(_mm_cvtsd_si64(_mm_set_sd(a))), keepInt(_mm_cvttsd_si64(_mm_set_sd(a)));
    keepInt(_mm_cvtsd_si32(_mm_set_sd(a))), keepInt(a < b), keepInt(a == b), keepInt(isunordered(a, b));
    keep(fmax(a, b)), keep((double)(int64_t)(i * 1234567890123456789ull));
    __m128d v = _mm_set_pd(a, b), w = _mm_set_pd(b, 3.0);
    keep(_mm_cvtsd_f64(_mm_min_pd(v, w))), keep(_mm_cvtsd_f64(_mm_max_pd(w, v)));
    keep(_mm_cvtsd_f64(_mm_hadd_pd(v, w)));
    keep(_mm_cvtsd_f64(_mm_round_pd(v, _MM_FROUND_CUR_DIRECTION)));
  }
}

static void x87(void) {
  for (int i = 0; i < INPUTS; i++) {
    long double a = inputs[i], b = 3.0L;
    keep((double)(a * b)), keep((double)(a / b + 1)), keep((double)sqrtl(fabsl(a)));
    keepInt(lrintl(a > -1e9L && a < 1e9L ? a : 1));
    double sine;
    __asm__ volatile("fldl %1\n fsin\n fstpl %0" : "=m"(sine) : "m"(inputs[i % 5]));
    keep(sine);
    double power;
    __asm__ volatile("fldl %1\n f2xm1\n fstpl %0" : "=m"(power) : "m"(inputs[9]));
    keep(power);
  }
}

int main(void) {
  static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
  for (int m = 0; m < 4; m++) {
    fesetround(modes[m]);
    used = m * 1000;
    sse();
    fact("mode %d %lx %d", m, (long)&results[m * 1000], used - m * 1000);
  }
  fesetround(FE_TONEAREST);
  used = 3500;
  x87();
  fact("x87 %lx %d", (long)&results[3500], used - 3500);

  static _Alignas(64) unsigned char area[4096];
  _fxsave64(area);
  fact("fxsave %lx 512", (long)area);
  _fxrstor64(area);
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE) {
    memset(area, 0, sizeof area);
    __asm__ volatile("xsave %0" : "+m"(area) : "a"(7), "d"(0) : "memory");
    __asm__ volatile("xrstor %0" : : "m"(area), "a"(7), "d"(0));
    fact("xsave %lx", (long)area);
  }
  static volatile uint64_t stamps[4];
  for (int i = 0; i < 4; i++) stamps[i] = __builtin_ia32_rdtsc();
  fact("rdtsc %lx %lx %lx %lx %lx", (long)stamps, stamps[0], stamps[1], stamps[2], stamps[3]);
  static volatile uint32_t leaf[4];
  __cpuid(0, leaf[0], leaf[1], leaf[2], leaf[3]);
  fact("cpuid %lx %x %x %x %x", (long)leaf, leaf[0], leaf[1], leaf[2], leaf[3]);
  static volatile uint32_t crc;
  crc = _mm_crc32_u64(1, 0x123456789abcdefull);
  fact("crc %lx %x", (long)&crc, crc);
  static volatile uint64_t bits[4];
  bits[0] = __builtin_popcountll(stamps[0]), bits[1] = __builtin_ctzll(stamps[0] | 1ull << 40), bits[2] = __builtin_bswap64(stamps[0]);
  fact("bits %lx %lx %lx %lx", (long)bits, bits[0], bits[1], bits[2]);
  uint64_t hash = 14695981039346656037ull;
  for (int i = 0; i < 4096; i++) hash = (hash ^ results[i]) * 1099511628211ull;
  fact("hash %lx", hash);
  return 0;
}
