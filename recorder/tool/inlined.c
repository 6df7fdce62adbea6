/* Which functions are inlined where: the engine reads it from debug information that is most often compressed, at
   a cost of 50 ms for the C library alone. What it has read of a file is kept in the folder `--grind-cache`, and told
   it the next time as if it had read it again. The linker (`--wrap`) puts this between its parts.

   A file of the cache is named after the object file and stands for it as it was: inode, size, time of change.
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

const HChar* opt_cache;

/* Parts of the engine's reader, not of its tool interface. */
extern Bool VG_(clo_read_var_info);
extern const HChar* vgModuleLocal_addStr(DebugInfo*, const HChar* text, Int size);
extern UInt vgModuleLocal_addFnDn(DebugInfo*, const HChar* file, const HChar* directory);
extern const HChar* vgModuleLocal_fndn_ix2filename(const DebugInfo*, UInt file);
extern const HChar* vgModuleLocal_fndn_ix2dirname(const DebugInfo*, UInt file);
void __real_vgModuleLocal_addInlInfo(DebugInfo*, Addr, Addr, const HChar*, UInt, Int, UShort);

/* A cache file: the head, then one entry for each range of inlined code. */
#define MAGIC 0x31696e6cu
typedef struct {
   UInt magic;
   UInt size; /* of the whole file, in bytes */
} Head;

typedef struct {
   ULong offset; /* of the range, from where the object file is mapped (its bias) */
   ULong size;
   Int line; /* of the call; the file is the one of the entry before, given, or not known */
   UShort level;
   UShort file;
   UInt texts_size; /* of the function's name and, if given, file and folder, each ended by 0; a multiple of 8 */
   UInt zero;
} Entry;
enum { FILE_AS_BEFORE, FILE_GIVEN, FILE_UNKNOWN };

/* What costs less than this is not kept. */
#define SMALLEST (64u << 10)
#define LARGEST (256u << 20)

/* What is being read, as it will be kept. */
static HChar* path; /* of the cache file; NULL when nothing is */
static UChar* bytes;
static UInt used, room;
static UInt last_file;

static HChar* cache_path(const DebugInfo* di)
{
   struct vg_stat st;
   if (opt_cache == NULL || sr_isError(VG_(stat)(VG_(DebugInfo_get_filename)(di), &st))) return NULL;
   HChar* name = VG_(malloc)("grind.inlined", VG_(strlen)(opt_cache) + 100);
   VG_(sprintf)(name, "%s/%llx-%llx-%llx-%llx-%llx", opt_cache, st.dev, st.ino, (ULong)st.size, st.mtime, st.mtime_nsec);
   return name;
}

/* Keeps what was read last. */
void inlined_keep(void)
{
   if (path && used >= SMALLEST && used <= LARGEST) {
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
   if (path) VG_(free)(path);
   path = NULL;
   used = 0;
}

static UChar* append(UInt size)
{
   if (used + size > room) {
      room = VG_MAX(2 * room, used + size);
      bytes = VG_(realloc)("grind.inlined", bytes, room);
   }
   VG_(memset)(bytes + used, 0, size);
   used += size;
   return bytes + used - size;
}

/* The engine has found a range of inlined code. */
void __wrap_vgModuleLocal_addInlInfo(DebugInfo*, Addr, Addr, const HChar*, UInt, Int, UShort);
void __wrap_vgModuleLocal_addInlInfo(DebugInfo* di, Addr low, Addr high, const HChar* function, UInt file, Int line, UShort level)
{
   if (path && used <= LARGEST) {
      Bool given = file != 0 && (file != last_file || used == sizeof(Head));
      const HChar* texts[3] = { function, given ? vgModuleLocal_fndn_ix2filename(di, file) : NULL,
                                given ? vgModuleLocal_fndn_ix2dirname(di, file) : NULL };
      UInt count = given ? 3 : 1, size = 0;
      for (UInt i = 0; i < count; i++) size += VG_(strlen)(texts[i]) + 1;
      Entry* e = (Entry*)append(sizeof *e + ((size + 7) & ~7u));
      e->offset = low - VG_(DebugInfo_get_text_bias)(di);
      e->size = high - low;
      e->line = line;
      e->level = level;
      e->file = given ? FILE_GIVEN : file ? FILE_AS_BEFORE : FILE_UNKNOWN;
      e->texts_size = (size + 7) & ~7u;
      HChar* p = (HChar*)(e + 1);
      for (UInt i = 0; i < count; i++) {
         VG_(strcpy)(p, texts[i]);
         p += VG_(strlen)(p) + 1;
      }
      if (file) last_file = file;
   }
   __real_vgModuleLocal_addInlInfo(di, low, high, function, file, line, level);
}

/* Tells the engine what a cache file holds; False when the file is not whole. */
static Bool tell(DebugInfo* di, const UChar* kept, UInt size)
{
   const Head* head = (const Head*)kept;
   UInt file = 0;
   if (size < sizeof *head || head->magic != MAGIC || head->size != size) return False;
   for (UInt at = sizeof *head; at < size;) {
      const Entry* e = (const Entry*)(kept + at);
      const HChar* function = (const HChar*)(e + 1);
      if (size - at < sizeof *e || e->texts_size == 0 || e->texts_size > size - at - sizeof *e) return False;
      /* The last text ends within the entry's own bytes. */
      if (function[e->texts_size - 1] != 0) return False;
      if (e->file == FILE_GIVEN) {
         const HChar* name = function + VG_(strlen)(function) + 1;
         const HChar* directory = name + VG_(strlen)(name) + 1;
         if (directory >= function + e->texts_size) return False;
         file = vgModuleLocal_addFnDn(di, name, directory);
      }
      Addr low = e->offset + VG_(DebugInfo_get_text_bias)(di);
      __real_vgModuleLocal_addInlInfo(di, low, low + e->size, vgModuleLocal_addStr(di, function, -1),
                                      e->file == FILE_UNKNOWN ? 0 : file, e->line, e->level);
      at += sizeof *e + e->texts_size;
   }
   return True;
}

/* The engine is about to read an object file's description of inlined code, and of nothing else: whether it need not. */
Bool inlined_are_known(DebugInfo* di);
Bool inlined_are_known(DebugInfo* di)
{
   Bool known = False;
   inlined_keep();
   HChar* name = VG_(clo_read_var_info) ? NULL : cache_path(di);
   if (name == NULL) return False;
   SysRes res = VG_(open)(name, VKI_O_RDONLY, 0);
   if (!sr_isError(res)) {
      Int fd = sr_Res(res);
      Long size = VG_(fsize)(fd);
      if (size > 0 && size <= LARGEST) {
         UChar* kept = VG_(malloc)("grind.inlined", size);
         known = VG_(read)(fd, kept, size) == size && tell(di, kept, size);
         VG_(free)(kept);
      }
      VG_(close)(fd);
      if (known) VG_(free)(name);
      else VG_(unlink)(name);
   }
   if (!known) {
      path = name;
      append(sizeof(Head));
   }
   return known;
}

/* The engine's function takes many arguments on the stack: here they stay where they are. */
__asm__(".text\n"
        ".globl __wrap_vgModuleLocal_new_dwarf3_reader\n"
        "__wrap_vgModuleLocal_new_dwarf3_reader:\n"
        "   push %rdi\n"
        "   call inlined_are_known\n"
        "   pop %rdi\n"
        "   test %al, %al\n"
        "   jz __real_vgModuleLocal_new_dwarf3_reader\n"
        "   ret\n");
