/* Source lines and inlined functions: the engine reads both from debug information that is most often compressed, at a
   cost of 100 ms for the C library alone. What it has read of a file is kept in the folder `--grind-cache`, and told it
   the next time as if it had read it again. The linker (`--wrap`) puts this between its parts.

   A file of the cache is named after the object file and stands for it as it was: inode, size, time of change. (Debug
   information of its own belongs to an object file by the hash of its contents.)
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

const HChar* opt_cache;

/* Parts of the engine's reader, not of its tool interface. */
extern Bool VG_(clo_read_var_info);
extern const HChar* vgModuleLocal_addStr(DebugInfo*, const HChar* text, Int size);
extern UInt vgModuleLocal_addFnDn(DebugInfo*, const HChar* file, const HChar* directory);
extern const HChar* vgModuleLocal_fndn_ix2filename(const DebugInfo*, UInt file);
extern const HChar* vgModuleLocal_fndn_ix2dirname(const DebugInfo*, UInt file);
void __real_vgModuleLocal_addLineInfo(DebugInfo*, UInt file, Addr, Addr next, Int line, Int entry);
void __real_vgModuleLocal_addInlInfo(DebugInfo*, Addr, Addr, const HChar*, UInt, Int, UShort);

/* A cache file: the head, then records in the order in which the engine found them. */
#define MAGIC 0x32676264u
typedef struct {
   UInt magic;
   UInt size; /* of the whole file, in bytes */
} Head;

typedef enum {
   RECORD_FILE,   /* the source file of what follows: its name and its folder as texts; none when it is not known */
   RECORD_LINE,   /* code of one line */
   RECORD_INLINED /* code of an inlined function, whose name is the text; the line is that of the call */
} RecordTag;

typedef struct {
   UInt offset; /* of the code, from the object file's bias */
   UInt size;
   Int line;
   UChar tag, level;
   UShort words; /* of 8 bytes, of the texts that follow, each ended by 0 */
} Record;

/* What costs less than this is not kept. */
#define SMALLEST (64u << 10)
#define LARGEST (256u << 20)

/* What is being read, as it will be kept. */
static HChar* path; /* of the cache file; NULL when nothing is */
static UChar* bytes;
static UInt used, room;
static UInt last_file;

static HChar* cache_path(const DebugInfo* di, const HChar* kind)
{
   struct vg_stat st;
   if (opt_cache == NULL || sr_isError(VG_(stat)(VG_(DebugInfo_get_filename)(di), &st))) return NULL;
   HChar* name = VG_(malloc)("grind.debuginfo", VG_(strlen)(opt_cache) + 120);
   VG_(sprintf)(name, "%s/%llx-%llx-%llx-%llx-%llx.%s", opt_cache, st.dev, st.ino, (ULong)st.size, st.mtime, st.mtime_nsec, kind);
   return name;
}

static void forget(void)
{
   if (path) VG_(free)(path);
   path = NULL;
   used = 0;
}

/* Keeps what was just read. */
void debuginfo_was_read(void);
void debuginfo_was_read(void)
{
   if (path && used >= SMALLEST) {
      HChar draft[VG_(strlen)(path) + 30];
      VG_(sprintf)(draft, "%s.%d", path, VG_(getpid)());
      Head* head = (Head*)bytes;
      head->magic = MAGIC;
      head->size = used;
      SysRes res = VG_(open)(draft, VKI_O_WRONLY | VKI_O_CREAT | VKI_O_EXCL, 0600);
      if (!sr_isError(res)) {
         Bool ok = VG_(write)(sr_Res(res), bytes, used) == (Int)used;
         VG_(close)(sr_Res(res));
         if (!ok || VG_(rename)(draft, path) != 0) VG_(unlink)(draft);
      }
   }
   forget();
}

static void append(RecordTag tag, ULong offset, ULong size, Int line, UInt level, UInt count, const HChar* const* texts)
{
   UInt texts_size = 0;
   for (UInt i = 0; i < count; i++) texts_size += VG_(strlen)(texts[i]) + 1;
   UInt words = (texts_size + 7) / 8;
   if (offset != (UInt)offset || size != (UInt)size || level > 255 || words > 65535 || used > LARGEST) {
      forget(); /* such as nobody has seen: it is read each time */
      return;
   }
   UInt whole = sizeof(Record) + 8 * words;
   if (used + whole > room) {
      room = VG_MAX(2 * room, used + whole);
      bytes = VG_(realloc)("grind.debuginfo", bytes, room);
   }
   Record* r = (Record*)(bytes + used);
   *r = (Record){ .offset = offset, .size = size, .line = line, .tag = tag, .level = level, .words = words };
   HChar* p = (HChar*)(r + 1);
   if (words) *(ULong*)(p + 8 * words - 8) = 0;
   for (UInt i = 0; i < count; i++) {
      VG_(strcpy)(p, texts[i]);
      p += VG_(strlen)(p) + 1;
   }
   used += whole;
}

static void append_file(const DebugInfo* di, UInt file)
{
   if (file == last_file) return;
   last_file = file;
   const HChar* texts[2] = { vgModuleLocal_fndn_ix2filename(di, file), vgModuleLocal_fndn_ix2dirname(di, file) };
   append(RECORD_FILE, 0, 0, 0, 0, file ? 2 : 0, texts);
}

/* The engine has found the line of a piece of code. */
void __wrap_vgModuleLocal_addLineInfo(DebugInfo*, UInt file, Addr, Addr next, Int line, Int entry);
void __wrap_vgModuleLocal_addLineInfo(DebugInfo* di, UInt file, Addr address, Addr next, Int line, Int entry)
{
   if (path && address != next) {
      append_file(di, file);
      /* The engine takes what cannot be right as one byte. */
      Bool right = address < next && next - address == (UInt)(next - address);
      if (path) append(RECORD_LINE, address - VG_(DebugInfo_get_text_bias)(di), right ? next - address : 1, line, 0, 0, NULL);
   }
   __real_vgModuleLocal_addLineInfo(di, file, address, next, line, entry);
}

/* The engine has found a piece of inlined code. */
void __wrap_vgModuleLocal_addInlInfo(DebugInfo*, Addr, Addr, const HChar*, UInt, Int, UShort);
void __wrap_vgModuleLocal_addInlInfo(DebugInfo* di, Addr low, Addr high, const HChar* function, UInt file, Int line, UShort level)
{
   if (path) append_file(di, file);
   if (path) append(RECORD_INLINED, low - VG_(DebugInfo_get_text_bias)(di), high - low, line, level, 1, &function);
   __real_vgModuleLocal_addInlInfo(di, low, high, function, file, line, level);
}

/* Whether a file is whole. */
static Bool is_sound(const UChar* kept, UInt size)
{
   const Head* head = (const Head*)kept;
   if (size < sizeof *head || head->magic != MAGIC || head->size != size) return False;
   for (UInt at = sizeof *head; at < size;) {
      const Record* r = (const Record*)(kept + at);
      const HChar* texts = (const HChar*)(r + 1);
      if (size - at < sizeof *r || size - at - sizeof *r < 8 * r->words || r->tag > RECORD_INLINED) return False;
      if (r->tag == RECORD_INLINED && r->words == 0) return False;
      if (r->words && texts[8 * r->words - 1] != 0) return False;
      /* A file has two texts. */
      if (r->tag == RECORD_FILE && r->words && VG_(strlen)(texts) + 1 >= 8 * r->words) return False;
      at += sizeof *r + 8 * r->words;
   }
   return True;
}

/* Tells the engine what a cache file holds. */
static void tell(DebugInfo* di, const UChar* kept, UInt size)
{
   UInt file = 0;
   PtrdiffT bias = VG_(DebugInfo_get_text_bias)(di);
   for (UInt at = sizeof(Head); at < size;) {
      const Record* r = (const Record*)(kept + at);
      const HChar* texts = (const HChar*)(r + 1);
      Addr low = r->offset + bias;
      switch (r->tag) {
         case RECORD_FILE: file = r->words ? vgModuleLocal_addFnDn(di, texts, texts + VG_(strlen)(texts) + 1) : 0; break;
         case RECORD_LINE: __real_vgModuleLocal_addLineInfo(di, file, low, low + r->size, r->line, 0); break;
         default:
            __real_vgModuleLocal_addInlInfo(di, low, low + r->size, vgModuleLocal_addStr(di, texts, -1), file, r->line, r->level);
      }
      at += sizeof *r + 8 * r->words;
   }
}

/* The engine is about to read an object file's lines, or its inlined functions: whether it need not. */
Bool debuginfo_is_known(DebugInfo* di, const HChar* kind);
Bool debuginfo_is_known(DebugInfo* di, const HChar* kind)
{
   Bool known = False;
   forget();
   last_file = ~0u;
   HChar* name = VG_(clo_read_var_info) ? NULL : cache_path(di, kind);
   if (name == NULL) return False;
   SysRes res = VG_(open)(name, VKI_O_RDONLY, 0);
   if (!sr_isError(res)) {
      Int fd = sr_Res(res);
      Long size = VG_(fsize)(fd);
      if (size > 0 && size <= LARGEST) {
         UChar* kept = VG_(malloc)("grind.debuginfo", size);
         known = VG_(read)(fd, kept, size) == size && is_sound(kept, size);
         if (known) tell(di, kept, size);
         VG_(free)(kept);
      }
      VG_(close)(fd);
      if (!known) VG_(unlink)(name);
   }
   if (known) {
      VG_(free)(name);
      return True;
   }
   path = name;
   used = sizeof(Head);
   if (room < used) bytes = VG_(realloc)("grind.debuginfo", bytes, room = 1 << 20);
   return False;
}

/* The engine's functions take many arguments on the stack, where they stay: the call from here puts its return
   address in the place of the caller's. */
__asm__(".bss\n"
        ".balign 8\n"
        "debuginfo_caller: .skip 8\n"
        ".section .rodata\n"
        "debuginfo_lines: .asciz \"lines\"\n"
        "debuginfo_inlined: .asciz \"inlined\"\n"
        ".macro READER function, kind\n"
        ".globl __wrap_vgModuleLocal_\\function\n"
        "__wrap_vgModuleLocal_\\function:\n"
        "   push %rdi\n"
        "   lea \\kind(%rip), %rsi\n"
        "   call debuginfo_is_known\n"
        "   pop %rdi\n"
        "   test %al, %al\n"
        "   jnz 1f\n"
        "   pop debuginfo_caller(%rip)\n"
        "   call __real_vgModuleLocal_\\function\n"
        "   push debuginfo_caller(%rip)\n"
        "   jmp debuginfo_was_read\n"
        "1: ret\n"
        ".endm\n"
        ".text\n"
        "READER read_debuginfo_dwarf3, debuginfo_lines\n"
        "READER new_dwarf3_reader, debuginfo_inlined\n");
