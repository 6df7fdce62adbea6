/* grind's Valgrind tool: what its files share.

   spool.c    writes records into the spool
   program.c  translated superblocks: encodes their IR, adds the tick and the value log
   symbols.c  instructions, modules, call stacks
   debuginfo.c  keeps what the engine has read of lines and inlined functions
   events.c   what the engine tells: memory, syscalls, signals, threads, client requests
   descriptors.c  what the kernel knows of descriptors
   ioctls.c   what the engine does not know of ioctl
   keyframe.c the whole writable state, now and then
   heap.c     malloc and friends
   engine.c   parts of the engine, made cheaper
   main.c     options, start and end

   The idea: between two returns to the engine's scheduler a guest is deterministic, so the trace
   holds its inputs at those points, and the results of the few IR statements that replay cannot
   evaluate. docs/architecture.md has the whole story.

   Copyright (C) 2026 the grind authors. SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "pub_tool_basics.h"
#include "pub_tool_vki.h"
#include "pub_tool_vkiscnums.h"
#include "pub_tool_tooliface.h"
#include "pub_tool_libcbase.h"
#include "pub_tool_libcassert.h"
#include "pub_tool_libcprint.h"
#include "pub_tool_libcfile.h"
#include "pub_tool_libcproc.h"
#include "pub_tool_mallocfree.h"
#include "pub_tool_replacemalloc.h"
#include "pub_tool_machine.h"
#include "pub_tool_threadstate.h"
#include "pub_tool_options.h"
#include "pub_tool_debuginfo.h"
#include "pub_tool_execontext.h"
#include "pub_tool_stacktrace.h"
#include "pub_tool_aspacemgr.h"
#include "pub_tool_clientstate.h"
#include "pub_tool_clreq.h"
#include "pub_tool_hashtable.h"
#include "pub_tool_xarray.h"
#include "libvex_guest_amd64.h"
#include "grind_tables.h"

#define STATE_SIZE ((Int)sizeof(VexGuestAMD64State))

/* Options. */
extern const HChar *opt_spool, *opt_cache;
/* Descriptor of the spool that the image before has left open, or -1. */
extern Int opt_spool_folder;
extern Bool opt_verify, opt_children;
extern ULong opt_max_size;
/* Where to begin and end recording; 0 or NULL for not so. */
extern ULong opt_start_tick, opt_stop_tick;
extern const HChar *opt_start_function, *opt_stop_function;

/* Guest instructions executed by this process; exact whenever no guest code runs. */
extern ULong now;

/* Zeroed pages, which take no memory until they are touched. The engine's function gives their address,
   or since 3.22 or so a SysRes. */
static inline void* pages_at(void* address)
{
   if (address == NULL) VG_(tool_panic)("out of memory");
   return address;
}
static inline void* pages_of(SysRes result)
{
   return pages_at(sr_isError(result) ? NULL : (void*)sr_Res(result));
}
#define zero_pages(size) \
   _Generic(VG_(am_shadow_alloc)(0), SysRes: pages_of, void*: pages_at)(VG_(am_shadow_alloc)(size))

/* --- spool.c --- */

/* Descriptor of the spool's folder. */
extern Int spool_folder;
/* Opens that folder. */
void spool_hold(void);
/* Whether a program that the guest starts is to inherit it. */
void spool_pass_on(Bool is_wanted);
/* Opens the spool of this process image; again in a forked child. False when it cannot be written. */
Bool spool_open(void);
void spool_begun(void);
void spool_close(void);
void spool_abandon(void);
const HChar* spool_name(void);
/* How many records were written: the number of the next event. */
extern ULong spool_events;

/* A zeroed record of `table` with `extra` bytes after its fixed part, written when this returns: the
   caller fills it in at once. Never fails: what cannot be written goes to a scrap buffer. */
void* emit(UShort table, UInt fixed_size, UInt extra);
#define EMIT(type, table, extra) ((type*)emit((table), sizeof(type), (extra)))
/* Where the variable-length bytes of a record begin. */
#define EXTRA(record) ((HChar*)((record) + 1))

/* Events are written between start and stop of the recording; the program's description (blocks,
   instructions, modules, stacks) always. */
extern Bool recording;
void recording_stop(const HChar* why);

void health(UInt severity, const HChar* what, const HChar* detail);

/* --- program.c --- */
IRSB* instrument(VgCallbackClosure*, IRSB*, const VexGuestLayout*, const VexGuestExtents*,
                 const VexArchInfo*, IRType gWord, IRType hWord);
void program_init(void);
/* Writes what the value log holds. */
void values_flush(void);
/* Offsets, in the first shadow of the guest state, of the cells that instrumented code uses. */
#define CELL_TICK 0
#define CELL_END 8
/* What the last superblock ended in, where the tool must know. */
#define END_REQUEST 1  /* a client request */
#define END_NO_REDIRECT 2 /* a jump to a function itself, not to its replacement */
/* From now on, others can change this memory. */
void set_shared(Addr address, SizeT size);
Bool is_shared(Addr address);

/* --- symbols.c --- */
void symbols_init(void);
/* Writes an `instructions` row for this address, once. */
void describe_instruction(Addr pc, UInt length);
/* The current call stack of a thread as a key of `stacks`, written on first use. */
UInt stack_of(ThreadId tid);
/* The same without the innermost frame, which has not pushed anything yet. */
UInt stack_of_caller(ThreadId tid);
/* The address space has changed. */
void forget_mapping(void);

/* --- events.c --- */
void events_init(void);
void events_begin(void);
/* `signal` is the fatal one, or 0. */
void events_end(Int signal);
/* A signal ends the process: it will call `end_by_signal`, of main.c, as the last thing. */
Bool is_dying_of_signal(void);
void end_by_signal(Int signal);
UInt thread_number(ThreadId tid);
/* The thread's last jump asked for a function itself, not for its replacement. */
Bool jumped_without_redirect(ThreadId tid);
ULong monotonic_ns(void);
void recording_start(void);
/* The guest's function whose calls tell of synchronisation; 0 when it has none. */
extern Addr sync_marker;
/* A call of it, from translated code: the tick, and its arguments. */
void on_sync(ULong tick, UWord code, UWord object, UWord object2, UWord value);

/* Calls f for each live thread whose registers replay has. */
void for_each_thread(void (*f)(UInt number, const UChar* state));
/* How much of a segment, from its start, can be read. */
SizeT present_size(const NSegment* segment);
/* Whether a page of guest memory is all zero. */
Bool page_is_zero(Addr page);

/* Whether the program could read this memory. */
Bool readable(Addr address, SizeT size);

/* --- descriptors.c --- */
/* Tells of all descriptors that are open. */
void descriptors_begin(void);
/* Before a system call: what it waits for. */
void descriptors_waited(UInt thread, ULong call, UInt number, const ULong* args);
/* After one that went well: the descriptors that it gave or sent. */
void descriptors_after(UInt thread, ULong call, UInt number, const ULong* args, Long result);

/* The kernel wrote this memory for the system call under way, and the engine does not tell of it. */
void emit_written(ThreadId tid, Addr address, SizeT size);
/* The system call under way lets others write this memory from now on. */
void emit_shared(ThreadId tid, Addr address, SizeT size);

/* --- ioctls.c --- */
/* Before an ioctl: what the program passes. */
void ioctl_before(UInt thread, ULong call, const ULong* args);
/* After it: what else it did to memory. `error` is 0 if it went well. */
void ioctl_after(ThreadId tid, const ULong* args, UWord error);

/* --- keyframe.c --- */
/* Writes a keyframe if it is time; `tid` is about to run. */
void keyframe_maybe(ThreadId tid);
/* The guest could write here until now. */
void keyframe_was_writable(Addr address, SizeT size);

/* --- heap.c --- */
void heap_init(void);
void heap_for_each_live(void (*f)(Addr address, SizeT size));

/* A system call made directly: the engine's own wrappers are not part of its tool interface. */
static inline Long raw_syscall(ULong number, ULong a1, ULong a2, ULong a3, ULong a4, ULong a5, ULong a6)
{
   Long result;
   register ULong r10 __asm__("r10") = a4;
   register ULong r8 __asm__("r8") = a5;
   register ULong r9 __asm__("r9") = a6;
   __asm__ volatile("syscall"
                    : "=a"(result)
                    : "0"(number), "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9)
                    : "rcx", "r11", "memory");
   return result;
}
