/* The shortest ways of the access history of race (analyses/race/history.ts): rows of plain accesses within 8 bytes that race
   with nothing, and of which prediction need not be told. The tables are those of TypeScript, which does all other rows, and
   what these do, too.

   SPDX-License-Identifier: Apache-2.0 */

/* As in history.ts and site-kinds.ts. */
#define H_PAGE_BITS 12
#define H_GRANULES (1 << (H_PAGE_BITS - 3))
#define H_CACHED (1 << 12)
#define H_STORE 0x100
#define H_BYTES 0xff
#define H_FIRST_SHIFT 9
#define H_MOST_REPLACED 4
enum { H_WHAT, H_TIME, H_SITE, H_NEXT, H_TICK, H_JUDGED = 6, H_LISTED, H_RECORD_WORDS };
enum { H_STATE_SLOT, H_STATE_TIME, H_STATE_FREE, H_STATE_END, H_STATE_WORDS };
#define H_PLAIN 1

struct history {
   i32* state;
   const f64* keys;
   const i32* pages;
   i32 *heads, *records, *replaced;
   size_t heads_size, records_size, replaced_size;
   const u8 *kinds, *stores;
   const u16* sizes;
   size_t site_count;
   const u32* seen;
   size_t seen_count;
   /* Tick since when the current thread has done nothing that concerns others; below 0 without prediction. */
   f64 since;
};

static int is_ordered(const struct history* h, const i32* record, u32 slot)
{
   u32 its_slot = (u32)record[H_WHAT] >> 16;
   return its_slot == slot || (its_slot < h->seen_count && (u32)record[H_TIME] <= h->seen[its_slot]);
}

static void drop_record(struct history* h, i32* head, i32 before, i32 record)
{
   i32* r = h->records;
   if (before == 0) *head = r[record + H_NEXT];
   else r[before + H_NEXT] = r[record + H_NEXT];
   r[record + H_NEXT] = h->state[H_STATE_FREE];
   h->state[H_STATE_FREE] = record;
}

/* Whether a record that is replaced need not be remembered: as `replace` of history.ts. */
static int may_release(const struct history* h, u32 granule, const i32* record)
{
   if (h->since < 0) return 1;
   f64 when;
   memcpy(&when, record + H_TICK, sizeof when);
   if ((u32)record[H_WHAT] >> 16 == (u32)h->state[H_STATE_SLOT] && record[H_TIME] == h->state[H_STATE_TIME] && when >= h->since)
      return 1;
   u32 count = 0;
   for (i32 at = h->replaced[granule]; at != 0; at = h->records[at + H_NEXT], count++)
      if ((u32)(h->records[at] ^ record[H_WHAT]) <= H_BYTES && h->records[at + H_SITE] == record[H_SITE]) return 1;
   return count >= H_MOST_REPLACED;
}

/* Whether prediction has to be told of a record together with an access: it is another thread's, and conflicts. */
static int concerns_prediction(const struct history* h, i32 what, u32 mask, u32 slot, int is_store)
{
   return h->since >= 0 && (u32)what >> 16 != slot && (what & mask) && (is_store || (what & H_STORE));
}

/* Takes an access into the records of 8 bytes; returns 0, having done nothing, when it races or there is no room. */
static int take_access(struct history* h, u32 granule, u32 mask, u32 site, u64 tick, int is_store)
{
   i32* head = &h->heads[granule];
   i32 *r = h->records, *state = h->state;
   u32 slot = state[H_STATE_SLOT], time = state[H_STATE_TIME], what = mask | (is_store ? H_STORE : 0);
   if (*head != 0) {
      i32* first = r + *head;
      if ((u32)first[H_WHAT] >> 16 == slot) {
         if ((u32)first[H_TIME] == time) {
            if ((first[H_WHAT] & what) == what) return 1;
         } else if ((first[H_WHAT] & (H_STORE | H_BYTES)) == what && first[H_NEXT] == 0 && h->since < 0) {
            f64 when = tick;
            first[H_TIME] = time;
            first[H_SITE] = site;
            memcpy(first + H_TICK, &when, sizeof when);
            return 1;
         }
      }
   }
   if (h->since >= 0 && h->replaced[granule] != 0 && (slot >= 32 || (u32)r[h->replaced[granule] + H_LISTED] != 1u << slot))
      return 0;
   for (i32 at = *head; at != 0; at = r[at + H_NEXT]) {
      if (concerns_prediction(h, r[at], mask, slot, is_store)) return 0;
      if ((r[at] & mask) && (is_store || (r[at] & H_STORE)) && !is_ordered(h, r + at, slot)) return 0;
      int stays = !is_store && ((r[at] & H_STORE) || ((u32)r[at] >> 16 == slot && (u32)r[at + H_TIME] == time));
      if (!stays && (r[at] & ~mask & H_BYTES) == 0 && !may_release(h, granule, r + at)) return 0;
   }
   if (state[H_STATE_FREE] == 0 && (size_t)state[H_STATE_END] + H_RECORD_WORDS > h->records_size) return 0;

   i32 own = 0, before = 0;
   u32 covered = 0;
   for (i32 at = *head, after; at != 0; at = after) {
      after = r[at + H_NEXT];
      u32 its = r[at];
      int is_current = its >> 16 == slot && (u32)r[at + H_TIME] == time;
      int is_site = (u32)r[at + H_SITE] == site;
      if (is_store) {
         if (is_current && (its & H_STORE) && is_site) own = at;
      } else if (is_current) {
         if (!(its & H_STORE) && is_site) own = at;
         else covered |= its;
         before = at;
         continue;
      } else if (!(its & mask) || (its & H_STORE) || !is_ordered(h, r + at, slot)) {
         before = at;
         continue;
      }
      u32 rest = its & ~mask;
      if ((rest & H_BYTES) == 0 && at != own) drop_record(h, head, before, at);
      else {
         r[at] = rest;
         before = at;
      }
   }
   u32 wanted = mask & ~covered;
   if (wanted == 0) return 1;
   if (own != 0) {
      r[own] |= wanted;
      return 1;
   }
   i32 at = state[H_STATE_FREE];
   if (at != 0) state[H_STATE_FREE] = r[at + H_NEXT];
   else {
      at = state[H_STATE_END];
      state[H_STATE_END] += H_RECORD_WORDS;
   }
   f64 when = tick;
   u32 begin = __builtin_ctz(wanted), size = 31 - __builtin_clz(wanted) - begin; /* less 1 */
   r[at] = wanted | (is_store ? H_STORE : 0) | (size << 3 | begin) << H_FIRST_SHIFT | slot << 16;
   r[at + H_JUDGED] = 0;
   r[at + H_TIME] = time;
   r[at + H_SITE] = site;
   r[at + H_NEXT] = *head;
   memcpy(r + at + H_TICK, &when, sizeof when);
   *head = at;
   return 1;
}

/* Takes rows from number `at` on; returns the number of the first that is left to TypeScript, or `count`. */
static u32 take_accesses(struct history* h, const u8* m, u32 at, u32 count)
{
   for (; at < count; at++) {
      u32 site = i32_load(m, 4 * at, ROW_SITES);
      if (site >= h->site_count || h->kinds[site] != H_PLAIN) return at;
      u64 address = i64_load(m, 8 * at, ROW_ADDRESSES), key = address >> H_PAGE_BITS;
      u32 offset = address & 7, size = h->sizes[site], cached = key & (H_CACHED - 1);
      if (offset + size > 8 || h->keys[cached] != (f64)key) return at;
      u32 granule = h->pages[cached] + (address >> 3 & (H_GRANULES - 1));
      u32 mask = ((1u << size) - 1) << offset;
      if (h->heads[granule] < 0 || !take_access(h, granule, mask, site, i64_load(m, 8 * at, ROW_TICKS), h->stores[site])) return at;
   }
   return at;
}
