/* The guest's heap: malloc, free, new, delete and their kin.

   Blocks read as zero when allocated, and so do 16 bytes on either side: then replay knows the
   contents of a new block from the `heap` row alone. Freed blocks wait in a queue before their
   memory is used again, so that a late access is seen for what it is: as many and as long as in
   Memcheck, so that addresses are used again at the same moments.
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"
#include "valgrind.h"

#define REDZONE 16
/* Bytes of freed blocks kept back; blocks from BIG_BLOCK on are let go first. */
#define QUARANTINE_SIZE 20000000UL
#define BIG_BLOCK 1000000UL
/* From here on, whole pages are given back to the kernel and come zeroed: those never used cost nothing. */
#define LARGE (256u << 10)
#define MADV_DONTNEED 4

typedef struct _Block {
   struct _Block* next;
   Addr address; /* VgHashNode's key */
   SizeT size;
   struct _Block* next_out; /* in the quarantine */
} Block;

static VgHashTable* blocks;
static struct { Block *first, *last; } quarantine[2]; /* big blocks, small blocks */
static SizeT quarantine_size;

static RawHeap* emit_heap(ThreadId tid, UChar op, Addr address, SizeT size)
{
   UInt stack = stack_of(tid);
   RawHeap* r = EMIT(RawHeap, TABLE_HEAP, 0);
   r->tick = now;
   r->thread = thread_number(tid);
   r->stack = stack;
   r->op = op;
   r->address = address;
   r->size = size;
   return r;
}

static void zero(Addr address, SizeT size)
{
   Addr end = address + size, first = (address + 4095) & ~4095UL, last = end & ~4095UL;
   if (size < LARGE || raw_syscall(__NR_madvise, first, last - first, MADV_DONTNEED, 0, 0, 0) != 0) {
      VG_(memset)((void*)address, 0, size);
      return;
   }
   VG_(memset)((void*)address, 0, first - address);
   VG_(memset)((void*)last, 0, end - last);
}

static void retire(Block* b)
{
   UInt q = b->size >= BIG_BLOCK ? 0 : 1;
   Block* last = quarantine[q].last;
   quarantine_size += b->size;
   b->next_out = NULL;
   if (last && b->size >= QUARANTINE_SIZE) { /* it would push all others out */
      b->next_out = quarantine[q].first;
      quarantine[q].first = b;
      return;
   }
   if (last) last->next_out = b;
   else quarantine[q].first = b;
   quarantine[q].last = b;
}

static void release_oldest(void)
{
   for (UInt q = 0; q < 2; q++) {
      while (quarantine_size > QUARANTINE_SIZE && quarantine[q].first) {
         Block* oldest = quarantine[q].first;
         quarantine[q].first = oldest->next_out;
         if (oldest->next_out == NULL) quarantine[q].last = NULL;
         quarantine_size -= oldest->size;
         VG_(cli_free)((void*)oldest->address);
         VG_(free)(oldest);
      }
   }
}

static Block* new_block(SizeT size, SizeT alignment)
{
   if ((SSizeT)size < 0) return NULL;
   void* p = VG_(cli_malloc)(alignment, size);
   if (p == NULL) return NULL;
   zero((Addr)p - REDZONE, size + 2 * REDZONE);
   Block* b = VG_(malloc)("grind.block", sizeof *b);
   b->address = (Addr)p;
   b->size = size;
   VG_(HT_add_node)(blocks, b);
   release_oldest(); /* not when a block is freed: a late access comes soon */
   return b;
}

static void* allocate(ThreadId tid, UChar op, SizeT size, SizeT alignment)
{
   Block* b = new_block(size, VG_MAX(alignment, (SizeT)VG_(clo_alignment)));
   RawHeap* r = emit_heap(tid, op, b ? b->address : 0, size);
   r->alignment = alignment;
   return b ? (void*)b->address : NULL;
}

static void release(ThreadId tid, UChar op, void* p)
{
   Block* b = VG_(HT_remove)(blocks, (UWord)p);
   RawHeap* r = emit_heap(tid, op, (Addr)p, b ? b->size : 0);
   r->known = b != NULL;
   if (b) retire(b);
}

static void* gr_malloc(ThreadId tid, SizeT n) { return allocate(tid, HEAP_OP_MALLOC, n, 0); }
static void* gr_new(ThreadId tid, SizeT n) { return allocate(tid, HEAP_OP_NEW, n, 0); }
static void* gr_new_array(ThreadId tid, SizeT n) { return allocate(tid, HEAP_OP_NEW_ARRAY, n, 0); }
static void* gr_calloc(ThreadId tid, SizeT count, SizeT each)
{
   /* Negative numbers, most likely. The guest's own side has refused what overflows. */
   Bool fishy = (SSizeT)count < 0 || (SSizeT)each < 0;
   Block* b = fishy ? NULL : new_block(count * each, VG_(clo_alignment));
   RawHeap* r = emit_heap(tid, HEAP_OP_CALLOC, b ? b->address : 0, count * each);
   r->count = count;
   r->element_size = each;
   return b ? (void*)b->address : NULL;
}
static void gr_free(ThreadId tid, void* p) { release(tid, HEAP_OP_FREE, p); }
static void gr_delete(ThreadId tid, void* p) { release(tid, HEAP_OP_DELETE, p); }
static void gr_delete_array(ThreadId tid, void* p) { release(tid, HEAP_OP_DELETE_ARRAY, p); }

/* Since 3.22 the engine also passes the alignment as the guest wrote it, before any correction. */
#if __VALGRIND_MAJOR__ > 3 || __VALGRIND_MINOR__ >= 22
static void* gr_memalign(ThreadId tid, SizeT align, SizeT orig, SizeT n) { (void)orig; return allocate(tid, HEAP_OP_MEMALIGN, n, align); }
static void* gr_new_aligned(ThreadId tid, SizeT n, SizeT align, SizeT orig) { (void)orig; return allocate(tid, HEAP_OP_NEW, n, align); }
static void* gr_new_array_aligned(ThreadId tid, SizeT n, SizeT align, SizeT orig) { (void)orig; return allocate(tid, HEAP_OP_NEW_ARRAY, n, align); }
#else
static void* gr_memalign(ThreadId tid, SizeT align, SizeT n) { return allocate(tid, HEAP_OP_MEMALIGN, n, align); }
static void* gr_new_aligned(ThreadId tid, SizeT n, SizeT align) { return allocate(tid, HEAP_OP_NEW, n, align); }
static void* gr_new_array_aligned(ThreadId tid, SizeT n, SizeT align) { return allocate(tid, HEAP_OP_NEW_ARRAY, n, align); }
#endif
static void gr_delete_aligned(ThreadId tid, void* p, SizeT align) { (void)align; gr_delete(tid, p); }
static void gr_delete_array_aligned(ThreadId tid, void* p, SizeT align) { (void)align; gr_delete_array(tid, p); }

/* Always to a new place, as Memcheck does: a stale pointer then never happens to be right. */
static void* gr_realloc(ThreadId tid, void* p, SizeT n)
{
   if (p == NULL) return gr_malloc(tid, n);
   if (n == 0) {
      gr_free(tid, p);
      return NULL;
   }
   Block* old = VG_(HT_lookup)(blocks, (UWord)p);
   Block* b = old ? new_block(n, VG_(clo_alignment)) : NULL;
   RawHeap* r = emit_heap(tid, HEAP_OP_REALLOC, b ? b->address : 0, n);
   r->previous = (Addr)p;
   r->previous_size = old ? old->size : 0;
   r->known = old != NULL;
   if (b == NULL) return NULL;
   VG_(memcpy)((void*)b->address, p, VG_MIN(old->size, n));
   VG_(HT_remove)(blocks, (UWord)p);
   retire(old);
   return (void*)b->address;
}

static SizeT gr_usable_size(ThreadId tid, void* p)
{
   (void)tid;
   Block* b = VG_(HT_lookup)(blocks, (UWord)p);
   return b ? b->size : 0;
}

void heap_for_each_live(void (*f)(Addr, SizeT))
{
   Block* b;
   VG_(HT_ResetIter)(blocks);
   while ((b = VG_(HT_Next)(blocks)) != NULL) f(b->address, b->size);
}

void heap_init(void)
{
   blocks = VG_(HT_construct)("grind.blocks");
   VG_(needs_malloc_replacement)(gr_malloc, gr_new, gr_new_aligned, gr_new_array, gr_new_array_aligned,
                                 gr_memalign, gr_calloc, gr_free, gr_delete, gr_delete_aligned,
                                 gr_delete_array, gr_delete_array_aligned, gr_realloc, gr_usable_size,
                                 REDZONE);
}
