/* Reuse distances (analyses/reuse/references.ts) of all references that need no room: the tables are those of TypeScript, which
   takes all other rows, and does what these do, too.

   SPDX-License-Identifier: Apache-2.0 */

/* As in references.ts, line-numbers.ts, lru-stack.ts and distances.ts. */
enum { R_NOW, R_GONE_COUNT, R_IN_WINDOW, R_LAST_LOW, R_LAST_HIGH, R_LINE_BITS, R_TRAIL_COUNT, R_COLD_BIN, R_SPANS, R_STATE_WORDS };
#define R_UNKNOWN -2
#define R_PAGE_BITS 6
#define R_TOP 16
#define R_STEP_BITS 4

struct references {
   i32* state;
   const u32* sites;
   const u64* addresses;
   const u16* sizes;
   const i32* starts;
   f64 *counts, *by_distance;
   const f64* pages;
   const i32* firsts;
   i32 *top, *times, *lines, *gone, *tree, *trail;
   size_t rows, site_count, sizes_count, counts_size, distances, cached, times_size, lines_size, gone_size, tree_size, trail_size;
};

/* The number of the line that an address is in, or -1. */
static i64 line_of(const struct references* r, u64 address)
{
   u32 bits = r->state[R_LINE_BITS];
   u64 page = address >> (bits + R_PAGE_BITS);
   u32 slot = page & (r->cached - 1);
   if (r->pages[slot] != (f64)page) return -1;
   return r->firsts[slot] + (i64)(address >> bits & ((1 << R_PAGE_BITS) - 1));
}

static u32 bin_of(u32 distance)
{
   if (distance < 1 << R_STEP_BITS) return distance;
   u32 octave = 31 - R_STEP_BITS - __builtin_clz(distance);
   return (octave << R_STEP_BITS) + (distance >> octave);
}

/* Takes a line from below the array of the topmost ones; returns its distance, or -1. */
static i32 take_up(struct references* r, i32 line)
{
   i32* state = r->state;
   u32 time = r->times[line], word = time >> 5;
   if (time == 0) return -1;
   u32 earlier = count_bits((u32)r->gone[word] & ((2u << (time & 31)) - 1));
   for (u32 i = word; i > 0; i &= i - 1) earlier += r->tree[i];
   u32 later = state[R_NOW] - 1 - time - (state[R_GONE_COUNT] - earlier);
   r->gone[word] |= 1u << (time & 31);
   for (u32 i = word + 1; i < r->tree_size; i += i & -i) r->tree[i]++;
   state[R_GONE_COUNT]++;
   return R_TOP + later;
}

static void refer_to(struct references* r, i32 line, i32 start)
{
   i32 *top = r->top, *state = r->state, above = top[0], i = 0, distance = 0;
   if (state[R_TRAIL_COUNT] >= 0) r->trail[state[R_TRAIL_COUNT]++] = line;
   top[0] = line;
   if (above != line) {
      for (i = 1; i < R_TOP; i++) {
         i32 found = top[i];
         top[i] = above;
         if (found == line) break;
         above = found;
      }
      distance = i;
      if (i == R_TOP) {
         distance = take_up(r, line);
         if (above >= 0) {
            r->times[above] = state[R_NOW];
            r->lines[state[R_NOW]++] = above;
         }
      }
   }
   if (distance < 0) {
      state[R_IN_WINDOW]++;
      r->counts[start + state[R_COLD_BIN]]++;
      return;
   }
   if (distance >= state[R_IN_WINDOW]) state[R_IN_WINDOW]++;
   r->counts[start + bin_of(distance)]++;
   if (distance > 0) r->by_distance[distance]++;
}

/* Takes rows from number `at` to `end`; returns the number of the first that is left to TypeScript, or `end`. */
static u32 take_references(struct references* r, u32 at, u32 end)
{
   i32* state = r->state;
   u32 bits = state[R_LINE_BITS], line_bytes = 1u << bits;
   for (; at < end; at++) {
      u32 site = r->sites[at];
      if (site >= r->site_count || site >= r->sizes_count) return at;
      i32 start = r->starts[site];
      if (start < 0) {
         if (start == R_UNKNOWN) return at;
         continue;
      }
      u64 address = r->addresses[at];
      u32 within = address & (line_bytes - 1), size = r->sizes[site], low = (u32)address >> bits, high = address >> 32;
      int is_two = within + size > line_bytes;
      if (!is_two && (i32)low == state[R_LAST_LOW] && (i32)high == state[R_LAST_HIGH]) {
         r->counts[start]++;
         continue;
      }
      i64 line = line_of(r, address), next = 0;
      u64 last = address;
      if (is_two) {
         last = address - within + line_bytes;
         next = within + size > 2 * line_bytes ? -1 : line_of(r, last);
      }
      if (line < 0 || next < 0 || (size_t)line >= r->times_size || (size_t)next >= r->times_size
          || (size_t)state[R_NOW] + 2 > r->lines_size || (state[R_TRAIL_COUNT] >= 0 && (size_t)state[R_TRAIL_COUNT] + 2 > r->trail_size))
         return at;
      refer_to(r, line, start);
      if (is_two) {
         refer_to(r, next, start);
         r->counts[start + state[R_SPANS]]++;
      }
      state[R_LAST_LOW] = (u32)last >> bits;
      state[R_LAST_HIGH] = last >> 32;
   }
   return at;
}
