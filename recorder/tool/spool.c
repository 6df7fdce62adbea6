/* The spool: where this process image's records go.

   A record is written into the tail, a file mapped shared, so that it is safe from that moment, even if the
   process is killed. When the tail is full its records are appended to the current piece, a plain file, and
   the tail is used again: pages of a mapping that are new each time would cost far more than the copy. The
   tail is reserved on disk when it is made, and an append that fails leaves it as it was: a full disk is met
   in order, with room for the last words, and not as a bus error. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

/* Records are moved to the piece when there are this many bytes of them: few enough to stay in the
   processor's caches. */
#define FLUSH_SIZE (256u << 10)
/* How much of the tail is used, and how much before the last words: a zero word always follows. */
#define USABLE (GRIND_TAIL_SIZE - 8)
#define RESERVE 1024

/* The tail file: where its records belong, and the records, ended by a zero word. A piece that is longer than
   `offset` has got them already, or a part of them; if there are none, it has. */
typedef struct {
   UInt piece;
   UInt offset;
   UChar records[];
} Tail;

ULong spool_events;
Bool recording;

static HChar name[64];
static Tail* tail;
static UChar *cursor, *limit;
static ULong written_before; /* bytes in pieces */
static UChar* scrap;

const HChar* spool_name(void) { return name; }

/* Orders what is written to the tail, as far as the reader of a killed process's tail is concerned. */
#define IN_ORDER() __asm__ volatile("" : : : "memory")

/* Appends the tail's records to the current piece; False when the disk is full. */
static Bool flush(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   UInt size = cursor - tail->records;
   if (size == 0) return True;
   if (tail->offset != 0 && tail->offset + size > GRIND_PIECE_SIZE) {
      /* In one store. No piece is longer than its records' sum, so there is nothing to be done about the old one. */
      *(ULong*)tail = tail->piece + 1;
   }
   VG_(sprintf)(path, "%s/%s.%u", opt_spool, name, tail->piece);
   SysRes res = VG_(open)(path, VKI_O_WRONLY | VKI_O_CREAT, 0600);
   if (sr_isError(res)) return False;
   Int fd = sr_Res(res);
   UInt done = 0;
   while (done < size) {
      Long n = raw_syscall(__NR_pwrite64, fd, (Addr)tail->records + done, size - done, tail->offset + done, 0, 0);
      if (n <= 0) break;
      done += n;
   }
   VG_(close)(fd);
   if (done < size) return False;
   *(ULong*)tail->records = 0;
   IN_ORDER();
   tail->offset += size;
   written_before += size;
   cursor = tail->records;
   return True;
}

static Bool tail_open(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   VG_(sprintf)(path, "%s/%s.tail", opt_spool, name);
   SysRes res = VG_(open)(path, VKI_O_RDWR | VKI_O_CREAT | VKI_O_EXCL, 0600);
   if (sr_isError(res)) return False;
   Int fd = sr_Res(res);
   Bool ok = raw_syscall(__NR_fallocate, fd, 0, 0, GRIND_TAIL_SIZE, 0, 0) == 0
             && raw_syscall(__NR_mmap, (Addr)tail, GRIND_TAIL_SIZE, VKI_PROT_READ | VKI_PROT_WRITE,
                            VKI_MAP_SHARED | VKI_MAP_FIXED, fd, 0) == (Long)(Addr)tail;
   VG_(close)(fd);
   if (!ok) {
      VG_(unlink)(path);
      return False;
   }
   cursor = tail->records;
   limit = (UChar*)tail + USABLE - RESERVE;
   return True;
}

Bool spool_open(void)
{
   if (tail == NULL) {
      tail = VG_(am_shadow_alloc)(GRIND_TAIL_SIZE);
      scrap = VG_(am_shadow_alloc)(GRIND_TAIL_SIZE);
   }
   spool_events = 0;
   written_before = 0;
   cursor = NULL;
   for (UInt image = 0; image < 10000; image++) {
      HChar path[VG_(strlen)(opt_spool) + 100];
      struct vg_stat st;
      VG_(sprintf)(name, "p%d-%u", VG_(getpid)(), image);
      /* A converted piece is gone from the folder: the marker of the image stays. */
      VG_(sprintf)(path, "%s/%s.image", opt_spool, name);
      if (!sr_isError(VG_(stat)(path, &st))) continue;
      SysRes res = VG_(open)(path, VKI_O_WRONLY | VKI_O_CREAT | VKI_O_EXCL, 0600);
      if (sr_isError(res)) {
         if (sr_Err(res) == VKI_EEXIST) continue;
         return False;
      }
      VG_(close)(sr_Res(res));
      return tail_open();
   }
   return False;
}

/* The recorder is to know of the image from its beginning. */
void spool_begun(void)
{
   if (cursor != NULL && !flush()) recording_stop("disk full");
}

void spool_close(void)
{
   if (cursor != NULL) flush(); /* or else the records stay where they are */
   cursor = NULL;
   recording = False;
}

/* The recorder adds up the sizes of all processes, and puts this file where the limit is reached. */
static Bool is_told_to_stop(void)
{
   HChar path[VG_(strlen)(opt_spool) + 10];
   struct vg_stat st;
   VG_(sprintf)(path, "%s/stop", opt_spool);
   return !sr_isError(VG_(stat)(path, &st));
}

/* For a forked child that is not recorded: the tail belongs to its parent. */
void spool_abandon(void)
{
   cursor = NULL;
   recording = False;
}

static Bool is_program_table(UShort table)
{
   return table == TABLE_BLOCKS || table == TABLE_INSTRUCTIONS || table == TABLE_MODULES
          || table == TABLE_STACKS || table == TABLE_STRINGS || table == TABLE_PROCESS_STARTS
          || table == TABLE_PROCESS_ENDS || table == TABLE_HEALTH;
}

void* emit(UShort table, UInt fixed_size, UInt extra)
{
   UInt size = (fixed_size + extra + 7) & ~7u;
   UChar* record = NULL;
   if (cursor != NULL && (recording || is_program_table(table))) {
      if (cursor + size > tail->records + FLUSH_SIZE) {
         ULong total = written_before + (cursor - tail->records);
         if ((opt_max_size && total >= opt_max_size) || is_told_to_stop()) recording_stop("size limit");
         else if (!flush()) recording_stop("disk full");
      }
      if (cursor != NULL && cursor + size <= limit) {
         record = cursor;
         cursor += size;
         spool_events++;
         *(ULong*)cursor = 0;
      }
   }
   if (record == NULL) {
      tl_assert(size <= GRIND_TAIL_SIZE);
      record = scrap;
   }
   /* A call for so few words would cost more than they do. */
   for (UInt i = 8; i < fixed_size; i += 8) *(ULong*)(record + i) = 0;
   if (extra) *(ULong*)(record + size - 8) = 0;
   IN_ORDER();
   *(ULong*)record = (ULong)table << 32 | size;
   return record;
}

/* Says why, in the tail's reserve, and goes silent. */
void recording_stop(const HChar* why)
{
   if (cursor == NULL || limit == (UChar*)tail + USABLE) return;
   Bool was = recording;
   limit = (UChar*)tail + USABLE;
   recording = True;
   health(HEALTH_SEVERITY_WARNING, why, "recording stopped here; the trace holds what came before");
   RawProcessEnds* end = EMIT(RawProcessEnds, TABLE_PROCESS_ENDS, 0);
   end->tick = now;
   end->how = PROCESS_ENDS_HOW_STOPPED;
   end->status = -1;
   end->time_ns = monotonic_ns();
   recording = was;
   spool_close();
}

void health(UInt severity, const HChar* what, const HChar* detail)
{
   UInt what_size = VG_(strlen)(what), detail_size = VG_(strlen)(detail);
   RawHealth* r = EMIT(RawHealth, TABLE_HEALTH, what_size + detail_size);
   r->tick = now;
   r->severity = severity;
   r->what_size = what_size;
   r->detail_size = detail_size;
   VG_(memcpy)(EXTRA(r), what, what_size);
   VG_(memcpy)(EXTRA(r) + what_size, detail, detail_size);
}
