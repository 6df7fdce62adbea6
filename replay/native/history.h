/* The shortest ways of the access history of race (analyses/race/history.ts): rows of plain accesses within 8 bytes that race
   with nothing. The tables are those of TypeScript, which does all other rows, and what these do, too.

   SPDX-License-Identifier: Apache-2.0 */

/* As in history.ts and site-kinds.ts. */
#define H_PAGE_BITS 12
#define H_GRANULES (1 << (H_PAGE_BITS - 3))
#define H_CACHED (1 << 12)
#define H_STORE 0x100
#define H_BYTES 0xff
enum { H_WHAT, H_TIME, H_SITE, H_NEXT, H_TICK, H_RECORD_WORDS = 8 };
enum { H_STATE_SLOT, H_STATE_TIME, H_STATE_FREE, H_STATE_END, H_STATE_WORDS };
#define H_PLAIN 1

struct history {
   i32* state;
   const f64* keys;
   const i32* pages;
   i32 *heads, *records;
   size_t records_size;
   const u8 *kinds, *stores;
   const u16* sizes;
   size_t site_count;
   const u32* seen;
   size_t seen_count;
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

/* Takes an access into the records of 8 bytes; returns 0, having done nothing, when it races or there is no room. */
static int take_access(struct history* h, i32* head, u32 mask, u32 site, u64 tick, int is_store)
{
   i32 *r = h->records, *state = h->state;
   u32 slot = state[H_STATE_SLOT], time = state[H_STATE_TIME], what = mask | (is_store ? H_STORE : 0);
   if (*head != 0) {
      i32* first = r + *head;
      if ((u32)first[H_WHAT] >> 16 == slot) {
         if ((u32)first[H_TIME] == time) {
            if ((first[H_WHAT] & what) == what) return 1;
         } else if ((first[H_WHAT] & 0xffff) == what && first[H_NEXT] == 0) {
            f64 when = tick;
            first[H_TIME] = time;
            first[H_SITE] = site;
            memcpy(first + H_TICK, &when, sizeof when);
            return 1;
         }
      }
   }
   for (i32 at = *head; at != 0; at = r[at + H_NEXT])
      if ((r[at] & mask) && (is_store || (r[at] & H_STORE)) && !is_ordered(h, r + at, slot)) return 0;
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
   r[at] = wanted | (is_store ? H_STORE : 0) | slot << 16;
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
      i32* head = &h->heads[h->pages[cached] + (address >> 3 & (H_GRANULES - 1))];
      u32 mask = ((1u << size) - 1) << offset;
      if (*head < 0 || !take_access(h, head, mask, site, i64_load(m, 8 * at, ROW_TICKS), h->stores[site])) return at;
   }
   return at;
}
