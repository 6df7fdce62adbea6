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

/* The guest may change its root and give up its rights: the folder is held open, high above the guest's descriptors,
   and files in it are opened relative to it. */
Int spool_folder = -1;
/* Files can be opened again whoever the guest is by then: its folder lets nobody else in. */
static Bool is_for_all;

/* Longest name of a file in the folder. */
#define NAME_SIZE 100

static Int spool_file(const HChar* file, Int flags)
{
   Int fd = raw_syscall(__NR_openat, spool_folder, (Addr)file, flags, 0600, 0, 0);
   if (fd >= 0 && is_for_all && (flags & VKI_O_CREAT)) raw_syscall(__NR_fchmod, fd, 0666, 0, 0, 0, 0);
   return fd;
}

/* The engine's own descriptors, as many as it has reserved, begin there; it takes them from below. */
extern Int VG_(fd_hard_limit);
#define ABOVE_ENGINES 8
/* open(2): the folder may be one that we can pass, but not list. */
#define O_PATH 010000000

/* An argument that the engine gives to itself when the guest starts another program. */
static void set_argument(const HChar* option, const HChar* value)
{
   XArray* arguments = VG_(args_for_valgrind);
   HChar* text = VG_(malloc)("grind.argument", VG_(strlen)(option) + VG_(strlen)(value) + 1);
   VG_(sprintf)(text, "%s%s", option, value);
   Word i = 0;
   while (i < VG_(sizeXA)(arguments)
          && VG_(strncmp)(*(HChar**)VG_(indexXA)(arguments, i), option, VG_(strlen)(option)) != 0)
      i++;
   if (i < VG_(sizeXA)(arguments)) *(HChar**)VG_(indexXA)(arguments, i) = text;
   else VG_(addToXA)(arguments, &text);
}

void spool_hold(void)
{
   struct vg_stat st;
   HChar path[NAME_SIZE];
   Int fd = opt_spool_folder;
   if (fd < 0) fd = raw_syscall(__NR_openat, VKI_AT_FDCWD, (Addr)opt_spool, O_PATH, 0, 0, 0);
   if (fd < 0 || VG_(fstat)(fd, &st) != 0) return;
   spool_folder = VG_(fcntl)(fd, VKI_F_DUPFD, VG_(fd_hard_limit) + ABOVE_ENGINES);
   VG_(close)(fd);
   is_for_all = (st.mode & 0002) != 0;
   VG_(sprintf)(path, "%d", spool_folder);
   set_argument("--grind-spool-folder=", path);
   VG_(sprintf)(path, "/proc/self/fd/%d/log.%%p", spool_folder);
   set_argument("--log-file=", path);
   spool_pass_on(False);
}

void spool_pass_on(Bool is_wanted) { VG_(fcntl)(spool_folder, VKI_F_SETFD, is_wanted ? 0 : VKI_FD_CLOEXEC); }

static Bool spool_has(const HChar* file) { return raw_syscall(__NR_faccessat, spool_folder, (Addr)file, 0, 0, 0, 0) == 0; }

static void spool_cut(const HChar* file, ULong size)
{
   Int fd = spool_file(file, VKI_O_WRONLY);
   if (fd < 0) return;
   raw_syscall(__NR_ftruncate, fd, size, 0, 0, 0, 0);
   VG_(close)(fd);
}

static void piece_name(HChar* file) { VG_(sprintf)(file, "%s.%u", name, tail->piece); }

/* Short-lived processes are many: their first piece is small. */
static UInt piece_size(void) { return tail->piece == 0 ? 1 << 20 : GRIND_PIECE_SIZE; }

/* Gives back what was reserved and not used. */
static void piece_cut(void)
{
   HChar piece[NAME_SIZE];
   piece_name(piece);
   spool_cut(piece, tail->offset);
}

/* Appends the tail's records to the current piece; False when the disk is full. A piece is reserved whole when it is
   begun, so that there is still some room then, which the recorder needs to go on. */
static Bool flush(void)
{
   HChar piece[NAME_SIZE];
   UInt size = cursor - tail->records;
   if (size == 0) return True;
   if (tail->offset != 0 && tail->offset + size > piece_size()) {
      piece_cut();
      *(ULong*)tail = tail->piece + 1; /* number and offset in one store */
   }
   piece_name(piece);
   Int fd = spool_file(piece, VKI_O_WRONLY | VKI_O_CREAT);
   if (fd < 0) return False;
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

static void tail_name(HChar* file) { VG_(sprintf)(file, "%s.tail", name); }

static Bool tail_open(void)
{
   HChar file[NAME_SIZE];
   tail_name(file);
   Int fd = spool_file(file, VKI_O_RDWR | VKI_O_CREAT | VKI_O_EXCL);
   if (fd < 0) return False;
   Bool ok = raw_syscall(__NR_fallocate, fd, 0, 0, FIRST_SIZE, 0, 0) == 0
             && raw_syscall(__NR_mmap, (Addr)tail, GRIND_TAIL_SIZE, VKI_PROT_READ | VKI_PROT_WRITE,
                            VKI_MAP_SHARED | VKI_MAP_FIXED, fd, 0) == (Long)(Addr)tail;
   VG_(close)(fd);
   if (!ok) {
      raw_syscall(__NR_unlinkat, spool_folder, (Addr)file, 0, 0, 0, 0);
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
   HChar file[NAME_SIZE];
   UInt needed = (cursor + size + RESERVE + END_SIZE - (UChar*)tail + 4095) & ~4095u;
   if (needed <= tail_size) return True;
   if (needed > GRIND_TAIL_SIZE) return False;
   tail_name(file);
   Int fd = spool_file(file, VKI_O_RDWR);
   if (fd < 0) return False;
   Bool ok = raw_syscall(__NR_fallocate, fd, 0, 0, needed, 0, 0) == 0;
   VG_(close)(fd);
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
      HChar file[NAME_SIZE];
      VG_(sprintf)(name, "p%d-%u", VG_(getpid)(), image);
      /* A converted piece is gone from the folder: the marker of the image stays. */
      VG_(sprintf)(file, "%s.image", name);
      Int fd = spool_file(file, VKI_O_WRONLY | VKI_O_CREAT | VKI_O_EXCL);
      if (fd == -VKI_EEXIST) continue;
      if (fd < 0) return False;
      VG_(close)(fd);
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
   HChar file[NAME_SIZE];
   tail_name(file);
   spool_cut(file, cursor + END_SIZE - (UChar*)tail);
   cursor = NULL;
}

/* The recorder adds up the sizes of all processes, and puts this file where the limit is reached. */
static Bool is_told_to_stop(void) { return spool_has("stop"); }

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
