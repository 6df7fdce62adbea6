/* The instructions of WebAssembly (core specification, 4.3) that replay uses, each as a function or macro of its name: what
   wasm-to-c.ts translates into. `m` is linear memory. SPDX-License-Identifier: Apache-2.0 */
#include <emmintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
typedef float f32;
typedef double f64;

#define VECTOR(lane, name) typedef lane name __attribute__((vector_size(16)))
VECTOR(u8, u8x16);
VECTOR(i8, i8x16);
VECTOR(u16, u16x8);
VECTOR(i16, i16x8);
VECTOR(u32, u32x4);
VECTOR(i32, i32x4);
VECTOR(u64, u64x2);
VECTOR(i64, i64x2);
VECTOR(f32, f32x4);
VECTOR(f64, f64x2);
typedef u8x16 v128;

#define INLINE static inline __attribute__((always_inline, unused))

/* ---------------------------------------------------------------- memory */

#define LOAD(name, type, stored)                      \
   INLINE type name(const u8* m, u64 at, u32 offset)  \
   {                                                  \
      stored value;                                   \
      memcpy(&value, m + at + offset, sizeof value);     \
      return value;                                   \
   }
LOAD(i32_load, u32, u32)
LOAD(i64_load, u64, u64)
LOAD(f32_load, f32, f32)
LOAD(f64_load, f64, f64)
LOAD(i32_load8_u, u32, u8)
LOAD(i32_load16_u, u32, u16)
LOAD(i64_load8_u, u64, u8)
LOAD(i64_load16_u, u64, u16)
LOAD(i64_load32_u, u64, u32)
LOAD(v128_load, v128, v128)

#define STORE(name, type, stored)                               \
   INLINE void name(u8* m, u64 at, u32 offset, type given)      \
   {                                                            \
      stored value = given;                                     \
      memcpy(m + at + offset, &value, sizeof value);            \
   }
STORE(i32_store, u32, u32)
STORE(i64_store, u64, u64)
STORE(f32_store, f32, f32)
STORE(f64_store, f64, f64)
STORE(i32_store8, u32, u8)
STORE(i32_store16, u32, u16)
STORE(i64_store8, u64, u8)
STORE(i64_store16, u64, u16)
STORE(i64_store32, u64, u32)
STORE(v128_store, v128, v128)

/* ---------------------------------------------------------------- integers */

/* In C, as the compiler's own may be a function outside. */
INLINE u64 count_bits(u64 a)
{
   a -= a >> 1 & 0x5555555555555555u;
   a = (a & 0x3333333333333333u) + (a >> 2 & 0x3333333333333333u);
   a = (a + (a >> 4)) & 0x0f0f0f0f0f0f0f0fu;
   return a * 0x0101010101010101u >> 56;
}

#define INTEGERS(type, u, i, bits, clz, ctz)                               \
   INLINE u32 type##_eqz(u a) { return a == 0; }                           \
   INLINE u32 type##_eq(u a, u b) { return a == b; }                       \
   INLINE u32 type##_ne(u a, u b) { return a != b; }                       \
   INLINE u32 type##_lt_s(u a, u b) { return (i)a < (i)b; }                \
   INLINE u32 type##_lt_u(u a, u b) { return a < b; }                      \
   INLINE u32 type##_gt_s(u a, u b) { return (i)a > (i)b; }                \
   INLINE u32 type##_gt_u(u a, u b) { return a > b; }                      \
   INLINE u32 type##_le_s(u a, u b) { return (i)a <= (i)b; }               \
   INLINE u32 type##_le_u(u a, u b) { return a <= b; }                     \
   INLINE u32 type##_ge_s(u a, u b) { return (i)a >= (i)b; }               \
   INLINE u32 type##_ge_u(u a, u b) { return a >= b; }                     \
   INLINE u type##_clz(u a) { return a ? clz(a) : bits; }                  \
   INLINE u type##_ctz(u a) { return a ? ctz(a) : bits; }                  \
   INLINE u type##_popcnt(u a) { return count_bits(a); }                   \
   INLINE u type##_add(u a, u b) { return a + b; }                         \
   INLINE u type##_sub(u a, u b) { return a - b; }                         \
   INLINE u type##_mul(u a, u b) { return a * b; }                         \
   INLINE u type##_and(u a, u b) { return a & b; }                         \
   INLINE u type##_or(u a, u b) { return a | b; }                          \
   INLINE u type##_xor(u a, u b) { return a ^ b; }                         \
   INLINE u type##_shl(u a, u b) { return a << (b & (bits - 1)); }         \
   INLINE u type##_shr_s(u a, u b) { return (i)a >> (b & (bits - 1)); }    \
   INLINE u type##_shr_u(u a, u b) { return a >> (b & (bits - 1)); }       \
   INLINE u type##_extend8_s(u a) { return (i)(i8)a; }                     \
   INLINE u type##_extend16_s(u a) { return (i)(i16)a; }
INTEGERS(i32, u32, i32, 32, __builtin_clz, __builtin_ctz)
INTEGERS(i64, u64, i64, 64, __builtin_clzll, __builtin_ctzll)
/* Who divides has asked for a divisor of 0 and an overflow before. */
INLINE u64 i64_div_s(u64 a, u64 b) { return (i64)a / (i64)b; }
INLINE u64 i64_div_u(u64 a, u64 b) { return a / b; }
INLINE u64 i64_rem_s(u64 a, u64 b) { return (i64)a % (i64)b; }
INLINE u64 i64_rem_u(u64 a, u64 b) { return a % b; }
INLINE u64 i64_extend32_s(u64 a) { return (i64)(i32)a; }
INLINE u32 i32_wrap_i64(u64 a) { return a; }
INLINE u64 i64_extend_i32_s(u32 a) { return (i64)(i32)a; }
INLINE u64 i64_extend_i32_u(u32 a) { return a; }

/* ---------------------------------------------------------------- floating point */

#define FLOATS(type, end)                                              \
   INLINE u32 type##_eq(type a, type b) { return a == b; }             \
   INLINE u32 type##_ne(type a, type b) { return a != b; }             \
   INLINE u32 type##_lt(type a, type b) { return a < b; }              \
   INLINE u32 type##_gt(type a, type b) { return a > b; }              \
   INLINE u32 type##_le(type a, type b) { return a <= b; }             \
   INLINE u32 type##_ge(type a, type b) { return a >= b; }             \
   INLINE type type##_abs(type a) { return __builtin_fabs##end(a); }   \
   INLINE type type##_neg(type a) { return -a; }                       \
   INLINE type type##_ceil(type a) { return ceil##end(a); }            \
   INLINE type type##_floor(type a) { return floor##end(a); }          \
   INLINE type type##_trunc(type a) { return trunc##end(a); }          \
   INLINE type type##_nearest(type a) { return rint##end(a); }         \
   INLINE type type##_sqrt(type a) { return sqrt##end(a); }            \
   INLINE type type##_add(type a, type b) { return a + b; }            \
   INLINE type type##_sub(type a, type b) { return a - b; }            \
   INLINE type type##_mul(type a, type b) { return a * b; }            \
   INLINE type type##_div(type a, type b) { return a / b; }
FLOATS(f32, f)
FLOATS(f64, )
#define REINTERPRET(name, to, from)      \
   INLINE to name(from a)                \
   {                                     \
      to value;                          \
      memcpy(&value, &a, sizeof value);  \
      return value;                      \
   }
REINTERPRET(i32_reinterpret_f32, u32, f32)
REINTERPRET(i64_reinterpret_f64, u64, f64)
REINTERPRET(f32_reinterpret_i32, f32, u32)
REINTERPRET(f64_reinterpret_i64, f64, u64)
INLINE f32 f32_demote_f64(f64 a) { return a; }
INLINE f64 f64_promote_f32(f32 a) { return a; }
INLINE f64 f64_convert_i32_s(u32 a) { return (i32)a; }
INLINE f64 f64_convert_i64_s(u64 a) { return (i64)a; }
#define TRUNC_SAT(name, u, i, f, least, most, limit) \
   INLINE u name(f a)                                \
   {                                                 \
      if (a != a) return 0;                          \
      if (a >= limit) return most;                   \
      if (a < -limit) return (u)least;               \
      return (i)a;                                   \
   }
TRUNC_SAT(i32_trunc_sat_f32_s, u32, i32, f32, INT32_MIN, INT32_MAX, 0x1p31f)
TRUNC_SAT(i32_trunc_sat_f64_s, u32, i32, f64, INT32_MIN, INT32_MAX, 0x1p31)
TRUNC_SAT(i64_trunc_sat_f64_s, u64, i64, f64, INT64_MIN, INT64_MAX, 0x1p63)

/* ---------------------------------------------------------------- vectors */

#define BINARY(name, vector, operator) \
   INLINE v128 name(v128 a, v128 b) { return (v128)((vector)a operator(vector) b); }
#define INTRINSIC(name, intrinsic) \
   INLINE v128 name(v128 a, v128 b) { return (v128)intrinsic((__m128i)a, (__m128i)b); }
#define SHIFT(name, vector, lane, operator, bits) \
   INLINE v128 name(v128 a, u32 by) { return (v128)((vector)a operator (lane)(by & (bits - 1))); }
#define EACH(name, to, from, count, expression)         \
   INLINE v128 name(v128 left)                          \
   {                                                    \
      from a = (from)left;                              \
      to r = { 0 };                                     \
      for (int i = 0; i < count; i++) r[i] = expression; \
      return (v128)r;                                   \
   }
#define EACH2(name, to, from, count, expression)        \
   INLINE v128 name(v128 left, v128 right)              \
   {                                                    \
      from a = (from)left, b = (from)right;             \
      to r = { 0 };                                     \
      for (int i = 0; i < count; i++) r[i] = expression; \
      return (v128)r;                                   \
   }

#define LANES(u, i, shape, ulane, ilane, bits)        \
   BINARY(shape##_eq, i, ==)                          \
   BINARY(shape##_ne, i, !=)                          \
   BINARY(shape##_gt_s, i, >)                         \
   BINARY(shape##_add, u, +)                          \
   BINARY(shape##_sub, u, -)                          \
   SHIFT(shape##_shl, u, ulane, <<, bits)             \
   SHIFT(shape##_shr_s, i, ilane, >>, bits)           \
   SHIFT(shape##_shr_u, u, ulane, >>, bits)
LANES(u8x16, i8x16, i8x16, u8, i8, 8)
LANES(u16x8, i16x8, i16x8, u16, i16, 16)
LANES(u32x4, i32x4, i32x4, u32, i32, 32)
LANES(u64x2, i64x2, i64x2, u64, i64, 64)
BINARY(i16x8_mul, u16x8, *)
BINARY(i32x4_mul, u32x4, *)

#define MIN_MAX(shape, vector, count, end)                                        \
   EACH2(shape##_min_##end, vector, vector, count, a[i] < b[i] ? a[i] : b[i])     \
   EACH2(shape##_max_##end, vector, vector, count, a[i] > b[i] ? a[i] : b[i])
MIN_MAX(i8x16, i8x16, 16, s)
MIN_MAX(i8x16, u8x16, 16, u)
MIN_MAX(i16x8, i16x8, 8, s)
MIN_MAX(i16x8, u16x8, 8, u)
MIN_MAX(i32x4, i32x4, 4, s)
MIN_MAX(i32x4, u32x4, 4, u)
INTRINSIC(i8x16_add_sat_s, _mm_adds_epi8)
INTRINSIC(i8x16_add_sat_u, _mm_adds_epu8)
INTRINSIC(i8x16_sub_sat_s, _mm_subs_epi8)
INTRINSIC(i8x16_sub_sat_u, _mm_subs_epu8)
INTRINSIC(i16x8_add_sat_s, _mm_adds_epi16)
INTRINSIC(i16x8_add_sat_u, _mm_adds_epu16)
INTRINSIC(i16x8_sub_sat_s, _mm_subs_epi16)
INTRINSIC(i16x8_sub_sat_u, _mm_subs_epu16)
INTRINSIC(i8x16_avgr_u, _mm_avg_epu8)
INTRINSIC(i16x8_avgr_u, _mm_avg_epu16)
INTRINSIC(i32x4_dot_i16x8_s, _mm_madd_epi16)
INTRINSIC(i8x16_narrow_i16x8_s, _mm_packs_epi16)
INTRINSIC(i8x16_narrow_i16x8_u, _mm_packus_epi16)
INTRINSIC(i16x8_narrow_i32x4_s, _mm_packs_epi32)
INLINE u16 saturate_u16(i32 a) { return a < 0 ? 0 : a > 0xffff ? 0xffff : a; }
EACH2(i16x8_narrow_i32x4_u, u16x8, i32x4, 8, saturate_u16(i < 4 ? a[i] : b[i - 4]))
EACH(i16x8_extend_low_i8x16_s, i16x8, i8x16, 8, a[i])
EACH(i16x8_extend_high_i8x16_s, i16x8, i8x16, 8, a[i + 8])
EACH(i16x8_extend_low_i8x16_u, u16x8, u8x16, 8, a[i])
EACH(i16x8_extend_high_i8x16_u, u16x8, u8x16, 8, a[i + 8])
EACH(i32x4_extend_low_i16x8_s, i32x4, i16x8, 4, a[i])
EACH(i32x4_extend_high_i16x8_s, i32x4, i16x8, 4, a[i + 4])
EACH(i16x8_extadd_pairwise_i8x16_u, u16x8, u8x16, 8, a[2 * i] + a[2 * i + 1])
EACH(i32x4_extadd_pairwise_i16x8_u, u32x4, u16x8, 4, a[2 * i] + a[2 * i + 1])
EACH2(i32x4_extmul_low_i16x8_s, i32x4, i16x8, 4, a[i] * b[i])
EACH2(i32x4_extmul_high_i16x8_s, i32x4, i16x8, 4, a[i + 4] * b[i + 4])
EACH2(i32x4_extmul_low_i16x8_u, u32x4, u16x8, 4, (u32)a[i] * b[i])
EACH2(i32x4_extmul_high_i16x8_u, u32x4, u16x8, 4, (u32)a[i + 4] * b[i + 4])

BINARY(v128_and, u64x2, &)
BINARY(v128_or, u64x2, |)
BINARY(v128_xor, u64x2, ^)
INLINE v128 v128_not(v128 a) { return ~a; }
INLINE v128 v128_bitselect(v128 a, v128 b, v128 mask) { return (a & mask) | (b & ~mask); }
INLINE u32 i8x16_bitmask(v128 a) { return _mm_movemask_epi8((__m128i)a); }
INLINE u32 v128_any_true(v128 a)
{
   return _mm_movemask_epi8(_mm_cmpeq_epi8((__m128i)a, _mm_setzero_si128())) != 0xffff;
}
EACH2(i8x16_swizzle, u8x16, u8x16, 16, b[i] < 16 ? a[b[i]] : 0)
#define i8x16_shuffle(a, b, ...) __builtin_shuffle(a, b, (u8x16) { __VA_ARGS__ })

#define SPLAT(name, vector, lane, type) \
   INLINE v128 name(type a) { return (v128)((vector){ 0 } + (lane)a); }
SPLAT(i8x16_splat, u8x16, u8, u32)
SPLAT(i16x8_splat, u16x8, u16, u32)
SPLAT(i32x4_splat, u32x4, u32, u32)
SPLAT(i64x2_splat, u64x2, u64, u64)
INLINE v128 f64x2_splat(f64 a) { return (v128)(f64x2){ a, a }; }
#define LANE(shape, vector, type)                                                            \
   INLINE type shape##_extract_lane(v128 a, int lane) { return ((vector)a)[lane]; }          \
   INLINE v128 shape##_replace_lane(v128 a, type with, int lane)                             \
   {                                                                                         \
      vector r = (vector)a;                                                                  \
      r[lane] = with;                                                                        \
      return (v128)r;                                                                        \
   }
LANE(i32x4, u32x4, u32)
LANE(i64x2, u64x2, u64)
LANE(f32x4, f32x4, f32)
LANE(f64x2, f64x2, f64)

#define FLOAT_LANES(shape, end, count)                                               \
   BINARY(shape##_eq, shape, ==)                                                     \
   BINARY(shape##_ne, shape, !=)                                                     \
   BINARY(shape##_lt, shape, <)                                                      \
   BINARY(shape##_le, shape, <=)                                                     \
   BINARY(shape##_ge, shape, >=)                                                     \
   BINARY(shape##_add, shape, +)                                                     \
   BINARY(shape##_sub, shape, -)                                                     \
   BINARY(shape##_mul, shape, *)                                                     \
   BINARY(shape##_div, shape, /)                                                     \
   INLINE v128 shape##_sqrt(v128 a) { return (v128)_mm_sqrt_##end((shape)a); }       \
   EACH2(shape##_pmin, shape, shape, count, b[i] < a[i] ? b[i] : a[i])               \
   EACH2(shape##_pmax, shape, shape, count, a[i] < b[i] ? b[i] : a[i])
FLOAT_LANES(f32x4, ps, 4)
FLOAT_LANES(f64x2, pd, 2)
EACH(f32x4_ceil, f32x4, f32x4, 4, ceilf(a[i]))
EACH(f32x4_floor, f32x4, f32x4, 4, floorf(a[i]))
EACH(f32x4_trunc, f32x4, f32x4, 4, truncf(a[i]))
EACH(f32x4_nearest, f32x4, f32x4, 4, rintf(a[i]))
EACH(i32x4_trunc_sat_f32x4_s, u32x4, f32x4, 4, i32_trunc_sat_f32_s(a[i]))
EACH(f32x4_convert_i32x4_s, f32x4, i32x4, 4, a[i])
