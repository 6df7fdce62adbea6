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
/* Bytes of the tail that are reserved on disk at first; more when a record needs it. */
#define FIRST_SIZE (512u << 10)
/* Room kept at its end for the last words, and for a zero word. */
#define RESERVE 1024
#define END_SIZE 8

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
static UInt tail_size; /* what is reserved */
static UChar *cursor, *limit;
static ULong written_before; /* bytes in pieces */
static UChar* scrap;

const HChar* spool_name(void) { return name; }

/* Orders what is written to the tail, as far as the reader of a killed process's tail is concerned. */
#define IN_ORDER() __asm__ volatile("" : : : "memory")

/* fallocate(2): the file's length stays. */
#define KEEP_SIZE 1

static void piece_path(HChar* path) { VG_(sprintf)(path, "%s/%s.%u", opt_spool, name, tail->piece); }

/* Short-lived processes are many: their first piece is small. */
static UInt piece_size(void) { return tail->piece == 0 ? 1 << 20 : GRIND_PIECE_SIZE; }

/* Gives back what was reserved and not used. */
static void piece_cut(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   piece_path(path);
   raw_syscall(__NR_truncate, (Addr)path, tail->offset, 0, 0, 0, 0);
}

/* Appends the tail's records to the current piece; False when the disk is full. A piece is reserved whole when it is
   begun, so that there is still some room then, which the recorder needs to go on. */
static Bool flush(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   UInt size = cursor - tail->records;
   if (size == 0) return True;
   if (tail->offset != 0 && tail->offset + size > piece_size()) {
      piece_cut();
      *(ULong*)tail = tail->piece + 1; /* number and offset in one store */
   }
   piece_path(path);
   SysRes res = VG_(open)(path, VKI_O_WRONLY | VKI_O_CREAT, 0600);
   if (sr_isError(res)) return False;
   Int fd = sr_Res(res);
   UInt done = 0;
   Bool ok = tail->offset != 0 || raw_syscall(__NR_fallocate, fd, KEEP_SIZE, 0, VG_MAX(size, piece_size()), 0, 0) == 0;
   while (ok && done < size) {
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

static void tail_path(HChar* path) { VG_(sprintf)(path, "%s/%s.tail", opt_spool, name); }

static Bool tail_open(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   tail_path(path);
   SysRes res = VG_(open)(path, VKI_O_RDWR | VKI_O_CREAT | VKI_O_EXCL, 0600);
   if (sr_isError(res)) return False;
   Int fd = sr_Res(res);
   Bool ok = raw_syscall(__NR_fallocate, fd, 0, 0, FIRST_SIZE, 0, 0) == 0
             && raw_syscall(__NR_mmap, (Addr)tail, GRIND_TAIL_SIZE, VKI_PROT_READ | VKI_PROT_WRITE,
                            VKI_MAP_SHARED | VKI_MAP_FIXED, fd, 0) == (Long)(Addr)tail;
   VG_(close)(fd);
   if (!ok) {
      VG_(unlink)(path);
      return False;
   }
   tail_size = FIRST_SIZE;
   cursor = tail->records;
   limit = (UChar*)tail + tail_size - END_SIZE - RESERVE;
   return True;
}

/* Room in the tail for a record of `size` bytes at the cursor; False when the disk is full. */
static Bool tail_grow(UInt size)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   UInt needed = (cursor + size + RESERVE + END_SIZE - (UChar*)tail + 4095) & ~4095u;
   if (needed <= tail_size) return True;
   if (needed > GRIND_TAIL_SIZE) return False;
   tail_path(path);
   SysRes res = VG_(open)(path, VKI_O_RDWR, 0);
   if (sr_isError(res)) return False;
   Bool ok = raw_syscall(__NR_fallocate, sr_Res(res), 0, 0, needed, 0, 0) == 0;
   VG_(close)(sr_Res(res));
   if (!ok) return False;
   tail_size = needed;
   limit = (UChar*)tail + tail_size - END_SIZE - RESERVE;
   return True;
}

Bool spool_open(void)
{
   if (tail == NULL) {
      tail = zero_pages(GRIND_TAIL_SIZE);
      scrap = zero_pages(GRIND_TAIL_SIZE);
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
   recording = False;
   if (cursor == NULL) return;
   flush(); /* or else the records stay where they are */
   piece_cut();
   HChar path[VG_(strlen)(opt_spool) + 100];
   tail_path(path);
   raw_syscall(__NR_truncate, (Addr)path, cursor + END_SIZE - (UChar*)tail, 0, 0, 0, 0);
   cursor = NULL;
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
         else if (!flush() || !tail_grow(size)) recording_stop("disk full");
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
   UChar* end = (UChar*)tail + tail_size - END_SIZE;
   if (cursor == NULL || limit == end) return;
   Bool was = recording;
   limit = end;
   recording = True;
   health(HEALTH_SEVERITY_WARNING, why, "recording stopped here; the trace holds what came before");
   RawProcessEnds* r = EMIT(RawProcessEnds, TABLE_PROCESS_ENDS, 0);
   r->tick = now;
   r->how = PROCESS_ENDS_HOW_STOPPED;
   r->status = -1;
   r->time_ns = monotonic_ns();
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
