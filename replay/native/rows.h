/* Loops over many rows of numbers (replay/rows.ts, where they are said in TypeScript, too).

   SPDX-License-Identifier: Apache-2.0 */

static u32 row_hash(u32 low, u32 high)
{
   u32 hash = (low ^ high * 0x85ebca6bu) * 0x9e3779b1u;
   return hash ^ hash >> 15;
}

/* Slots of open addressing for so many rows: a power of two, at least twice as many. NULL where there is no memory. */
static u32* make_slots(u32 count, u32* mask)
{
   size_t size = 16;
   while (size < 2 * (size_t)count) size *= 2;
   *mask = size - 1;
   return calloc(size, sizeof(u32));
}

#define ROWS_MOST_COLUMNS 4

/* Numbers rows from 0 by what some columns have there, in order of appearance; the number of groups, or -1. `at` says which row
   of the columns a row is (NULL: its own); one that is none (-1) is like no other. */
static i64 group_rows(const u32* const* columns, u32 column_count, const i32* at, u32 count, u32* groups, u32* firsts)
{
   u32 mask, found = 0, *slots = make_slots(count, &mask);
   if (slots == NULL) return -1;
   for (u32 row = 0; row < count; row++) {
      i64 i = at ? at[row] : (i64)row;
      if (i < 0) {
         groups[row] = found;
         firsts[found++] = row;
         continue;
      }
      u32 hash = 0;
      for (u32 c = 0; c < column_count; c++) hash = row_hash(columns[c][i], hash);
      for (u32 slot = hash & mask;; slot = (slot + 1) & mask) {
         if (slots[slot] == 0) {
            slots[slot] = found + 1;
            groups[row] = found;
            firsts[found++] = row;
            break;
         }
         u32 first = firsts[slots[slot] - 1], c = 0;
         i64 other = at ? at[first] : (i64)first;
         while (c < column_count && columns[c][other] == columns[c][i]) c++;
         if (c < column_count) continue;
         groups[row] = slots[slot] - 1;
         break;
      }
   }
   free(slots);
   return found;
}

/* Puts rows of two words into free slots of open addressing: number of the row + 1. */
static void fill_slots(const u32* words, u32 count, u32* slots, u32 mask)
{
   for (u32 row = 0; row < count; row++) {
      u32 slot = row_hash(words[2 * row], words[2 * row + 1]) & mask;
      while (slots[slot] != 0) slot = (slot + 1) & mask;
      slots[slot] = row + 1;
   }
}

/* Rows of keys of two words by such slots, -1 for those that are not there. */
static void find_rows(const u32* words, u32 count, const u32* slots, u32 mask, const u32* keys, u32 key_count, i32* rows)
{
   for (u32 i = 0; i < key_count; i++) {
      u32 low = keys[2 * i], high = keys[2 * i + 1];
      rows[i] = -1;
      for (u32 slot = row_hash(low, high) & mask; slots[slot] != 0; slot = (slot + 1) & mask) {
         u32 row = slots[slot] - 1;
         if (row >= count || words[2 * row] != low || words[2 * row + 1] != high) continue;
         rows[i] = row;
         break;
      }
   }
}

/* Adds rows to those of their groups (NULL: all to the first); false when there is no such group. */
static bool sum_rows(const f64* from, u32 width, const u32* groups, u32 count, f64* to, size_t to_size)
{
   for (u32 row = 0; row < count; row++, from += width) {
      size_t at = groups ? (size_t)groups[row] * width : 0;
      if (at + width > to_size) return false;
      for (u32 i = 0; i < width; i++) to[at + i] += from[i];
   }
   return true;
}

/* One value of the first rows as integers. */
static void take_column(const f64* from, u32 width, u32 which, size_t count, u64* to)
{
   for (size_t i = 0; i < count; i++) to[i] = (u64)from[i * width + which];
}

/* Texts one after another: `ends` gets where each begins, and where the last one ends. Text `n` is from `places[n]` to
   `places[n + 1]`. Returns their size, or -1 when one is not there or there is no room (`to` NULL: only says where they are). */
static i64 put_texts(const u8* texts, size_t size, const u32* places, u32 text_count, const u32* numbers, u32 count, u32* ends, u8* to, size_t room)
{
   u64 end = 0;
   ends[0] = 0;
   for (u32 i = 0; i < count; i++) {
      if (numbers[i] >= text_count) return -1;
      u32 from = places[numbers[i]], until = places[numbers[i] + 1];
      if (until < from || until > size || end + (until - from) > 0x7fffffff) return -1;
      if (to != NULL) {
         if (end + (until - from) > room) return -1;
         memcpy(to + end, texts + from, until - from);
      }
      end += until - from;
      ends[i + 1] = end;
   }
   return end;
}

/* Sites of simulated caches and what was counted there (analyses/cache/counts.ts). */
struct sites {
   const u8* kinds;
   const u32 *segments, *counters, *executions;
   size_t executions_size;
};
#define SITE_WORDS 8

static f64 two_words(const u32* words)
{
   return words[0] + 4294967296.0 * words[1];
}

/* Executions and misses of a site; false where there are none. An instruction that was interrupted is fetched, but its segment is
   not counted. */
static bool site_counts(const struct sites* s, u32 site, f64* executed, f64* misses)
{
   const u32* counter = s->counters + (size_t)SITE_WORDS * site;
   size_t segment = 2 * (size_t)s->segments[site];
   if (s->kinds[site] & SITE_GUARDED) *executed = two_words(counter + 4);
   else *executed = segment + 2 <= s->executions_size ? two_words(s->executions + segment) : 0;
   *misses = two_words(counter);
   return *executed != 0 || *misses != 0;
}

/* Numbers the instructions that have run, in order of appearance: `numbers` gets that of each site, or -1, `words` the address of
   each instruction, and `missed` is set for those with misses. Returns how many there are, or -1. */
static i64 number_sites(const struct sites* s, const u32* pcs, const u32* pcs_high, u32 count, u32* words, i32* numbers, u8* missed)
{
   u32 mask, found = 0, last = 0, *slots = make_slots(count, &mask);
   if (slots == NULL) return -1;
   for (u32 site = 0; site < count; site++) {
      f64 executed, misses;
      numbers[site] = -1;
      if (!site_counts(s, site, &executed, &misses)) continue;
      u32 low = pcs[site], high = pcs_high[site];
      /* Sites of an instruction mostly stand together. */
      if (found == 0 || words[2 * last] != low || words[2 * last + 1] != high)
         for (u32 slot = row_hash(low, high) & mask;; slot = (slot + 1) & mask) {
            if (slots[slot] == 0) {
               words[2 * found] = low;
               words[2 * found + 1] = high;
               last = found;
               slots[slot] = ++found;
               break;
            }
            last = slots[slot] - 1;
            if (words[2 * last] == low && words[2 * last + 1] == high) break;
         }
      numbers[site] = last;
      if (misses != 0) missed[last] = 1;
   }
   free(slots);
   return found;
}

/* By kind of a site: the column of executions, behind which those of misses are; how many these are. */
struct site_columns {
   const u32 *executions, *misses;
   size_t kinds;
};

/* Adds what sites have counted to rows of `width`; false when one is not there. `numbers` says which instruction a site is of, and
   `rows` which row that is (NULL: all the first one, or the same); -1: none. */
static bool add_sites(const struct sites* s, const struct site_columns* c, u32 count, u32 width, const i32* numbers, const i32* rows,
                      size_t row_count, f64* sums, size_t size)
{
   for (u32 site = 0; site < count; site++) {
      f64 executed, misses;
      i64 row = numbers ? numbers[site] : 0;
      if (row >= 0 && rows) {
         if ((size_t)row >= row_count) return false;
         row = rows[row];
      }
      if (row < 0 || !site_counts(s, site, &executed, &misses)) continue;
      u32 kind = s->kinds[site] & ~SITE_GUARDED;
      if (kind >= c->kinds) return false;
      size_t at = (size_t)row * width + c->executions[kind];
      if (at + c->misses[kind] >= size) return false;
      sums[at] += executed;
      sums[at + 1] += misses;
      if (c->misses[kind] > 1) sums[at + 2] += two_words(s->counters + (size_t)SITE_WORDS * site + 2);
   }
   return true;
}
