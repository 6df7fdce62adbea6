/* Raw records to the bodies of Arrow record batches, for the tables that the tool writes: what convert.ts and
   arrow-file.ts do for any table, without the time that a JavaScript engine takes to get up to speed, which in a
   short recording is most of it. A module for Node, loaded by native.ts.

   SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "grind_columns.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* As in convert.ts and lz4.ts. */
#define MAX_BATCH_ROWS (1u << 16)
#define MAX_BATCH_BYTES (4u << 20)
#define MAX_BLOCK_BYTES (4u << 20)
#define SMALLEST_COMPRESSED 64

/* ---------------------------------------------------------------- LZ4 */

#define HASH_BITS 12
/* The format's rules: a match is of 4 bytes or more, the last one begins 12 bytes before the end or earlier and ends
   5 bytes before it or earlier, and lies no more than 65535 bytes back. */
#define MIN_MATCH 4
#define LAST_START 12
#define LAST_LITERALS 5
#define FARTHEST 65535
/* After so many places without a match the steps become longer. */
#define PATIENCE 6

static u64 read64(const u8* p)
{
   u64 value;
   memcpy(&value, p, 8);
   return value;
}

static u32 read32(const u8* p)
{
   u32 value;
   memcpy(&value, p, 4);
   return value;
}

/* Of five bytes. */
static u32 hash_of(u64 bytes) { return (bytes << 24) * 0x9E3779B97F4A7C15u >> (64 - HASH_BITS); }

/* The part of a length that does not fit its four bits of the token. */
static u8* put_length(u8* out, u32 rest)
{
   for (; rest >= 255; rest -= 255) *out++ = 255;
   *out++ = rest;
   return out;
}

/* Literals, and a match unless its length is 0; NULL when they do not fit. */
static u8* put_sequence(u8* out, const u8* out_end, const u8* literals, u32 count, u32 offset, u32 length)
{
   if (out_end - out < (int64_t)count + count / 255 + length / 255 + 8) return NULL;
   u8* token = out++;
   u32 match = length ? length - MIN_MATCH : 0;
   *token = (count < 15 ? count : 15) << 4 | (match < 15 ? match : 15);
   if (count >= 15) out = put_length(out, count - 15);
   memcpy(out, literals, count);
   out += count;
   if (length == 0) return out;
   *out++ = offset;
   *out++ = offset >> 8;
   if (match >= 15) out = put_length(out, match - 15);
   return out;
}

/* Compresses one block; 0 when it does not become smaller than `room`. */
static u32 compress_block(const u8* in, u32 size, u8* out, u32 room)
{
   static u32 table[1 << HASH_BITS];
   const u8 *at = in, *anchor = in, *end = in + size;
   u8 *to = out, *to_end = out + room;
   if (size > LAST_START) {
      const u8 *last_start = end - LAST_START, *match_end = end - LAST_LITERALS;
      memset(table, 0, sizeof table);
      at++; /* position 0 stands for none, too: a wrong guess is found out */
      for (u32 misses = 1 << PATIENCE; at < last_start;) {
         u32* place = &table[hash_of(read64(at))];
         const u8* match = in + *place;
         *place = at - in;
         if (read32(match) != read32(at) || at - match > FARTHEST || match == at) {
            at += misses++ >> PATIENCE;
            continue;
         }
         while (at > anchor && match > in && at[-1] == match[-1]) at--, match--;
         const u8 *p = at + MIN_MATCH, *q = match + MIN_MATCH;
         while (p + 8 <= match_end) {
            u64 differing = read64(p) ^ read64(q);
            if (differing) {
               p += __builtin_ctzll(differing) >> 3;
               goto ended;
            }
            p += 8;
            q += 8;
         }
         while (p < match_end && *p == *q) p++, q++;
      ended:
         if (!(to = put_sequence(to, to_end, anchor, at - anchor, at - match, p - at))) return 0;
         anchor = at = p;
         if (at < last_start) table[hash_of(read64(at - 2))] = at - 2 - in;
         misses = 1 << PATIENCE;
      }
   }
   to = put_sequence(to, to_end, anchor, end - anchor, 0, 0);
   return to ? to - out : 0;
}

/* ---------------------------------------------------------------- buffers of the body */

/* Magic number, independent blocks without checksums, blocks of up to 4 MiB, checksum of those flags. */
static const u8 frame_start[7] = { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73 };
/* In the size word of a block: its bytes are not compressed. */
#define STORED 0x80000000u

static u8 *body, *body_end; /* where the next buffer goes */
static u8* body_start;
static u32* regions; /* pairs: offset in the body, size */

static void put_word(u8* to, u32 word) { memcpy(to, &word, 4); }

/* The size of the frame at `out`, 0 when it would not be smaller than the bytes. */
static u32 compress_frame(const u8* bytes, u32 size, u8* out)
{
   if (size < SMALLEST_COMPRESSED) return 0;
   u8 *to = out, *end = out + size;
   memcpy(to, frame_start, sizeof frame_start);
   to += sizeof frame_start;
   for (u32 at = 0; at < size;) {
      u32 n = size - at < MAX_BLOCK_BYTES ? size - at : MAX_BLOCK_BYTES;
      if (end - to < 16) return 0;
      u32 room = end - to - 8, packed = compress_block(bytes + at, n, to + 4, room < n ? room : n);
      if (packed == 0 && room < n) return 0;
      put_word(to, packed ? packed : STORED | n);
      if (packed == 0) memcpy(to + 4, bytes + at, n);
      to += 4 + (packed ? packed : n);
      at += n;
   }
   put_word(to, 0);
   return to + 4 - out;
}

/* Appends a buffer to the body; 0 when there is no room. */
static int put_buffer(const void* bytes, u32 size)
{
   *regions++ = body - body_start;
   *regions++ = 0;
   if (size == 0) return 1;
   if (body_end - body < (int64_t)size + 32) return 0;
   /* Before the bytes stands their uncompressed size, or -1 when they are not compressed. */
   u32 packed = compress_frame(bytes, size, body + 8);
   int64_t whole = packed ? (int64_t)size : -1;
   memcpy(body, &whole, 8);
   if (packed == 0) memcpy(body + 8, bytes, packed = size);
   u32 used = 8 + packed;
   regions[-1] = used;
   for (; used & 7; used++) body[used] = 0;
   body += used;
   return 1;
}

/* ---------------------------------------------------------------- records */

typedef struct {
   u32 count, room;
   u32* offsets; /* in bytes */
   u32* order;   /* number among all records of the piece */
} Records;

static Records records[TABLE_COUNT];
static const u8* piece;

static u32 word_at(u32 offset) { return read32(piece + offset); }

/* Finds and checks the records of a piece. 0, or what is wrong with the one at *at: 1 its size, 2 its table, 3 its size
   for this table, 4 what it needs. */
static int scan(u32 size, u32* count, u32* at, u64* needed)
{
   for (u32 t = 0; t < TABLE_COUNT; t++) records[t].count = 0;
   *count = *at = *needed = 0;
   while (*at + 8 <= size) {
      u32 length = word_at(*at), t = word_at(*at + 4);
      if (length == 0) return 0;
      if (length & 7 || length > size - *at) return 1;
      if (t >= TABLE_COUNT) return 2;
      const Layout* l = &layouts[t];
      u64 sum = l->fixed_size;
      if (sum > length) return 3;
      for (u32 i = 0; i < l->field_count; i++)
         if (l->fields[i].variable) sum += word_at(*at + l->fields[i].offset);
      *needed = sum;
      if (((sum + 7) & ~7ull) != length) return 4;
      Records* r = &records[t];
      if (r->count == r->room) {
         r->room = r->room ? 2 * r->room : 256;
         r->offsets = realloc(r->offsets, r->room * sizeof *r->offsets);
         r->order = realloc(r->order, r->room * sizeof *r->order);
         if (!r->offsets || !r->order) abort();
      }
      r->offsets[r->count] = *at;
      r->order[r->count++] = (*count)++;
      *at += length;
   }
   return 0;
}

static int is_utf8(const u8* p, u32 size)
{
   const u8* end = p + size;
   while (p < end) {
      if (end - p >= 8 && !(read64(p) & 0x8080808080808080u)) {
         p += 8;
         continue;
      }
      u32 c = *p++, more, least;
      if (c < 0x80) continue;
      if (c >= 0xc2 && c <= 0xdf) c &= 0x1f, more = 1, least = 0x80;
      else if (c >= 0xe0 && c <= 0xef) c &= 0x0f, more = 2, least = 0x800;
      else if (c >= 0xf0 && c <= 0xf4) c &= 0x07, more = 3, least = 0x10000;
      else return 0;
      if (end - p < more) return 0;
      for (; more; more--, p++) {
         if ((*p & 0xc0) != 0x80) return 0;
         c = c << 6 | (*p & 0x3f);
      }
      if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
   }
   return 1;
}

/* ---------------------------------------------------------------- batches */

static u8* scratch; /* for a column, before it is compressed */
static u32* tails;  /* per row: where the bytes of its next variable column begin */

static int put_fixed(const Field* f, const u32* offsets, u32 rows)
{
   const u8* base = piece + f->offset;
   if (f->bit) {
      memset(scratch, 0, (rows + 7) / 8);
      for (u32 i = 0; i < rows; i++)
         if (base[offsets[i]]) scratch[i / 8] |= 1 << i % 8;
      return put_buffer(scratch, (rows + 7) / 8);
   }
   switch (f->width) {
      case 8:
         for (u32 i = 0; i < rows; i++) memcpy(scratch + 8 * i, base + offsets[i], 8);
         break;
      case 4:
         for (u32 i = 0; i < rows; i++) memcpy(scratch + 4 * i, base + offsets[i], 4);
         break;
      case 2:
         for (u32 i = 0; i < rows; i++) memcpy(scratch + 2 * i, base + offsets[i], 2);
         break;
      default:
         for (u32 i = 0; i < rows; i++) scratch[i] = base[offsets[i]];
   }
   return put_buffer(scratch, rows * f->width);
}

/* 0 when there is no room, -1 when a text is not UTF-8. */
static int put_variable(const Field* f, const u32* offsets, u32 rows)
{
   u32 size = 0;
   u32* ends = (u32*)scratch;
   ends[0] = 0;
   for (u32 i = 0; i < rows; i++) ends[i + 1] = size += word_at(offsets[i] + f->offset);
   u8* bytes = scratch + 4 * (rows + 1);
   for (u32 i = 0; i < rows; i++) {
      u32 n = ends[i + 1] - ends[i];
      memcpy(bytes + ends[i], piece + tails[i], n);
      tails[i] += n;
   }
   if (f->text && !is_utf8(bytes, size)) return -1;
   return put_buffer(ends, 4 * (rows + 1)) && put_buffer(bytes, size);
}

/* Makes the body of the record batch that begins with record `from` of a table. The number of its rows, or 0 when there
   is no room, -1 when a text is not UTF-8. */
static int batch(u32 table, u32 from, u32 process, u64 first_event)
{
   const Layout* l = &layouts[table];
   const Records* r = &records[table];
   const u32* offsets = r->offsets + from;
   u32 rows = 0, bytes = 0;
   while (rows < MAX_BATCH_ROWS && from + rows < r->count && bytes < MAX_BATCH_BYTES) bytes += word_at(offsets[rows++]);
   static u32 scratch_size, tails_room;
   /* A column takes at most what its records take, or a word for each row and one more, or 8 bytes for each row. */
   if (bytes + 8 * rows + 64 > scratch_size) {
      scratch_size = 2 * (bytes + 8 * rows + 64);
      free(scratch);
      if (!(scratch = malloc(scratch_size))) abort();
   }
   if (rows > tails_room) {
      tails_room = 2 * rows;
      free(tails);
      if (!(tails = malloc(tails_room * sizeof *tails))) abort();
   }
   for (u32 i = 0; i < rows; i++) tails[i] = offsets[i] + l->fixed_size;
   for (u32 i = 0; i < rows; i++) memcpy(scratch + 4 * i, &process, 4);
   if (!put_buffer(scratch, 4 * rows)) return 0;
   for (u32 i = 0; i < rows; i++) {
      u64 event = first_event + r->order[from + i];
      memcpy(scratch + 8 * i, &event, 8);
   }
   if (!put_buffer(scratch, 8 * rows)) return 0;
   for (u32 i = 0; i < l->field_count; i++) {
      const Field* f = &l->fields[i];
      int done = f->variable ? put_variable(f, offsets, rows) : put_fixed(f, offsets, rows);
      if (done <= 0) return done;
   }
   return rows;
}

/* ---------------------------------------------------------------- the module

   The few declarations of Node's stable interface that it needs, whose header not every Node brings. */

typedef struct Env* Env;
typedef struct Value* Value;
typedef struct Info* Info;
extern int napi_create_function(Env, const char*, size_t, Value (*)(Env, Info), void*, Value*);
extern int napi_set_named_property(Env, Value, const char*, Value);
extern int napi_get_cb_info(Env, Info, size_t*, Value*, Value*, void**);
extern int napi_get_typedarray_info(Env, Value, int*, size_t*, void**, Value*, size_t*);
extern int napi_get_value_uint32(Env, Value, u32*);
extern int napi_get_value_double(Env, Value, double*);
extern int napi_create_int32(Env, int, Value*);
extern int napi_throw_error(Env, const char*, const char*);

#define ARGUMENTS 5

static int arguments(Env env, Info info, Value* values)
{
   size_t count = ARGUMENTS;
   return napi_get_cb_info(env, info, &count, values, NULL, NULL) == 0;
}

static void* array(Env env, Value value, u32* length)
{
   int type;
   size_t count;
   void* data;
   if (napi_get_typedarray_info(env, value, &type, &count, &data, NULL, NULL) != 0 || count > 0xffffffffu) return NULL;
   *length = count;
   static u8 nothing[8];
   return count ? data : nothing;
}

static Value number(Env env, int value)
{
   Value result = NULL;
   napi_create_int32(env, value, &result);
   return result;
}

static Value fail(Env env)
{
   napi_throw_error(env, NULL, "convert: bad arguments");
   return NULL;
}

/* scan(piece: Uint8Array, found: Uint32Array): number, as of scan(). `found`: how many records, where it stopped, what that
   record needs (lower and upper half), then the count of each table's records. The piece must stay until its last batch
   was made. */
static Value js_scan(Env env, Info info)
{
   Value values[ARGUMENTS];
   u32 size = 0, room = 0;
   if (!arguments(env, info, values)) return fail(env);
   piece = array(env, values[0], &size);
   u32* found = array(env, values[1], &room);
   if (piece == NULL || found == NULL || room < 4 + TABLE_COUNT) return fail(env);
   u64 needed;
   int broken = scan(size, &found[0], &found[1], &needed);
   found[2] = needed;
   found[3] = needed >> 32;
   for (u32 t = 0; t < TABLE_COUNT; t++) found[4 + t] = records[t].count;
   return number(env, broken);
}

/* offsetOf(table, index): where the record begins in the piece. */
static Value js_offset(Env env, Info info)
{
   Value values[ARGUMENTS];
   u32 table, index;
   if (!arguments(env, info, values) || napi_get_value_uint32(env, values[0], &table) != 0
       || napi_get_value_uint32(env, values[1], &index) != 0 || table >= TABLE_COUNT || index >= records[table].count)
      return fail(env);
   return number(env, records[table].offsets[index]);
}

/* batch(place: Uint32Array, firstEvent, body: Uint8Array, regions: Uint32Array): number. `place`: table, first record,
   process; then comes the body's size. `regions`: offset and size of each of the body's buffers. */
static Value js_batch(Env env, Info info)
{
   Value values[ARGUMENTS];
   u32 place_size = 0, body_room = 0, regions_room = 0;
   double first_event;
   if (!arguments(env, info, values)) return fail(env);
   u32* place = array(env, values[0], &place_size);
   body_start = body = array(env, values[2], &body_room);
   regions = array(env, values[3], &regions_room);
   if (place == NULL || body == NULL || regions == NULL || napi_get_value_double(env, values[1], &first_event) != 0
       || place_size < 4 || place[0] >= TABLE_COUNT || place[1] >= records[place[0]].count || regions_room < 2 * MOST_BUFFERS)
      return fail(env);
   body_end = body + body_room;
   int rows = batch(place[0], place[1], place[2], first_event);
   place[3] = body - body_start;
   return number(env, rows);
}

/* frame(bytes: Uint8Array, out: Uint8Array): number, the size of the LZ4 frame, or 0 when it is not smaller than the bytes.
   `out` has as much room as there are bytes. */
static Value js_frame(Env env, Info info)
{
   Value values[ARGUMENTS];
   u32 size = 0, room = 0;
   if (!arguments(env, info, values)) return fail(env);
   u8* bytes = array(env, values[0], &size);
   u8* out = array(env, values[1], &room);
   if (bytes == NULL || out == NULL || room < size) return fail(env);
   return number(env, compress_frame(bytes, size, out));
}

/* reserve(fd, sizeBytes): number, 0 or the number of the error. */
static Value js_reserve(Env env, Info info)
{
   Value values[ARGUMENTS];
   u32 fd, size;
   if (!arguments(env, info, values) || napi_get_value_uint32(env, values[0], &fd) != 0
       || napi_get_value_uint32(env, values[1], &size) != 0)
      return fail(env);
   return number(env, posix_fallocate(fd, 0, size));
}

__attribute__((visibility("default"))) Value napi_register_module_v1(Env env, Value exports)
{
   static const struct { const char* name; Value (*f)(Env, Info); } functions[] = {
      { "scan", js_scan }, { "offsetOf", js_offset }, { "batch", js_batch }, { "frame", js_frame }, { "reserve", js_reserve }
   };
   for (u32 i = 0; i < sizeof functions / sizeof *functions; i++) {
      Value f;
      if (napi_create_function(env, functions[i].name, strlen(functions[i].name), functions[i].f, NULL, &f) == 0)
         napi_set_named_property(env, exports, functions[i].name, f);
   }
   return exports;
}
