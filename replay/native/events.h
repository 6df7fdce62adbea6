/* Events that only change registers of the thread that runs, allocate, or say that a block runs from now on: replay.ts applies
   them, too, and all others, and says what they mean. Here threaded code goes on from one to the next without the host.

   SPDX-License-Identifier: Apache-2.0 */

/* Words that the host shares (quick-events.ts). `ROW` and `END` of each table: its next row in the batch, and the first that is
   not to be applied here. */
enum { QUICK_REGISTERS, QUICK_HEAP, QUICK_BLOCKS, QUICK_TABLES };
enum { Q_ROW, Q_END = Q_ROW + QUICK_TABLES, Q_STATE_SIZE = Q_END + QUICK_TABLES, Q_RIP, Q_BASE, Q_THREAD, Q_RELEASES, Q_FIRST_BLOCK, Q_STOPPED, Q_WORDS };
enum { Q_GOES_ON, Q_EVENT, Q_ROWS };
/* Zero bytes before and after each heap block, and the largest that is zeroed here. */
#define Q_REDZONE 16
#define Q_MOST_BYTES (1u << 20)
#define Q_GRANULE_SIZE (1u << GRANULE_BITS)

struct quick_events {
   u32* words;
   struct {
      const u64 *events, *ticks;
   } tables[QUICK_TABLES];
   const u32* threads;
   const i32* offsets;
   const u8* changes;
   const u8* ops;
   const u64 *addresses, *sizes, *previous, *previous_sizes;
   const u32* stacks;
   const u8* known;
   /* Of blocks by row, from `Q_FIRST_BLOCK` on: slot, and position; by position: function and machine code. */
   const u32* ahead;
   const u32* codes;
   struct heap_misses* misses;
};

/* Where bytes that lie in one granule are in linear memory, 0 if that is not known here. With `reads`, also what was never
   written, which is zero. */
static u32 q_place(const struct quick_events* q, const u8* m, u64 address, bool reads)
{
   u64 granule = address >> GRANULE_BITS;
   u64 entry = TLB + TLB_ENTRY_SIZE * (granule & (TLB_ENTRIES - 1));
   if (i64_load(m, entry, reads ? 0 : TLB_FOR_STORES - TLB) != granule << GRANULE_BITS) return 0;
   return q->words[Q_BASE] + i32_load(m, entry, TLB_PLACE - TLB) + (u32)(address & (Q_GRANULE_SIZE - 1));
}

static u64 q_part(u64 address, u64 size)
{
   u64 left = Q_GRANULE_SIZE - (address & (Q_GRANULE_SIZE - 1));
   return size < left ? size : left;
}

/* Makes a range read as zero; false if the host has to, who can do all of it once more. */
static bool q_zero(const struct quick_events* q, u8* m, u64 address, u64 size)
{
   for (u64 count; size > 0; address += count, size -= count) {
      count = q_part(address, size);
      u32 place = q_place(q, m, address, false);
      if (count == Q_GRANULE_SIZE) return false;
      if (place != 0) memset(m + place, 0, count);
      else if (q_place(q, m, address, true) == 0) return false;
   }
   return true;
}

/* Copies to a range that has been zeroed. */
static bool q_copy(const struct quick_events* q, u8* m, u64 from, u64 to, u64 size)
{
   if (from == to || from - to < size || to - from < size) return from == to;
   for (u64 count; size > 0; from += count, to += count, size -= count) {
      count = q_part(from, q_part(to, size));
      u32 source = q_place(q, m, from, true), place = q_place(q, m, to, false);
      if (source == 0 || place == 0) return false;
      memcpy(m + place, m + source, count);
   }
   return true;
}

static bool q_registers(const struct quick_events* q, u8* m, u32 row, u32* slot)
{
   const u32* words = q->words;
   if (q->threads[row] != words[Q_THREAD]) return false;
   const u8* changes = q->changes + q->offsets[row];
   u32 size = q->offsets[row + 1] - q->offsets[row], next = *slot;
   for (u32 at = 0; at + 16 <= size; at += 16) {
      u64 offset = i64_load(changes, at, 0), pc = i64_load(changes, at, 8);
      if (offset > words[Q_STATE_SIZE] - 8) return false;
      if (offset != words[Q_RIP]) continue;
      u64 entry = JUMP_CACHE + 16 * (((u32)pc ^ (u32)pc >> JUMP_CACHE_BITS) & (JUMP_CACHE_ENTRIES - 1));
      if (pc == 0 || i64_load(m, entry, 0) != pc) return false;
      next = i32_load(m, entry, 8);
   }
   for (u32 at = 0; at + 16 <= size; at += 16) i64_store(m, STATE + i64_load(changes, at, 0), 0, i64_load(changes, at, 8));
   *slot = next;
   return true;
}

static bool q_heap(const struct quick_events* q, u8* m, u32 row)
{
   u64 address = q->addresses[row], size = q->sizes[row], previous = q->previous[row];
   if (q->ops[row] > 31) return false;
   bool releases = q->words[Q_RELEASES] >> q->ops[row] & 1;
   if (address != 0 && !releases) {
      if (size > Q_MOST_BYTES || address >> 47 != 0 || previous >> 47 != 0 || address < Q_REDZONE) return false;
      if (!q_zero(q, m, address - Q_REDZONE, size + 2 * Q_REDZONE)) return false;
      u64 copied = q->previous_sizes[row] < size ? q->previous_sizes[row] : size;
      if (previous != 0 && !q_copy(q, m, previous, address, copied)) return false;
   }
   if (q->misses == NULL) return true;
   settle_misses(m);
   hm_call(q->misses, m, releases, q->known[row], address, size, previous, q->stacks[row]);
   return true;
}

static void q_block(const struct quick_events* q, u8* m, u32 row)
{
   const u32* ahead = q->ahead + 2 * (row - q->words[Q_FIRST_BLOCK]);
   i32_store(m, ahead[0], 0, q->codes[2 * ahead[1]]);
   i32_store(m, ahead[0], 4, q->codes[2 * ahead[1] + 1]);
}

/* The table whose next row comes first; `QUICK_TABLES` if another table's does, or that is not known here. */
static u32 q_next(const struct quick_events* q, u64 barrier)
{
   u32 next = QUICK_TABLES;
   for (u32 table = 0; table < QUICK_TABLES; table++) {
      u32 row = q->words[Q_ROW + table];
      /* Its rows go on in the next batch. */
      if (row == q->words[Q_END + table]) {
         if (q->tables[table].events == NULL) continue;
         return QUICK_TABLES;
      }
      u64 event = q->tables[table].events[row];
      if (event >= barrier) continue;
      barrier = event;
      next = table;
   }
   return next;
}

/* There is no room for the rows of another block. */
static bool has_full_rows(const u8* m)
{
   return i32_load(m, 0, CELL_rows) > i32_load(m, 0, CELL_rowsLimit) || i32_load(m, 0, CELL_wide) > i32_load(m, 0, CELL_wideLimit);
}

/* Applies events before the one that has number `barrier`, and runs threaded code between them, from a slot on. Returns the slot
   to go on from: the code there is for the host, unless `Q_STOPPED` says another reason. */
static u32 proceed(const struct quick_events* q, struct replay* replay, u64 barrier, u32 slot)
{
   u8* m = replay->m;
   Chain* chain = (Chain*)(replay->code->shared + SHARED_CHAIN);
   q->words[Q_STOPPED] = Q_GOES_ON;
   for (u32 table; (table = q_next(q, barrier)) != QUICK_TABLES; q->words[Q_ROW + table]++) {
      u32 row = q->words[Q_ROW + table];
      u64 tick = q->tables[table].ticks[row];
      if (i64_load(m, 0, CELL_tick) < tick) {
         i64_store(m, 0, CELL_limit, tick);
         if (has_full_rows(m)) return q->words[Q_STOPPED] = Q_ROWS, slot;
         slot = chain(m, slot);
         if (i64_load(m, 0, CELL_tick) < tick || slot == BAIL_SLOT || slot == HOT_SLOT) return slot;
      }
      if (i64_load(m, 0, CELL_tick) > tick) break;
      if (table == QUICK_BLOCKS) q_block(q, m, row);
      else if (!(table == QUICK_HEAP ? q_heap(q, m, row) : q_registers(q, m, row, &slot))) break;
   }
   q->words[Q_STOPPED] = Q_EVENT;
   return slot;
}
