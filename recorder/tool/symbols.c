/* What an address of code is: instructions, modules, call stacks, each written once, on first sight,
   while the debug information is loaded. SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"

/* ---------------------------------------------------------------- modules */

typedef struct {
   Addr text;
   SizeT size;
   UInt module;
} Module;

static XArray* modules;
/* Addresses around the last one asked for with the same answer. */
static Addr last_low, last_high;
static UInt last_module;

static UInt module_of(DiEpoch epoch, Addr pc)
{
   if (pc >= last_low && pc < last_high) return last_module;
   DebugInfo* di = VG_(find_DebugInfo)(epoch, pc);
   if (di == NULL) return 0;
   Addr text = VG_(DebugInfo_get_text_avma)(di);
   SizeT size = VG_(DebugInfo_get_text_size)(di);
   last_low = text;
   last_high = text + size;
   for (Word i = 0; i < VG_(sizeXA)(modules); i++) {
      Module* m = VG_(indexXA)(modules, i);
      if (m->text == text && m->size == size) return last_module = m->module;
   }
   Module m = { .text = text, .size = size, .module = VG_(sizeXA)(modules) + 1 };
   VG_(addToXA)(modules, &m);
   const HChar* path = VG_(DebugInfo_get_filename)(di);
   UInt n = VG_(strlen)(path);
   RawModules* r = EMIT(RawModules, TABLE_MODULES, n);
   r->tick = now;
   r->module = m.module;
   r->address = text;
   r->size = size;
   r->bias = VG_(DebugInfo_get_text_bias)(di);
   r->path_size = n;
   VG_(memcpy)(EXTRA(r), path, n);
   return last_module = m.module;
}

/* ---------------------------------------------------------------- instructions */

/* The addresses written so far: a bit for each address of a page. The pages are found by open addressing, a
   power of two of places, at most half full; most often it is the page asked for last. */
typedef struct {
   Addr number;
   ULong bits[4096 / 64];
} SeenPage;
static SeenPage** seen;
static UInt seen_size, seen_count;

static UInt seen_place(Addr number)
{
   UInt i = (number * 0x9E3779B97F4A7C15ULL) >> 40 & (seen_size - 1);
   while (seen[i] && seen[i]->number != number) i = (i + 1) & (seen_size - 1);
   return i;
}

static SeenPage* seen_page(Addr number)
{
   if (seen_count * 2 >= seen_size) {
      SeenPage** old = seen;
      UInt old_size = seen_size;
      seen_size = old_size ? old_size * 2 : 1 << 10;
      seen = VG_(calloc)("grind.seen", seen_size, sizeof *seen);
      for (UInt i = 0; i < old_size; i++)
         if (old[i]) seen[seen_place(old[i]->number)] = old[i];
      if (old) VG_(free)(old);
   }
   UInt i = seen_place(number);
   if (seen[i] == NULL) {
      seen[i] = VG_(calloc)("grind.seenpage", 1, sizeof *seen[i]);
      seen[i]->number = number;
      seen_count++;
   }
   return seen[i];
}

static Bool see(Addr pc)
{
   static SeenPage* last;
   if (last == NULL || last->number != pc >> 12) last = seen_page(pc >> 12);
   ULong *word = &last->bits[pc % 4096 / 64], bit = 1ULL << pc % 64;
   if (*word & bit) return False;
   *word |= bit;
   return True;
}

/* The texts written so far: open addressing, a power of two, at most half full. */
typedef struct {
   HChar* text; /* NULL: free */
   UInt size, hash, key;
} Text;
static Text* texts;
static UInt texts_size, texts_count;

/* The key of a text in `strings`, written on first use; 0 for the empty text. */
static UInt string_key(const HChar* text, UInt size)
{
   if (size == 0) return 0;
   size = VG_MIN(size, 16384);
   UInt hash = 2166136261u;
   for (UInt i = 0; i < size; i++) hash = (hash ^ (UChar)text[i]) * 16777619u;
   if (texts_count * 2 >= texts_size) {
      Text* old = texts;
      UInt old_size = texts_size;
      texts_size = old_size ? old_size * 2 : 1 << 12;
      texts = VG_(calloc)("grind.texts", texts_size, sizeof *texts);
      for (UInt i = 0; i < old_size; i++) {
         if (!old[i].text) continue;
         UInt j = old[i].hash & (texts_size - 1);
         while (texts[j].text) j = (j + 1) & (texts_size - 1);
         texts[j] = old[i];
      }
      if (old) VG_(free)(old);
   }
   UInt i = hash & (texts_size - 1);
   for (; texts[i].text; i = (i + 1) & (texts_size - 1))
      if (texts[i].hash == hash && texts[i].size == size && VG_(memcmp)(texts[i].text, text, size) == 0)
         return texts[i].key;
   Text* t = &texts[i];
   t->text = VG_(malloc)("grind.text", size);
   VG_(memcpy)(t->text, text, size);
   t->size = size;
   t->hash = hash;
   t->key = ++texts_count;
   RawStrings* r = EMIT(RawStrings, TABLE_STRINGS, size);
   r->string = t->key;
   r->text_size = size;
   VG_(memcpy)(EXTRA(r), text, size);
   return t->key;
}

/* Appends "function|file|line\n" to `out` from what VG_(describe_IP) says:
   "0x4005A7: function (file.c:12)" or "0x4005A7: function (in /path)". */
static UInt append_frame(HChar* out, UInt used, UInt size, const HChar* text)
{
   const HChar* p = VG_(strstr)(text, ": ");
   const HChar* name = p ? p + 2 : text;
   const HChar *open = NULL, *colon = NULL, *end = name + VG_(strlen)(name);
   for (const HChar* q = name; *q; q++)
      if (q[0] == ' ' && q[1] == '(') open = q;
   if (open)
      for (const HChar* q = open; *q; q++)
         if (*q == ':') colon = q;
   UInt name_size = (open ? open : end) - name;
   UInt file_size = colon ? colon - (open + 2) : 0;
   UInt line_size = colon ? end - 1 - (colon + 1) : 0;
   if (used + name_size + file_size + line_size + 4 > size) return used;
   VG_(memcpy)(out + used, name, name_size);
   used += name_size;
   out[used++] = '|';
   VG_(memcpy)(out + used, open + 2, file_size);
   used += file_size;
   out[used++] = '|';
   if (line_size) VG_(memcpy)(out + used, colon + 1, line_size);
   else out[used++] = '0';
   used += line_size;
   out[used++] = '\n';
   return used;
}

/* The key of a text of the debug information. Most often it is, in place, the text asked for last: texts stay
   where they are as long as the epoch does. */
typedef struct {
   const HChar* text;
   UInt epoch, key;
} LastText;

static UInt last_text_key(LastText* last, DiEpoch epoch, const HChar* text)
{
   if (text != last->text || epoch.n != last->epoch) {
      last->key = string_key(text, VG_(strlen)(text));
      last->text = text;
      last->epoch = epoch.n;
   }
   return last->key;
}

/* Part of the engine's core, not of its tool interface: the name as it stands in the symbol table. */
extern Bool VG_(get_fnname_raw)(DiEpoch epoch, Addr pc, const HChar** name);

/* The same for a function, found by its symbol's name: to demangle it costs more than to find it. */
static UInt function_key_of(DiEpoch epoch, Addr pc)
{
   static LastText last;
   const HChar *symbol, *name;
   if (!VG_(get_fnname_raw)(epoch, pc, &symbol)) return 0;
   if (symbol != last.text || epoch.n != last.epoch) {
      last.key = VG_(get_fnname)(epoch, pc, &name) ? string_key(name, VG_(strlen)(name)) : 0;
      last.text = symbol;
      last.epoch = epoch.n;
   }
   return last.key;
}

void describe_instruction(Addr pc, UInt length)
{
   static HChar inlined[16384];
   static LastText last_file, last_directory;
   const HChar *file = "", *directory = "";
   UInt line = 0, inlined_size = 0, function_key = 0;
   if (!see(pc)) return;
   DiEpoch epoch = VG_(current_DiEpoch)();
   UInt module = module_of(epoch, pc);
   if (module) {
      /* A forked child has its parent's strings, as it has its parent's rows. */
      function_key = function_key_of(epoch, pc);
      if (!VG_(get_filename_linenum)(epoch, pc, &file, &directory, &line)) {
         file = directory = "";
         line = 0;
      }
      InlIPCursor* cursor = VG_(new_IIPC)(epoch, pc);
      if (cursor) {
         UInt frames = 0;
         do {
            inlined_size = append_frame(inlined, inlined_size, sizeof inlined, VG_(describe_IP)(epoch, pc, cursor));
            frames++;
         } while (VG_(next_IIPC)(cursor));
         VG_(delete_IIPC)(cursor);
         if (frames < 2) inlined_size = 0;
         else inlined_size--;
      }
   }
   UInt file_key = last_text_key(&last_file, epoch, file);
   UInt directory_key = last_text_key(&last_directory, epoch, directory);
   UInt inlined_key = string_key(inlined, inlined_size);
   RawInstructions* r = EMIT(RawInstructions, TABLE_INSTRUCTIONS, 0);
   r->pc = pc;
   r->length = length;
   r->module = module;
   r->line = line;
   r->function = function_key;
   r->file = file_key;
   r->directory = directory_key;
   r->inlined = inlined_key;
}

/* ---------------------------------------------------------------- stacks */

/* One bit per stack number. */
static UChar* stack_written;
static UInt stack_written_size;

typedef struct {
   ULong* pcs;
   UInt count;
} Frames;

static void store_pc(UInt n, DiEpoch epoch, Addr pc, void* opaque)
{
   (void)epoch;
   Frames* frames = opaque;
   frames->pcs[n] = pc;
   frames->count = n + 1;
}

/* Unwinding is most of what an event costs. A stack is known without it when the program counter and
   the stack pointer are as they were once before, and every return address of that time still stands
   where it stood. */
#define CACHED_STACKS 4096
/* Stacks that agree in program counter and stack pointer share a set of so many places. */
#define CACHED_TOGETHER 8
#define CACHED_DEPTH 48
typedef struct {
   Addr pc, sp;
   UInt stack, depth;
   Addr slots[CACHED_DEPTH]; /* where the return address of each frame stands */
   Addr returns[CACHED_DEPTH];
} CachedStack;
static CachedStack* cached_stacks;

/* The mapping that holds the stack asked for last: what a cached stack points to may be gone. */
static Addr mapping_low, mapping_high;

void forget_mapping(void) { mapping_high = 0; }

static Bool is_in_mapping(Addr sp, Addr highest)
{
   if (sp < mapping_low || sp >= mapping_high) {
      const NSegment* segment = VG_(am_find_nsegment)(sp);
      if (segment == NULL || !segment->hasR) return False;
      mapping_low = segment->start;
      mapping_high = segment->end + 1;
   }
   return highest + sizeof(Addr) <= mapping_high;
}

static CachedStack* cache_set(Addr pc, Addr sp)
{
   /* Zero, and not touched before it is used. */
   if (cached_stacks == NULL) cached_stacks = zero_pages(CACHED_STACKS * sizeof *cached_stacks);
   return &cached_stacks[((pc ^ sp * 31) * 0x9E3779B97F4A7C15ULL >> 40) % (CACHED_STACKS / CACHED_TOGETHER) * CACHED_TOGETHER];
}

static Bool is_valid(const CachedStack* c, Addr pc, Addr sp)
{
   if (c->pc != pc || c->sp != sp || c->depth == 0) return False;
   if (!is_in_mapping(sp, c->slots[c->depth - 1])) return False;
   for (UInt i = 0; i < c->depth; i++)
      if (*(Addr*)c->slots[i] != c->returns[i]) return False;
   return True;
}

/* The number of the current stack without the first `skipped` frames, by unwinding it; remembers it if its
   frames are ordinary. */
static UInt unwind(ThreadId tid, CachedStack* c, Addr pc, Addr sp, UInt skipped, ExeContext** context)
{
   Int most = VG_(clo_backtrace_size);
   Addr ips[most], sps[most], fps[most];
   UInt n = VG_(get_StackTrace)(tid, ips, most, sps, fps, 0);
   /* What lies below main is not shown, and often not even a frame. */
   DiEpoch epoch = VG_(current_DiEpoch)();
   for (UInt i = 0; i + 1 < n; i++)
      if (VG_(get_fnname_kind_from_IP)(epoch, ips[i]) != Vg_FnNameNormal) n = i + 1;
   if (skipped >= n) skipped = n - 1;
   *context = VG_(make_ExeContext_from_StackTrace)(ips + skipped, n - skipped);
   UInt stack = VG_(get_ECU_from_ExeContext)(*context) >> 2;
   Bool ordinary = n > 1 && n - 1 <= CACHED_DEPTH && ips[0] == pc;
   c->depth = 0;
   for (UInt i = 1; ordinary && i < n; i++) {
      Addr slot = sps[i] - sizeof(Addr);
      Addr previous = i == 1 ? sp : c->slots[i - 2];
      ordinary = slot >= previous && is_in_mapping(sp, slot) && *(Addr*)slot - 1 == ips[i];
      c->slots[i - 1] = slot;
      c->returns[i - 1] = ips[i] + 1;
   }
   if (ordinary) {
      c->pc = pc;
      c->sp = sp;
      c->stack = stack;
      c->depth = n - 1;
   }
   return stack;
}

static UInt current_stack(ThreadId tid, UInt skipped)
{
   if (!recording) return 0;
   Addr pc = VG_(get_IP)(tid), sp = VG_(get_SP)(tid);
   /* The callers of that innermost frame stand at one depth: what tells them apart is where it returns to. */
   CachedStack* c = cache_set(skipped ? *(Addr*)sp : pc, sp);
   for (UInt i = 0; i < CACHED_TOGETHER; i++)
      if (is_valid(&c[i], pc, sp)) return c[i].stack;
   static UInt next;
   c += next++ % CACHED_TOGETHER;
   ExeContext* context;
   UInt stack = unwind(tid, c, pc, sp, skipped, &context);
   if (stack / 8 >= stack_written_size) {
      UInt size = VG_MAX(stack_written_size * 2, (stack / 8 + 4096) & ~4095u);
      stack_written = VG_(realloc)("grind.stacks", stack_written, size);
      VG_(memset)(stack_written + stack_written_size, 0, size - stack_written_size);
      stack_written_size = size;
   }
   if (stack_written[stack / 8] & 1 << stack % 8) return stack;
   stack_written[stack / 8] |= 1 << stack % 8;
   UInt most = VG_(get_ExeContext_n_ips)(context);
   ULong pcs[most];
   /* Fewer than there are: the engine leaves out what called main. */
   Frames frames = { pcs, 0 };
   VG_(apply_ExeContext)(store_pc, &frames, context);
   UInt n = frames.count;
   RawStacks* r = EMIT(RawStacks, TABLE_STACKS, n * 8);
   r->stack = stack;
   r->pcs_size = n * 8;
   VG_(memcpy)(EXTRA(r), pcs, n * 8);
   for (UInt i = 0; i < n; i++) describe_instruction(pcs[i], 0);
   return stack;
}

UInt stack_of(ThreadId tid) { return current_stack(tid, 0); }

UInt stack_of_caller(ThreadId tid) { return current_stack(tid, 1); }

void symbols_init(void)
{
   modules = VG_(newXA)(VG_(malloc), "grind.modules", VG_(free), sizeof(Module));
}
