/* What the engine tells a tool, as rows: guest memory and registers that changed from outside, system
   calls, signals, threads, client requests. All of it happens at scheduler points, where no guest code
   runs and `now` is exact. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"
#include "requests.h"
#include "helgrind.h"
#include "memcheck.h"

/* Requests of the engine's own that its tool headers do not name. */
#define REQUEST_GET_MALLOCFUNCS 0x3030
#define REQUEST_INTERNAL_PRINTF 0x3103

#define SYS_MMAP 9
#define SYS_IOCTL 16
#define SYS_SELECT 23
#define SYS_MREMAP 25
#define SYS_MADVISE 28
#define SYS_SHMAT 30
#define SYS_CLONE 56
#define SYS_EXECVE 59
#define SYS_EXIT 60
#define SYS_FCNTL 72
#define SYS_READLINK 89
#define SYS_EXIT_GROUP 231
#define SYS_READLINKAT 267
#define SYS_PSELECT6 270
#define SYS_EXECVEAT 322
#define SYS_IO_URING_SETUP 425
#define SYS_SET_TID_ADDRESS 218
#define FCNTL_GETLK 5
#define FCNTL_OFD_GETLK 36
#define MAP_SHARED_BIT 1
#define CLONE_SETTLS_BIT 0x00080000
#define CLONE_CHILD_CLEARTID_BIT 0x00200000
#define CLONE_CHILD_SETTID_BIT 0x01000000

#define MEMORY_CHUNK (1u << 20)
/* A larger file is not copied when it is mapped: what the guest loads from it is logged. */
#define FILE_COPY_LIMIT (64UL << 20)

ULong now;

/* ---------------------------------------------------------------- threads */

/* What a system call is passed in memory, small parts of it, as they were before: the kernel changes some without the
   engine's telling, such as lengths that are both passed and returned, or what a call that failed has written. */
#define PASSED_MOST 128
#define PASSED_SIZE 64
typedef struct {
   UInt count;
   struct { Addr address; SizeT size; UChar was[PASSED_SIZE]; } parts[PASSED_MOST];
} Passed;

typedef struct {
   UInt number; /* unique within the process */
   Bool known;  /* replay has this thread's registers: `state` */
   Bool started;
   Bool ended;           /* by a fatal signal, which is told of first */
   Bool left;   /* it called exit: its code only runs again to tidy up */
   Bool no_redirect; /* it goes on with a function that is not to be replaced */
   Bool untouched;   /* it stopped for that only: nothing has changed its registers, which `state` lacks */
   ULong call;   /* system call under way, or 0 */
   UInt sysno;
   ULong args[6];
   Passed* passed; /* to that call; there once it was needed */
   Addr clear_tid; /* where the kernel clears the thread id at the end, or 0 */
   Addr set_tid;
   Addr handle; /* its pthread_t: C libraries put it where its thread-local storage is; 0 when not known */
   Bool signal; /* the engine saved or restored all its registers */
   UChar state[sizeof(VexGuestAMD64State)] __attribute__((aligned(8))); /* the parts below, when it stopped */
} Thread;

/* The registers that the engine changes one by one. The vector registers between the two parts change
   only when a signal frame is left, or with a new thread; not reading them halves the cost of a stop. */
static const struct { UInt start, end; } state_parts[2] = {
   { offsetof(VexGuestAMD64State, guest_RAX), offsetof(VexGuestAMD64State, guest_YMM0) },
   { offsetof(VexGuestAMD64State, guest_FTOP), sizeof(VexGuestAMD64State) },
};

static void read_state_parts(ThreadId tid, UChar* state)
{
   for (UInt i = 0; i < 2; i++)
      VG_(get_shadow_regs_area)(tid, state + state_parts[i].start, 0, state_parts[i].start,
                                state_parts[i].end - state_parts[i].start);
}

static Thread* threads;
Addr sync_marker;
static UInt thread_count;
/* Threads that were created, also those that have not begun yet, and have not ended. */
static UInt live_threads;
static ULong call_count;

/* How often a thread that goes on writes a `slices` row: every so many superblocks, if it stops. The
   first is the engine's own time slice. */
#define SLICE_BLOCKS 100000
#define VERIFY_BLOCKS 100

static ThreadId last_tid;    /* the one that ran last */
static ULong last_slice;     /* engine's block count at the last `slices` row */
static Bool running_code;    /* between start and stop: guest code runs */
static Bool fault;           /* the thread left a superblock in the middle */

UInt thread_number(ThreadId tid)
{
   return tid == VG_INVALID_THREADID || tid >= VG_N_THREADS ? 0 : threads[tid].number;
}

Bool jumped_without_redirect(ThreadId tid) { return threads[tid].no_redirect; }

ULong monotonic_ns(void)
{
   struct { Long seconds, nanoseconds; } t = { 0, 0 };
   raw_syscall(__NR_clock_gettime, VKI_CLOCK_MONOTONIC, (Addr)&t, 0, 0, 0, 0);
   return t.seconds * 1000000000ULL + t.nanoseconds;
}

/* ---------------------------------------------------------------- memory */

Bool readable(Addr address, SizeT size)
{
   return VG_(am_is_valid_for_client)(address, size, VKI_PROT_READ);
}

static RawMemory* emit_memory_row(ThreadId tid, UChar cause, UChar op, Addr address, SizeT size, UInt bytes)
{
   RawMemory* r = EMIT(RawMemory, TABLE_MEMORY, bytes);
   r->tick = now;
   r->thread = thread_number(tid);
   r->cause = cause;
   r->op = op;
   r->address = address;
   r->size = size;
   r->bytes_size = bytes;
   return r;
}

/* Writes guest memory as it is now. */
static void emit_memory(ThreadId tid, UChar cause, Addr address, SizeT size)
{
   while (size) {
      UInt n = VG_MIN(size, MEMORY_CHUNK);
      RawMemory* r = emit_memory_row(tid, cause, MEMORY_OP_BYTES, address, n, n);
      VG_(memcpy)(EXTRA(r), (void*)address, n);
      address += n;
      size -= n;
   }
}

static void emit_zero(ThreadId tid, UChar cause, Addr address, SizeT size)
{
   if (size) emit_memory_row(tid, cause, MEMORY_OP_ZERO, address, size, 0);
}

Bool page_is_zero(Addr page)
{
   const ULong* p = (const ULong*)page;
   for (UInt i = 0; i < 4096 / 8; i++)
      if (p[i]) return False;
   return True;
}

/* How much of a segment can be read: pages of a mapped file that lie wholly beyond the file's end
   cannot. */
SizeT present_size(const NSegment* segment)
{
   SizeT size = segment->end + 1 - segment->start;
   struct vg_stat st;
   const HChar* file = segment->kind == SkFileC ? VG_(am_get_filename)(segment) : NULL;
   if (file == NULL || sr_isError(VG_(stat)(file, &st)) || st.ino != segment->ino || !VKI_S_ISREG(st.mode)) return size;
   SizeT pages = (st.size + 4095) & ~4095UL;
   return segment->offset >= pages ? 0 : VG_MIN(size, pages - segment->offset);
}

/* The pages of a range that replay does not know to be zero. */
static void emit_pages(UChar cause, Addr address, SizeT size)
{
   Addr end = address + size;
   while (address < end) {
      Addr from = address;
      while (address < end && !page_is_zero(address)) address += 4096;
      emit_memory(VG_INVALID_THREADID, cause, from, address - from);
      while (address < end && page_is_zero(address)) address += 4096;
   }
}

static RawMappings* emit_mapping(ThreadId tid, UChar op, Addr address, SizeT size, UInt protection)
{
   const NSegment* segment = VG_(am_find_nsegment)(address);
   Bool has_file = segment && segment->kind == SkFileC && op != MAPPINGS_OP_MUNMAP;
   const HChar* file = has_file ? VG_(am_get_filename)(segment) : NULL;
   UInt n = file ? VG_(strlen)(file) : 0;
   UInt stack = tid && op != MAPPINGS_OP_STARTUP ? stack_of(tid) : 0;
   RawMappings* r = EMIT(RawMappings, TABLE_MAPPINGS, n);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->op = op;
   r->address = address;
   r->size = size;
   r->protection = protection;
   r->offset = has_file ? segment->offset + (address - segment->start) : 0;
   r->file_size = n;
   if (n) VG_(memcpy)(EXTRA(r), file, n);
   return r;
}

static UInt protection_bits(Bool rr, Bool ww, Bool xx) { return (rr ? 1 : 0) | (ww ? 2 : 0) | (xx ? 4 : 0); }

/* Read-only copies of files that replay already has: the loader maps a library whole and then its
   parts again over it. */
typedef struct {
   Addr start, end;
   ULong dev, ino;
   Long delta; /* address - file offset */
} KnownFile;
#define KNOWN_FILES 64
static KnownFile known_files[KNOWN_FILES];
static UInt next_known_file;

static void forget_files(Addr address, SizeT size)
{
   for (UInt i = 0; i < KNOWN_FILES; i++)
      if (address < known_files[i].end && address + size > known_files[i].start) {
         /* What lies before the change stays known: that is how the loader goes on. */
         if (known_files[i].start < address && known_files[i].end <= address + size) known_files[i].end = address;
         else if (known_files[i].end > address + size && known_files[i].start >= address) known_files[i].start = address + size;
         else known_files[i].end = known_files[i].start = 0;
      }
}

static Bool file_is_known(Addr address, SizeT size, const struct vg_stat* st, Long delta)
{
   for (UInt i = 0; i < KNOWN_FILES; i++) {
      KnownFile* k = &known_files[i];
      if (k->start <= address && address + size <= k->end && k->dev == st->dev && k->ino == st->ino && k->delta == delta)
         return True;
   }
   return False;
}

/* The contents of a file that was just mapped. */
static void emit_file(ThreadId tid, Int fd, Addr address, SizeT size, ULong offset, SizeT file_size)
{
   SizeT present = offset < file_size ? VG_MIN(size, file_size - offset) : 0;
   SizeT done = 0;
   while (done < present) {
      UInt n = VG_MIN(present - done, MEMORY_CHUNK);
      RawMemory* r = emit_memory_row(tid, MEMORY_CAUSE_MMAP, MEMORY_OP_BYTES, address + done, n, n);
      Long got = raw_syscall(__NR_pread64, fd, (Addr)EXTRA(r), n, offset + done, 0, 0);
      if (got < 0) got = 0;
      if (got < n) VG_(memset)(EXTRA(r) + got, 0, n - got);
      done += n;
   }
   emit_zero(tid, MEMORY_CAUSE_MMAP, address + present, size - present);
}

static void on_mmap(Addr address, SizeT size, Bool rr, Bool ww, Bool xx, ULong di)
{
   (void)di;
   ThreadId tid = VG_(get_running_tid)();
   Thread* t = tid == VG_INVALID_THREADID ? NULL : &threads[tid];
   UInt sysno = t && t->call ? t->sysno : 0;
   Bool shared = False;
   RawMappings* row = emit_mapping(tid, sysno == SYS_MREMAP ? MAPPINGS_OP_MREMAP : MAPPINGS_OP_MMAP, address, size,
                                   protection_bits(rr, ww, xx));
   const NSegment* segment = VG_(am_find_nsegment)(address);
   Bool is_file = segment && segment->kind == SkFileC;
   struct vg_stat st;
   if (sysno == SYS_MMAP) {
      Bool map_shared = (t->args[3] & MAP_SHARED_BIT) != 0;
      Bool regular = is_file && VG_(fstat)((Int)t->args[4], &st) == 0 && VKI_S_ISREG(st.mode);
      shared = (map_shared && !(regular && !ww)) || (is_file && !regular)
               || (regular && size > FILE_COPY_LIMIT);
   } else if (sysno == SYS_SHMAT) {
      shared = True;
   }
   row->shared = shared;
   if (shared) {
      forget_files(address, size);
   } else if (sysno == SYS_MMAP && is_file) {
      Long delta = (Long)(address - t->args[5]);
      Bool known = file_is_known(address, size, &st, delta);
      if (!known) {
         emit_file(tid, (Int)t->args[4], address, size, t->args[5], st.size);
         forget_files(address, size);
         if (!ww) {
            KnownFile k = { .start = address, .end = address + size, .dev = st.dev, .ino = st.ino, .delta = delta };
            known_files[next_known_file++ % KNOWN_FILES] = k;
         }
      } else if (ww) {
         forget_files(address, size);
      }
   } else {
      forget_files(address, size);
      /* Anonymous memory is zero; what an mremap uncovers of a file is not known to be. */
      if (is_file && rr) emit_memory(tid, MEMORY_CAUSE_MMAP, address, size);
      else emit_zero(tid, MEMORY_CAUSE_MMAP, address, size);
   }
   if (shared) set_shared(address, size);
}

static void on_startup(Addr address, SizeT size, Bool rr, Bool ww, Bool xx, ULong di)
{
   (void)di;
   /* The engine also tells of pages beyond the guest's address space. */
   if (address >= 1UL << 37) return;
   const NSegment* segment = VG_(am_find_nsegment)(address);
   if (segment == NULL || (segment->kind != SkAnonC && segment->kind != SkFileC)) return;
   emit_mapping(VG_INVALID_THREADID, MAPPINGS_OP_STARTUP, address, size, protection_bits(rr, ww, xx));
   if (rr) emit_pages(MEMORY_CAUSE_STARTUP, address, VG_MIN(size, present_size(segment)));
}

static void on_munmap(Addr address, SizeT size)
{
   forget_mapping();
   ThreadId tid = VG_(get_running_tid)();
   emit_mapping(tid, MAPPINGS_OP_MUNMAP, address, size, 0);
   emit_zero(tid, MEMORY_CAUSE_MUNMAP, address, size);
   forget_files(address, size);
}

/* Mapped, since the kernel maps pages, but not yet or no more asked for with brk. */
static Addr beyond_brk, beyond_brk_end;

static void on_brk(Addr address, SizeT size, ThreadId tid)
{
   beyond_brk = address + size;
   beyond_brk_end = VG_MAX(beyond_brk_end, (beyond_brk + 4095) & ~4095UL);
   emit_mapping(tid, MAPPINGS_OP_BRK, address, size, 3);
   emit_zero(tid, MEMORY_CAUSE_BRK, address, size);
}

static void on_brk_shrink(Addr address, SizeT size)
{
   beyond_brk = address;
   beyond_brk_end = VG_MAX(beyond_brk_end, address + size);
   ThreadId tid = VG_(get_running_tid)();
   emit_mapping(tid, MAPPINGS_OP_BRK_SHRINK, address, size, 0);
   emit_zero(tid, MEMORY_CAUSE_BRK, address, size);
}

static void on_mremap(Addr from, Addr to, SizeT size)
{
   ThreadId tid = VG_(get_running_tid)();
   Bool shared = is_shared(from);
   const NSegment* segment = VG_(am_find_nsegment)(to);
   UInt protection = segment ? protection_bits(segment->hasR, segment->hasW, segment->hasX) : 0;
   RawMappings* row = emit_mapping(tid, MAPPINGS_OP_MREMAP, to, size, protection);
   row->source = from;
   row->shared = shared;
   RawMemory* r = emit_memory_row(tid, MEMORY_CAUSE_MREMAP, MEMORY_OP_COPY, to, size, 0);
   r->source = from;
   forget_files(to, size);
   if (shared) set_shared(to, size);
}

static void on_mprotect(Addr address, SizeT size, Bool rr, Bool ww, Bool xx)
{
   forget_mapping();
   emit_mapping(VG_(get_running_tid)(), MAPPINGS_OP_MPROTECT, address, size, protection_bits(rr, ww, xx));
   if (ww) forget_files(address, size);
   else keyframe_was_writable(address, size);
}

/* ---------------------------------------------------------------- later writes

   Guest memory that the engine changes without telling: noted here, written when the thread goes on. */

#define LATER 8
static struct { Addr address; SizeT size; UChar cause; } later[LATER];
static UInt later_count;

static void write_later(UChar cause, Addr address, SizeT size)
{
   if (later_count == LATER) return;
   later[later_count].address = address;
   later[later_count].size = size;
   later[later_count++].cause = cause;
}

/* Set by a request to run a function of the program's own on the real processor. */
static Bool ran_natively;

static void emit_protection(ThreadId tid, Addr start, Addr end, UInt protection)
{
   extern Bool VG_(am_notify_mprotect)(Addr start, SizeT size, UInt protection);
   while (start < end) {
      const NSegment* s = VG_(am_find_nsegment)(start);
      Addr stop = s ? VG_MIN(end, s->end + 1) : end;
      Bool ours = s && (s->kind == SkAnonC || s->kind == SkFileC || s->kind == SkShmC);
      if (ours && protection_bits(s->hasR, s->hasW, s->hasX) != protection) {
         emit_mapping(tid, MAPPINGS_OP_MPROTECT, start, stop - start, protection);
         keyframe_was_writable(start, stop - start);
         VG_(am_notify_mprotect)(start, stop - start, protection);
      }
      start = stop;
   }
}

/* What the kernel says of memory, which the engine knows only as far as it saw the system calls. */
static void emit_protections(ThreadId tid)
{
   UInt used = 0, size = 0;
   Int n = 1, fd = VG_(fd_open)("/proc/self/maps", VKI_O_RDONLY, 0);
   HChar* text = NULL;
   if (fd < 0) return;
   while (n > 0) {
      if (size - used < 65536) text = VG_(realloc)("grind.maps", text, size = 2 * size + 131072);
      n = VG_(read)(fd, text + used, size - used - 1);
      if (n > 0) used += n;
   }
   VG_(close)(fd);
   text[used] = 0;
   for (HChar* line = text; *line;) { /* 7f0000000000-7f0000001000 rw-p … */
      HChar* p;
      Addr start = VG_(strtoull16)(line, &p), end = VG_(strtoull16)(p + 1, &p);
      emit_protection(tid, start, end, protection_bits(p[1] == 'r', p[2] == 'w', p[3] == 'x'));
      line = VG_(strchr)(p, '\n');
      if (line == NULL) break;
      line++;
   }
   VG_(free)(text);
}

/* All that the function can have changed: seldom wanted, so nothing is spared. */
static void emit_all_memory(ThreadId tid)
{
   static Addr starts[10000];
   emit_protections(tid);
   Int n = VG_(am_get_segment_starts)(SkAnonC | SkFileC | SkShmC, starts, 10000);
   for (Int i = 0; i < n; i++) {
      const NSegment* s = VG_(am_find_nsegment)(starts[i]);
      if (!s || !s->hasR || !s->hasW) continue;
      for (Addr at = s->start, end = s->start + present_size(s); at < end;) {
         Addr from = at;
         while (at < end && !page_is_zero(at)) at += 4096;
         emit_memory(tid, MEMORY_CAUSE_CLIENT_REQUEST, from, at - from);
         for (from = at; at < end && page_is_zero(at);) at += 4096;
         emit_zero(tid, MEMORY_CAUSE_CLIENT_REQUEST, from, at - from);
      }
   }
}

static void write_now(ThreadId tid)
{
   if (ran_natively && recording) emit_all_memory(tid);
   ran_natively = False;
   for (UInt i = 0; i < later_count; i++) {
      SizeT size = later[i].size;
      while (size > 4 && !readable(later[i].address, size)) size /= 2;
      if (readable(later[i].address, size)) emit_memory(tid, later[i].cause, later[i].address, size);
   }
   later_count = 0;
}

/* ---------------------------------------------------------------- system calls */

/* What the process gave to its last call of exit. */
static Int exit_status;

/* The image after an exec begins its log anew in the same file: give this one another name. */
static void keep_log(void)
{
   HChar from[40], to[60];
   VG_(sprintf)(from, "log.%d", VG_(getpid)());
   VG_(sprintf)(to, "%s.%llu", from, call_count);
   raw_syscall(__NR_renameat, spool_folder, (Addr)from, spool_folder, (Addr)to, 0, 0);
}

extern Bool VG_(clo_trace_children);
extern const HChar* VG_(name_of_launcher);

/* access(2) */
#define X_OK 1

/* A program that the guest starts is recorded, if who the guest is by now, and in the root that it has, can start the
   engine: else it would end right there. */
static void prepare_exec(void)
{
   keep_log();
   if (!opt_children) return;
   Bool can = raw_syscall(__NR_access, (Addr)VG_(name_of_launcher), X_OK, 0, 0, 0, 0) == 0;
   if (!can)
      health(HEALTH_SEVERITY_WARNING, "not recorded",
             "a program was started by one who may not run the recorder, or cannot find it; it runs without");
   VG_(clo_trace_children) = can;
   spool_pass_on(can);
}

static void note_passed(ThreadId tid, Addr address, SizeT size)
{
   Passed* p = threads[tid].passed;
   if (p == NULL) p = threads[tid].passed = VG_(calloc)("grind.passed", 1, sizeof(Passed));
   if (size == 0 || size > PASSED_SIZE || p->count == PASSED_MOST || !readable(address, size)) return;
   p->parts[p->count].address = address;
   p->parts[p->count].size = size;
   VG_(memcpy)(p->parts[p->count++].was, (void*)address, size);
}

/* The trace has what the kernel wrote to a range. */
static void told(ThreadId tid, Addr address, SizeT size)
{
   Passed* p = threads[tid].passed;
   for (UInt i = 0; p && i < p->count; i++) {
      Addr at = p->parts[i].address;
      SizeT length = p->parts[i].size;
      if (at < address + size && address < at + length && readable(at, length))
         VG_(memcpy)(p->parts[i].was, (void*)at, length);
   }
}

/* Memory that the kernel changed and the engine does not tell of. */
static void emit_untold(ThreadId tid, Addr address, SizeT size)
{
   if (address && size && VG_(am_is_valid_for_client)(address, size, VKI_PROT_READ | VKI_PROT_WRITE))
      emit_memory(tid, MEMORY_CAUSE_SYSCALL, address, size);
   told(tid, address, size);
}

static void emit_changed(ThreadId tid)
{
   Passed* p = threads[tid].passed;
   for (UInt i = 0; p && i < p->count; i++) {
      Addr at = p->parts[i].address;
      SizeT length = p->parts[i].size;
      if (readable(at, length) && VG_(memcmp)(p->parts[i].was, (void*)at, length) != 0) emit_untold(tid, at, length);
   }
}

static void on_pre_syscall(ThreadId tid, UInt number, UWord* args, UInt count)
{
   Thread* t = &threads[tid];
   t->call = ++call_count;
   t->sysno = number;
   for (UInt i = 0; i < 6; i++) t->args[i] = i < count ? args[i] : 0;
   if (t->passed) t->passed->count = 0;
   if (number == SYS_SET_TID_ADDRESS) t->clear_tid = args[0];
   if (number == SYS_EXIT || number == SYS_EXIT_GROUP) {
      exit_status = args[0] & 0xff;
      t->left = True;
   }
   if (number == SYS_EXECVE || number == SYS_EXECVEAT) prepare_exec();
   UInt stack = stack_of(tid);
   RawSyscallEnters* r = EMIT(RawSyscallEnters, TABLE_SYSCALL_ENTERS, 0);
   r->tick = now;
   r->thread = t->number;
   r->stack = stack;
   r->call = t->call;
   r->number = number;
   r->arg1 = t->args[0];
   r->arg2 = t->args[1];
   r->arg3 = t->args[2];
   r->arg4 = t->args[3];
   r->arg5 = t->args[4];
   r->arg6 = t->args[5];
   r->time_ns = monotonic_ns();
   descriptors_waited(t->number, t->call, number, t->args);
   if (number == SYS_IOCTL) ioctl_before(t->number, t->call, t->args);
}

/* Newer engines have the kernel write the path of our tool first, when a program asks for its own, and
   then the program's over it. */
static SizeT size_of_own_path(void)
{
   static HChar path[4096];
   static Long size;
   if (size == 0) size = raw_syscall(__NR_readlink, (Addr) "/proc/self/exe", (Addr)path, sizeof path, 0, 0, 0);
   return size > 0 ? size : 0;
}

/* What a call has changed, whether it has ended or the end of the program cuts it off. */
static void emit_all_untold(ThreadId tid, UInt number, const ULong* args)
{
   switch (number) {
      case SYS_SELECT:
      case SYS_PSELECT6: /* the sets, and how much of the time is left */
         for (UInt i = 1; i <= 3; i++) emit_untold(tid, args[i], VG_MIN((args[0] + 63) / 64 * 8, 8192));
         emit_untold(tid, args[4], 16);
         break;
      case SYS_READLINK: emit_untold(tid, args[1], VG_MIN(args[2], size_of_own_path())); break;
      case SYS_READLINKAT: emit_untold(tid, args[2], VG_MIN(args[3], size_of_own_path())); break;
      case SYS_FCNTL:
         if (args[1] == FCNTL_GETLK || args[1] == FCNTL_OFD_GETLK) emit_untold(tid, args[2], 32); /* struct flock */
         break;
      case SYS_IO_URING_SETUP: emit_untold(tid, args[1], 40); break; /* io_uring_params before its sq_off */
   }
   emit_changed(tid);
}

static void on_post_syscall(ThreadId tid, UInt number, UWord* args, UInt count, SysRes res)
{
   (void)args;
   (void)count;
   Thread* t = &threads[tid];
   emit_all_untold(tid, number, t->args);
   if (number == SYS_IOCTL) ioctl_after(tid, t->args, sr_isError(res) ? sr_Err(res) : 0);
   if (number == SYS_MADVISE && !sr_isError(res) && (t->args[2] == 4 || t->args[2] == 9)) {
      /* MADV_DONTNEED, MADV_REMOVE: the pages are as they were when mapped. */
      const NSegment* segment = VG_(am_find_nsegment)(t->args[0]);
      if (segment && segment->kind == SkFileC && readable(t->args[0], t->args[1]))
         emit_memory(tid, MEMORY_CAUSE_MADVISE, t->args[0], t->args[1]);
      else
         emit_zero(tid, MEMORY_CAUSE_MADVISE, t->args[0], t->args[1]);
   }
   if (t->call == 0) return; /* a forked child: the call began in its parent */
   RawSyscallExits* r = EMIT(RawSyscallExits, TABLE_SYSCALL_EXITS, 0);
   r->tick = now;
   r->thread = t->number;
   r->call = t->call;
   r->failed = sr_isError(res);
   r->result = sr_isError(res) ? -(Long)sr_Err(res) : (Long)sr_Res(res);
   r->time_ns = monotonic_ns();
   if (!sr_isError(res)) descriptors_after(t->number, t->call, number, t->args, sr_Res(res));
   t->call = 0;
}

static void emit_syscall_memory(ThreadId tid, UChar direction, Addr address, SizeT size, const HChar* what)
{
   UInt n = VG_(strlen)(what);
   RawSyscallMemory* r = EMIT(RawSyscallMemory, TABLE_SYSCALL_MEMORY, n);
   r->tick = now;
   r->thread = thread_number(tid);
   r->call = threads[tid].call;
   r->direction = direction;
   r->address = address;
   r->size = size;
   r->parameter_size = n;
   VG_(memcpy)(EXTRA(r), what, n);
}

void emit_written(ThreadId tid, Addr address, SizeT size)
{
   if (threads[tid].call && size && readable(address, size))
      emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_WRITE, address, size, "");
   emit_untold(tid, address, size);
}

void emit_shared(ThreadId tid, Addr address, SizeT size)
{
   const NSegment* segment = VG_(am_find_nsegment)(address);
   if (size == 0 || segment == NULL) return;
   UInt protection = protection_bits(segment->hasR, segment->hasW, segment->hasX);
   emit_mapping(tid, MAPPINGS_OP_MPROTECT, address, size, protection)->shared = True;
   set_shared(address, size);
}

/* A parameter in a register; also the number of the call, as `(syscallno)`. */
static void on_pre_reg_read(CorePart part, ThreadId tid, const HChar* what, PtrdiffT offset, SizeT size)
{
   if (part == Vg_CoreSysCall) emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_REGISTER, offset, size, what);
}

static void on_pre_mem_read(CorePart part, ThreadId tid, const HChar* what, Addr address, SizeT size)
{
   if (part != Vg_CoreSysCall) return;
   emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_READ, address, size, what);
   note_passed(tid, address, size);
}

static void on_pre_mem_read_string(CorePart part, ThreadId tid, const HChar* what, Addr address)
{
   if (part != Vg_CoreSysCall) return;
   SizeT n = 0;
   /* The engine passes on whatever the guest gave. */
   while (readable(address + n, 1)) {
      Addr page_end = ((address + n) & ~4095UL) + 4096;
      while (address + n < page_end && *(HChar*)(address + n)) n++;
      if (address + n < page_end) {
         n++;
         break;
      }
   }
   emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_READ_STRING, address, n, what);
}

static void on_pre_mem_write(CorePart part, ThreadId tid, const HChar* what, Addr address, SizeT size)
{
   if (part != Vg_CoreSysCall) return;
   emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_MAY_WRITE, address, size, what);
   note_passed(tid, address, size);
}

static void on_post_mem_write(CorePart part, ThreadId tid, Addr address, SizeT size)
{
   if (size == 0 || !readable(address, size)) return;
   switch (part) {
      case Vg_CoreSysCall:
         emit_syscall_memory(tid, SYSCALL_MEMORY_DIRECTION_WRITE, address, size, "");
         emit_memory(tid, MEMORY_CAUSE_SYSCALL, address, size);
         told(tid, address, size);
         break;
      case Vg_CoreSignal:
         /* The frame goes on past what the engine announces. */
         write_later(MEMORY_CAUSE_SIGNAL, address, 8192);
         break;
      default: emit_memory(tid, MEMORY_CAUSE_CLIENT_REQUEST, address, size);
   }
}

/* ---------------------------------------------------------------- signals */

static RawSignals* emit_signal(ThreadId tid, UChar op, Int signal)
{
   UInt stack = stack_of(tid);
   RawSignals* r = EMIT(RawSignals, TABLE_SIGNALS, 0);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->op = op;
   r->signal = signal;
   r->pc = VG_(get_IP)(tid);
   return r;
}

/* The engine asks its gdb server about every signal before it acts on it, with what the kernel said of it. */
static struct {
   Int signal, code;
   ULong address;
} refused;

static void emit_fault(ThreadId tid, UInt stack, Bool fatal)
{
   if (refused.signal == 0) return;
   RawFaults* r = EMIT(RawFaults, TABLE_FAULTS, 0);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->signal = refused.signal;
   r->code = refused.code;
   r->address = refused.address;
   r->fatal = fatal;
   refused.signal = 0;
}

Bool __real_vgPlain_gdbserver_report_signal(vki_siginfo_t*, ThreadId);
Bool __wrap_vgPlain_gdbserver_report_signal(vki_siginfo_t* info, ThreadId tid);
Bool __wrap_vgPlain_gdbserver_report_signal(vki_siginfo_t* info, ThreadId tid)
{
   Bool isFault = info->si_signo == VKI_SIGSEGV || info->si_signo == VKI_SIGBUS;
   if (running_code && isFault && info->si_code > 0 && info->si_code < 0x80) {
      refused.signal = info->si_signo;
      refused.code = info->si_code;
      refused.address = (Addr)info->_sifields._sigfault._addr;
   }
   return __real_vgPlain_gdbserver_report_signal(info, tid);
}

static void read_tick(ThreadId tid) { VG_(get_shadow_regs_area)(tid, (UChar*)&now, 1, CELL_TICK, sizeof now); }

static void on_signal(ThreadId tid, Int signal, Bool alternate_stack)
{
   /* Raised by an instruction: the engine delivers it while the thread still counts as running. */
   if (running_code) {
      read_tick(tid);
      fault = True;
   }
   threads[tid].signal = True;
   RawSignals* r = emit_signal(tid, SIGNALS_OP_DELIVER, signal);
   UInt stack = r->stack;
   r->fault = running_code;
   r->alternate_stack = alternate_stack;
   if (running_code) emit_fault(tid, stack, False);
}

static void on_signal_return(ThreadId tid, Int signal)
{
   threads[tid].signal = True;
   emit_signal(tid, SIGNALS_OP_RETURN, signal);
}

/* ---------------------------------------------------------------- fatal signals

   The engine does not tell of a signal whose default action ends the process, but its linker lets us
   stand between its parts: it calls the first of these when it decides so, the second to die of it. */

/* From the core's pub_core_threadstate.h: why threads are made to end. */
#define REASON_FATAL_SIGNAL 3

static struct {
   Bool happened;
   Bool fault; /* raised by the instruction at pc */
   UInt thread, stack;
   Addr pc;
} death;

void __real_vgPlain_nuke_all_threads_except(ThreadId, UInt reason);
void __wrap_vgPlain_nuke_all_threads_except(ThreadId tid, UInt reason);
void __wrap_vgPlain_nuke_all_threads_except(ThreadId tid, UInt reason)
{
   if (reason == REASON_FATAL_SIGNAL) {
      death.happened = True;
      death.fault = running_code;
      if (running_code) read_tick(tid);
      death.thread = thread_number(tid);
      death.stack = stack_of(tid);
      death.pc = VG_(get_IP)(tid);
      if (running_code) emit_fault(tid, death.stack, True);
   }
   __real_vgPlain_nuke_all_threads_except(tid, reason);
}

void __real_vgPlain_kill_self(Int signal);
void __wrap_vgPlain_kill_self(Int signal);
void __wrap_vgPlain_kill_self(Int signal)
{
   if (death.happened) end_by_signal(signal);
   __real_vgPlain_kill_self(signal);
}

Bool is_dying_of_signal(void) { return death.happened; }

static void emit_death(Int signal)
{
   RawSignals* r = EMIT(RawSignals, TABLE_SIGNALS, 0);
   r->tick = now;
   r->thread = death.thread;
   r->stack = death.stack;
   r->op = SIGNALS_OP_FATAL;
   r->signal = signal;
   r->pc = death.pc;
   r->fault = death.fault;
}

/* ---------------------------------------------------------------- thread life */

static RawThreadEvents* emit_thread(ThreadId tid, UChar op)
{
   RawThreadEvents* r = EMIT(RawThreadEvents, TABLE_THREAD_EVENTS, 0);
   r->tick = now;
   r->thread = thread_number(tid);
   r->op = op;
   return r;
}

static void on_thread_create(ThreadId parent, ThreadId child)
{
   Thread* t = &threads[child];
   Passed* passed = t->passed;
   VG_(memset)(t, 0, sizeof *t);
   t->passed = passed;
   t->number = ++thread_count;
   live_threads++;
   if (parent == VG_INVALID_THREADID) return;
   const ULong* args = threads[parent].args;
   if (threads[parent].call && threads[parent].sysno == SYS_CLONE) {
      if (args[0] & CLONE_CHILD_CLEARTID_BIT) t->clear_tid = args[3];
      if (args[0] & CLONE_CHILD_SETTID_BIT) t->set_tid = args[3];
      if (args[0] & CLONE_SETTLS_BIT) t->handle = args[4];
   }
   UInt stack = stack_of(parent);
   RawThreadEvents* r = emit_thread(parent, THREAD_EVENTS_OP_CREATE);
   r->stack = stack;
   r->other = t->number;
}

static void emit_sync(ThreadId tid, Int op, UInt stack, const UWord* args);

static void on_thread_start(ThreadId tid)
{
   Thread* t = &threads[tid];
   t->started = True;
   if (t->set_tid) write_later(MEMORY_CAUSE_SYSCALL, t->set_tid, 4);
   RawThreadEvents* r = emit_thread(tid, THREAD_EVENTS_OP_START);
   r->os_thread = VG_(gettid)();
   r->handle = t->handle;
   if (t->handle) {
      const UWord args[4] = { _VG_USERREQ__HG_SET_MY_PTHREAD_T, t->handle, 0, 0 };
      emit_sync(tid, SYNC_OP_SET_PTHREAD, 0, args);
   }
}

static void on_thread_exit(ThreadId tid)
{
   Thread* t = &threads[tid];
   live_threads--;
   if (!t->started) return; /* its clone failed */
   t->started = False;
   t->ended = death.happened;
   if (!t->ended) emit_thread(tid, THREAD_EVENTS_OP_EXIT);
   if (t->clear_tid && live_threads && VG_(am_is_valid_for_client)(t->clear_tid, 4, VKI_PROT_WRITE)) {
      /* The kernel would clear the word and wake its waiters some time after this thread has let go
         of the engine's lock, while others run: too late to know when. Do it here, in order. */
      raw_syscall(__NR_set_tid_address, 0, 0, 0, 0, 0, 0);
      *(volatile UInt*)t->clear_tid = 0;
      raw_syscall(__NR_futex, t->clear_tid, 1 /* FUTEX_WAKE */, 0x7fffffff, 0, 0, 0);
      emit_zero(tid, MEMORY_CAUSE_THREAD_EXIT, t->clear_tid, 4);
   }
}

/* ---------------------------------------------------------------- the end of the program

   When all threads have been ended by a call of exit, the engine makes the C and C++ libraries free what they hold for
   themselves, as it does for Memcheck, so that it does not count as leaked. That is not the program's
   doing: its end is told before it, and readers leave out what follows, unless they ask for it. */

static Bool tidying_up;

static void emit_all_hashes(void);

static void emit_end(UChar how, Int status)
{
   if (opt_verify) emit_all_hashes();
   RawProcessEnds* r = EMIT(RawProcessEnds, TABLE_PROCESS_ENDS, 0);
   r->tick = now;
   r->how = how;
   r->status = status;
   r->time_ns = monotonic_ns();
}

static void begin_to_tidy_up(void)
{
   if (tidying_up) return;
   if (recording) emit_end(PROCESS_ENDS_HOW_EXIT, exit_status);
   tidying_up = recording;
}

/* ---------------------------------------------------------------- running guest code */

void for_each_thread(void (*f)(UInt, const UChar*))
{
   static UChar state[sizeof(VexGuestAMD64State)] __attribute__((aligned(16)));
   for (ThreadId tid = 1; tid < VG_N_THREADS; tid++) {
      if (!threads[tid].started || !threads[tid].known) continue;
      VG_(get_shadow_regs_area)(tid, state, 0, 0, STATE_SIZE);
      f(threads[tid].number, state);
   }
}

static ULong state_hash(const UChar* state)
{
   ULong hash = 0xcbf29ce484222325ULL;
   for (Int offset = 16; offset + 8 <= STATE_SIZE; offset += 8) {
      /* The program counter has a column of its own; the others are set by the engine's own checks. */
      if (offset == offsetof(VexGuestAMD64State, guest_RIP)
          || offset == offsetof(VexGuestAMD64State, guest_CMSTART)
          || offset == offsetof(VexGuestAMD64State, guest_CMLEN)) continue;
      hash = (hash ^ *(const ULong*)(state + offset)) * 0x100000001b3ULL;
   }
   return hash;
}

static void emit_slice(ThreadId tid, const UChar* state, ULong hash)
{
   const VexGuestAMD64State* s = (const VexGuestAMD64State*)state;
   RawSlices* r = EMIT(RawSlices, TABLE_SLICES, 0);
   r->tick = now;
   r->thread = thread_number(tid);
   r->pc = s->guest_RIP;
   r->sp = s->guest_RSP;
   r->state_hash = hash;
}

static void on_start_code(ThreadId tid, ULong blocks)
{
   Thread* t = &threads[tid];
   static UChar state[sizeof(VexGuestAMD64State)] __attribute__((aligned(16)));
   if (t->left) begin_to_tidy_up();
   if (!recording && opt_start_tick && now >= opt_start_tick) {
      opt_start_tick = 0;
      recording_start();
   }
   if (recording && opt_stop_tick && now >= opt_stop_tick) recording_stop("stopped as asked");
   write_now(tid);
   /* What the engine does before a function that is not to be replaced concerns nobody's registers. */
   Bool untouched = t->untouched && tid == last_tid && t->known && !fault && !t->signal;
   Bool full = !t->known || fault || t->signal || (t->untouched && !untouched);
   t->untouched = False;
   Bool slice = tid != last_tid || blocks - last_slice >= (opt_verify ? VERIFY_BLOCKS : SLICE_BLOCKS);
   if (full || slice) VG_(get_shadow_regs_area)(tid, state, 0, 0, STATE_SIZE);
   else if (!untouched) read_state_parts(tid, state);
   ULong changes[2 * sizeof(VexGuestAMD64State) / 8];
   UInt n = 0;
   if (full) {
      /* The first 16 bytes are the engine's own. */
      for (UInt offset = 16; offset < sizeof(VexGuestAMD64State); offset += 8) {
         changes[n++] = offset;
         changes[n++] = *(ULong*)(state + offset);
      }
   } else if (!untouched) {
      for (UInt i = 0; i < 2; i++) {
         for (UInt offset = state_parts[i].start; offset < state_parts[i].end; offset += 8) {
            ULong value = *(ULong*)(state + offset);
            if (value == *(ULong*)(t->state + offset)) continue;
            changes[n++] = offset;
            changes[n++] = value;
         }
      }
   }
   if (n && recording) {
      RawRegisters* r = EMIT(RawRegisters, TABLE_REGISTERS, n * 8);
      r->tick = now;
      r->thread = t->number;
      r->full = full;
      r->changes_size = n * 8;
      VG_(memcpy)(EXTRA(r), changes, n * 8);
      t->known = True;
   }
   if (slice) {
      emit_slice(tid, state, state_hash(state));
      last_slice = blocks;
      if (recording && !tidying_up && !t->no_redirect) keyframe_maybe(tid);
   }
   t->signal = False;
   last_tid = tid;
   fault = False;
   ULong cells[2] = { now, 0 };
   VG_(set_shadow_regs_area)(tid, 1, CELL_TICK, sizeof cells, (UChar*)cells);
   running_code = True;
}

static void emit_core_request(ThreadId tid);

static void on_stop_code(ThreadId tid, ULong blocks)
{
   (void)blocks;
   ULong cells[2]; /* CELL_TICK, CELL_END */
   Thread* t = &threads[tid];
   running_code = False;
   VG_(get_shadow_regs_area)(tid, (UChar*)cells, 1, CELL_TICK, sizeof cells);
   now = cells[0];
   values_flush();
   t->no_redirect = cells[1] == END_NO_REDIRECT;
   t->untouched = t->no_redirect;
   if (!t->untouched) read_state_parts(tid, t->state);
   if (cells[1] == END_REQUEST) emit_core_request(tid);
}

/* ---------------------------------------------------------------- client requests */

static RawClientRequests* emit_request(ThreadId tid, const UWord* args, const HChar* text)
{
   UInt stack = stack_of(tid), n = text ? VG_(strlen)(text) : 0;
   RawClientRequests* r = EMIT(RawClientRequests, TABLE_CLIENT_REQUESTS, n);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->code = args[0];
   r->arg1 = args[1];
   r->arg2 = args[2];
   r->arg3 = args[3];
   r->arg4 = args[4];
   r->arg5 = args[5];
   r->text_size = n;
   VG_(memcpy)(EXTRA(r), text, n);
   return r;
}

/* A string of the guest's, or NULL. */
static const HChar* guest_string(Addr address)
{
   for (SizeT n = 0; n < 4096; n++) {
      if ((n == 0 || ((address + n) & 4095) == 0) && !readable(address + n, 1)) return NULL;
      if (((HChar*)address)[n] == 0) return (HChar*)address;
   }
   return NULL;
}

/* Requests that the engine answers itself never reach a tool's handler. */
static void emit_core_request(ThreadId tid)
{
   VexGuestAMD64State* s = (VexGuestAMD64State*)threads[tid].state;
   const UWord* args = (const UWord*)s->guest_RAX;
   if (!readable((Addr)args, 6 * sizeof *args)) return;
   switch (args[0]) {
      /* Printing walks the guest's own va_list. */
      case REQUEST_INTERNAL_PRINTF: write_later(MEMORY_CAUSE_CLIENT_REQUEST, args[2], 24); return;
      case VG_USERREQ__PRINTF_VALIST_BY_REF:
      case VG_USERREQ__PRINTF_BACKTRACE_VALIST_BY_REF: write_later(MEMORY_CAUSE_CLIENT_REQUEST, args[2], 24); break;
      case REQUEST_GET_MALLOCFUNCS: write_later(MEMORY_CAUSE_CLIENT_REQUEST, args[1], 136); return;
      case VG_USERREQ__MAP_IP_TO_SRCLOC: write_later(MEMORY_CAUSE_CLIENT_REQUEST, args[2], 64); break;
      case VG_USERREQ__CLIENT_CALL0:
      case VG_USERREQ__CLIENT_CALL1:
      case VG_USERREQ__CLIENT_CALL2:
      case VG_USERREQ__CLIENT_CALL3: {
         extern void VG_(mallinfo)(ThreadId, struct vg_mallinfo*);
         if (args[1] == (Addr)VG_(mallinfo)) write_later(MEMORY_CAUSE_CLIENT_REQUEST, args[2], 40);
         if (readable(args[1], 1)) ran_natively = True; /* not a function of the tool's */
         return;
      }
      case VG_USERREQ__RUNNING_ON_VALGRIND:
      case VG_USERREQ__DISCARD_TRANSLATIONS:
      case VG_USERREQ__COUNT_ERRORS:
      case VG_USERREQ__PRINTF:
      case VG_USERREQ__PRINTF_BACKTRACE:
      case VG_USERREQ__STACK_REGISTER:
      case VG_USERREQ__STACK_DEREGISTER:
      case VG_USERREQ__STACK_CHANGE:
      case VG_USERREQ__CHANGE_ERR_DISABLEMENT: break;
      default: return;
   }
   Bool prints = args[0] >= VG_USERREQ__PRINTF && args[0] <= VG_USERREQ__PRINTF_BACKTRACE_VALIST_BY_REF;
   RawClientRequests* r = emit_request(tid, args, prints ? guest_string(args[1]) : NULL);
   r->handled = True;
}

/* Helgrind's private requests, in the order of its header, from _VG_USERREQ__HG_SET_MY_PTHREAD_T on, and our own of tasks. */
static Int sync_op(UInt code)
{
   if (code >= REQUEST_TASKS && code < REQUEST_TASKS_END) return SYNC_OP_TASK_CREATE_BEGIN + (code - REQUEST_TASKS);
   switch (code) {
      case VG_USERREQ__HG_CLEAN_MEMORY: return SYNC_OP_CLEAN_MEMORY;
      case _VG_USERREQ__HG_SET_MY_PTHREAD_T: return SYNC_OP_SET_PTHREAD;
      case _VG_USERREQ__HG_PTH_API_ERROR: return SYNC_OP_API_ERROR;
      case _VG_USERREQ__HG_PTHREAD_JOIN_POST: return SYNC_OP_JOIN;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_INIT_POST: return SYNC_OP_MUTEX_INIT;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_DESTROY_PRE: return SYNC_OP_MUTEX_DESTROY;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_UNLOCK_PRE: return SYNC_OP_MUTEX_UNLOCK_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_UNLOCK_POST: return SYNC_OP_MUTEX_UNLOCK;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_ACQUIRE_PRE: return SYNC_OP_MUTEX_ACQUIRE_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_ACQUIRE_POST: return SYNC_OP_MUTEX_ACQUIRED;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_LOCK_PRE: return SYNC_OP_MUTEX_LOCK_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_MUTEX_LOCK_POST: return SYNC_OP_MUTEX_LOCK;
      case _VG_USERREQ__HG_PTHREAD_COND_INIT_POST: return SYNC_OP_COND_INIT;
      case _VG_USERREQ__HG_PTHREAD_COND_DESTROY_PRE: return SYNC_OP_COND_DESTROY;
      case _VG_USERREQ__HG_PTHREAD_COND_SIGNAL_PRE: return SYNC_OP_COND_SIGNAL;
      case _VG_USERREQ__HG_PTHREAD_COND_SIGNAL_POST: return SYNC_OP_COND_SIGNAL_END;
      case _VG_USERREQ__HG_PTHREAD_COND_BROADCAST_PRE: return SYNC_OP_COND_BROADCAST;
      case _VG_USERREQ__HG_PTHREAD_COND_BROADCAST_POST: return SYNC_OP_COND_BROADCAST_END;
      case _VG_USERREQ__HG_PTHREAD_COND_WAIT_PRE: return SYNC_OP_COND_WAIT_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_COND_WAIT_POST: return SYNC_OP_COND_WAIT;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_INIT_POST: return SYNC_OP_RWLOCK_INIT;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_DESTROY_PRE: return SYNC_OP_RWLOCK_DESTROY;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_LOCK_PRE: return SYNC_OP_RWLOCK_LOCK_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_LOCK_POST: return SYNC_OP_RWLOCK_LOCK;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_ACQUIRED: return SYNC_OP_RWLOCK_ACQUIRED;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_RELEASED: return SYNC_OP_RWLOCK_RELEASED;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_UNLOCK_PRE: return SYNC_OP_RWLOCK_UNLOCK_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_RWLOCK_UNLOCK_POST: return SYNC_OP_RWLOCK_UNLOCK;
      case _VG_USERREQ__HG_POSIX_SEM_INIT_POST: return SYNC_OP_SEM_INIT;
      case _VG_USERREQ__HG_POSIX_SEM_DESTROY_PRE: return SYNC_OP_SEM_DESTROY;
      case _VG_USERREQ__HG_POSIX_SEM_RELEASED: return SYNC_OP_SEM_RELEASED;
      case _VG_USERREQ__HG_POSIX_SEM_ACQUIRED: return SYNC_OP_SEM_ACQUIRED;
      case _VG_USERREQ__HG_POSIX_SEM_POST_PRE: return SYNC_OP_SEM_POST;
      case _VG_USERREQ__HG_POSIX_SEM_POST_POST: return SYNC_OP_SEM_POST_END;
      case _VG_USERREQ__HG_POSIX_SEM_WAIT_PRE: return SYNC_OP_SEM_WAIT_BEGIN;
      case _VG_USERREQ__HG_POSIX_SEM_WAIT_POST: return SYNC_OP_SEM_WAIT;
      case _VG_USERREQ__HG_PTHREAD_BARRIER_INIT_PRE: return SYNC_OP_BARRIER_INIT;
      case _VG_USERREQ__HG_PTHREAD_BARRIER_RESIZE_PRE: return SYNC_OP_BARRIER_RESIZE;
      case _VG_USERREQ__HG_PTHREAD_BARRIER_WAIT_PRE: return SYNC_OP_BARRIER_WAIT;
      case _VG_USERREQ__HG_PTHREAD_BARRIER_DESTROY_PRE: return SYNC_OP_BARRIER_DESTROY;
      case _VG_USERREQ__HG_PTHREAD_SPIN_INIT_OR_UNLOCK_PRE: return SYNC_OP_SPIN_INIT_OR_UNLOCK;
      case _VG_USERREQ__HG_PTHREAD_SPIN_INIT_OR_UNLOCK_POST: return SYNC_OP_SPIN_INIT_OR_UNLOCK_END;
      case _VG_USERREQ__HG_PTHREAD_SPIN_LOCK_PRE: return SYNC_OP_SPIN_LOCK_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_SPIN_LOCK_POST: return SYNC_OP_SPIN_LOCK;
      case _VG_USERREQ__HG_PTHREAD_SPIN_DESTROY_PRE: return SYNC_OP_SPIN_DESTROY;
      case _VG_USERREQ__HG_CLIENTREQ_UNIMP: return SYNC_OP_UNIMPLEMENTED;
      case _VG_USERREQ__HG_USERSO_SEND_PRE: return SYNC_OP_HAPPENS_BEFORE;
      case _VG_USERREQ__HG_USERSO_RECV_POST: return SYNC_OP_HAPPENS_AFTER;
      case _VG_USERREQ__HG_USERSO_FORGET_ALL: return SYNC_OP_HAPPENS_FORGET;
      case _VG_USERREQ__HG_ARANGE_MAKE_UNTRACKED: return SYNC_OP_UNTRACK;
      case _VG_USERREQ__HG_ARANGE_MAKE_TRACKED: return SYNC_OP_TRACK;
      case _VG_USERREQ__HG_CLEAN_MEMORY_HEAPBLOCK: return SYNC_OP_CLEAN_HEAP_BLOCK;
      case _VG_USERREQ__HG_PTHREAD_CREATE_BEGIN: return SYNC_OP_CREATE_BEGIN;
      case _VG_USERREQ__HG_PTHREAD_CREATE_END: return SYNC_OP_CREATE_END;
      default: return -1;
   }
}

/* Which thread a pthread_join was for: its number outlives the engine's own, which is used again. */
#define MAX_HANDLES 4096
static struct { Addr handle; UInt thread; } handles[MAX_HANDLES];

static void remember_handle(ThreadId tid, Addr handle)
{
   static UInt next;
   for (UInt i = 0; i < MAX_HANDLES; i++)
      if (handles[i].handle == handle) handles[i].handle = 0;
   handles[next].handle = handle;
   handles[next].thread = thread_number(tid);
   next = (next + 1) % MAX_HANDLES;
}

static void emit_joined(ThreadId tid, Addr handle, UInt stack)
{
   for (UInt i = 0; i < MAX_HANDLES; i++) {
      if (handles[i].handle != handle || handle == 0) continue;
      RawThreadEvents* r = emit_thread(tid, THREAD_EVENTS_OP_JOINED);
      r->stack = stack;
      r->other = handles[i].thread;
      r->handle = handle;
      handles[i].handle = 0;
      return;
   }
}

static void emit_sync(ThreadId tid, Int op, UInt stack, const UWord* args)
{
   const HChar* text = op == SYNC_OP_API_ERROR || op == SYNC_OP_UNIMPLEMENTED ? guest_string(args[1]) : NULL;
   UInt n = text ? VG_(strlen)(text) : 0;
   if (op == SYNC_OP_SET_PTHREAD) remember_handle(tid, args[1]);
   else if (op == SYNC_OP_JOIN) emit_joined(tid, args[1], stack);
   RawSync* r = EMIT(RawSync, TABLE_SYNC, n);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->op = op;
   r->code = args[0];
   r->object = args[1];
   r->object2 = args[2];
   r->value = args[3];
   r->text_size = n;
   if (n) VG_(memcpy)(EXTRA(r), text, n);
}

/* The one event that comes while guest code runs: nothing in the guest's state changes by it. */
void on_sync(ULong tick, UWord code, UWord object, UWord object2, UWord value)
{
   ThreadId tid = VG_(get_running_tid)();
   Int op = sync_op(code);
   const UWord args[4] = { code, object, object2, value };
   if (op < 0) return;
   now = tick;
   /* Tasks may be many and small: of each only the creation is shown. */
   emit_sync(tid, op, code <= REQUEST_TASKS || code >= REQUEST_TASKS_END ? stack_of_caller(tid) : 0, args);
}

/* ---------------------------------------------------------------- answers to requests

   As Memcheck answers when all is well: the program is to run as it would under it. What it says of
   definedness is not known here; memory counts as defined, and as accessible if it is mapped and below the
   break. */

#define BITS_COPIED 1
#define BITS_NOT_ACCESSIBLE 3

/* Which numbers of described blocks are in use: the lowest free one is given out. */
static Bool* described;
static UWord described_count;

static UWord describe_block(Addr address, SizeT size)
{
   UWord i = 0;
   if (address == 0 || size == 0) return -1;
   while (i < described_count && described[i]) i++;
   if (i == described_count) {
      described_count = 2 * described_count + 16;
      described = VG_(realloc)("grind.described", described, described_count * sizeof *described);
      for (UWord k = i; k < described_count; k++) described[k] = False;
   }
   described[i] = True;
   return i;
}

static UWord forget_block(UWord i)
{
   if (i >= described_count || !described[i]) return 1;
   described[i] = False;
   return 0;
}

/* The first address of a range that is not accessible, or 0. */
static Addr first_not_accessible(Addr address, SizeT size)
{
   Addr end = address + size, mapped = address;
   if (end < address) end = ~0UL;
   if (size == 0 || readable(address, size)) mapped = end;
   while (mapped < end && readable(mapped, 1)) mapped = (mapped & ~4095UL) + 4096;
   Addr brk = VG_MAX(address, beyond_brk);
   if (brk < VG_MIN(mapped, beyond_brk_end)) return brk;
   return mapped < end ? mapped : 0;
}

static UWord answer_memcheck(UInt code, const UWord* args, const HChar** text)
{
   switch (code) {
      case VG_USERREQ__MAKE_MEM_NOACCESS:
      case VG_USERREQ__MAKE_MEM_UNDEFINED:
      case VG_USERREQ__MAKE_MEM_DEFINED:
      case VG_USERREQ__MAKE_MEM_DEFINED_IF_ADDRESSABLE: return -1;
      case VG_USERREQ__GET_VBITS:
      case VG_USERREQ__SET_VBITS: {
         UInt access = code == VG_USERREQ__GET_VBITS ? VKI_PROT_READ | VKI_PROT_WRITE : VKI_PROT_READ;
         Bool accessible = readable(args[1], args[3]) && VG_(am_is_valid_for_client)(args[2], args[3], access);
         return args[3] == 0 || accessible ? BITS_COPIED : BITS_NOT_ACCESSIBLE;
      }
      case VG_USERREQ__CREATE_BLOCK: *text = guest_string(args[3]); return describe_block(args[1], args[2]);
      case VG_USERREQ__DISCARD: return forget_block(args[2]);
      case VG_USERREQ__ENABLE_ADDR_ERROR_REPORTING_IN_RANGE:
      case VG_USERREQ__DISABLE_ADDR_ERROR_REPORTING_IN_RANGE: return args[2] > 0;
      case _VG_USERREQ__MEMCHECK_RECORD_OVERLAP_ERROR: *text = guest_string(args[1]); return 0;
      case VG_USERREQ__CHECK_MEM_IS_ADDRESSABLE:
      case VG_USERREQ__CHECK_MEM_IS_DEFINED: return first_not_accessible(args[1], args[2]);
      /* No leak was counted: the counters stay as the guest's macro set them. */
      default: return 0;
   }
}

static XArray* pools;

static Word pool_number(Addr pool)
{
   for (Word i = 0; pools && i < VG_(sizeXA)(pools); i++)
      if (*(Addr*)VG_(indexXA)(pools, i) == pool) return i;
   return -1;
}

static UWord answer_pool(UInt code, const UWord* args)
{
   Word number;
   switch (code) {
      case VG_USERREQ__CREATE_MEMPOOL:
         if (pools == NULL) pools = VG_(newXA)(VG_(malloc), "grind.pools", VG_(free), sizeof(Addr));
         if (pool_number(args[1]) < 0) VG_(addToXA)(pools, &args[1]);
         return 0;
      case VG_USERREQ__DESTROY_MEMPOOL:
         if ((number = pool_number(args[1])) >= 0) VG_(removeIndexXA)(pools, number);
         return 0;
      case VG_USERREQ__MOVE_MEMPOOL:
         if ((number = pool_number(args[1])) >= 0) *(Addr*)VG_(indexXA)(pools, number) = args[2];
         return 0;
      case VG_USERREQ__MEMPOOL_EXISTS: return pool_number(args[1]) >= 0;
      default: return 0;
   }
}

static Bool on_request(ThreadId tid, UWord* args, UWord* result)
{
   UInt code = args[0];
   Bool handled = True;
   *result = 0;
   if (VG_IS_TOOL_USERREQ('H', 'G', code)) {
      Int op = sync_op(code);
      if (op >= 0) emit_sync(tid, op, stack_of(tid), args);
      /* The loader's lazy binding is marked before and after each call through the PLT. */
      else if (code != _VG_USERREQ__HG_RTLD_BIND_GUARD && code != _VG_USERREQ__HG_RTLD_BIND_CLEAR) {
         RawClientRequests* r = emit_request(tid, args, NULL);
         r->handled = code != _VG_USERREQ__HG_GET_ABITS;
      }
      return code != _VG_USERREQ__HG_GET_ABITS;
   }
   const HChar* text = NULL;
   if (VG_IS_TOOL_USERREQ('M', 'C', code)) {
      *result = answer_memcheck(code, args, &text);
   } else if (code == REQUEST_START) {
      if (!recording) recording_start();
   } else if (code == REQUEST_SYNC_MARKER) {
      sync_marker = args[1];
      return True;
   } else if (code == REQUEST_STOP) {
      RawClientRequests* r = emit_request(tid, args, NULL);
      r->handled = True;
      recording_stop("stopped by the program");
      return True;
   } else {
      if (code == REQUEST_CAP_SPACE || code == REQUEST_CAP_OBJECT) text = guest_string(args[2]);
      handled = code >= VG_USERREQ__MALLOCLIKE_BLOCK && code <= VG_USERREQ__RESIZEINPLACE_BLOCK;
      if (handled) *result = answer_pool(code, args);
   }
   RawClientRequests* r = emit_request(tid, args, text);
   r->handled = handled;
   r->result = handled ? *result : 0;
   if (code == VG_USERREQ__GET_VBITS && *result == BITS_COPIED) {
      VG_(memset)((void*)args[2], 0, args[3]);
      emit_zero(tid, MEMORY_CAUSE_CLIENT_REQUEST, args[2], args[3]);
   }
   return handled;
}

/* ---------------------------------------------------------------- processes */

static HChar parent_name[64];
static ULong parent_tick, parent_event;

static void emit_process_start(UChar how)
{
   static HChar executable[4096];
   VG_(client_fname)(executable, sizeof executable, False);
   const HChar* directory = VG_(get_startup_wd)();
   HChar engine[32];
   VG_(sprintf)(engine, "%d.%d", __VALGRIND_MAJOR__, __VALGRIND_MINOR__);
   UInt args_size = 0;
   Word count = VG_(sizeXA)(VG_(args_for_client));
   for (Word i = -1; i < count; i++) {
      const HChar* arg = i < 0 ? VG_(args_the_exename) : *(HChar**)VG_(indexXA)(VG_(args_for_client), i);
      args_size += VG_(strlen)(arg) + 1;
   }
   UInt sizes[5] = { VG_(strlen)(parent_name), VG_(strlen)(executable), args_size, VG_(strlen)(directory), VG_(strlen)(engine) };
   RawProcessStarts* r = EMIT(RawProcessStarts, TABLE_PROCESS_STARTS, sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4]);
   r->how = how;
   r->pid = VG_(getpid)();
   r->parent_pid = VG_(getppid)();
   r->time_ns = monotonic_ns();
   r->parent_tick = parent_tick;
   r->parent_event = parent_event;
   r->parent_size = sizes[0];
   r->executable_size = sizes[1];
   r->arguments_size = sizes[2];
   r->directory_size = sizes[3];
   r->engine_size = sizes[4];
   HChar* p = EXTRA(r);
   VG_(memcpy)(p, parent_name, sizes[0]);
   p += sizes[0];
   VG_(memcpy)(p, executable, sizes[1]);
   p += sizes[1];
   for (Word i = -1; i < count; i++) {
      const HChar* arg = i < 0 ? VG_(args_the_exename) : *(HChar**)VG_(indexXA)(VG_(args_for_client), i);
      UInt n = VG_(strlen)(arg) + 1;
      VG_(memcpy)(p, arg, n);
      p += n;
   }
   VG_(memcpy)(p, directory, sizes[3]);
   p += sizes[3];
   VG_(memcpy)(p, engine, sizes[4]);
   spool_begun();
}

static void before_fork(ThreadId tid)
{
   (void)tid;
   VG_(strcpy)(parent_name, spool_name());
   parent_tick = now;
   parent_event = spool_events;
}

static void in_child(ThreadId tid)
{
   Thread* t = &threads[tid];
   Bool was_recording = recording;
   if (!opt_children || !spool_open()) {
      spool_abandon();
      return;
   }
   now = 0;
   live_threads = 1;
   emit_process_start(PROCESS_STARTS_HOW_FORK);
   recording = was_recording;
   if (t->sysno == SYS_CLONE && t->args[0] & CLONE_CHILD_SETTID_BIT) write_later(MEMORY_CAUSE_SYSCALL, t->args[3], 4);
   t->call = 0;
   last_tid = VG_INVALID_THREADID; /* so that the child begins with a `slices` row */
}

static void emit_live_block(Addr address, SizeT size)
{
   RawHeap* r = EMIT(RawHeap, TABLE_HEAP, 0);
   r->tick = now;
   r->op = HEAP_OP_MALLOC;
   r->address = address;
   r->size = size;
}

/* For a recording that begins in the middle: everything so far. */
static void snapshot(void)
{
   Addr starts[10000];
   Int n = VG_(am_get_segment_starts)(SkAnonC | SkFileC | SkShmC, starts, 10000);
   heap_for_each_live(emit_live_block);
   for (Int i = 0; i < n; i++) {
      const NSegment* s = VG_(am_find_nsegment)(starts[i]);
      if (s) on_startup(s->start, s->end + 1 - s->start, s->hasR, s->hasW, s->hasX, 0);
   }
   for (ThreadId tid = 1; tid < VG_N_THREADS; tid++) threads[tid].known = False;
   last_tid = VG_INVALID_THREADID;
}

void recording_start(void)
{
   recording = True;
   snapshot();
   descriptors_begin();
}

static void emit_page_hashes(Addr address, SizeT size)
{
   for (Addr end = address + size; address < end;) {
      Addr stop = VG_MIN(end, (address & ~0xffffUL) + 0x10000);
      ULong hash = 0xcbf29ce484222325ULL, any = 0;
      SizeT words = (stop - address) / 8;
      for (SizeT i = 0; i < words; i++) {
         ULong word = ((ULong*)address)[i];
         any |= word;
         hash = (hash ^ word) * 0x100000001b3ULL;
      }
      if (any) {
         RawPageHashes* r = EMIT(RawPageHashes, TABLE_PAGE_HASHES, 0);
         r->tick = now;
         r->address = address;
         r->size = words * 8;
         r->hash = hash;
      }
      address = stop;
   }
}

static void emit_all_hashes(void)
{
   Addr starts[10000];
   /* What the end cuts off may have written already, such as how much of its time was left. */
   for (ThreadId tid = 1; tid < VG_N_THREADS; tid++)
      if (threads[tid].call) emit_all_untold(tid, threads[tid].sysno, threads[tid].args);
   Int n = VG_(am_get_segment_starts)(SkAnonC | SkFileC, starts, 10000);
   for (Int i = 0; i < n; i++) {
      const NSegment* s = VG_(am_find_nsegment)(starts[i]);
      /* The engine's allocator keeps its own data between heap blocks: blocks are hashed one by one. */
      if (s && s->hasR && s->hasW && !s->isCH && !is_shared(s->start))
         emit_page_hashes(s->start, present_size(s));
   }
   heap_for_each_live(emit_page_hashes);
}

void events_begin(void)
{
   emit_process_start(PROCESS_STARTS_HOW_START);
   descriptors_begin();
}

void events_end(Int signal)
{
   if (!recording)
      health(HEALTH_SEVERITY_WARNING, "not started",
             "the function, tick or request at which the recording was to begin did not come");
   if (signal) emit_death(signal);
   for (ThreadId tid = 1; tid < VG_N_THREADS; tid++)
      if (threads[tid].ended) emit_thread(tid, THREAD_EVENTS_OP_EXIT);
   if (last_tid != VG_INVALID_THREADID) emit_slice(last_tid, threads[last_tid].state, 0);
   if (signal) emit_end(PROCESS_ENDS_HOW_SIGNAL, -1);
   else if (!tidying_up) emit_end(PROCESS_ENDS_HOW_EXIT, exit_status);
}

void events_init(void)
{
   threads = VG_(calloc)("grind.threads", VG_N_THREADS, sizeof *threads);
   VG_(track_new_mem_startup)(on_startup);
   VG_(track_new_mem_mmap)(on_mmap);
   VG_(track_new_mem_brk)(on_brk);
   VG_(track_die_mem_munmap)(on_munmap);
   VG_(track_die_mem_brk)(on_brk_shrink);
   VG_(track_copy_mem_remap)(on_mremap);
   VG_(track_change_mem_mprotect)(on_mprotect);
   VG_(track_pre_reg_read)(on_pre_reg_read);
   VG_(track_pre_mem_read)(on_pre_mem_read);
   VG_(track_pre_mem_read_asciiz)(on_pre_mem_read_string);
   VG_(track_pre_mem_write)(on_pre_mem_write);
   VG_(track_post_mem_write)(on_post_mem_write);
   VG_(track_start_client_code)(on_start_code);
   VG_(track_stop_client_code)(on_stop_code);
   VG_(track_pre_thread_ll_create)(on_thread_create);
   VG_(track_pre_thread_first_insn)(on_thread_start);
   VG_(track_pre_thread_ll_exit)(on_thread_exit);
   VG_(track_pre_deliver_signal)(on_signal);
   VG_(track_post_deliver_signal)(on_signal_return);
   VG_(needs_syscall_wrapper)(on_pre_syscall, on_post_syscall);
   VG_(needs_client_requests)(on_request);
   VG_(atfork)(before_fork, NULL, in_child);
}
