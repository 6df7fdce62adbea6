/* The tool's start, options and end. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

const HChar* opt_spool;
Int opt_spool_folder = -1;
Bool opt_verify;
ULong opt_max_size;
ULong opt_start_tick, opt_stop_tick;
const HChar *opt_start_function, *opt_stop_function;
Bool opt_children = True;
static Bool opt_start_request, opt_stop_request;

static Bool on_option(const HChar* arg)
{
   if (VG_STR_CLO(arg, "--grind-spool", opt_spool)) {}
   else if (VG_INT_CLO(arg, "--grind-spool-folder", opt_spool_folder)) {}
   else if (VG_STR_CLO(arg, "--grind-cache", opt_cache)) {}
   else if (VG_BOOL_CLO(arg, "--grind-verify", opt_verify)) {}
   else if (VG_BOOL_CLO(arg, "--grind-children", opt_children)) {}
   else if (VG_BINT_CLO(arg, "--grind-max-size", opt_max_size, 0, 1LL << 60)) {}
   else if (VG_BINT_CLO(arg, "--grind-start-tick", opt_start_tick, 0, 1LL << 60)) {}
   else if (VG_BINT_CLO(arg, "--grind-stop-tick", opt_stop_tick, 0, 1LL << 60)) {}
   else if (VG_STR_CLO(arg, "--grind-start-function", opt_start_function)) {}
   else if (VG_STR_CLO(arg, "--grind-stop-function", opt_stop_function)) {}
   else if (VG_BOOL_CLO(arg, "--grind-start-request", opt_start_request)) {}
   /* The request to stop is always heard. */
   else if (VG_BOOL_CLO(arg, "--grind-stop-request", opt_stop_request)) {}
   else return VG_(replacement_malloc_process_cmd_line_option)(arg);
   return True;
}

static void print_usage(void) { VG_(printf)("    grind's tool is started by `grind record`.\n"); }
static void print_debug_usage(void) {}

/* The engine writes its log through a copy of the descriptor and leaves the first one open: a guest's
   own first file would get another number than it gets without us. */
static void close_log_descriptor(void)
{
   HChar link[40], folder[4096], target[4096];
   VG_(sprintf)(link, "/proc/self/fd/%d", spool_folder);
   SSizeT size = VG_(readlink)(link, folder, sizeof folder - 32);
   if (size <= 0) return;
   VG_(sprintf)(folder + size, "/log.%d", VG_(getpid)());
   for (Int fd = 3; fd < 256; fd++) {
      VG_(sprintf)(link, "/proc/self/fd/%d", fd);
      SSizeT n = VG_(readlink)(link, target, sizeof target - 1);
      if (n <= 0) continue;
      target[n] = 0;
      if (VG_(strcmp)(target, folder) == 0) VG_(close)(fd);
   }
}

extern const HChar* VG_(clo_log_fname_unexpanded);

/* The engine makes a log of its own for a forked child, and ends it when it cannot: the child's rights and root may not
   be those that we had. It does not if the name is the same for all; their lines tell the process. */
static void share_log(void)
{
   const HChar* name = VG_(clo_log_fname_unexpanded);
   SizeT length = VG_(strlen)(name) - 2; /* without %p */
   HChar* shared = VG_(malloc)("grind.log", length + 20);
   VG_(memcpy)(shared, name, length);
   VG_(sprintf)(shared + length, "%d", VG_(getpid)());
   VG_(clo_log_fname_unexpanded) = shared;
}

/* strlen, index and strchr of the dynamic linker read whole vectors, beyond the ends of blocks. The engine
   replaces them from the very start, but only for a tool of this name; it asks right after the options.
   (A failed assertion of ours prints that name, too.) */
static void replace_in_linker(void)
{
   VG_(details_name)("Memcheck");
}

static void on_options_read(void)
{
   if (opt_spool == NULL) VG_(fmsg_bad_option)("--grind-spool", "this tool is started by `grind record`\n");
   spool_hold();
   close_log_descriptor();
   share_log();
   program_init();
   if (!spool_open()) {
      /* The guest is not to suffer: it runs on, unrecorded. */
      VG_(umsg)("grind: cannot write the trace to %s: this program runs unrecorded\n", opt_spool);
      return;
   }
   recording = !(opt_start_tick || opt_start_function || opt_start_request);
   events_begin();
   replace_in_linker();
}

static void on_end(Int exit_code)
{
   (void)exit_code;
   if (is_dying_of_signal()) return; /* which one, we shall know at the very end */
   events_end(0);
   spool_close();
}

void end_by_signal(Int signal)
{
   events_end(signal);
   spool_close();
}

static void before_options(void)
{
   VG_(details_name)("grind");
   VG_(details_version)(NULL);
   VG_(details_description)("the recorder of grind");
   VG_(details_copyright_author)("Copyright (C) 2026, and GNU GPL'd, by the grind authors.");
   VG_(details_bug_reports_to)("the grind authors");
   VG_(details_avg_translation_sizeB)(300);
   VG_(basic_tool_funcs)(on_options_read, instrument, on_end);
   VG_(needs_libc_freeres)();
   VG_(needs_cxx_freeres)();
   VG_(needs_command_line_options)(on_option, print_usage, print_debug_usage);
   symbols_init();
   events_init();
   heap_init();
}

VG_DETERMINE_INTERFACE_VERSION(before_options)
