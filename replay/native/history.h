/* The access history of race (analyses/race/history.ts) for all accesses that nobody has to be told of: plain ones that race
   with nothing, and of which prediction knows all. The tables are those of TypeScript, which does all other rows, and what
   these do, too.

   SPDX-License-Identifier: Apache-2.0 */

/* As in history.ts and site-kinds.ts. */
#define H_PAGE_BITS 12
#define H_GRANULES (1 << (H_PAGE_BITS - 3))
#define H_CACHED (1 << 15)
#define H_STORE 0x100
#define H_BYTES 0xff
#define H_FIRST_SHIFT 9
#define H_MOST_REPLACED 4
#define H_LISTED_SLOTS 12
#define H_SLOTS ((1u << H_LISTED_SLOTS) - 1)
#define H_STORES_SHIFT H_LISTED_SLOTS
#define H_BYTES_SHIFT (2 * H_LISTED_SLOTS)
enum { H_WHAT, H_TIME, H_SITE, H_NEXT, H_TICK, H_JUDGED = 6, H_LISTED, H_RECORD_WORDS };
enum { H_STATE_SLOT, H_STATE_TIME, H_STATE_FREE, H_STATE_END, H_STATE_DROPPED, H_STATE_NUMBER, H_STATE_CLOCK_VERSION, H_STATE_ADVANCED, H_STATE_ENDED, H_STATE_SECTIONS, H_STATE_PASSED, H_STATE_WORDS };
#define H_PLAIN 1
#define H_ATOMIC 2
#define H_CPP_ATOMIC 4
#define H_RUNTIME 8
#define H_LINKER 16
#define H_OPENMP 32
/* As in operation-table.ts, and bits for the first two of EVIDENCE in variables.ts. */
enum { O_MASK, O_EVIDENCE, O_OPERATIONS, O_THREAD, O_KNOWN, O_VERSION, O_TIME, O_TICK, O_NEXT, O_ROW_WORDS };
#define O_BY_INSTRUCTION 1
#define O_BY_FUNCTION 2
/* As in predict.ts, of a thread: ticks of its last entry and of its last requirement, a version of those, and whether it has stored in
   its epoch; then how far others must have come. */
enum { H_SINCE, H_REQUIRED, H_KNOWLEDGE, H_STORED, H_NEEDS };

/* Rows of accesses: in linear memory, or a batch that was set aside. */
struct rows {
   const u64 *ticks, *addresses;
   const u32* sites;
   u32 count;
};

static struct rows rows_in(const u8* m)
{
   return (struct rows){ (const u64*)(m + ROW_TICKS), (const u64*)(m + ROW_ADDRESSES), (const u32*)(m + ROW_SITES), 0 };
}

/* Who takes accesses: all, or one of several who share the places out. Records that nobody uses are those of a list, and such that
   are new. Of several each has its own, which it gets when it needs them, and gives back when the rows are taken (takers.h). */
struct taker {
   u32 number, of;
   i32 *free, *next, *limit;
   i32 last_free;
};

struct history {
   i32* state;
   const f64* keys;
   const i32* pages;
   i32 *heads, *records, *replaced;
   size_t heads_size, records_size, replaced_size;
   const u8 *kinds, *stores;
   const u16* sizes;
   size_t site_count;
   u32* seen;
   size_t seen_count;
   /* Synchronisation variables, and ticks at which epochs with stores ended. */
   const i32* firsts;
   size_t firsts_count;
   f64 *rows, *ends;
   size_t rows_size, ends_count;
   /* Of critical sections of the current thread, four ticks each: where taking the lock begins and ends, and letting it go. */
   const f64* sections;
   size_t sections_size;
   /* What prediction knows of the current thread: its requirements, and epochs of others whose writes are required; NULL
      without prediction. */
   f64* needs;
   size_t needs_count;
   const u32* reads;
   size_t reads_count;
   /* Where new records may be, in words. */
   i32 limit;
   struct taker all;
   /* Rows that were set aside, and who takes them (takers.h). */
   struct rows batch;
   struct gang* gang;
};

/* Places are shared out in parts of this size. */
#define H_PART_BITS 10
static int is_taken_by(const struct taker* taker, u64 address)
{
   return taker->of == 1 || (address >> H_PART_BITS) % taker->of == taker->number;
}

static int get_records(struct history* h, struct taker* taker);

static int has_room(struct history* h, struct taker* taker)
{
   return *taker->free != 0 || *taker->next + H_RECORD_WORDS <= *taker->limit || get_records(h, taker);
}

static void give_up(struct history* h, struct taker* taker, i32 record)
{
   if (*taker->free == 0) taker->last_free = record;
   h->records[record + H_WHAT] = 0;
   h->records[record + H_NEXT] = *taker->free;
   *taker->free = record;
}

static i32 new_record(const struct history* h, struct taker* taker)
{
   i32 record = *taker->free;
   if (record != 0) *taker->free = h->records[record + H_NEXT];
   else {
      record = *taker->next;
      *taker->next += H_RECORD_WORDS;
   }
   return record;
}

static int is_ordered(const struct history* h, const i32* record, u32 slot)
{
   u32 its_slot = (u32)record[H_WHAT] >> 16;
   return its_slot == slot || (its_slot < h->seen_count && (u32)record[H_TIME] <= h->seen[its_slot]);
}

static f64 tick_of(const i32* record)
{
   f64 tick;
   memcpy(&tick, record + H_TICK, sizeof tick);
   return tick;
}

static u32 first_mask_of(const i32* record)
{
   u32 first = record[H_WHAT] >> H_FIRST_SHIFT;
   return ((2u << (first >> 3 & 7)) - 1) << (first & 7);
}

static u32 slot_bit(u32 slot)
{
   return slot < H_LISTED_SLOTS ? 1u << slot : 0;
}

/* Whether prediction need not be told of a record and an access that follows it; which is noted then. */
static int is_judged(const struct history* h, i32* record, u32 mask, f64 tick)
{
   u32 slot = h->state[H_STATE_SLOT], its_slot = (u32)record[H_WHAT] >> 16, bit = slot < 32 ? 1u << slot : 0;
   if (!(record[H_WHAT] & mask & first_mask_of(record) & H_BYTES) || (record[H_JUDGED] & bit)) return 1;
   if (tick < h->needs[H_REQUIRED] || H_NEEDS + its_slot >= h->needs_count || h->needs[H_NEEDS + its_slot] <= tick_of(record)) return 0;
   record[H_JUDGED] |= bit;
   return 1;
}

/* Whether an access to 8 bytes concerns nobody: it races with nothing, and prediction need not be told of it. */
static int is_quiet(const struct history* h, u32 granule, u32 mask, f64 tick, int is_store)
{
   const i32* state = h->state;
   i32* r = h->records;
   u32 slot = state[H_STATE_SLOT], time = state[H_STATE_TIME];
   i32 old = h->needs ? h->replaced[granule] : 0;
   u32 listed = old != 0 ? r[old + H_LISTED] : 0;
   if (((is_store ? listed : listed >> H_STORES_SHIFT) & ~slot_bit(slot) & H_SLOTS) && (is_store || (listed >> H_BYTES_SHIFT & mask)))
      for (; old != 0; old = r[old + H_NEXT]) {
         int conflicts = (u32)r[old] >> 16 != slot && (is_store || (r[old] & H_STORE));
         if (conflicts && is_ordered(h, r + old, slot) && !is_judged(h, r + old, mask, tick)) return 0;
      }
   for (i32 at = h->heads[granule]; at != 0; at = r[at + H_NEXT]) {
      u32 its_slot = (u32)r[at] >> 16;
      if (its_slot == slot || !(r[at] & mask) || !(is_store || (r[at] & H_STORE))) continue;
      if (!is_ordered(h, r + at, slot)) return 0;
      if (!h->needs) continue;
      if (!is_judged(h, r + at, mask, tick)) return 0;
      if (!is_store && (its_slot >= h->reads_count || h->reads[its_slot] < (u32)r[at + H_TIME])) return 0;
   }
   return 1;
}

/* Takes a record out of its list; remembers it as one that was replaced, or gives it up. As `replace` of history.ts. */
static void replace_record(struct history* h, struct taker* taker, u32 granule, i32 before, i32 record)
{
   i32 *r = h->records, *state = h->state, *its = r + record;
   if (before == 0) h->heads[granule] = its[H_NEXT];
   else r[before + H_NEXT] = its[H_NEXT];
   u32 slot = (u32)its[H_WHAT] >> 16, count = 0;
   int is_kept = h->needs != NULL;
   if (is_kept && slot == (u32)state[H_STATE_SLOT] && its[H_TIME] == state[H_STATE_TIME] && tick_of(its) >= h->needs[H_SINCE]) is_kept = 0;
   for (i32 at = is_kept ? h->replaced[granule] : 0; at != 0 && is_kept; at = r[at + H_NEXT])
      is_kept = ++count < H_MOST_REPLACED && !((u32)(r[at] ^ its[H_WHAT]) <= H_BYTES && r[at + H_SITE] == its[H_SITE]);
   if (is_kept) {
      i32 next = h->replaced[granule];
      u32 slots = slot_bit(slot) ? slot_bit(slot) : H_SLOTS, bytes = its[H_WHAT] & first_mask_of(its) & H_BYTES;
      its[H_LISTED] = slots | (its[H_WHAT] & H_STORE ? slots << H_STORES_SHIFT | bytes << H_BYTES_SHIFT : 0) | (next != 0 ? r[next + H_LISTED] : 0);
      its[H_NEXT] = next;
      h->replaced[granule] = record;
   } else give_up(h, taker, record);
}

/* Takes an access into the records of 8 bytes; returns 0, having done nothing, when somebody must be told or there is no room. */
static int take_access(struct history* h, struct taker* taker, u32 granule, u32 mask, u32 site, f64 tick, int is_store)
{
   i32* head = &h->heads[granule];
   i32 *r = h->records, *state = h->state;
   u32 slot = state[H_STATE_SLOT], time = state[H_STATE_TIME], what = mask | (is_store ? H_STORE : 0);
   if (*head < 0) return 0;
   if (*head != 0) {
      i32* first = r + *head;
      if ((u32)first[H_WHAT] >> 16 == slot) {
         if ((u32)first[H_TIME] == time) {
            if ((first[H_WHAT] & what) == what) return 1;
         } else if ((first[H_WHAT] & (H_STORE | H_BYTES)) == what && first[H_NEXT] == 0 && !h->needs) {
            first[H_TIME] = time;
            first[H_SITE] = site;
            memcpy(first + H_TICK, &tick, sizeof tick);
            return 1;
         }
      }
   }
   if (!is_quiet(h, granule, mask, tick, is_store)) return 0;
   if (!has_room(h, taker)) return 0;
   if (is_store && h->needs) h->needs[H_STORED] = 1;

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
      if ((rest & H_BYTES) == 0 && at != own) replace_record(h, taker, granule, before, at);
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
   i32 at = new_record(h, taker);
   u32 begin = __builtin_ctz(wanted), size = 31 - __builtin_clz(wanted) - begin; /* less 1 */
   r[at] = wanted | (is_store ? H_STORE : 0) | (size << 3 | begin) << H_FIRST_SHIFT | slot << 16;
   r[at + H_JUDGED] = 0;
   r[at + H_TIME] = time;
   r[at + H_SITE] = site;
   r[at + H_NEXT] = *head;
   memcpy(r + at + H_TICK, &tick, sizeof tick);
   *head = at;
   return 1;
}

/* An epoch of the current thread ends at a tick; returns 0 when there is no room to note it. */
static int end_epoch(struct history* h, f64 tick)
{
   i32* state = h->state;
   if (!h->needs || h->needs[H_STORED] == 0) return 1;
   if ((size_t)state[H_STATE_ENDED] >= h->ends_count) return 0;
   h->ends[state[H_STATE_ENDED]++] = tick;
   h->needs[H_STORED] = 0;
   return 1;
}

/* Does an operation on a synchronisation variable that only repeats what is known; returns 0, having done nothing, when it does
   not. */
static int operate(struct history* h, size_t marked, u32 mask, u8 kind, f64 tick, int is_store)
{
   i32* state = h->state;
   u32 slot = state[H_STATE_SLOT];
   f64* found = NULL;
   for (size_t at = marked < h->firsts_count ? h->firsts[marked] : 0; at != 0; at = h->rows[at + O_NEXT]) {
      u32 its = h->rows[at + O_MASK];
      if (!(its & mask)) continue;
      if (found != NULL || (mask & ~its)) return 0;
      found = h->rows + at;
   }
   u32 evidence = kind & H_ATOMIC ? O_BY_INSTRUCTION : kind & H_CPP_ATOMIC ? O_BY_FUNCTION : 0;
   if (found == NULL || (evidence & ~(u32)found[O_EVIDENCE]) || found[O_KNOWN] != slot + 1.0) return 0;
   if (found[O_THREAD] != -1 && found[O_THREAD] != state[H_STATE_NUMBER]) return 0;
   if (is_store) {
      f64 version = state[H_STATE_CLOCK_VERSION] + (h->needs ? h->needs[H_KNOWLEDGE] : 0);
      if (found[O_VERSION] != version || slot >= h->seen_count) return 0;
      if (!end_epoch(h, tick + 1)) return 0;
      found[O_TIME] = state[H_STATE_TIME];
      found[O_TICK] = tick + 1;
      h->seen[slot] = ++state[H_STATE_TIME];
      state[H_STATE_ADVANCED]++;
   }
   found[O_OPERATIONS]++;
   return 1;
}

/* An access is mostly waiting for memory: what so many rows need is fetched at once, so many records of each list. */
#define H_FETCHED 64
#define H_FETCHED_RECORDS 6

/* Number of the 8 bytes at an address, or -1. */
static i64 granule_of(const struct history* h, u64 address)
{
   u64 key = address >> H_PAGE_BITS;
   u32 cached = key & (H_CACHED - 1);
   return h->keys[cached] == (f64)key ? h->pages[cached] + (i64)(address >> 3 & (H_GRANULES - 1)) : -1;
}

/* Fetches one record more of each list; returns how many there still are. */
static u32 fetch_records(const i32* records, i32* lists, u32 count, int is_first)
{
   u32 left = 0;
   for (u32 i = 0; i < count; i++) {
      i32 at = is_first ? lists[i] : records[lists[i] + H_NEXT];
      if (at <= 0) continue;
      __builtin_prefetch(records + at);
      lists[left++] = at;
   }
   return left;
}

static void fetch_rows(const struct history* h, const struct taker* taker, const struct rows* rows, u32 at, u32 count)
{
   i64 granules[H_FETCHED];
   i32 lists[2 * H_FETCHED];
   u32 found = 0, lists_count = 0;
   for (u32 i = 0; i < count; i++) {
      u32 site = rows->sites[at + i];
      u64 address = rows->addresses[at + i];
      if (site >= h->site_count || h->kinds[site] != H_PLAIN || !is_taken_by(taker, address)) continue;
      i64 granule = granule_of(h, address);
      if (granule < 0) continue;
      __builtin_prefetch(h->heads + granule);
      if (h->needs) __builtin_prefetch(h->replaced + granule);
      granules[found++] = granule;
   }
   for (u32 i = 0; i < found; i++) {
      lists[lists_count++] = h->heads[granules[i]];
      if (h->needs) lists[lists_count++] = h->replaced[granules[i]];
   }
   for (u32 i = 0; i < H_FETCHED_RECORDS && lists_count > 0; i++) lists_count = fetch_records(h->records, lists, lists_count, i == 0);
}

/* Goes over the next place of a section: the thread is within an operation from then on, or is not any more, and what follows is of
   another section, or of another epoch. Returns 0, having done nothing, when it cannot. */
static int pass_place(struct history* h)
{
   i32* state = h->state;
   i32 passed = state[H_STATE_PASSED];
   f64 tick = h->sections[passed];
   int lets_go = (passed & 3) == 2;
   if (lets_go && !end_epoch(h, tick)) return 0;
   if (lets_go) state[H_STATE_TIME]++;
   if (h->needs && (lets_go || (passed & 3) == 1)) h->needs[H_SINCE] = tick;
   state[H_STATE_DROPPED] = passed & 1 ? H_LINKER : H_LINKER | H_RUNTIME | H_OPENMP;
   state[H_STATE_PASSED]++;
   return 1;
}

/* Takes rows from number `at` on, of those the accesses that are the taker's; returns the number of the first that is left to
   TypeScript, or their count. What it has done of a row that it leaves is as if it were done twice. */
static u32 take_accesses(struct history* h, struct taker* taker, const struct rows* rows, u32 at)
{
   const i32* state = h->state;
   i32 passed_before = state[H_STATE_PASSED], sections = (size_t)state[H_STATE_SECTIONS] <= h->sections_size ? state[H_STATE_SECTIONS] : 0;
   u32 count = rows->count;
   for (u32 fetched = at; at < count; at++) {
      if (at == fetched) {
         fetched = at + H_FETCHED < count ? at + H_FETCHED : count;
         fetch_rows(h, taker, rows, at, fetched - at);
      }
      f64 tick = rows->ticks[at];
      while (state[H_STATE_PASSED] < sections && h->sections[state[H_STATE_PASSED]] <= tick)
         if (!pass_place(h)) return at;
      u32 site = rows->sites[at];
      if (site >= h->site_count) return at;
      u8 kind = h->kinds[site];
      if (kind & h->state[H_STATE_DROPPED]) continue;
      if (kind == 0 || (kind & ~(H_PLAIN | H_ATOMIC | H_CPP_ATOMIC | H_OPENMP))) return at;
      u64 address = rows->addresses[at], end = address + h->sizes[site];
      while (address < end) {
         u64 next = (address | 7) + 1, size = (next < end ? next : end) - address;
         if (is_taken_by(taker, address)) {
            i64 granule = granule_of(h, address);
            if (granule < 0) return at;
            u32 mask = ((1u << size) - 1) << (address & 7);
            if (h->heads[granule] < 0) {
               /* What was passed has not been done yet; and who takes a part only does not know what the others have done. */
               if (state[H_STATE_PASSED] != passed_before || taker->of > 1) return at;
               if (size != h->sizes[site] || !operate(h, -h->heads[granule], mask, kind, tick, h->stores[site])) return at;
            } else if ((kind & (H_ATOMIC | H_CPP_ATOMIC)) || !take_access(h, taker, granule, mask, site, tick, h->stores[site])) return at;
         }
         address = next;
      }
   }
   return at;
}
