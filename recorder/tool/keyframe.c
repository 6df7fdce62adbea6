/* Keyframes: now and then the whole writable state of the guest, so that replay need not begin at the
   beginning. How often is set by what it costs: the time to copy the memory is to stay a small part of
   the time spent running. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

#define TICKS_BETWEEN 100000000ULL
/* Copying and compressing a byte takes about as long as running this many instructions, times 30. */
#define TICKS_PER_BYTE 40

static ULong last_tick, last_bytes;

/* Ranges that are not writable now but were: relocated data, code that was generated. */
typedef struct { Addr start, end; } Range;
static XArray* once_writable;

void keyframe_was_writable(Addr address, SizeT size)
{
   if (once_writable == NULL)
      once_writable = VG_(newXA)(VG_(malloc), "grind.writable", VG_(free), sizeof(Range));
   for (Word i = 0; i < VG_(sizeXA)(once_writable); i++) {
      Range* r = VG_(indexXA)(once_writable, i);
      if (address <= r->end && address + size >= r->start) {
         r->start = VG_MIN(r->start, address);
         r->end = VG_MAX(r->end, address + size);
         return;
      }
   }
   Range r = { address, address + size };
   VG_(addToXA)(once_writable, &r);
}

static Bool was_writable(Addr start, Addr end)
{
   for (Word i = 0; once_writable && i < VG_(sizeXA)(once_writable); i++) {
      Range* r = VG_(indexXA)(once_writable, i);
      if (start < r->end && end > r->start) return True;
   }
   return False;
}

static void emit_range(Addr address, SizeT size, Bool zero)
{
   while (size) {
      UInt n = zero ? 0 : VG_MIN(size, 1u << 20);
      RawKeyframeMemory* r = EMIT(RawKeyframeMemory, TABLE_KEYFRAME_MEMORY, n);
      r->tick = now;
      r->address = address;
      r->size = zero ? size : n;
      r->bytes_size = n;
      VG_(memcpy)(EXTRA(r), (void*)address, n);
      last_bytes += n;
      if (zero) return;
      address += n;
      size -= n;
   }
}

static void emit_segment(Addr address, Addr end)
{
   while (address < end) {
      Addr from = address;
      while (address < end && !page_is_zero(address)) address += 4096;
      emit_range(from, address - from, False);
      from = address;
      while (address < end && page_is_zero(address)) address += 4096;
      emit_range(from, address - from, True);
   }
}

static UChar* thread_records;
static UInt thread_records_used;

static void add_thread(UInt number, const UChar* state)
{
   thread_records = VG_(realloc)("grind.keyframe", thread_records, thread_records_used + 8 + STATE_SIZE);
   *(ULong*)(thread_records + thread_records_used) = number;
   VG_(memcpy)(thread_records + thread_records_used + 8, state, STATE_SIZE);
   thread_records_used += 8 + STATE_SIZE;
}

void keyframe_maybe(ThreadId tid)
{
   if (now < last_tick) last_tick = 0; /* a forked child counts from 0 again */
   if (now - last_tick < VG_MAX(TICKS_BETWEEN, last_bytes * TICKS_PER_BYTE)) return;
   last_tick = now;
   last_bytes = 0;

   static Addr starts[10000];
   Int n = VG_(am_get_segment_starts)(SkAnonC | SkFileC | SkShmC, starts, 10000);
   for (Int i = 0; i < n; i++) {
      const NSegment* s = VG_(am_find_nsegment)(starts[i]);
      if (s && s->hasR && (s->hasW || was_writable(s->start, s->end + 1))) emit_segment(s->start, s->start + present_size(s));
   }
   thread_records_used = 0;
   for_each_thread(add_thread);
   RawKeyframes* r = EMIT(RawKeyframes, TABLE_KEYFRAMES, thread_records_used);
   r->tick = now;
   r->thread = thread_number(tid);
   r->thread_size = 8 + STATE_SIZE;
   r->threads_size = thread_records_used;
   VG_(memcpy)(EXTRA(r), thread_records, thread_records_used);
}
