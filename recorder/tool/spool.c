/* The spool: where this process image's records go.

   A series of files mapped shared, so that a record is safe from the moment it is written, even if
   the process is killed. Each file is reserved on disk before it is used: a full disk is met here,
   in order, and not as a bus error. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

/* Room kept at the end of each piece for the last words when the next piece cannot be had. */
#define RESERVE 1024

ULong spool_events;
Bool recording;

static HChar name[64];
static UInt piece_number;
static ULong written_before; /* bytes in earlier pieces */
static UChar *base, *cursor, *limit;
static UChar* scrap;
static UInt scrap_size;

const HChar* spool_name(void) { return name; }

static void piece_path(HChar* path, UInt number)
{
   VG_(sprintf)(path, "%s/%s.%u", opt_spool, name, number);
}

/* Cuts the current piece to what is used and lets go of it. */
static void piece_close(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   if (cursor == NULL) return;
   piece_path(path, piece_number);
   raw_syscall(__NR_truncate, (Addr)path, cursor - base, 0, 0, 0, 0);
   written_before += cursor - base;
   piece_number++;
   cursor = NULL;
}

static Bool piece_open(void)
{
   HChar path[VG_(strlen)(opt_spool) + 100];
   /* Short-lived processes are many: their first piece is small. */
   SizeT size = piece_number == 0 ? 1 << 20 : GRIND_PIECE_SIZE;
   piece_path(path, piece_number);
   SysRes res = VG_(open)(path, VKI_O_RDWR | VKI_O_CREAT | VKI_O_EXCL, 0600);
   if (sr_isError(res)) return False;
   Int fd = sr_Res(res);
   Bool ok = raw_syscall(__NR_fallocate, fd, 0, 0, size, 0, 0) == 0
             && raw_syscall(__NR_mmap, (Addr)base, size, VKI_PROT_READ | VKI_PROT_WRITE,
                            VKI_MAP_SHARED | VKI_MAP_FIXED, fd, 0) == (Long)(Addr)base;
   VG_(close)(fd);
   if (!ok) {
      VG_(unlink)(path);
      return False;
   }
   cursor = base;
   limit = base + size - RESERVE;
   return True;
}

Bool spool_open(void)
{
   if (base == NULL) {
      base = VG_(am_shadow_alloc)(GRIND_PIECE_SIZE);
      scrap_size = 2 << 20;
      scrap = VG_(malloc)("grind.scrap", scrap_size);
   }
   spool_events = 0;
   written_before = 0;
   piece_number = 0;
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
      return piece_open();
   }
   return False;
}

void spool_close(void)
{
   piece_close();
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

/* For a forked child that is not recorded: the piece belongs to its parent. */
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
      if (cursor + size > limit) {
         ULong total = written_before + (cursor - base);
         if ((opt_max_size && total >= opt_max_size) || is_told_to_stop()) {
            limit += RESERVE;
            recording_stop("size limit");
         } else {
            UChar* end = cursor;
            ULong before = written_before;
            UInt number = piece_number;
            piece_close();
            if (!piece_open()) {
               /* Back to the old piece, which is still mapped: undo the cut, use its reserve. */
               HChar path[VG_(strlen)(opt_spool) + 100];
               written_before = before;
               piece_number = number;
               cursor = end;
               limit += RESERVE;
               piece_path(path, piece_number);
               raw_syscall(__NR_truncate, (Addr)path, limit - base, 0, 0, 0, 0);
               recording_stop("disk full");
            } else if (cursor + size > limit) {
               /* The first piece is smaller than a record can be. */
               return emit(table, fixed_size, extra);
            }
         }
      }
      if (cursor != NULL && cursor + size <= limit) {
         record = cursor;
         cursor += size;
         spool_events++;
      }
   }
   if (record == NULL) {
      tl_assert(size <= scrap_size);
      record = scrap;
   }
   /* A call for so few words would cost more than they do. */
   for (UInt i = 0; i < fixed_size; i += 8) *(ULong*)(record + i) = 0;
   *(ULong*)(record + size - 8) = 0;
   RawHealth* header = (RawHealth*)record;
   header->record_size = size;
   header->record_table = table;
   return record;
}

/* Says why, in the piece's reserve, and goes silent. */
void recording_stop(const HChar* why)
{
   if (cursor == NULL) return;
   Bool was = recording;
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
