// Loads and stores of every width, 1 to 32 bytes, with known addresses and values.
// build: gcc -O1 -mavx2
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "facts.h"

static _Alignas(64) unsigned char source[256], target[2048];

static void show(const char *name, const void *at, int size) {
  char hex[65];
  for (int i = 0; i < size; i++) snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char *)at)[i]);
  fact("copy %s %lx %d %s", name, (long)at, size, hex);
}

#define COPY(name, type, slot) \
  *(volatile type *)(target + 64 * slot) = *(volatile type *)(source + slot); \
  sizes[slot] = sizeof(type), names[slot] = name;

int main(void) {
  for (int i = 0; i < 256; i++) source[i] = (unsigned char)(i * 37 + 11);
  static int sizes[32];
  static const char *names[32];
  __builtin_cpu_init();
  COPY("u8", uint8_t, 0)
  COPY("u16", uint16_t, 1)
  COPY("u32", uint32_t, 2)
  COPY("u64", uint64_t, 3)
  COPY("float", float, 4)
  COPY("double", double, 5)
  // Bit patterns that look like signalling NaNs must survive as well.
  memcpy(source + 32, "\x01\x02\x03\x04\x05\x06\xf4\x7f", 8);
  *(volatile double *)(target + 64 * 6) = *(volatile double *)(source + 32);
  sizes[6] = 8, names[6] = "nan";
  _mm_storeu_si128((__m128i *)(target + 64 * 7), _mm_loadu_si128((__m128i *)(source + 7)));
  sizes[7] = 16, names[7] = "sse";
  _mm_storel_epi64((__m128i *)(target + 64 * 8), _mm_loadl_epi64((__m128i *)(source + 8)));
  sizes[8] = 8, names[8] = "sse64";
  _mm_store_ss((float *)(target + 64 * 9), _mm_load_ss((float *)(source + 12)));
  sizes[9] = 4, names[9] = "sse32";
  if (__builtin_cpu_supports("avx2")) {
    _mm256_storeu_si256((__m256i *)(target + 64 * 10), _mm256_loadu_si256((__m256i *)(source + 10)));
    sizes[10] = 32, names[10] = "avx";
    // Masked: only lanes 1 and 3 are read and written.
    __m256i mask = _mm256_set_epi64x(-1, 0, -1, 0);
    __m256i lanes = _mm256_maskload_epi64((long long *)(source + 64), mask);
    _mm256_maskstore_epi64((long long *)(target + 64 * 11), mask, lanes);
    sizes[11] = 32, names[11] = "masked";
    __m256i index = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    _mm256_storeu_si256((__m256i *)(target + 64 * 12), _mm256_i32gather_epi32((int *)(source + 100), index, 1));
    sizes[12] = 32, names[12] = "gather";
  }
  _mm_stream_si128((__m128i *)(target + 64 * 13), _mm_load_si128((__m128i *)(source + 128)));
  sizes[13] = 16, names[13] = "stream";
  _mm_maskmoveu_si128(_mm_loadu_si128((__m128i *)source), _mm_setr_epi8(-1, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, -1),
                      (char *)(target + 64 * 14));
  sizes[14] = 16, names[14] = "maskmov";
  for (int i = 0; i < 15; i++)
    if (sizes[i]) show(names[i], target + 64 * i, sizes[i]);
  return 0;
}
