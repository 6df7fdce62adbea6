/* Misses in heap blocks, by who allocated the block and the place in it: heap-misses.ts says the same in TypeScript.

   SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#define HM_PAGE_BITS 12
#define HM_UNIT_BITS 4
#define HM_UNITS (1 << (HM_PAGE_BITS - HM_UNIT_BITS))
/* Larger blocks are not marked page by page. */
#define HM_MARKED_BYTES (64u << HM_PAGE_BITS)

struct heap_block {
   u64 address, size;
   u32 owner;
};

/* Blocks by unit of a page, as their number plus 1. */
struct heap_page {
   u64 page;
   u32* units;
};

struct heap_misses {
   /* By number; those free begin a list, each with the next in `owner`, plus 1. */
   struct heap_block* blocks;
   u32 block_count, block_room, free;
   /* Open addressing; empty places have no units. */
   struct heap_page* pages;
   u32 page_count, page_room;
   /* Numbers of large blocks, in no order: there are few. */
   u32* large;
   u32 large_count, large_room;
   u64 lowest, highest;
   u64 last_page;
   u32* last_units;
   /* Keys in order of appearance, `HM_EVENTS` counts of each; and by hash the number of a key plus 1. */
   u64* keys;
   f64* counts;
   u32 key_count, key_room;
   u32* slots;
   u32 slot_room;
   /* Of sites, what kind they are: they grow with the code. */
   const u8* kinds;
   size_t kind_count;
   /* Misses count; they do not while a replay is in what the image was forked from. */
   u32 counting;
   bool failed;
};

static void* hm_grow(struct heap_misses* h, void* old, u64 count, size_t size)
{
   void* more = realloc(old, count * size);
   if (more == NULL) h->failed = true;
   return more;
}

#define HM_ROOM(h, list, count, room)                                       \
   ((count) < (room) || ({                                                  \
      u32 wanted = (room) ? 2 * (room) : 64;                                \
      void* more = hm_grow(h, list, wanted, sizeof *(list));                \
      if (more) (list) = more, (room) = wanted;                             \
      more != NULL;                                                         \
   }))

static u64 hm_hash(u64 key) { return key * 0x9e3779b97f4a7c15u >> 32; }

static void drop_heap_misses(struct heap_misses* h)
{
   for (u32 i = 0; i < h->page_room; i++) free(h->pages[i].units);
   free(h->pages);
   free(h->blocks);
   free(h->large);
   free(h->keys);
   free(h->counts);
   free(h->slots);
   free(h);
}

/* Where a page is, or would be. */
static struct heap_page* hm_place(const struct heap_misses* h, u64 page)
{
   u32 at = hm_hash(page) & (h->page_room - 1);
   while (h->pages[at].units != NULL && h->pages[at].page != page) at = (at + 1) & (h->page_room - 1);
   return &h->pages[at];
}

/* Makes room for another page; false where there is no memory. */
static bool hm_page_room(struct heap_misses* h)
{
   if (2 * h->page_count < h->page_room) return true;
   struct heap_page* old = h->pages;
   u32 old_room = h->page_room, room = old_room ? 2 * old_room : 256;
   struct heap_page* pages = calloc(room, sizeof *pages);
   if (pages == NULL) return h->failed = true, false;
   h->pages = pages;
   h->page_room = room;
   for (u32 i = 0; i < old_room; i++)
      if (old[i].units != NULL) *hm_place(h, old[i].page) = old[i];
   free(old);
   return true;
}

/* The blocks of a page; NULL if it has none, and none is made. */
static u32* hm_units(struct heap_misses* h, u64 page, bool make)
{
   if (page == h->last_page) return h->last_units;
   if (make ? !hm_page_room(h) : h->page_room == 0) return NULL;
   struct heap_page* place = hm_place(h, page);
   if (place->units == NULL && make) {
      place->units = calloc(HM_UNITS, sizeof *place->units);
      if (place->units == NULL) return h->failed = true, NULL;
      place->page = page;
      h->page_count++;
   }
   if (place->units != NULL) {
      h->last_page = page;
      h->last_units = place->units;
   }
   return place->units;
}

static void hm_mark(struct heap_misses* h, const struct heap_block* block, u32 number)
{
   u64 end = block->address + block->size;
   for (u64 at = block->address; at < end;) {
      u64 page = at >> HM_PAGE_BITS, next = (page + 1) << HM_PAGE_BITS, stop = next < end ? next : end;
      u32* units = hm_units(h, page, true);
      if (units == NULL) return;
      u32 first = at >> HM_UNIT_BITS & (HM_UNITS - 1), last = (stop - 1) >> HM_UNIT_BITS & (HM_UNITS - 1);
      for (u32 i = first; i <= last; i++) units[i] = number;
      at = stop;
   }
}

/* Number plus 1 of the block that holds an address, or 0. */
static u32 hm_find(struct heap_misses* h, u64 address)
{
   if (address < h->lowest || address >= h->highest) return 0;
   u32* units = hm_units(h, address >> HM_PAGE_BITS, false);
   u32 number = units ? units[address >> HM_UNIT_BITS & (HM_UNITS - 1)] : 0;
   if (number != 0 && address - h->blocks[number - 1].address < h->blocks[number - 1].size) return number;
   for (u32 i = 0; i < h->large_count; i++) {
      const struct heap_block* block = &h->blocks[h->large[i]];
      if (address - block->address < block->size) return h->large[i] + 1;
   }
   return 0;
}

/* Takes away the block that begins at an address; nothing if there is none. */
static void hm_remove(struct heap_misses* h, u64 address)
{
   u32 number = hm_find(h, address);
   if (number == 0 || h->blocks[number - 1].address != address) return;
   struct heap_block* block = &h->blocks[number - 1];
   if (block->size > HM_MARKED_BYTES) {
      for (u32 i = 0; i < h->large_count; i++)
         if (h->large[i] == number - 1) h->large[i] = h->large[--h->large_count];
   } else hm_mark(h, block, 0);
   block->size = 0;
   block->owner = h->free;
   h->free = number;
}

static void hm_add(struct heap_misses* h, u64 address, u64 size, u32 owner)
{
   if (size == 0 || address + size < address) return;
   hm_remove(h, address);
   u32 number = h->free;
   if (number != 0) h->free = h->blocks[number - 1].owner;
   else {
      if (!HM_ROOM(h, h->blocks, h->block_count, h->block_room)) return;
      number = ++h->block_count;
   }
   struct heap_block* block = &h->blocks[number - 1];
   *block = (struct heap_block){ address, size, owner };
   if (address < h->lowest || h->highest == 0) h->lowest = address;
   if (address + size > h->highest) h->highest = address + size;
   if (size <= HM_MARKED_BYTES) hm_mark(h, block, number);
   else if (HM_ROOM(h, h->large, h->large_count, h->large_room)) h->large[h->large_count++] = number - 1;
}

/* The counts of a key. */
static f64* hm_counts(struct heap_misses* h, u64 key)
{
   if (2 * h->key_count >= h->slot_room) {
      u32 room = h->slot_room ? 2 * h->slot_room : 1024;
      u32* slots = calloc(room, sizeof *slots);
      if (slots == NULL) return h->failed = true, NULL;
      for (u32 i = 0; i < h->key_count; i++) {
         u32 at = hm_hash(h->keys[i]) & (room - 1);
         while (slots[at] != 0) at = (at + 1) & (room - 1);
         slots[at] = i + 1;
      }
      free(h->slots);
      h->slots = slots;
      h->slot_room = room;
   }
   u32 at = hm_hash(key) & (h->slot_room - 1);
   for (; h->slots[at] != 0; at = (at + 1) & (h->slot_room - 1))
      if (h->keys[h->slots[at] - 1] == key) return h->counts + HM_EVENTS * (h->slots[at] - 1);
   if (h->key_count >= h->key_room) {
      u32 room = h->key_room ? 2 * h->key_room : 1024;
      u64* keys = hm_grow(h, h->keys, room, sizeof *keys);
      if (keys == NULL) return NULL;
      h->keys = keys;
      f64* counts = hm_grow(h, h->counts, room, HM_EVENTS * sizeof *counts);
      if (counts == NULL) return NULL;
      h->counts = counts;
      h->key_room = room;
   }
   h->keys[h->key_count] = key;
   h->slots[at] = ++h->key_count;
   f64* counts = h->counts + HM_EVENTS * (h->key_count - 1);
   for (u32 i = 0; i < HM_EVENTS; i++) counts[i] = 0;
   return counts;
}

/* Attributes the misses that were written down in linear memory, and forgets them. */
static void hm_take(struct heap_misses* h, u8* m)
{
   u32 count = i32_load(m, 0, MISS_COUNT);
   i32_store(m, 0, MISS_COUNT, 0);
   if (!h->counting || count > MAX_MISSES) return;
   for (u32 i = 0; i < count; i++) {
      u32 how = i32_load(m, 4 * i, MISS_SITES), site = how >> 2, number;
      u64 address = i64_load(m, 8 * i, MISS_ADDRESSES);
      if (site >= h->kind_count || (number = hm_find(h, address)) == 0) continue;
      const struct heap_block* block = &h->blocks[number - 1];
      u64 offset = (address - block->address) >> HM_OFFSET_BITS;
      if (offset > HM_MOST_OFFSETS) offset = HM_MOST_OFFSETS;
      f64* counts = hm_counts(h, (u64)block->owner * (HM_MOST_OFFSETS + 1) + offset);
      if (counts == NULL) return;
      if ((h->kinds[site] & ~SITE_GUARDED) == SITE_WRITE) counts += 2;
      counts[0]++;
      if (how & 1) counts[1]++;
   }
}

/* A call of an allocator has taken effect. */
static void hm_call(struct heap_misses* h, u8* m, bool releases, bool known, u64 address, u64 size, u64 previous, u32 owner)
{
   hm_take(h, m);
   if (releases) {
      if (known) hm_remove(h, address);
      return;
   }
   if (address == 0) return;
   if (previous != 0) hm_remove(h, previous);
   i32_store(m, 0, NOTES_MISSES, 1);
   hm_add(h, address, size, owner);
}
