/* Makes and runs threaded code (threaded.ts): a module for Node, loaded by native.ts. Here is what Node sees, and how
   threaded code asks the host.

   SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdbool.h>
#include "wasm.h"
#include "constants.h"

/* Node-API, as far as it is used here (Node's headers need not be installed). */
typedef struct napi_env__* Env;
typedef struct napi_value__* Value;
typedef struct napi_callback_info__* Info;
typedef struct napi_handle_scope__* Scope;
typedef Value Callback(Env, Info);
extern int napi_get_cb_info(Env, Info, size_t* count, Value* values, Value* self, void** data);
extern int napi_get_value_uint32(Env, Value, u32*);
extern int napi_get_value_int64(Env, Value, i64*);
extern int napi_get_value_double(Env, Value, f64*);
extern int napi_get_value_external(Env, Value, void**);
extern int napi_get_typedarray_info(Env, Value, int* type, size_t* length, void** data, Value* buffer, size_t* offset);
extern int napi_create_uint32(Env, u32, Value*);
extern int napi_get_boolean(Env, bool, Value*);
extern int napi_create_int32(Env, i32, Value*);
extern int napi_create_bigint_int64(Env, i64, Value*);
extern int napi_create_external(Env, void*, void (*finalize)(Env, void*, void*), void* hint, Value*);
extern int napi_create_function(Env, const char*, size_t, Callback*, void*, Value*);
extern int napi_create_string_utf8(Env, const char*, size_t, Value*);
extern int napi_create_array(Env, Value*);
extern int napi_set_element(Env, Value, u32, Value);
extern int napi_get_element(Env, Value, u32, Value*);
extern int napi_set_named_property(Env, Value, const char*, Value);
extern int napi_call_function(Env, Value self, Value function, size_t count, const Value*, Value* result);
extern int napi_get_undefined(Env, Value*);
extern int napi_open_handle_scope(Env, Scope*);
extern int napi_close_handle_scope(Env, Scope);
extern int napi_throw_type_error(Env, const char* code, const char* message);

/* ---------------------------------------------------------------- asking the host */

/* A run: of several that are under way, one asks the host, which begins the next. */
struct run {
   Env env;
   /* The host's functions, an array. */
   Value functions;
   jmp_buf failed;
};
static _Thread_local struct run* current;

static Scope host_open(void)
{
   Scope scope;
   napi_open_handle_scope(current->env, &scope);
   return scope;
}

static Value host_i32(u32 value)
{
   Value result;
   napi_create_int32(current->env, value, &result);
   return result;
}

static Value host_i64(u64 value)
{
   Value result;
   napi_create_bigint_int64(current->env, value, &result);
   return result;
}

/* Calls a function of the host; its result is an integer, or none. When it throws, this run ends. */
static u64 host_call(Scope scope, u32 number, u32 count, const Value* values)
{
   struct run* run = current;
   Value function, self, result;
   i64 integer = 0;
   napi_get_undefined(run->env, &self);
   int status = napi_get_element(run->env, run->functions, number, &function);
   if (status == 0) status = napi_call_function(run->env, self, function, count, values, &result);
   if (status == 0) napi_get_value_int64(run->env, result, &integer);
   napi_close_handle_scope(run->env, scope);
   if (status != 0) longjmp(run->failed, 1);
   return integer;
}

/* ---------------------------------------------------------------- running */

/* What stencils do that is needed here, too. */
#define STENCIL(name) static u32 name(u8* m)
#define INSTRUCTION 0u
#include "tables.h"
#include "machine-code.h"
#include "translate.h"
#include "heap-misses.h"
#include "lz4.h"
#include "history.h"
#include "takers.h"
#include "reuse.h"
#include "waiting.h"
#include "rows.h"

/* What the host holds of a replay. */
struct replay {
   u8* m;
   struct machine_code* code;
};

typedef u32 Chain(u8* m, u32 slot);

#include "events.h"

#define ARGUMENTS 10

static int arguments(Env env, Info info, Value* values)
{
   size_t count = ARGUMENTS;
   return napi_get_cb_info(env, info, &count, values, NULL, NULL) == 0;
}

static Value fail(Env env)
{
   napi_throw_type_error(env, NULL, "an argument of another kind was expected");
   return NULL;
}

static void* array(Env env, Value value, size_t* length)
{
   int type;
   void* data;
   Value buffer;
   size_t offset;
   return napi_get_typedarray_info(env, value, &type, length, &data, &buffer, &offset) == 0 ? data : NULL;
}

static void drop_replay(Env env, void* data, void* hint)
{
   (void)env, (void)hint;
   struct replay* replay = data;
   drop_machine_code(replay->code);
   free(replay);
}

/* attach(memory: Uint8Array): a replay in this linear memory, which must not move; undefined when there is no memory for
   its code. */
static Value js_attach(Env env, Info info)
{
   Value values[ARGUMENTS], result = NULL;
   size_t length;
   struct replay* replay = malloc(sizeof *replay);
   if (!replay || !arguments(env, info, values) || !(replay->m = array(env, values[0], &length))) return fail(env);
   /* Most of what is touched lies together, and each page that is touched first costs some microseconds. It goes without, too. */
   madvise(replay->m, length, MADV_HUGEPAGE);
   replay->code = make_machine_code(NULL);
   if (replay->code != NULL) napi_create_external(env, replay, drop_replay, NULL, &result);
   else free(replay);
   return result;
}

/* release(replay): it runs no more. Its machine code goes, for there is little room below 2 GiB, and who holds it is found late. */
static Value js_release(Env env, Info info)
{
   Value values[ARGUMENTS];
   void* replay;
   if (!arguments(env, info, values) || napi_get_value_external(env, values[0], &replay) != 0) return fail(env);
   drop_machine_code(((struct replay*)replay)->code);
   ((struct replay*)replay)->code = NULL;
   return NULL;
}

/* isAt(replay, memory: Uint8Array): number, 1 if this is its linear memory. */
static Value js_is_at(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   size_t length;
   void* replay;
   if (!arguments(env, info, values) || napi_get_value_external(env, values[0], &replay) != 0) return fail(env);
   napi_create_uint32(env, array(env, values[1], &length) == ((struct replay*)replay)->m, &result);
   return result;
}

/* run(replay, slot, functions): number, the slot whose block has no threaded code, or that the host wants to see. Throws
   what a function of the host throws. */
static Value js_run(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   void* data;
   u32 slot;
   if (!arguments(env, info, values) || napi_get_value_external(env, values[0], &data) != 0
       || napi_get_value_uint32(env, values[1], &slot) != 0 || ((struct replay*)data)->code == NULL)
      return fail(env);
   struct run run = { .env = env, .functions = values[2] };
   struct run* outer = current;
   if (setjmp(run.failed) != 0) {
      current = outer;
      return NULL;
   }
   current = &run;
   const struct replay* replay = data;
   slot = ((Chain*)(replay->code->shared + SHARED_CHAIN))(replay->m, slot);
   current = outer;
   napi_create_uint32(env, slot, &result);
   return result;
}

static void drop_tables(Env env, void* data, void* hint)
{
   (void)env, (void)hint;
   free(data);
}

/* makeEvents(words: Uint32Array): events that are applied here; none are known yet. The words must not be given up while it has
   them, nor must the arrays of the next functions. */
static Value js_make_events(Env env, Info info)
{
   Value values[ARGUMENTS], result = NULL;
   size_t words;
   struct quick_events* q = calloc(1, sizeof *q);
   if (!q || !arguments(env, info, values) || !(q->words = array(env, values[0], &words)) || words < Q_WORDS) {
      free(q);
      return fail(env);
   }
   napi_create_external(env, q, drop_tables, NULL, &result);
   return result;
}

static struct quick_events* events_of(Env env, Value value)
{
   void* events;
   return napi_get_value_external(env, value, &events) == 0 ? events : NULL;
}

/* bindEvents(events, table, count, events: BigUint64Array, ticks: BigUint64Array): rows of a batch, whose other columns come
   next. Without arrays there are none. */
static Value js_bind_events(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct quick_events* q;
   u32 table, count;
   size_t events, ticks;
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_uint32(env, values[1], &table) != 0
       || table >= QUICK_TABLES || napi_get_value_uint32(env, values[2], &count) != 0)
      return fail(env);
   q->tables[table].events = array(env, values[3], &events);
   q->tables[table].ticks = array(env, values[4], &ticks);
   if (q->tables[table].events && (!q->tables[table].ticks || events < count || ticks < count)) return fail(env);
   return NULL;
}

/* bindRegisters(events, count, threads: Uint32Array, offsets: Int32Array, changes: Uint8Array): offsets are of each row, and of
   the end. */
static Value js_bind_registers(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct quick_events* q;
   u32 count;
   size_t threads = 0, offsets = 0, changes = 0;
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_uint32(env, values[1], &count) != 0)
      return fail(env);
   q->threads = array(env, values[2], &threads);
   q->offsets = array(env, values[3], &offsets);
   q->changes = array(env, values[4], &changes);
   if (threads < count || offsets <= count || !q->offsets || q->offsets[0] < 0 || (size_t)q->offsets[count] > changes) return fail(env);
   return NULL;
}

/* bindHeap(events, count, ops: Uint8Array, addresses, sizes, previous, previousSizes: BigUint64Array, stacks: Uint32Array,
   known: Uint8Array). */
static Value js_bind_heap(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct quick_events* q;
   u32 count;
   size_t lengths[7] = { 0 };
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_uint32(env, values[1], &count) != 0)
      return fail(env);
   q->ops = array(env, values[2], &lengths[0]);
   q->addresses = array(env, values[3], &lengths[1]);
   q->sizes = array(env, values[4], &lengths[2]);
   q->previous = array(env, values[5], &lengths[3]);
   q->previous_sizes = array(env, values[6], &lengths[4]);
   q->stacks = array(env, values[7], &lengths[5]);
   q->known = array(env, values[8], &lengths[6]);
   for (u32 i = 0; i < 7; i++)
      if (lengths[i] < count) return fail(env);
   return NULL;
}

/* bindBlocks(events, count, ahead: Uint32Array, codes: Uint32Array): two words each of so many rows from `Q_FIRST_BLOCK` on, and of
   each block. Places of slots, and positions, are the host's and right. */
static Value js_bind_blocks(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct quick_events* q;
   u32 count;
   size_t ahead = 0, codes = 0;
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_uint32(env, values[1], &count) != 0)
      return fail(env);
   q->ahead = array(env, values[2], &ahead);
   q->codes = array(env, values[3], &codes);
   if (ahead < 2 * (size_t)count) return fail(env);
   return NULL;
}

/* bindMisses(events, misses): misses in heap blocks are attributed between events. */
static Value js_bind_misses(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct quick_events* q;
   void* misses;
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_external(env, values[1], &misses) != 0)
      return fail(env);
   q->misses = misses;
   return NULL;
}

/* proceed(events, replay, barrier, slot, functions): number, the slot to go on from. Throws what a function of the host throws. */
static Value js_proceed(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct quick_events* q;
   void* data;
   f64 barrier;
   u32 slot;
   if (!arguments(env, info, values) || !(q = events_of(env, values[0])) || napi_get_value_external(env, values[1], &data) != 0
       || napi_get_value_double(env, values[2], &barrier) != 0 || napi_get_value_uint32(env, values[3], &slot) != 0
       || ((struct replay*)data)->code == NULL)
      return fail(env);
   struct run run = { .env = env, .functions = values[4] };
   struct run* outer = current;
   if (setjmp(run.failed) != 0) {
      current = outer;
      return NULL;
   }
   current = &run;
   slot = proceed(q, data, barrier < 0x1p63 ? (u64)barrier : UINT64_MAX, slot);
   current = outer;
   napi_create_uint32(env, slot, &result);
   return result;
}

/* decompress(block: Uint8Array, out: Uint8Array): boolean, whether the block of LZ4 holds just as many bytes as there is room for. */
static Value js_decompress(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   size_t size = 0, room = 0;
   if (!arguments(env, info, values)) return fail(env);
   const u8* block = array(env, values[0], &size);
   u8* out = array(env, values[1], &room);
   napi_get_boolean(env, block && out && lz4_decompress(block, size, out, room), &result);
   return result;
}

static void drop_misses(Env env, void* data, void* hint)
{
   (void)env, (void)hint;
   drop_heap_misses(data);
}

/* makeMisses(): misses in heap blocks; there are none yet. */
static Value js_make_misses(Env env, Info info)
{
   Value result = NULL;
   (void)info;
   struct heap_misses* misses = calloc(1, sizeof *misses);
   if (misses == NULL) return fail(env);
   misses->last_page = ~0ull;
   napi_create_external(env, misses, drop_misses, NULL, &result);
   return result;
}

static struct heap_misses* misses_of(Env env, Value value)
{
   void* misses;
   return napi_get_value_external(env, value, &misses) == 0 ? misses : NULL;
}

/* bindSiteKinds(misses, kinds: Uint8Array, counting): kinds of cache sites, which must not be given up before the next; and whether
   misses count from now on. */
static Value js_bind_site_kinds(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct heap_misses* misses;
   size_t count = 0;
   if (!arguments(env, info, values) || !(misses = misses_of(env, values[0])) || napi_get_value_uint32(env, values[2], &misses->counting) != 0)
      return fail(env);
   misses->kinds = array(env, values[1], &count);
   misses->kind_count = misses->kinds ? count : 0;
   return NULL;
}

/* takeMisses(misses, memory: Uint8Array): attributes what is written down in linear memory. */
static Value js_take_misses(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct heap_misses* misses;
   size_t length;
   u8* m;
   if (!arguments(env, info, values) || !(misses = misses_of(env, values[0])) || !(m = array(env, values[1], &length))) return fail(env);
   hm_take(misses, m);
   return NULL;
}

/* callHeap(misses, memory: Uint8Array, how, address, size, previous, owner): a call of an allocator has taken effect; of `how`, 1 says
   that it releases, 2 that the block is known. */
static Value js_call_heap(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct heap_misses* misses;
   size_t length;
   u8* m;
   u32 how, owner;
   f64 address, size, previous;
   if (!arguments(env, info, values) || !(misses = misses_of(env, values[0])) || !(m = array(env, values[1], &length))
       || napi_get_value_uint32(env, values[2], &how) != 0 || napi_get_value_double(env, values[3], &address) != 0
       || napi_get_value_double(env, values[4], &size) != 0 || napi_get_value_double(env, values[5], &previous) != 0
       || napi_get_value_uint32(env, values[6], &owner) != 0)
      return fail(env);
   hm_call(misses, m, how & 1, how >> 1 & 1, address, size, previous, owner);
   return NULL;
}

/* missesFound(misses, keys: Float64Array, counts: Float64Array): how many keys there are; those that have room are in the arrays, with
   their counts. Throws when there was no memory for all. */
static Value js_misses_found(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct heap_misses* misses;
   size_t keys, counts;
   if (!arguments(env, info, values) || !(misses = misses_of(env, values[0]))) return fail(env);
   if (misses->failed) {
      napi_throw_type_error(env, NULL, "there is no memory for the misses in heap blocks");
      return NULL;
   }
   f64 *key = array(env, values[1], &keys), *count = array(env, values[2], &counts);
   for (u32 i = 0; key && i < misses->key_count && i < keys && HM_EVENTS * (i + 1) <= counts; i++) {
      key[i] = misses->keys[i];
      memcpy(count + HM_EVENTS * i, misses->counts + HM_EVENTS * i, HM_EVENTS * sizeof *count);
   }
   napi_create_uint32(env, misses->key_count, &result);
   return result;
}

/* translate(replay, inOut: Uint32Array, operations: Uint16Array, ir: Uint8Array, notes: Uint32Array): number, 0 when the
   block is left to the compiler. `operations`: by number in the trace, number in `operations` below plus 1, or 0. */
static Value js_translate(Env env, Info info)
{
   static _Thread_local struct block block;
   Value values[ARGUMENTS], result;
   void* replay;
   size_t settings, operations, size, notes;
   if (!arguments(env, info, values) || napi_get_value_external(env, values[0], &replay) != 0
       || ((struct replay*)replay)->code == NULL)
      return fail(env);
   block.m = ((struct replay*)replay)->m;
   block.code = &((struct replay*)replay)->code;
   block.in_out = array(env, values[1], &settings);
   block.operations = array(env, values[2], &operations);
   block.at = array(env, values[3], &size);
   block.note = array(env, values[4], &notes);
   if (!block.in_out || !block.note || settings < SETTINGS) return fail(env);
   block.operation_count = operations;
   block.end = block.at + size;
   block.notes_end = block.note + notes;
   napi_create_uint32(env, translate(&block), &result);
   return result;
}

/* warm(replay, starts: Uint32Array, count, executions, found: Uint32Array): number of those of the first `count` blocks, by
   where their code begins (0: none), that are handed to the host after fewer than `executions` more; their numbers are in
   `found`, as many as have room. */
static Value js_warm(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   void* replay;
   size_t room, length;
   u32 count, executions, met = 0;
   if (!arguments(env, info, values) || napi_get_value_external(env, values[0], &replay) != 0
       || napi_get_value_uint32(env, values[2], &count) != 0 || napi_get_value_uint32(env, values[3], &executions) != 0)
      return fail(env);
   const u32* starts = array(env, values[1], &length);
   u32* found = array(env, values[4], &room);
   if (!starts || !found || count > length) return fail(env);
   for (u32 i = 0; i < count && met < room; i++)
      if (starts[i] != 0 && i32_load(((struct replay*)replay)->m, starts[i], 4 * HEAD_COUNT) < executions) found[met++] = i;
   napi_create_uint32(env, met, &result);
   return result;
}

static void drop_history(Env env, void* data, void* hint)
{
   drop_gang(((struct history*)data)->gang);
   drop_tables(env, data, hint);
}

/* makeHistory(): an access history, which has no tables yet. */
static Value js_make_history(Env env, Info info)
{
   Value result = NULL;
   (void)info;
   struct history* history = calloc(1, sizeof *history);
   if (history != NULL) napi_create_external(env, history, drop_history, NULL, &result);
   return result;
}

static struct history* history_of(Env env, Value value)
{
   void* history;
   return napi_get_value_external(env, value, &history) == 0 ? history : NULL;
}

/* bindPages(history, state: Int32Array, keys: Float64Array, pages: Int32Array): its tables, which must not be given up while
   it has them, as those of the next two. */
static Value js_bind_pages(Env env, Info info)
{
   Value values[ARGUMENTS];
   size_t states, keys, pages;
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->state = array(env, values[1], &states);
   history->keys = array(env, values[2], &keys);
   history->pages = array(env, values[3], &pages);
   if (states < H_STATE_WORDS || keys < H_CACHED || pages < H_CACHED) return fail(env);
   history->all = (struct taker){ 0, 1, &history->state[H_STATE_FREE], &history->state[H_STATE_END], &history->limit, 0 };
   return NULL;
}

/* bindRecords(history, heads: Int32Array, records: Int32Array, replaced: Int32Array). */
static Value js_bind_records(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->heads = array(env, values[1], &history->heads_size);
   history->records = array(env, values[2], &history->records_size);
   history->replaced = array(env, values[3], &history->replaced_size);
   history->limit = history->records_size;
   return NULL;
}

/* bindSites(history, kinds: Uint8Array, sizes: Uint16Array, stores: Uint8Array): what is known of sites. */
static Value js_bind_sites(Env env, Info info)
{
   Value values[ARGUMENTS];
   size_t kinds, sizes, stores;
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->kinds = array(env, values[1], &kinds);
   history->sizes = array(env, values[2], &sizes);
   history->stores = array(env, values[3], &stores);
   history->site_count = kinds < sizes ? kinds : sizes;
   if (stores < history->site_count) history->site_count = stores;
   return NULL;
}

/* bindThread(history, seen: Uint32Array, needs: Float64Array, reads: Uint32Array): what the current thread has seen, by slot;
   the others as in history.h, empty without prediction. */
static Value js_bind_thread(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->seen = array(env, values[1], &history->seen_count);
   history->needs = array(env, values[2], &history->needs_count);
   history->reads = array(env, values[3], &history->reads_count);
   if (history->needs_count < H_NEEDS) history->needs = NULL;
   return NULL;
}

/* bindOperations(history, firsts: Int32Array, rows: Float64Array, ends: Float64Array, sections: Float64Array): synchronisation
   variables, as in operation-table.ts, where ends of epochs are noted, and critical sections. */
static Value js_bind_operations(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->firsts = array(env, values[1], &history->firsts_count);
   history->rows = array(env, values[2], &history->rows_size);
   history->ends = array(env, values[3], &history->ends_count);
   history->sections = array(env, values[4], &history->sections_size);
   return NULL;
}

/* bindBatch(history, ticks: Uint32Array, sites: Uint32Array, addresses: Uint32Array, count): where rows are set aside, for so
   many threads to take them; false when there can be none. */
static Value js_bind_batch(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   size_t ticks, sites, addresses;
   struct history* history;
   u32 count;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0]))) return fail(env);
   history->batch.ticks = array(env, values[1], &ticks);
   history->batch.sites = array(env, values[2], &sites);
   history->batch.addresses = array(env, values[3], &addresses);
   if (sites < MAX_ROWS || ticks < 2 * MAX_ROWS || addresses < 2 * MAX_ROWS || napi_get_value_uint32(env, values[4], &count) != 0
       || count == 0 || count > G_MOST || history->gang != NULL)
      return fail(env);
   history->gang = make_gang(history, count);
   napi_get_boolean(env, history->gang != NULL, &result);
   return result;
}

static int has_tables(const struct history* history)
{
   return history->seen && history->records && history->kinds && history->state
      && !(history->needs && history->replaced_size < history->heads_size);
}

/* takeAccesses(history, replay, from, count): number of the first row, from `from` on, that is left, or `count`; of those that were
   set aside when there is no replay. */
static Value js_take_accesses(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct history* history;
   void* replay = NULL;
   u32 from, count;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0])) || napi_get_value_uint32(env, values[2], &from) != 0
       || napi_get_value_uint32(env, values[3], &count) != 0 || !has_tables(history) || count > MAX_ROWS)
      return fail(env);
   struct rows rows = napi_get_value_external(env, values[1], &replay) == 0 ? rows_in(((struct replay*)replay)->m) : history->batch;
   if (replay == NULL && (history->gang == NULL || count > rows.count)) return fail(env);
   rows.count = count;
   napi_create_uint32(env, take_accesses(history, &history->all, &rows, from), &result);
   return result;
}

/* setAside(history, replay, from, count): begins to take these rows in other threads, if it can be; returns whether. */
static Value js_set_aside(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct history* history;
   void* replay;
   u32 from, count;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0])) || !history->gang || !has_tables(history)
       || napi_get_value_external(env, values[1], &replay) != 0 || napi_get_value_uint32(env, values[2], &from) != 0
       || napi_get_value_uint32(env, values[3], &count) != 0 || count > MAX_ROWS || from > count)
      return fail(env);
   struct rows rows = rows_in(((struct replay*)replay)->m);
   rows.count = count;
   napi_get_boolean(env, set_aside(history, rows, from), &result);
   return result;
}

/* endTaking(history): waits for the rows that were set aside; number of the first that is left, or their count. */
static Value js_end_taking(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct history* history;
   if (!arguments(env, info, values) || !(history = history_of(env, values[0])) || !history->gang) return fail(env);
   napi_create_uint32(env, end_taking(history), &result);
   return result;
}

/* takeReferences(tables: typed arrays in the order below, from, to): number of the first row, from `from` on, that is left, or
   `to`. `byDistance` has an entry for each line that there is, and the bits and the tree are for all times in `lines`. */
static Value js_take_references(Env env, Info info)
{
   Value values[ARGUMENTS], element, result;
   struct references r;
   size_t states, firsts, top;
   u32 from, to;
   struct { void** table; size_t* size; } tables[] = {
      { (void**)&r.state, &states }, { (void**)&r.sites, &r.rows }, { (void**)&r.addresses, &r.rows }, { (void**)&r.sizes, &r.sizes_count },
      { (void**)&r.starts, &r.site_count }, { (void**)&r.counts, &r.counts_size }, { (void**)&r.by_distance, &r.distances },
      { (void**)&r.pages, &r.cached }, { (void**)&r.firsts, &firsts }, { (void**)&r.top, &top }, { (void**)&r.times, &r.times_size },
      { (void**)&r.lines, &r.lines_size }, { (void**)&r.gone, &r.gone_size }, { (void**)&r.tree, &r.tree_size }, { (void**)&r.trail, &r.trail_size }
   };
   if (!arguments(env, info, values) || napi_get_value_uint32(env, values[1], &from) != 0 || napi_get_value_uint32(env, values[2], &to) != 0)
      return fail(env);
   for (u32 i = 0; i < sizeof tables / sizeof *tables; i++)
      if (napi_get_element(env, values[0], i, &element) != 0 || !(*tables[i].table = array(env, element, tables[i].size))) return fail(env);
   if (states < R_STATE_WORDS || top < R_TOP || firsts < r.cached || to > r.rows || 32 * r.gone_size < r.lines_size || r.tree_size <= r.gone_size)
      return fail(env);
   napi_create_uint32(env, take_references(&r, from, to), &result);
   return result;
}

/* A typed array of those that a function of rows.h is given: nothing where there is none. */
struct table {
   void* data;
   size_t size;
};

/* The first `count` of a list of typed arrays. */
static bool tables_of(Env env, Value list, u32 count, struct table* tables)
{
   for (u32 i = 0; i < count; i++) {
      Value element;
      if (napi_get_element(env, list, i, &element) != 0) return false;
      tables[i].size = 0;
      tables[i].data = array(env, element, &tables[i].size);
   }
   return true;
}

/* What functions of rows.h return: a number, -1 where it cannot be done. */
static Value number_of(Env env, i64 number)
{
   Value result;
   napi_create_int32(env, number, &result);
   return result;
}

/* groupRows(tables: [groups: Uint32Array, firsts: Uint32Array, at: Int32Array or none, ...columns: Uint32Array], columnCount,
   count): number of groups. */
static Value js_group_rows(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[3 + ROWS_MOST_COLUMNS];
   const u32* columns[ROWS_MOST_COLUMNS];
   u32 column_count, count;
   if (!arguments(env, info, values) || napi_get_value_uint32(env, values[1], &column_count) != 0 || column_count > ROWS_MOST_COLUMNS
       || napi_get_value_uint32(env, values[2], &count) != 0 || !tables_of(env, values[0], 3 + column_count, t)
       || t[0].size < count || t[1].size < count || (t[2].data && t[2].size < count))
      return fail(env);
   size_t rows = SIZE_MAX;
   for (u32 i = 0; i < column_count; i++) {
      columns[i] = t[3 + i].data;
      if (t[3 + i].size < rows) rows = t[3 + i].size;
   }
   const i32* at = t[2].data;
   if (!at && rows < count) return fail(env);
   for (u32 i = 0; at && i < count; i++)
      if (at[i] >= 0 && (size_t)at[i] >= rows) return fail(env);
   return number_of(env, group_rows(columns, column_count, at, count, t[0].data, t[1].data));
}

/* fillSlots(tables: [words: Uint32Array, slots: Uint32Array]): the slots are a power of two, more than there are rows. */
static Value js_fill_slots(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[2];
   if (!arguments(env, info, values) || !tables_of(env, values[0], 2, t) || t[1].size <= t[0].size / 2 || (t[1].size & (t[1].size - 1)) != 0)
      return fail(env);
   fill_slots(t[0].data, t[0].size / 2, t[1].data, t[1].size - 1);
   return NULL;
}

/* findRows(tables: [words: Uint32Array, slots: Uint32Array, keys: Uint32Array, rows: Int32Array]): with slots so filled. */
static Value js_find_rows(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[4];
   if (!arguments(env, info, values) || !tables_of(env, values[0], 4, t) || t[1].size <= t[0].size / 2 || (t[1].size & (t[1].size - 1)) != 0
       || t[3].size < t[2].size / 2)
      return fail(env);
   find_rows(t[0].data, t[0].size / 2, t[1].data, t[1].size - 1, t[2].data, t[2].size / 2, t[3].data);
   return NULL;
}

/* sumRows(tables: [from: Float64Array, groups: Uint32Array or none, to: Float64Array], width, count). */
static Value js_sum_rows(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[3];
   u32 width, count;
   if (!arguments(env, info, values) || !tables_of(env, values[0], 3, t) || napi_get_value_uint32(env, values[1], &width) != 0
       || napi_get_value_uint32(env, values[2], &count) != 0 || t[0].size < (size_t)width * count || (t[1].data && t[1].size < count)
       || !sum_rows(t[0].data, width, t[1].data, count, t[2].data, t[2].size))
      return fail(env);
   return NULL;
}

/* takeColumn(tables: [from: Float64Array, to: BigUint64Array], width, which). */
static Value js_take_column(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[2];
   u32 width, which;
   if (!arguments(env, info, values) || !tables_of(env, values[0], 2, t) || napi_get_value_uint32(env, values[1], &width) != 0
       || napi_get_value_uint32(env, values[2], &which) != 0 || which >= width || t[0].size < width * t[1].size)
      return fail(env);
   take_column(t[0].data, width, which, t[1].size, t[1].data);
   return NULL;
}

/* putTexts(tables: [texts: Uint8Array, places: Uint32Array, numbers: Uint32Array, ends: Uint32Array, to: Uint8Array or none]):
   their size in bytes. */
static Value js_put_texts(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[5];
   if (!arguments(env, info, values) || !tables_of(env, values[0], 5, t) || t[1].size == 0 || t[3].size <= t[2].size) return fail(env);
   return number_of(env, put_texts(t[0].data, t[0].size, t[1].data, t[1].size - 1, t[2].data, t[2].size, t[3].data, t[4].data, t[4].size));
}

#define SITE_TABLES 4

/* The first tables of the next two: kinds: Uint8Array, segments, counters, executions: Uint32Array. */
static bool sites_of(const struct table* t, u32 count, struct sites* sites)
{
   *sites = (struct sites){ t[0].data, t[1].data, t[2].data, t[3].data, t[3].size };
   return t[0].size >= count && t[1].size >= count && t[2].size >= (size_t)SITE_WORDS * count;
}

/* numberSites(tables: [those of sites, pcs, pcsHigh, words: Uint32Array, numbers: Int32Array, missed: Uint8Array], count). */
static Value js_number_sites(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[SITE_TABLES + 5], *own = t + SITE_TABLES;
   struct sites sites;
   u32 count;
   if (!arguments(env, info, values) || !tables_of(env, values[0], SITE_TABLES + 5, t) || napi_get_value_uint32(env, values[1], &count) != 0
       || !sites_of(t, count, &sites) || own[0].size < count || own[1].size < count || own[2].size < 2 * (size_t)count
       || own[3].size < count || own[4].size < count)
      return fail(env);
   return number_of(env, number_sites(&sites, own[0].data, own[1].data, count, own[2].data, own[3].data, own[4].data));
}

/* addSites(tables: [those of sites, executions, misses: Uint32Array, by kind, numbers, rows: Int32Array or none, sums: Float64Array],
   count, width). */
static Value js_add_sites(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct table t[SITE_TABLES + 5], *own = t + SITE_TABLES;
   struct sites sites;
   u32 count, width;
   if (!arguments(env, info, values) || !tables_of(env, values[0], SITE_TABLES + 5, t) || napi_get_value_uint32(env, values[1], &count) != 0
       || napi_get_value_uint32(env, values[2], &width) != 0 || !sites_of(t, count, &sites) || own[1].size < own[0].size
       || (own[2].data && own[2].size < count))
      return fail(env);
   struct site_columns columns = { own[0].data, own[1].data, own[0].size };
   if (!add_sites(&sites, &columns, count, width, own[2].data, own[3].data, own[3].size, own[4].data, own[4].size)) return fail(env);
   return NULL;
}

/* makeWaiting(): the waiting of loads, which has no tables yet. */
static Value js_make_waiting(Env env, Info info)
{
   Value result = NULL;
   (void)info;
   struct waiting* waiting = calloc(1, sizeof *waiting);
   if (waiting != NULL) napi_create_external(env, waiting, drop_tables, NULL, &result);
   return result;
}

static struct waiting* waiting_of(Env env, Value value)
{
   void* waiting;
   return napi_get_value_external(env, value, &waiting) == 0 ? waiting : NULL;
}

/* bindWaiting(waiting, state: Float64Array, watched: Int32Array, loads: Uint8Array, entries: Float64Array): its tables, which
   must not be given up while it has them, as those of the next. */
static Value js_bind_waiting(Env env, Info info)
{
   Value values[ARGUMENTS];
   size_t states, watched;
   struct waiting* waiting;
   if (!arguments(env, info, values) || !(waiting = waiting_of(env, values[0]))) return fail(env);
   waiting->state = array(env, values[1], &states);
   waiting->watched = array(env, values[2], &watched);
   waiting->loads = array(env, values[3], &waiting->load_count);
   waiting->entries = array(env, values[4], &waiting->entries_size);
   if (states < W_STATE_WORDS || watched < W_WATCHED) return fail(env);
   return NULL;
}

/* bindRoles(waiting, roles: Int32Array, stores: Uint8Array): what is known of sites. */
static Value js_bind_roles(Env env, Info info)
{
   Value values[ARGUMENTS];
   struct waiting* waiting;
   if (!arguments(env, info, values) || !(waiting = waiting_of(env, values[0]))) return fail(env);
   waiting->roles = array(env, values[1], &waiting->role_count);
   waiting->stores = array(env, values[2], &waiting->store_count);
   return NULL;
}

/* takeWaiting(waiting, replay, from, count): number of the first row, from `from` on, that is left, or `count`. */
static Value js_take_waiting(Env env, Info info)
{
   Value values[ARGUMENTS], result;
   struct waiting* waiting;
   void* replay;
   u32 from, count;
   if (!arguments(env, info, values) || !(waiting = waiting_of(env, values[0]))
       || napi_get_value_external(env, values[1], &replay) != 0 || napi_get_value_uint32(env, values[2], &from) != 0
       || napi_get_value_uint32(env, values[3], &count) != 0)
      return fail(env);
   if (!waiting->state || !waiting->watched || !waiting->loads || !waiting->entries || !waiting->roles || !waiting->stores
       || count > MAX_ROWS)
      return fail(env);
   napi_create_uint32(env, take_waiting(waiting, ((struct replay*)replay)->m, from, count), &result);
   return result;
}

__attribute__((visibility("default"))) Value napi_register_module_v1(Env env, Value exports)
{
   static const struct { const char* name; Callback* f; } functions[] = {
      { "attach", js_attach }, { "release", js_release }, { "isAt", js_is_at }, { "translate", js_translate }, { "run", js_run },
      { "makeEvents", js_make_events }, { "bindEvents", js_bind_events }, { "bindRegisters", js_bind_registers },
      { "bindHeap", js_bind_heap }, { "bindBlocks", js_bind_blocks }, { "bindMisses", js_bind_misses }, { "proceed", js_proceed },
      { "decompress", js_decompress }, { "makeMisses", js_make_misses }, { "bindSiteKinds", js_bind_site_kinds }, { "takeMisses", js_take_misses },
      { "callHeap", js_call_heap }, { "missesFound", js_misses_found },
      { "makeHistory", js_make_history }, { "bindPages", js_bind_pages }, { "bindRecords", js_bind_records }, { "bindSites", js_bind_sites },
      { "bindThread", js_bind_thread }, { "bindOperations", js_bind_operations },
      { "takeAccesses", js_take_accesses }, { "bindBatch", js_bind_batch }, { "setAside", js_set_aside }, { "endTaking", js_end_taking },
      { "takeReferences", js_take_references }, { "warm", js_warm },
      { "makeWaiting", js_make_waiting }, { "bindWaiting", js_bind_waiting }, { "bindRoles", js_bind_roles },
      { "takeWaiting", js_take_waiting },
      { "groupRows", js_group_rows }, { "fillSlots", js_fill_slots }, { "findRows", js_find_rows }, { "sumRows", js_sum_rows },
      { "takeColumn", js_take_column }, { "putTexts", js_put_texts },
      { "numberSites", js_number_sites }, { "addSites", js_add_sites }
   };
   for (u32 i = 0; i < sizeof functions / sizeof *functions; i++) {
      Value f;
      if (napi_create_function(env, functions[i].name, strlen(functions[i].name), functions[i].f, NULL, &f) == 0)
         napi_set_named_property(env, exports, functions[i].name, f);
   }
   Value names, name;
   if (napi_create_array(env, &names) != 0) return NULL;
   for (u32 i = 0; i < OPERATION_COUNT; i++) {
      if (napi_create_string_utf8(env, operation_names[i], strlen(operation_names[i]), &name) != 0) return NULL;
      napi_set_element(env, names, i, name);
   }
   napi_set_named_property(env, exports, "operations", names);
   return exports;
}
