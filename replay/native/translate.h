/* Translates a superblock to threaded code (threaded.ts) in one pass over its encoded IR (docs/architecture.md), without
   statements in between: programs have many blocks that run a few times only.

   A block that is not well-formed, or has statements or types that are rare, is left to the compiler, which says what is
   wrong, if anything is. SPDX-License-Identifier: Apache-2.0 */

/* As in ir.ts. */
enum { T_NONE, T_I1, T_I8, T_I16, T_I32, T_I64, T_I128, T_F16, T_F32, T_F64, T_D32, T_D64, T_D128, T_F128, T_V128, T_V256, TYPES };
static const u8 type_sizes[TYPES] = { 0, 1, 1, 2, 4, 8, 16, 2, 4, 8, 4, 8, 16, 16, 16, 32 };
enum { S_IMARK = 1, S_ABI_HINT, S_PUT, S_PUT_I, S_WR_TMP, S_STORE, S_STORE_G, S_LOAD_G, S_CAS, S_DIRTY, S_MBE, S_EXIT };
enum { E_GET = 1, E_GET_I, E_RD_TMP, E_UNOP, E_BINOP, E_TRIOP, E_QOP, E_LOAD, E_CONST, E_ITE, E_CCALL };
#define JUMP_KINDS 11
enum { JUMP_BORING, JUMP_CALL, JUMP_RETURN };
#define JUMP_NO_REDIRECT 4
#define JUMP_INVALIDATE 7

/* Words that a statement and a constant take at most. */
#define MOST_PER_STATEMENT 24
#define MOST_PER_CONSTANT 8
#define MAX_CONSTANTS 4096
#define MAX_INSTRUCTIONS 16384

/* What the host says of the replay and the block, and what it is told; see `Settings` of threaded.ts. */
enum {
   IN_ACCESS_MODE,
   IN_FLOW_MODE,
   IN_STATE_SIZE,
   IN_RSP,
   IN_TRACKED,
   IN_EXECUTIONS = IN_TRACKED + 4,
   IN_NEXT,
   IN_ADDRESS,
   IN_FIRST_SITE = IN_ADDRESS + 2,
   IN_FIRST_SEGMENT,
   /* In a replay that simulates caches: number of the first site, `fetchBits` and `branches` of cache-sites.ts. */
   IN_FIRST_CACHE_SITE,
   IN_FETCH_BITS,
   IN_BRANCHES,
   /* In a replay that tells of calls: number of the first call site, and whether a function begins here. */
   IN_FIRST_CALL_SITE,
   IN_IS_FUNCTION,
   /* The replay measures stacks. */
   IN_STACKS,
   OUT_NEXT,
   OUT_START,
   OUT_INSTRUCTIONS,
   OUT_FIRST_INSTRUCTIONS,
   OUT_ROWS,
   OUT_WIDE_BYTES,
   OUT_NOTES,
   OUT_MACHINE_CODE,
   SETTINGS
};
/* Kinds of notes: four words each. A site: address (2), size and, in the high bit, store; a segment: address (2),
   instructions; a slot: where its word stands, target (2), and 1 in the kind's second byte for the no-redirect space. */
enum { NOTE_SITE, NOTE_SEGMENT, NOTE_SLOT, NOTE_CACHE_SITE, NOTE_CALL_SITE };
/* A cache site: its kind in the second byte, address (2), segment. As in cache-sites.ts. */
enum { CACHE_FETCH, CACHE_READ, CACHE_WRITE, CACHE_BRANCH, CACHE_INDIRECT };
/* A call site: its kind in the second byte, address (2). As in call-sites.ts. */
enum { CALL_ENTER, CALL_CALL, CALL_RETURN, CALL_JUMP };

/* What is known of a temporary. Copies are not made where its value can be found elsewhere: in another temporary or a
   constant, or in a register of the guest until that changes. */
#define NOWHERE 0xffffffffu
struct temporary {
   /* The operand that has its value, itself or another. */
   u32 root;
   /* The instruction that makes it, the word that says where to, and 1 plus the last instruction that uses it. */
   u32 made_at, *result, used_at;
   /* The word of the guest state that has its value, while the word has this version; or NOWHERE. Then the instruction that is
      left out: the copy from there, or to there from what would be made in the temporary's own place. */
   u32 word, version, left_out;
};
/* A word of the guest state: how often it was written; 1 plus the instruction that did so last, and whether all of it; 1 plus
   the instruction that read it last. */
struct state_word {
   u32 version, put_at, is_whole, read_at;
};

/* The block that is being translated. */
struct block {
   const u8 *at, *end;
   /* Linear memory, and its word to be written next. */
   u8* m;
   u32* word;
   const u16* operations;
   u32 operation_count;
   struct machine_code** code;
   /* Where its instructions stand. */
   u32 instructions[MAX_INSTRUCTIONS], instruction_count;
   u8 is_left_out[MAX_INSTRUCTIONS];
   /* All copies are made: other code finds each temporary in its own place, and the guest state as it would be there. */
   int keeps_all;
   struct temporary temps[MAX_TEMPS];
   struct state_word state[MAX_STATE_SIZE / 8];
   /* 1 plus the last way out; the word that each way out writes, which is the program counter. */
   u32 exit_at, pc_word;
   u32* in_out;
   u32 *note, *notes_end;
   u32 temp_count, constant_count;
   u8 types[MAX_TEMPS], constant_types[MAX_CONSTANTS];
   /* Where constants stand. */
   u32 pool[MAX_CONSTANTS];
   u32 touched[4];
   /* In a replay that simulates caches: the next site; what the current instruction read last, and how many bytes of it; what
      the last instruction was fetched with, and if any was. */
   u32 cache_site, read_operand, read_size;
   /* In a replay that tells of calls: the next site. */
   u32 call_site;
   u64 fetched;
   int has_fetched;
   jmp_buf left_to_compiler;
};

static void leave(struct block* b) __attribute__((noreturn));
static void leave(struct block* b) { longjmp(b->left_to_compiler, 1); }

/* ---- Reading, and checking what is read ---- */

static u32 read_byte(struct block* b)
{
   if (b->at == b->end) leave(b);
   return *b->at++;
}

static u32 read_count(struct block* b)
{
   u64 value = 0;
   for (u32 shift = 0;; shift += 7) {
      u64 byte = read_byte(b);
      value |= (byte & 0x7f) << shift;
      if (value > 0xffffffff || shift > 28) leave(b);
      if (byte < 0x80) return value;
   }
}

/* Of things that take at least one byte each. */
static u32 read_length(struct block* b)
{
   u32 value = read_count(b);
   if (value > b->end - b->at) leave(b);
   return value;
}

static u64 read_zigzag(struct block* b)
{
   u64 value = 0;
   for (u32 shift = 0; shift <= 63; shift += 7) {
      u64 byte = read_byte(b);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >> 1 ^ -(value & 1);
   }
   leave(b);
}

static u64 read_bits(struct block* b)
{
   u64 value;
   if (b->end - b->at < 8) leave(b);
   memcpy(&value, b->at, 8);
   b->at += 8;
   return value;
}

static u32 read_type(struct block* b)
{
   u32 type = read_byte(b);
   if (type == T_NONE || type >= TYPES) leave(b);
   return type;
}

static u32 read_operand(struct block* b)
{
   u32 operand = read_count(b);
   if (operand >> 1 >= (operand & 1 ? b->constant_count : b->temp_count)) leave(b);
   return operand;
}

static u32 type_of(const struct block* b, u32 operand) { return (operand & 1 ? b->constant_types : b->types)[operand >> 1]; }

static u32 read_typed(struct block* b, u32 type)
{
   u32 operand = read_operand(b);
   if (type_of(b, operand) != type) leave(b);
   return operand;
}

static u32 read_jump_kind(struct block* b)
{
   u32 kind = read_byte(b);
   if (kind >= JUMP_KINDS) leave(b);
   return kind;
}

static u32 check_state(struct block* b, u32 offset, u32 size)
{
   if (offset > b->in_out[IN_STATE_SIZE] || size > b->in_out[IN_STATE_SIZE] - offset) leave(b);
   return offset;
}

static u64 constant(const struct block* b, u32 operand) { return i64_load(b->m, b->pool[operand >> 1], 0); }

/* ---- Writing ---- */

static u32 own_place(const struct block* b, const struct temporary* temp) { return TEMPS + TEMP_SIZE * (u32)(temp - b->temps); }

/* What was left out for a temporary is needed after all. */
static void settle(struct block* b, struct temporary* temp)
{
   b->is_left_out[temp->left_out] = 0;
   if (temp->result != NULL) *temp->result = own_place(b, temp);
   temp->word = NOWHERE;
}

static u32 root_of(const struct block* b, u32 operand) { return operand & 1 ? operand : b->temps[operand >> 1].root; }

/* Where the last instruction finds an operand. */
static u32 place(struct block* b, u32 operand)
{
   operand = root_of(b, operand);
   if (operand & 1) return b->pool[operand >> 1];
   struct temporary* temp = &b->temps[operand >> 1];
   temp->used_at = b->instruction_count;
   if (temp->word == NOWHERE) return own_place(b, temp);
   struct state_word* word = &b->state[temp->word];
   if (word->version == temp->version) {
      word->read_at = b->instruction_count;
      return STATE + 8 * temp->word;
   }
   settle(b, temp);
   return own_place(b, temp);
}

static u32 position(const struct block* b) { return (u8*)b->word - b->m; }

static void put_word(struct block* b, u32 value) { *b->word++ = value; }

static void put_wide(struct block* b, u64 value)
{
   put_word(b, value);
   put_word(b, value >> 32);
}

static void put_handler(struct block* b, u32 number)
{
   if (number == NO_HANDLER || b->instruction_count == MAX_INSTRUCTIONS) leave(b);
   b->is_left_out[b->instruction_count] = 0;
   b->instructions[b->instruction_count++] = position(b);
   put_word(b, number);
}

static void note(struct block* b, u32 kind, u32 x, u32 y, u32 z)
{
   if (b->notes_end - b->note < 4) leave(b);
   *b->note++ = kind;
   *b->note++ = x;
   *b->note++ = y;
   *b->note++ = z;
}

/* The slot of a jump's target, which the host fills in. */
static void put_slot(struct block* b, u64 target, int no_redirect)
{
   note(b, NOTE_SLOT | no_redirect << 8, position(b), target, target >> 32);
   put_word(b, 0);
}

static void touch(struct block* b, u32 offset, u32 size)
{
   for (u32 word = offset >> 3; word <= (offset + size - 1) >> 3; word++) b->touched[word >> 5 & 3] |= 1u << (word & 31);
}

/* ---- Simulated caches: as in compile-block.ts ---- */

static u32 note_cache_site(struct block* b, u32 kind, u64 pc, u32 segment)
{
   note(b, NOTE_CACHE_SITE | kind << 8, pc, pc >> 32, segment);
   b->read_size = 0;
   return b->cache_site++;
}

static void put_fetch(struct block* b, const u32* flow, u64 address, u32 length, u32 segment)
{
   u32 site = note_cache_site(b, CACHE_FETCH, address, segment), bits = b->in_out[IN_FETCH_BITS], size = length > 0 ? length : 1;
   u64 first = address >> bits, last = (address + size - 1) >> bits;
   /* What the last instruction came from is the latest of its set. */
   int knows_first = b->has_fetched && first == b->fetched;
   if (first == last && knows_first) return;
   b->fetched = last;
   b->has_fetched = 1;
   put_handler(b, flow[FLOW_FETCH]);
   put_word(b, FETCH_LINES + TLB_ENTRY_SIZE * (last % LINE_ENTRIES));
   /* No entry has 1. */
   put_wide(b, first == last || knows_first ? last << bits : 1);
   put_wide(b, address);
   put_word(b, size);
   put_word(b, site);
}

/* ---- Calls: as in call-sites.ts ---- */

static void put_note_call(struct block* b, const u32* flow, u32 kind, u64 pc, u32 instructions)
{
   note(b, NOTE_CALL_SITE | kind << 8, pc, pc >> 32, 0);
   put_handler(b, flow[FLOW_NOTE_CALL]);
   put_word(b, b->call_site++);
   put_word(b, instructions);
   put_word(b, STATE + b->in_out[IN_RSP]);
}

static int is_same_operand(const struct block* b, u32 x, u32 y)
{
   return x == y || ((x & 1) && (y & 1) && constant(b, x) == constant(b, y));
}

static void read_constants(struct block* b)
{
   u32 count = b->constant_count = read_length(b);
   if (count > MAX_CONSTANTS || position(b) + 4 * MOST_PER_CONSTANT * (count + 1) > THREADED + THREADED_SIZE) leave(b);
   for (u32 i = 0; i < count; i++) {
      u32 type = read_type(b), size = type_sizes[type];
      u64 bits = read_bits(b);
      b->constant_types[i] = type;
      b->pool[i] = position(b);
      if (size <= 8) {
         put_wide(b, type == T_I1 ? bits & 1 : size < 8 ? bits & ((1ull << 8 * size) - 1) : bits);
         continue;
      }
      /* A mask of bytes; the halves of an I128 stand 16 bytes apart, as those of a temporary. */
      u8* bytes = (u8*)b->word;
      memset(bytes, 0, 32);
      for (u32 byte = 0; byte < size; byte++)
         if (bits >> byte & 1) bytes[type == T_I128 && byte >= 8 ? byte + 8 : byte] = 0xff;
      b->word += 8;
   }
}

/* ---- The guest state ---- */

static void note_read(struct block* b, u32 offset, u32 size)
{
   for (u32 word = offset >> 3; word <= (offset + size - 1) >> 3; word++) b->state[word].read_at = b->instruction_count;
}

/* What was last put into a word is not, if nobody has seen it: a way out shows all but the program counter, which it writes. */
static void leave_out_put(struct block* b, u32 number)
{
   struct state_word* word = &b->state[number];
   u32 seen = number == b->pc_word || word->read_at > b->exit_at ? word->read_at : b->exit_at;
   if (word->is_whole && word->put_at > seen) b->is_left_out[word->put_at - 1] = 1;
}

static void put_state(struct block* b, u32 offset, u32 type, u32 data)
{
   u32 size = type_sizes[type], number = offset >> 3;
   struct state_word* word = &b->state[number];
   int is_whole = !b->keeps_all && size == 8 && offset % 8 == 0;
   if (is_whole) leave_out_put(b, number);
   put_handler(b, put_handlers[type]);
   u32 root = root_of(b, data);
   struct temporary* temp = &b->temps[root >> 1];
   /* It can be made here at once if nobody has looked at either place since. */
   int is_made_here = is_whole && !(root & 1) && type_sizes[b->types[root >> 1]] <= 8 && temp->result != NULL && temp->word == NOWHERE
      && temp->used_at == 0 && b->exit_at <= temp->made_at && word->put_at <= temp->made_at && word->read_at <= temp->made_at + 1;
   put_word(b, is_made_here ? own_place(b, temp) : place(b, data));
   put_word(b, STATE + offset);
   for (u32 i = number; i <= (offset + size - 1) >> 3; i++) {
      struct state_word* one = &b->state[i];
      one->version++;
      one->put_at = b->instruction_count;
      one->is_whole = is_whole;
   }
   if (!is_made_here) return;
   *temp->result = STATE + offset;
   temp->word = number;
   temp->version = word->version;
   b->is_left_out[temp->left_out = b->instruction_count - 1] = 1;
}

/* ---- Expressions ---- */

static void put_result(struct block* b, u32 number)
{
   struct temporary* temp = &b->temps[number];
   temp->made_at = b->instruction_count - 1;
   temp->result = b->word;
   put_word(b, own_place(b, temp));
}

static void put_get(struct block* b, u32 number)
{
   u32 type = b->types[number], size = type_sizes[type], offset = read_count(b);
   if (read_type(b) != type) leave(b);
   check_state(b, offset, size);
   touch(b, offset, size);
   put_handler(b, get_handlers[type]);
   put_word(b, STATE + offset);
   note_read(b, offset, size);
   struct temporary* temp = &b->temps[number];
   if (b->keeps_all || size != 8 || offset % 8 != 0) {
      put_result(b, number);
      return;
   }
   put_word(b, own_place(b, temp));
   temp->word = offset >> 3;
   temp->version = b->state[temp->word].version;
   b->is_left_out[temp->left_out = b->instruction_count - 1] = 1;
}

/* Whether the result of an operation is what lies in the place of its operand; values of up to 32 bits have zeros up to 64. */
static int is_in_place(const struct block* b, u32 operation, u32 operand)
{
   u32 root = root_of(b, operand), type = type_of(b, root);
   switch (operation_copies[operation]) {
   case COPY_LOW: return 1;
   case COPY_ZERO_EXTENDED: return type >= T_I1 && type <= T_I32;
   default: return 0;
   }
}

static void put_operation(struct block* b, u32 count, u32 temp)
{
   u32 key = read_count(b), operands[4], signature = b->types[temp];
   u32 operation = key < b->operation_count ? b->operations[key] : 0;
   if (operation-- == 0) leave(b);
   for (u32 i = 0; i < count; i++) {
      operands[i] = read_operand(b);
      signature = signature << 4 | type_of(b, operands[i]);
   }
   if (signature != operation_signatures[operation]) leave(b);
   if (!b->keeps_all && is_in_place(b, operation, operands[0])) {
      b->temps[temp].root = root_of(b, operands[0]);
      return;
   }
   put_handler(b, operation_handlers[operation]);
   for (u32 i = 0; i < count; i++) put_word(b, place(b, operands[i]));
   put_result(b, temp);
}

static void put_helper_call(struct block* b, u32 result)
{
   u32 size = read_length(b), helper = 0;
   const char* name = (const char*)b->at;
   b->at += size;
   while (helper < HELPER_COUNT && (strlen(helper_names[helper]) != size || memcmp(helper_names[helper], name, size) != 0)) helper++;
   if (helper == HELPER_COUNT || read_type(b) != result || (result != T_I32 && result != T_I64)) leave(b);
   u32 count = read_length(b);
   if (count != helper_arities[helper]) leave(b);
   put_handler(b, helper_handlers[helper][result == T_I64]);
   for (u32 i = 0; i < count; i++) put_word(b, place(b, read_typed(b, T_I64)));
}

/* The statement that assigns an expression to a temporary, but for what a load tells of its access; returns the size of what is
   loaded, or 0. */
static u32 put_expression(struct block* b, u32 temp, u32* loaded_from)
{
   u32 tag = read_byte(b), result = b->types[temp];
   switch (tag) {
   case E_GET: put_get(b, temp); return 0;
   case E_RD_TMP:
   case E_CONST: {
      u32 operand = read_typed(b, result);
      if (!b->keeps_all) {
         b->temps[temp].root = root_of(b, operand);
         return 0;
      }
      put_handler(b, move_handlers[result]);
      put_word(b, place(b, operand));
      break;
   }
   case E_UNOP:
   case E_BINOP:
   case E_TRIOP:
   case E_QOP: put_operation(b, tag - E_UNOP + 1, temp); return 0;
   case E_LOAD: {
      if (read_type(b) != result) leave(b);
      u32 address = *loaded_from = read_typed(b, T_I64);
      put_handler(b, load_handlers[b->in_out[IN_ACCESS_MODE]][result]);
      put_word(b, place(b, address));
      put_result(b, temp);
      return type_sizes[result];
   }
   case E_ITE:
      put_handler(b, ite_handlers[result]);
      put_word(b, place(b, read_typed(b, T_I1)));
      put_word(b, place(b, read_typed(b, result)));
      put_word(b, place(b, read_typed(b, result)));
      break;
   case E_CCALL: put_helper_call(b, result); break;
   default: leave(b);
   }
   put_result(b, temp);
   return 0;
}

/* The word of the program counter is the same for all ways out. */
static void note_way_out(struct block* b, u32 pc)
{
   if (pc % 8 != 0 || (b->pc_word != NOWHERE && b->pc_word != pc / 8)) leave(b);
   b->pc_word = pc / 8;
}

/* Translates a block; returns 0 when it is left to the compiler. */
static int translate(struct block* b)
{
   u32* in_out = b->in_out;
   if (in_out[IN_ACCESS_MODE] >= ACCESS_MODES || in_out[IN_FLOW_MODE] >= FLOW_MODES || setjmp(b->left_to_compiler) != 0) return 0;
   const u32* flow = flow_handlers[in_out[IN_FLOW_MODE]];
   int sees_accesses = access_words[in_out[IN_ACCESS_MODE]] == ACCESS_IS_ROW;
   int shadow = access_words[in_out[IN_ACCESS_MODE]] == ACCESS_IS_CHECKED;
   int simulates = access_words[in_out[IN_ACCESS_MODE]] == ACCESS_IS_SIMULATED;
   int counts = flow_counts[in_out[IN_FLOW_MODE]];
   int tells_calls = flow[FLOW_NOTE_CALL] != NO_HANDLER, moves_stack = 0;
   u64 address = in_out[IN_ADDRESS] | (u64)in_out[IN_ADDRESS + 1] << 32;
   u32* first_note = b->note;
   b->word = (u32*)(b->m + ((in_out[IN_NEXT] + 15) & ~15u));
   memset(b->touched, 0, sizeof b->touched);
   b->instruction_count = 0;
   b->cache_site = in_out[IN_FIRST_CACHE_SITE];
   b->call_site = in_out[IN_FIRST_CALL_SITE];
   b->has_fetched = b->read_size = 0;

   if (read_byte(b) & 1) leave(b); /* checked loads are compiled */
   b->temp_count = read_length(b);
   if (b->temp_count > MAX_TEMPS) leave(b);
   for (u32 i = 0; i < b->temp_count; i++) {
      b->types[i] = read_type(b);
      b->temps[i] = (struct temporary) { .root = i << 1, .word = NOWHERE };
   }
   memset(b->state, 0, sizeof *b->state * ((in_out[IN_STATE_SIZE] + 7) / 8));
   b->keeps_all = shadow;
   b->exit_at = 0;
   b->pc_word = NOWHERE;
   read_constants(b);
   u32 count = read_length(b);
   if (position(b) + 4 * MOST_PER_STATEMENT * (count + 2) > THREADED + THREADED_SIZE) leave(b);

   u32* head = b->word;
   put_handler(b, flow[FLOW_HEAD]);
   put_word(b, in_out[IN_EXECUTIONS]);
   b->word += 4; /* the registers that it touches */
   put_word(b, BAIL_SLOT);
   if (tells_calls && in_out[IN_IS_FUNCTION]) put_note_call(b, flow, CALL_ENTER, address, 0);

   u32 instructions = 0, first_instructions = 0, rows = 0, wide_bytes = 0, site = in_out[IN_FIRST_SITE], segment = in_out[IN_FIRST_SEGMENT];
   int has_left = 0;
   /* Of the segment: instructions before it, and the address of its first. Of the instruction: its address in the trace,
      and what is added to it and after it. */
   u32 before = 0;
   u64 segment_start = address, last = address;
   u32 delta = 0, length = 0;
   int pushes_return = 0;

#define ACCESS(size, is_store)                                                                          \
   do {                                                                                                 \
      if (sees_accesses) {                                                                              \
         u64 pc = last + delta;                                                                         \
         note(b, NOTE_SITE, pc, pc >> 32, (size) | (u32)(is_store) << 31);                              \
         put_word(b, site++);                                                                           \
         put_word(b, instructions > 0 ? instructions - 1 : 0);                                          \
         rows++;                                                                                        \
         if ((size) > 8) wide_bytes += (size);                                                          \
      } else if (shadow) {                                                                              \
         put_word(b, BAIL_SLOT);                                                                        \
         put_word(b, statement);                                                                        \
      }                                                                                                 \
   } while (0)
#define END_SEGMENT()                                                                                   \
   do {                                                                                                 \
      put_word(b, COUNTS + 8 * segment);                                                                \
      if (counts) {                                                                                     \
         note(b, NOTE_SEGMENT, segment_start, segment_start >> 32, instructions - before);              \
         segment++;                                                                                     \
      }                                                                                                 \
      if (!has_left) first_instructions = instructions;                                                 \
      has_left = 1;                                                                                     \
      before = instructions;                                                                            \
      segment_start = last;                                                                             \
   } while (0)

   for (u32 statement = 0; statement < count; statement++) {
      switch (read_byte(b)) {
      case S_IMARK:
         last = address + read_zigzag(b);
         length = read_byte(b);
         delta = read_byte(b);
         if (instructions++ == before) segment_start = last;
         pushes_return = 0;
         if (simulates) put_fetch(b, flow, last, length, segment);
         break;
      case S_ABI_HINT: {
         u32 base = read_operand(b), size = read_count(b), target = read_operand(b);
         if (!shadow) break;
         put_handler(b, flow[FLOW_ABI_HINT]);
         put_word(b, place(b, base));
         put_word(b, place(b, target));
         put_word(b, size);
         if (!pushes_return) break;
         put_handler(b, flow[FLOW_PUSH_FRAME]);
         put_word(b, place(b, base));
         put_wide(b, last + delta);
         break;
      }
      case S_PUT: {
         u32 offset = read_count(b), data = read_operand(b), type = type_of(b, data);
         check_state(b, offset, type_sizes[type]);
         touch(b, offset, type_sizes[type]);
         if (offset == in_out[IN_RSP] && type == T_I64) moves_stack = 1;
         if (shadow && offset == in_out[IN_RSP] && type == T_I64) {
            put_handler(b, flow[FLOW_MOVE_STACK]);
            put_word(b, STATE + offset);
            put_word(b, place(b, data));
            put_word(b, 4 * (u32)(last + delta) + ORIGIN_STACK);
         }
         if (in_out[IN_STACKS] && offset == in_out[IN_RSP] && type == T_I64) {
            put_handler(b, NOTE_STACK_HANDLER);
            put_word(b, STATE + offset);
            put_word(b, place(b, data));
            put_word(b, instructions);
            note_read(b, offset, 8);
         }
         put_state(b, offset, type, data);
         break;
      }
      case S_WR_TMP: {
         u32 temp = read_count(b);
         if (temp >= b->temp_count) leave(b);
         u32 address = 0, loaded = put_expression(b, temp, &address);
         if (loaded > 0) ACCESS(loaded, 0);
         if (loaded > 0 && simulates) {
            put_word(b, note_cache_site(b, CACHE_READ, last, segment));
            b->read_operand = address;
            b->read_size = loaded;
         }
         break;
      }
      case S_STORE: {
         u32 target = read_typed(b, T_I64), data = read_operand(b), type = type_of(b, data);
         if ((data & 1) && type == T_I64 && instructions > 0 && constant(b, data) == last + length) pushes_return = 1;
         /* What was just read is not referred to again. */
         int is_modified = simulates && b->read_size == type_sizes[type] && is_same_operand(b, b->read_operand, target);
         put_handler(b, store_handlers[is_modified ? PLAIN_ACCESS_MODE : in_out[IN_ACCESS_MODE]][type]);
         put_word(b, place(b, target));
         put_word(b, place(b, data));
         ACCESS(type_sizes[type], 1);
         if (simulates && !is_modified) put_word(b, note_cache_site(b, CACHE_WRITE, last, segment));
         b->read_size = 0;
         break;
      }
      case S_CAS: {
         u32 type = read_type(b), is_double = read_count(b), old = read_count(b), target = read_typed(b, T_I64);
         is_double |= read_count(b);
         u32 expected = read_typed(b, type);
         is_double |= read_count(b);
         u32 data = read_typed(b, type);
         if (is_double || old >= b->temp_count || b->types[old] != type) leave(b);
         put_handler(b, swap_handlers[in_out[IN_ACCESS_MODE]][type]);
         put_word(b, place(b, target));
         put_word(b, place(b, expected));
         if (shadow) ACCESS(type_sizes[type], 1);
         else {
            put_word(b, simulates ? note_cache_site(b, CACHE_READ, last, segment) : 0);
            put_word(b, 0);
         }
         put_word(b, place(b, data));
         put_result(b, old);
         break;
      }
      case S_MBE: read_byte(b); break;
      case S_EXIT: {
         u32 guard = read_typed(b, T_I1), kind = read_jump_kind(b), target = read_typed(b, T_I64);
         if (!(target & 1)) leave(b);
         u32 pc = check_state(b, read_count(b), 8);
         if (kind == JUMP_INVALIDATE) break;
         b->read_size = 0;
         if (simulates && kind <= JUMP_RETURN) {
            u32 site = note_cache_site(b, CACHE_BRANCH, last, segment);
            if (in_out[IN_BRANCHES]) {
               put_handler(b, flow[FLOW_BRANCH]);
               put_word(b, place(b, guard));
               put_word(b, site);
               put_word(b, last & 0xffff);
               put_word(b, constant(b, target) == last + length);
            }
         }
         put_handler(b, flow[FLOW_EXIT]);
         put_word(b, place(b, guard));
         put_word(b, STATE + pc);
         put_word(b, instructions);
         put_slot(b, constant(b, target), kind == JUMP_NO_REDIRECT);
         put_wide(b, constant(b, target));
         b->exit_at = b->instruction_count;
         note_way_out(b, pc);
         END_SEGMENT();
         break;
      }
      default: leave(b); /* rare, or not a statement at all */
      }
   }

   u32 next = read_typed(b, T_I64);
   u32 next_kind = read_jump_kind(b);
   int no_redirect = next_kind == JUMP_NO_REDIRECT;
   u32 pc = check_state(b, read_count(b), 8);
   if (b->at != b->end) leave(b);
   if (simulates && next_kind <= JUMP_CALL && !(next & 1)) {
      u32 site = note_cache_site(b, CACHE_INDIRECT, last, segment);
      if (in_out[IN_BRANCHES]) {
         put_handler(b, flow[FLOW_INDIRECT]);
         put_word(b, place(b, next));
         put_word(b, site);
         put_word(b, last & 0xffff);
      }
   }
   if (tells_calls && next_kind == JUMP_CALL) put_note_call(b, flow, CALL_CALL, last, instructions);
   else if (tells_calls && next_kind == JUMP_RETURN) put_note_call(b, flow, CALL_RETURN, last, instructions);
   else if (tells_calls && next_kind == JUMP_BORING && !(next & 1) && moves_stack) put_note_call(b, flow, CALL_JUMP, last, instructions);
   put_handler(b, flow[next & 1 ? FLOW_END : no_redirect ? FLOW_JUMP1 : FLOW_JUMP0]);
   put_word(b, STATE + pc);
   put_word(b, instructions);
   if (next & 1) {
      put_slot(b, constant(b, next), no_redirect);
      put_wide(b, constant(b, next));
   } else put_word(b, place(b, next));
   note_way_out(b, pc);
   leave_out_put(b, b->pc_word);
   END_SEGMENT();
   for (u32 i = 0; i < 4; i++) head[HEAD_TOUCHED + i] = b->touched[i] & in_out[IN_TRACKED + i];

   u32 kept = 0;
   for (u32 i = 0; i < b->instruction_count; i++)
      if (!b->is_left_out[i]) b->instructions[kept++] = b->instructions[i];
   b->instruction_count = kept;
   in_out[OUT_MACHINE_CODE] = copy_stencils(b->code, b->m, b->instructions, b->instruction_count);
   if (in_out[OUT_MACHINE_CODE] == 0) leave(b);
   in_out[OUT_NEXT] = position(b);
   in_out[OUT_START] = (u8*)head - b->m;
   in_out[OUT_INSTRUCTIONS] = instructions;
   in_out[OUT_FIRST_INSTRUCTIONS] = first_instructions;
   in_out[OUT_ROWS] = rows;
   in_out[OUT_WIDE_BYTES] = wide_bytes;
   in_out[OUT_NOTES] = (b->note - first_note) / 4;
   return 1;
}
