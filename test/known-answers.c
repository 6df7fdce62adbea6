/* What the processor itself computes: prints "name mask result operand...", all in hexadecimal,
   for the VEX operation or helper of that name; only the bits of mask are defined. Operands are
   pseudo-random and include the awkward ones. Needs AVX2, BMI2 and SSE4.2; prints "unsupported"
   without them. */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t u64;
typedef unsigned __int128 u128;

static u64 seed = 88172645463325252ull;
static u64 next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}
static const u64 ints[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
  0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x8000800080008000, 0x80808080ff7f0180};
static const u64 doubles[] = {0, 0x8000000000000000, 0x3ff0000000000000, 0xbff8000000000000, 0x3fe0000000000000,
  0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000000123, 1,
  0x7fefffffffffffff, 0x41dfffffffe00000, 0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
  0xc3e0000000000000, 0x4004000000000000, 0x36a0000000000000, 0x47efffffe0000001, 0x3690000000000001};
static const uint32_t singles[] = {0, 0x80000000, 0x3f800000, 0xbfc00000, 0x3f000000, 0x7f800000, 0xff800000, 0x7fc00000,
  0x7f800001, 0xffc00123, 1, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x40200000};
#define COUNT(list) (sizeof(list) / sizeof(list[0]))

static u64 any64(void) {
  u64 r = next();
  switch (r >> 62) {
  case 0: return ints[next() % COUNT(ints)];
  case 1: return ints[next() % COUNT(ints)] + next() % 5 - 2;
  default: return next();
  }
}
static u64 anyDouble(void) {
  double d;
  u64 bits;
  switch (next() % 4) {
  case 0: return doubles[next() % COUNT(doubles)];
  case 1: return next();
  default:
    d = (double)(int64_t)next() / (double)(1ull << (next() % 63));
    memcpy(&bits, &d, 8);
    return bits;
  }
}
static uint32_t anySingle(void) {
  float f;
  uint32_t bits;
  switch (next() % 4) {
  case 0: return singles[next() % COUNT(singles)];
  case 1: return (uint32_t)next();
  default:
    f = (float)(int32_t)next() / (float)(1u << (next() % 31));
    memcpy(&bits, &f, 4);
    return bits;
  }
}
enum Kind { INTS, DOUBLES, SINGLES };
static void fill(void *to, int bytes, enum Kind kind) {
  for (int i = 0; i < bytes; i += kind == SINGLES ? 4 : 8) {
    u64 v = kind == INTS ? any64() : kind == DOUBLES ? anyDouble() : anySingle();
    memcpy((char *)to + i, &v, kind == SINGLES ? 4 : 8);
  }
}
static void hex(const void *from, int bytes) {
  putchar(' ');
  for (int i = bytes - 1; i >= 0; i--) printf("%02x", ((const unsigned char *)from)[i]);
}

#define ROUNDS 40
/* result = expression of a and b, which are of type T */
#define BINARY(name, T, kind, expression)                                                                              \
  for (int round = 0; round < ROUNDS; round++) {                                                                       \
    T a, b, r;                                                                                                         \
    fill(&a, sizeof a, kind);                                                                                          \
    fill(&b, sizeof b, kind);                                                                                          \
    r = (expression);                                                                                                  \
    printf("%s -", name), hex(&r, sizeof r), hex(&a, sizeof a), hex(&b, sizeof b), putchar('\n');                      \
  }
#define I128(name, intrinsic) BINARY(name, __m128i, INTS, intrinsic(a, b))
#define I256(name, intrinsic) BINARY(name, __m256i, INTS, intrinsic(a, b))
/* both vector widths of an operation */
#define BOTH(name, s, w, intrinsic)                                                                                    \
  I128(name s, _mm_##intrinsic) I256(name w, _mm256_##intrinsic)
#define SWAPPED(name, intrinsic) BINARY(name, __m128i, INTS, intrinsic(b, a))
#define SHIFT(name, T, bits, intrinsic)                                                                                \
  for (int round = 0; round < ROUNDS; round++) {                                                                       \
    T a, r;                                                                                                            \
    unsigned char n = next() % (bits);                                                                                 \
    fill(&a, sizeof a, INTS);                                                                                          \
    r = intrinsic(a, _mm_cvtsi32_si128(n));                                                                            \
    printf("%s -", name), hex(&r, sizeof r), hex(&a, sizeof a), hex(&n, 1), putchar('\n');                             \
  }
/* SSE instructions on registers, in this operand order whatever the compiler thinks */
#define FLOAT(name, T, kind, instruction, mode)                                                                        \
  for (int round = 0; round < 3 * ROUNDS; round++) {                                                                   \
    T a, b, r;                                                                                                         \
    unsigned rm = 0;                                                                                                   \
    fill(&a, sizeof a, kind);                                                                                          \
    fill(&b, sizeof b, kind);                                                                                          \
    __asm__("v" instruction " %2, %1, %0" : "=x"(r) : "x"(a), "x"(b));                                                 \
    printf("%s -", name), hex(&r, sizeof r);                                                                           \
    if (mode) hex(&rm, 4);                                                                                             \
    hex(&a, sizeof a), hex(&b, sizeof b), putchar('\n');                                                               \
  }
#define FLOATS(op, instruction, mode)                                                                                  \
  FLOAT(op "32Fx4", __m128, SINGLES, instruction "ps", mode)                                                           \
  FLOAT(op "64Fx2", __m128d, DOUBLES, instruction "pd", mode)                                                          \
  FLOAT(op "32F0x4", __m128, SINGLES, instruction "ss", 0)                                                             \
  FLOAT(op "64F0x2", __m128d, DOUBLES, instruction "sd", 0)
#define WIDE_FLOATS(op, instruction, mode)                                                                             \
  FLOAT(op "32Fx8", __m256, SINGLES, instruction "ps", mode)                                                           \
  FLOAT(op "64Fx4", __m256d, DOUBLES, instruction "pd", mode)
#define UNARY_FLOAT(name, T, kind, asm_text, mode)                                                                     \
  for (int round = 0; round < 3 * ROUNDS; round++) {                                                                   \
    T a, r;                                                                                                            \
    unsigned rm = 0;                                                                                                   \
    fill(&a, sizeof a, kind);                                                                                          \
    __asm__(asm_text : "=x"(r) : "x"(a));                                                                              \
    printf("%s -", name), hex(&r, sizeof r);                                                                           \
    if (mode) hex(&rm, 4);                                                                                             \
    hex(&a, sizeof a), putchar('\n');                                                                                  \
  }
/* conversions under all four rounding modes */
#define CONVERT(name, TA, TR, kind, asm_text, constraint_r, constraint_a)                                              \
  for (int round = 0; round < 8 * ROUNDS; round++) {                                                                   \
    TA a;                                                                                                              \
    TR r;                                                                                                              \
    unsigned rm = round % 4;                                                                                           \
    fill(&a, sizeof a < 8 ? 8 : sizeof a, kind);                                                                       \
    unsigned saved = _mm_getcsr();                                                                                     \
    _mm_setcsr((saved & ~0x6000u) | rm << 13);                                                                         \
    __asm__ volatile(asm_text : constraint_r(r) : constraint_a(a));                                                    \
    _mm_setcsr(saved);                                                                                                 \
    printf("%s -", name), hex(&r, sizeof r), hex(&rm, 4), hex(&a, sizeof a), putchar('\n');                            \
  }

#define FLAGS_DEFINED(mask, code, d1, d2, nd)                                                                          \
  do {                                                                                                                 \
    u64 m = (mask), op = (code), x1 = (d1), x2 = (d2), x3 = (nd), seen = flags & m;                                    \
    printf("amd64g_calculate_rflags_all %llx", (unsigned long long)m);                                                 \
    hex(&seen, 8), hex(&op, 8), hex(&x1, 8), hex(&x2, 8), hex(&x3, 8), putchar('\n');                                  \
  } while (0)
#define ALL 0x8d5
/* The thunk's operands are zero-extended, as the front end makes them. */
#define ARITHMETIC(T, size, index)                                                                                     \
  for (int round = 0; round < 4 * ROUNDS; round++) {                                                                   \
    T a = any64(), b = any64(), r;                                                                                     \
    u64 flags;                                                                                                         \
    unsigned char carry = next() & 1, n;                                                                               \
    const int bits = 8 * sizeof(T);                                                                                    \
    r = a;                                                                                                             \
    __asm__("add" size " %2, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "q"(b) : "cc");                              \
    FLAGS_DEFINED(ALL, 1 + index, a, b, 0);                                                                            \
    r = a;                                                                                                             \
    __asm__("sub" size " %2, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "q"(b) : "cc");                              \
    FLAGS_DEFINED(ALL, 5 + index, a, b, 0);                                                                            \
    for (int cond = 0; cond < 16; cond++) {                                                                            \
      u64 zf = flags >> 6 & 1, cf = flags & 1, sf = flags >> 7 & 1, of = flags >> 11 & 1, pf = flags >> 2 & 1;         \
      u64 truth[] = {of, cf, zf, cf | zf, sf, pf, sf ^ of, (sf ^ of) | zf};                                            \
      u64 result = truth[cond >> 1] ^ (cond & 1), c = cond, op = 5 + index, x1 = a, x2 = b, x3 = 0;                    \
      printf("amd64g_calculate_condition -");                                                                          \
      hex(&result, 8), hex(&c, 8), hex(&op, 8), hex(&x1, 8), hex(&x2, 8), hex(&x3, 8), putchar('\n');                  \
    }                                                                                                                  \
    r = a;                                                                                                             \
    __asm__("bt $0, %3; adc" size " %2, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "q"(b), "r"((int)carry) : "cc");  \
    FLAGS_DEFINED(ALL, 9 + index, a, (T)(b ^ carry), carry);                                                           \
    r = a;                                                                                                             \
    __asm__("bt $0, %3; sbb" size " %2, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "q"(b), "r"((int)carry) : "cc");  \
    FLAGS_DEFINED(ALL, 13 + index, a, (T)(b ^ carry), carry);                                                          \
    r = a;                                                                                                             \
    __asm__("and" size " %2, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "q"(b) : "cc");                              \
    FLAGS_DEFINED(ALL & ~0x10, 17 + index, r, 0, 0);                                                                   \
    r = a;                                                                                                             \
    __asm__("bt $0, %2; inc" size " %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "r"((int)carry) : "cc");              \
    FLAGS_DEFINED(ALL, 21 + index, r, 0, carry);                                                                       \
    r = a;                                                                                                             \
    __asm__("bt $0, %2; dec" size " %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "r"((int)carry) : "cc");              \
    FLAGS_DEFINED(ALL, 25 + index, r, 0, carry);                                                                       \
    n = 1 + next() % (bits - 1);                                                                                       \
    u64 defined = n == 1 ? ALL & ~0x10 : ALL & ~0x810;                                                                 \
    r = a;                                                                                                             \
    __asm__("shl" size " %%cl, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "c"(n) : "cc");                            \
    FLAGS_DEFINED(defined, 29 + index, r, (T)(a << (n - 1)), 0);                                                       \
    r = a;                                                                                                             \
    __asm__("shr" size " %%cl, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "c"(n) : "cc");                            \
    FLAGS_DEFINED(defined, 33 + index, r, (T)(a >> (n - 1)), 0);                                                       \
    r = a;                                                                                                             \
    __asm__("bt $0, %3; rol" size " %%cl, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "c"(n), "r"((int)carry) : "cc"); \
    FLAGS_DEFINED(n == 1 ? 0x801 : 1, 37 + index, r, 0, carry);                                                        \
    r = a;                                                                                                             \
    __asm__("bt $0, %3; ror" size " %%cl, %0; pushfq; pop %1" : "+q"(r), "=r"(flags) : "c"(n), "r"((int)carry) : "cc"); \
    FLAGS_DEFINED(n == 1 ? 0x801 : 1, 41 + index, r, 0, carry);                                                        \
    { /* one-operand multiplications: only carry and overflow are defined */                                           \
      u64 rax = a, rdx = 0;                                                                                            \
      __asm__("mul" size " %3; pushfq; pop %2" : "+a"(rax), "+d"(rdx), "=r"(flags) : "r"(b) : "cc");                   \
      FLAGS_DEFINED(0x801, 45 + index, a, b, 0);                                                                       \
      rax = a, rdx = 0;                                                                                                \
      __asm__("imul" size " %3; pushfq; pop %2" : "+a"(rax), "+d"(rdx), "=r"(flags) : "r"(b) : "cc");                  \
      FLAGS_DEFINED(0x801, 49 + index, a, b, 0);                                                                       \
    }                                                                                                                  \
  }
#define BMI(T, index)                                                                                                  \
  for (int round = 0; round < ROUNDS; round++) {                                                                       \
    T a = any64(), b = any64(), r;                                                                                     \
    u64 flags;                                                                                                         \
    __asm__("andn %3, %2, %0; pushfq; pop %1" : "=r"(r), "=r"(flags) : "r"(a), "r"(b) : "cc");                         \
    FLAGS_DEFINED(0x8c1, 53 + index, r, 0, 0);                                                                         \
    __asm__("blsi %2, %0; pushfq; pop %1" : "=r"(r), "=r"(flags) : "r"(a) : "cc");                                     \
    FLAGS_DEFINED(0x8c1, 55 + index, r, a, 0);                                                                         \
    __asm__("blsmsk %2, %0; pushfq; pop %1" : "=r"(r), "=r"(flags) : "r"(a) : "cc");                                   \
    FLAGS_DEFINED(0x8c1, 57 + index, r, a, 0);                                                                         \
    __asm__("blsr %2, %0; pushfq; pop %1" : "=r"(r), "=r"(flags) : "r"(a) : "cc");                                     \
    FLAGS_DEFINED(0x8c1, 59 + index, r, a, 0);                                                                         \
  }
#define SCALAR(name, TR, TA, TB, expression)                                                                           \
  for (int round = 0; round < ROUNDS; round++) {                                                                       \
    TA a = (TA)any64();                                                                                                \
    TB b = (TB)any64();                                                                                                \
    TR r = (expression);                                                                                               \
    printf("%s -", name), hex(&r, sizeof r), hex(&a, sizeof a), hex(&b, sizeof b), putchar('\n');                      \
  }

static void integers(void) {
  SCALAR("MullU64", u128, u64, u64, (u128)a * b)
  SCALAR("MullS64", __int128, int64_t, int64_t, (__int128)a * b)
  SCALAR("MullU32", u64, uint32_t, uint32_t, (u64)a * b)
  SCALAR("MullS32", int64_t, int32_t, int32_t, (int64_t)a * b)
  SCALAR("MullS8", int16_t, int8_t, int8_t, a * b)
  for (int round = 0; round < 4 * ROUNDS; round++) {
    u64 divisor = any64(), high, low = any64(), q, m;
    if (divisor == 0) continue;
    high = any64() % divisor;
    __asm__("div %4" : "=a"(q), "=d"(m) : "0"(low), "1"(high), "r"(divisor) : "cc");
    printf("DivModU128to64 -"), hex(&m, 8), printf("%016llx", (unsigned long long)q);
    hex(&high, 8), printf("%016llx", (unsigned long long)low), hex(&divisor, 8), putchar('\n');
    __int128 wide = (__int128)(int64_t)any64() * (int32_t)any64();
    int64_t by = (int64_t)any64();
    if (by == 0 || wide / by != (int64_t)(wide / by)) continue;
    q = low = (u64)wide, m = high = (u64)(wide >> 64);
    __asm__("idiv %2" : "+a"(q), "+d"(m) : "r"(by) : "cc");
    printf("DivModS128to64 -"), hex(&m, 8), printf("%016llx", (unsigned long long)q);
    hex(&high, 8), printf("%016llx", (unsigned long long)low), hex(&by, 8), putchar('\n');
  }
  for (int round = 0; round < ROUNDS; round++) {
    u64 a = any64(), b = any64(), r;
    uint32_t crc = (uint32_t)any64();
    u64 in = crc;
#define HELPER2(name, x, y, value)                                                                                     \
  r = (value), printf("%s -", name), hex(&r, 8), hex(&x, 8), hex(&y, 8), putchar('\n')
    HELPER2("amd64g_calculate_pdep", a, b, _pdep_u64(a, b));
    HELPER2("amd64g_calculate_pext", a, b, _pext_u64(a, b));
    HELPER2("amd64g_calc_crc32b", in, a, _mm_crc32_u8(crc, (uint8_t)a));
    HELPER2("amd64g_calc_crc32w", in, a, _mm_crc32_u16(crc, (uint16_t)a));
    HELPER2("amd64g_calc_crc32l", in, a, _mm_crc32_u32(crc, (uint32_t)a));
    HELPER2("amd64g_calc_crc32q", in, a, _mm_crc32_u64(crc, a));
    HELPER2("amd64g_calculate_mmx_pmaddwd", a, b, (u64)_mm_cvtsi128_si64(_mm_madd_epi16(_mm_cvtsi64_si128(a), _mm_cvtsi64_si128(b))));
    HELPER2("amd64g_calculate_mmx_psadbw", a, b, (u64)_mm_cvtsi128_si64(_mm_sad_epu8(_mm_cvtsi64_si128(a), _mm_cvtsi64_si128(b))));
    uint16_t mask = _mm_movemask_epi8(_mm_set_epi64x(a, b));
    printf("GetMSBs8x16 -"), hex(&mask, 2), hex(&a, 8), printf("%016llx\n", (unsigned long long)b);
  }
}

static void vectors(void) {
  BOTH("Add", "8x16", "8x32", add_epi8) BOTH("Add", "16x8", "16x16", add_epi16)
  BOTH("Add", "32x4", "32x8", add_epi32) BOTH("Add", "64x2", "64x4", add_epi64)
  BOTH("Sub", "8x16", "8x32", sub_epi8) BOTH("Sub", "16x8", "16x16", sub_epi16)
  BOTH("Sub", "32x4", "32x8", sub_epi32) BOTH("Sub", "64x2", "64x4", sub_epi64)
  BOTH("QAdd", "8Sx16", "8Sx32", adds_epi8) BOTH("QAdd", "8Ux16", "8Ux32", adds_epu8)
  BOTH("QAdd", "16Sx8", "16Sx16", adds_epi16) BOTH("QAdd", "16Ux8", "16Ux16", adds_epu16)
  BOTH("QSub", "8Sx16", "8Sx32", subs_epi8) BOTH("QSub", "8Ux16", "8Ux32", subs_epu8)
  BOTH("QSub", "16Sx8", "16Sx16", subs_epi16) BOTH("QSub", "16Ux8", "16Ux16", subs_epu16)
  BOTH("CmpEQ", "8x16", "8x32", cmpeq_epi8) BOTH("CmpEQ", "16x8", "16x16", cmpeq_epi16)
  BOTH("CmpEQ", "32x4", "32x8", cmpeq_epi32) BOTH("CmpEQ", "64x2", "64x4", cmpeq_epi64)
  BOTH("CmpGT", "8Sx16", "8Sx32", cmpgt_epi8) BOTH("CmpGT", "16Sx8", "16Sx16", cmpgt_epi16)
  BOTH("CmpGT", "32Sx4", "32Sx8", cmpgt_epi32) BOTH("CmpGT", "64Sx2", "64Sx4", cmpgt_epi64)
  BOTH("Max", "8Sx16", "8Sx32", max_epi8) BOTH("Max", "8Ux16", "8Ux32", max_epu8)
  BOTH("Max", "16Sx8", "16Sx16", max_epi16) BOTH("Max", "16Ux8", "16Ux16", max_epu16)
  BOTH("Max", "32Sx4", "32Sx8", max_epi32) BOTH("Max", "32Ux4", "32Ux8", max_epu32)
  BOTH("Min", "8Sx16", "8Sx32", min_epi8) BOTH("Min", "8Ux16", "8Ux32", min_epu8)
  BOTH("Min", "16Sx8", "16Sx16", min_epi16) BOTH("Min", "16Ux8", "16Ux16", min_epu16)
  BOTH("Min", "32Sx4", "32Sx8", min_epi32) BOTH("Min", "32Ux4", "32Ux8", min_epu32)
  BOTH("Avg", "8Ux16", "8Ux32", avg_epu8) BOTH("Avg", "16Ux8", "16Ux16", avg_epu16)
  BOTH("Mul", "16x8", "16x16", mullo_epi16) BOTH("Mul", "32x4", "32x8", mullo_epi32)
  BOTH("MulHi", "16Sx8", "16Sx16", mulhi_epi16) BOTH("MulHi", "16Ux8", "16Ux16", mulhi_epu16)
  I128("PwExtUSMulQAdd8x16", _mm_maddubs_epi16)
  SWAPPED("QNarrowBin16Sto8Sx16", _mm_packs_epi16) SWAPPED("QNarrowBin16Sto8Ux16", _mm_packus_epi16)
  SWAPPED("QNarrowBin32Sto16Sx8", _mm_packs_epi32) SWAPPED("QNarrowBin32Sto16Ux8", _mm_packus_epi32)
  SWAPPED("InterleaveLO8x16", _mm_unpacklo_epi8) SWAPPED("InterleaveHI8x16", _mm_unpackhi_epi8)
  SWAPPED("InterleaveLO16x8", _mm_unpacklo_epi16) SWAPPED("InterleaveHI16x8", _mm_unpackhi_epi16)
  SWAPPED("InterleaveLO32x4", _mm_unpacklo_epi32) SWAPPED("InterleaveHI32x4", _mm_unpackhi_epi32)
  SWAPPED("InterleaveLO64x2", _mm_unpacklo_epi64) SWAPPED("InterleaveHI64x2", _mm_unpackhi_epi64)
  I128("PermOrZero8x16", _mm_shuffle_epi8)
  BINARY("Perm32x8", __m256i, INTS, _mm256_permutevar8x32_epi32(a, b))
  BINARY("Perm32x4", __m128i, INTS, (__m128i)_mm_permutevar_ps((__m128)a, b))
  SHIFT("ShlN16x8", __m128i, 20, _mm_sll_epi16) SHIFT("ShlN32x4", __m128i, 40, _mm_sll_epi32)
  SHIFT("ShlN64x2", __m128i, 70, _mm_sll_epi64) SHIFT("ShrN16x8", __m128i, 20, _mm_srl_epi16)
  SHIFT("ShrN32x4", __m128i, 40, _mm_srl_epi32) SHIFT("ShrN64x2", __m128i, 70, _mm_srl_epi64)
  SHIFT("SarN16x8", __m128i, 20, _mm_sra_epi16) SHIFT("SarN32x4", __m128i, 40, _mm_sra_epi32)
  SHIFT("ShlN16x16", __m256i, 20, _mm256_sll_epi16) SHIFT("ShlN32x8", __m256i, 40, _mm256_sll_epi32)
  SHIFT("ShlN64x4", __m256i, 70, _mm256_sll_epi64) SHIFT("ShrN16x16", __m256i, 20, _mm256_srl_epi16)
  SHIFT("ShrN32x8", __m256i, 40, _mm256_srl_epi32) SHIFT("ShrN64x4", __m256i, 70, _mm256_srl_epi64)
  SHIFT("SarN16x16", __m256i, 20, _mm256_sra_epi16) SHIFT("SarN32x8", __m256i, 40, _mm256_sra_epi32)
}

static void floats(void) {
  FLOATS("Add", "add", 1) FLOATS("Sub", "sub", 1) FLOATS("Mul", "mul", 1) FLOATS("Div", "div", 1)
  FLOATS("Max", "max", 0) FLOATS("Min", "min", 0)
  FLOATS("CmpEQ", "cmpeq", 0) FLOATS("CmpLT", "cmplt", 0) FLOATS("CmpLE", "cmple", 0) FLOATS("CmpUN", "cmpunord", 0)
  WIDE_FLOATS("Add", "add", 1) WIDE_FLOATS("Sub", "sub", 1) WIDE_FLOATS("Mul", "mul", 1) WIDE_FLOATS("Div", "div", 1)
  WIDE_FLOATS("Max", "max", 0) WIDE_FLOATS("Min", "min", 0)
  UNARY_FLOAT("Sqrt32Fx4", __m128, SINGLES, "vsqrtps %1, %0", 1)
  UNARY_FLOAT("Sqrt64Fx2", __m128d, DOUBLES, "vsqrtpd %1, %0", 1)
  UNARY_FLOAT("Sqrt32Fx8", __m256, SINGLES, "vsqrtps %1, %0", 0)
  UNARY_FLOAT("Sqrt64Fx4", __m256d, DOUBLES, "vsqrtpd %1, %0", 0)
  UNARY_FLOAT("Sqrt32F0x4", __m128, SINGLES, "vsqrtss %1, %1, %0", 0)
  UNARY_FLOAT("Sqrt64F0x2", __m128d, DOUBLES, "vsqrtsd %1, %1, %0", 0)
  CONVERT("I32StoF32x4", __m128i, __m128i, INTS, "vcvtdq2ps %1, %0", "=x", "x")
  CONVERT("F32toI32Sx4", __m128i, __m128i, SINGLES, "vcvtps2dq %1, %0", "=x", "x")
  CONVERT("I32StoF32x8", __m256i, __m256i, INTS, "vcvtdq2ps %1, %0", "=x", "x")
  CONVERT("F32toI32Sx8", __m256i, __m256i, SINGLES, "vcvtps2dq %1, %0", "=x", "x")
  CONVERT("F64toI32S", double, int32_t, DOUBLES, "vcvtsd2si %1, %0", "=r", "x")
  CONVERT("F64toI64S", double, int64_t, DOUBLES, "vcvtsd2si %1, %0", "=r", "x")
  CONVERT("I64StoF64", int64_t, double, INTS, "vxorpd %0, %0, %0; vcvtsi2sd %1, %0, %0", "=&x", "r")
  CONVERT("F64toF32", double, float, DOUBLES, "vcvtsd2ss %1, %1, %0", "=x", "x")
  CONVERT("RoundF64toInt", double, double, DOUBLES, "vroundsd $4, %1, %1, %0", "=x", "x")
  for (int round = 0; round < 4 * ROUNDS; round++) {
    u64 a = anyDouble(), b = anyDouble(), flags, r;
    double x, y, z;
    unsigned rm = 0;
    memcpy(&x, &a, 8), memcpy(&y, &b, 8);
    __asm__("vucomisd %2, %1; pushfq; pop %0" : "=r"(flags) : "x"(x), "x"(y) : "cc");
    uint32_t code = flags & 0x45;
    printf("CmpF64 -"), hex(&code, 4), hex(&a, 8), hex(&b, 8), putchar('\n');
#define SCALAR_FLOAT(name, instruction)                                                                                \
  __asm__("v" instruction " %2, %1, %0" : "=x"(z) : "x"(x), "x"(y));                                                   \
  memcpy(&r, &z, 8), printf("%s -", name), hex(&r, 8), hex(&rm, 4), hex(&a, 8), hex(&b, 8), putchar('\n')
    SCALAR_FLOAT("AddF64", "addsd");
    SCALAR_FLOAT("SubF64", "subsd");
    SCALAR_FLOAT("MulF64", "mulsd");
    SCALAR_FLOAT("DivF64", "divsd");
    uint32_t s = anySingle();
    float f;
    memcpy(&f, &s, 4);
    __asm__("vcvtss2sd %1, %1, %0" : "=x"(z) : "x"(f));
    memcpy(&r, &z, 8), printf("F32toF64 -"), hex(&r, 8), hex(&s, 4), putchar('\n');
  }
}

int main(void) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("sse4.2")) {
    puts("unsupported");
    return 0;
  }
  ARITHMETIC(uint8_t, "b", 0)
  ARITHMETIC(uint16_t, "w", 1)
  ARITHMETIC(uint32_t, "l", 2)
  ARITHMETIC(u64, "q", 3)
  BMI(uint32_t, 0)
  BMI(u64, 1)
  integers();
  vectors();
  floats();
  return 0;
}
