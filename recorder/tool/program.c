/* Translated superblocks: writes their IR to the trace and adds the two things that recording costs.

   The tick: before each exit, the number of instructions passed is added to a cell beside the guest
   state. The value log: results that replay cannot compute are appended to a buffer.

   The encoding of the IR is described in docs/architecture.md.
   SPDX-License-Identifier: GPL-2.0-or-later */
#include "grind.h"
#include "grind_ops.h"
#include "pub_tool_tooliface.h"

/* ---------------------------------------------------------------- the value log */

#define LOG_SIZE (256u << 10)
/* More than one superblock can append. */
#define LOG_SLACK (64u << 10)

static UChar* log_base;
static UChar* log_cursor; /* read and written by instrumented code */

#define SHARED_GRANULES (1 << 21)
/* One byte per 64 KiB of address space, folded: not 0 when others can change memory there. */
static UChar shared_granules[SHARED_GRANULES];
/* Once there is memory that others can change, blocks are translated with a check on every load. */
static Bool checked_mode;

void values_flush(void)
{
   UInt size = log_cursor - log_base;
   if (size == 0) return;
   RawValues* r = EMIT(RawValues, TABLE_VALUES, size);
   r->tick = now;
   r->bytes_size = size;
   VG_(memcpy)(EXTRA(r), log_base, size);
   log_cursor = log_base;
}

static UChar* log_reserve(UInt size)
{
   tl_assert(size <= LOG_SIZE);
   if (log_cursor + size > log_base + LOG_SIZE) values_flush();
   UChar* p = log_cursor;
   log_cursor += size;
   return p;
}

static VG_REGPARM(1) void log_word(ULong word) { *(ULong*)log_reserve(8) = word; }

static void log_bytes(const UChar* from, UInt size)
{
   UInt padded = (size + 7) & ~7u;
   UChar* p = log_reserve(padded);
   *(ULong*)(p + padded - 8) = 0;
   VG_(memcpy)(p, from, size);
}

static VG_REGPARM(2) void log_memory(Addr address, UWord size) { log_bytes((UChar*)address, size); }

static VG_REGPARM(3) void log_state(UChar* state, UWord offset, UWord size) { log_bytes(state + offset, size); }

static VG_REGPARM(0) void log_full(void) { values_flush(); }

/* Part of the engine's core, not of its tool interface, but unchanged since 3.0. */
extern void VG_(discard_translations)(Addr start, ULong range, const HChar* who);

/* Marks are never taken back, and addresses 2^37 apart share one: then a load is logged in vain. */
void set_shared(Addr address, SizeT size)
{
   if (size == 0) return;
   SizeT count = ((address + size - 1) >> 16) - (address >> 16) + 1;
   for (SizeT i = 0; i < count && i < SHARED_GRANULES; i++)
      shared_granules[((address >> 16) + i) & (SHARED_GRANULES - 1)] = 1;
   if (!checked_mode) {
      checked_mode = True;
      VG_(discard_translations)(0x1000, ~0UL >> 1, "grind: memory is now shared");
   }
}

Bool is_shared(Addr address) { return shared_granules[(address >> 16) & (SHARED_GRANULES - 1)] != 0; }

void program_init(void)
{
   log_base = VG_(malloc)("grind.log", LOG_SIZE);
   log_cursor = log_base;
}

/* ---------------------------------------------------------------- encoding */

static UChar* code;
static UInt code_used, code_size;

/* Room for so many bytes more. */
static void reserve_code(UInt size)
{
   if (code_used + size <= code_size) return;
   code_size = VG_MAX(code_size * 2, code_used + size);
   code = VG_(realloc)("grind.code", code, code_size);
}

/* The most that one number takes. */
#define NUMBER_SIZE 10
/* Room that is there for each part of a statement whose size is limited. */
#define PART_SIZE 256

static inline void put_byte(UInt byte) { code[code_used++] = byte; }

static inline void put_v(ULong value)
{
   for (; value >= 0x80; value >>= 7) put_byte(value | 0x80);
   put_byte(value);
}

static void put_z(Long value) { put_v(((ULong)value << 1) ^ (ULong)(value >> 63)); }

static void put_string(const HChar* s)
{
   UInt n = VG_(strlen)(s);
   reserve_code(n + PART_SIZE);
   put_v(n);
   for (UInt i = 0; i < n; i++) put_byte(s[i]);
}

static UInt type_code(IRType type)
{
   switch (type) {
      case Ity_I1: return 1;
      case Ity_I8: return 2;
      case Ity_I16: return 3;
      case Ity_I32: return 4;
      case Ity_I64: return 5;
      case Ity_I128: return 6;
      case Ity_F16: return 7;
      case Ity_F32: return 8;
      case Ity_F64: return 9;
      case Ity_D32: return 10;
      case Ity_D64: return 11;
      case Ity_D128: return 12;
      case Ity_F128: return 13;
      case Ity_V128: return 14;
      case Ity_V256: return 15;
      default: return 0;
   }
}

static UInt jump_code(IRJumpKind kind)
{
   switch (kind) {
      case Ijk_Boring: return 0;
      case Ijk_Call: return 1;
      case Ijk_Ret: return 2;
      case Ijk_NoRedir: return 4;
      case Ijk_Sys_syscall: return 5;
      case Ijk_ClientReq: return 6;
      case Ijk_InvalICache: return 7;
      case Ijk_Yield: return 8;
      case Ijk_SigILL:
      case Ijk_SigTRAP:
      case Ijk_SigSEGV:
      case Ijk_SigBUS:
      case Ijk_SigFPE:
      case Ijk_SigFPE_IntDiv:
      case Ijk_SigFPE_IntOvf: return 9;
      case Ijk_NoDecode: return 10;
      default: return 3;
   }
}

/* The constants of the superblock being encoded. */
#define MAX_CONSTANTS 4096
static struct { UChar type; ULong bits; } constants[MAX_CONSTANTS];
static UInt constant_count;

static UInt constant_number(const IRConst* c)
{
   UChar type = type_code(typeOfIRConst(c));
   ULong bits = 0;
   switch (c->tag) {
      case Ico_U1: bits = c->Ico.U1 & 1; break;
      case Ico_U8: bits = c->Ico.U8; break;
      case Ico_U16: bits = c->Ico.U16; break;
      case Ico_U32: bits = c->Ico.U32; break;
      case Ico_U64: bits = c->Ico.U64; break;
      case Ico_F32: VG_(memcpy)(&bits, &c->Ico.F32, 4); break;
      case Ico_F32i: bits = c->Ico.F32i; break;
      case Ico_F64: VG_(memcpy)(&bits, &c->Ico.F64, 8); break;
      case Ico_F64i: bits = c->Ico.F64i; break;
      case Ico_V128: bits = c->Ico.V128; break;
      case Ico_V256: bits = c->Ico.V256; break;
      default: tl_assert2(0, "unknown kind of IR constant");
   }
   for (UInt i = 0; i < constant_count; i++)
      if (constants[i].bits == bits && constants[i].type == type) return i;
   tl_assert(constant_count < MAX_CONSTANTS);
   constants[constant_count].type = type;
   constants[constant_count].bits = bits;
   return constant_count++;
}

static ULong operand(const IRExpr* e)
{
   if (e->tag == Iex_RdTmp) return (ULong)e->Iex.RdTmp.tmp << 1;
   tl_assert(e->tag == Iex_Const);
   return (ULong)constant_number(e->Iex.Const.con) << 1 | 1;
}

static void put_operand(const IRExpr* e) { put_v(operand(e)); }
static void put_optional(const IRExpr* e) { put_v(e ? operand(e) + 1 : 0); }

static void put_array(const IRRegArray* descr, const IRExpr* ix, Int bias)
{
   put_v(descr->base);
   put_byte(type_code(descr->elemTy));
   put_v(descr->nElems);
   put_operand(ix);
   put_z(bias);
}

static void put_operation(UInt tag, IROp op) { put_byte(tag); put_v(op - Iop_INVALID); }

static void put_expr(const IRExpr* e)
{
   switch (e->tag) {
      case Iex_Get:
         put_byte(1);
         put_v(e->Iex.Get.offset);
         put_byte(type_code(e->Iex.Get.ty));
         break;
      case Iex_GetI:
         put_byte(2);
         put_array(e->Iex.GetI.descr, e->Iex.GetI.ix, e->Iex.GetI.bias);
         break;
      case Iex_RdTmp:
         put_byte(3);
         put_operand(e);
         break;
      case Iex_Unop:
         put_operation(4, e->Iex.Unop.op);
         put_operand(e->Iex.Unop.arg);
         break;
      case Iex_Binop:
         put_operation(5, e->Iex.Binop.op);
         put_operand(e->Iex.Binop.arg1);
         put_operand(e->Iex.Binop.arg2);
         break;
      case Iex_Triop:
         put_operation(6, e->Iex.Triop.details->op);
         put_operand(e->Iex.Triop.details->arg1);
         put_operand(e->Iex.Triop.details->arg2);
         put_operand(e->Iex.Triop.details->arg3);
         break;
      case Iex_Qop:
         put_operation(7, e->Iex.Qop.details->op);
         put_operand(e->Iex.Qop.details->arg1);
         put_operand(e->Iex.Qop.details->arg2);
         put_operand(e->Iex.Qop.details->arg3);
         put_operand(e->Iex.Qop.details->arg4);
         break;
      case Iex_Load:
         put_byte(8);
         put_byte(type_code(e->Iex.Load.ty));
         put_operand(e->Iex.Load.addr);
         break;
      case Iex_Const:
         put_byte(9);
         put_operand(e);
         break;
      case Iex_ITE:
         put_byte(10);
         put_operand(e->Iex.ITE.cond);
         put_operand(e->Iex.ITE.iftrue);
         put_operand(e->Iex.ITE.iffalse);
         break;
      case Iex_CCall: {
         UInt n = 0;
         while (e->Iex.CCall.args[n]) n++;
         put_byte(11);
         put_string(e->Iex.CCall.cee->name);
         put_byte(type_code(e->Iex.CCall.retty));
         reserve_code(n * NUMBER_SIZE + PART_SIZE);
         put_v(n);
         for (UInt i = 0; i < n; i++) put_operand(e->Iex.CCall.args[i]);
         break;
      }
      default: tl_assert2(0, "unknown kind of IR expression");
   }
}

static UInt effect_code(IREffect fx) { return fx == Ifx_None ? 0 : fx == Ifx_Read ? 1 : fx == Ifx_Write ? 2 : 3; }
static Bool effect_writes(IREffect fx) { return fx == Ifx_Write || fx == Ifx_Modify; }

static void put_dirty(const IRDirty* d)
{
   UInt n = 0;
   put_byte(10 | 0x80);
   put_string(d->cee->name);
   put_operand(d->guard);
   put_v(d->tmp == IRTemp_INVALID ? 0 : d->tmp + 1);
   put_byte(effect_code(d->mFx));
   if (d->mFx != Ifx_None) {
      put_operand(d->mAddr);
      put_v(d->mSize);
   }
   reserve_code((1 + 5 * d->nFxState) * NUMBER_SIZE + PART_SIZE);
   put_v(d->nFxState);
   for (Int i = 0; i < d->nFxState; i++) {
      put_byte(effect_code(d->fxState[i].fx));
      put_v(d->fxState[i].offset);
      put_v(d->fxState[i].size);
      put_v(d->fxState[i].nRepeats);
      put_v(d->fxState[i].repeatLen);
   }
   while (d->args[n]) n++;
   reserve_code(n * NUMBER_SIZE + PART_SIZE);
   put_v(n);
   for (UInt i = 0; i < n; i++) {
      const IRExpr* a = d->args[i];
      put_v(a->tag == Iex_GSPTR ? 0 : a->tag == Iex_VECRET ? 1 : operand(a) + 2);
   }
}

static void put_cas(const IRTypeEnv* env, const IRCAS* cas)
{
   put_byte(9);
   put_byte(type_code(typeOfIRExpr(env, cas->dataLo)));
   put_v(cas->oldHi == IRTemp_INVALID ? 0 : cas->oldHi + 1);
   put_v(cas->oldLo);
   put_operand(cas->addr);
   put_optional(cas->expdHi);
   put_operand(cas->expdLo);
   put_optional(cas->dataHi);
   put_operand(cas->dataLo);
}

static void put_stmt(const IRTypeEnv* env, const IRStmt* st, Addr address, Bool logged)
{
   UInt flag = logged ? 0x80 : 0;
   reserve_code(PART_SIZE);
   switch (st->tag) {
      case Ist_IMark:
         put_byte(1);
         put_z((Long)(st->Ist.IMark.addr - address));
         put_byte(st->Ist.IMark.len);
         put_byte(st->Ist.IMark.delta);
         break;
      case Ist_AbiHint:
         put_byte(2);
         put_operand(st->Ist.AbiHint.base);
         put_v(st->Ist.AbiHint.len);
         put_operand(st->Ist.AbiHint.nia);
         break;
      case Ist_Put:
         put_byte(3);
         put_v(st->Ist.Put.offset);
         put_operand(st->Ist.Put.data);
         break;
      case Ist_PutI:
         put_byte(4);
         put_array(st->Ist.PutI.details->descr, st->Ist.PutI.details->ix, st->Ist.PutI.details->bias);
         put_operand(st->Ist.PutI.details->data);
         break;
      case Ist_WrTmp:
         put_byte(5 | flag);
         put_v(st->Ist.WrTmp.tmp);
         put_expr(st->Ist.WrTmp.data);
         break;
      case Ist_Store:
         put_byte(6);
         put_operand(st->Ist.Store.addr);
         put_operand(st->Ist.Store.data);
         break;
      case Ist_StoreG:
         put_byte(7);
         put_operand(st->Ist.StoreG.details->addr);
         put_operand(st->Ist.StoreG.details->data);
         put_operand(st->Ist.StoreG.details->guard);
         break;
      case Ist_LoadG: {
         const IRLoadG* lg = st->Ist.LoadG.details;
         UInt cvt = 0;
         switch (lg->cvt) {
            case ILGop_Ident64: cvt = 0; break;
            case ILGop_Ident32: cvt = 1; break;
            case ILGop_16Uto32: cvt = 2; break;
            case ILGop_16Sto32: cvt = 3; break;
            case ILGop_8Uto32: cvt = 4; break;
            case ILGop_8Sto32: cvt = 5; break;
            case ILGop_IdentV128: cvt = 6; break;
            default: tl_assert2(0, "unknown conversion of a guarded load");
         }
         put_byte(8);
         put_byte(cvt);
         put_v(lg->dst);
         put_operand(lg->addr);
         put_operand(lg->alt);
         put_operand(lg->guard);
         break;
      }
      case Ist_CAS: put_cas(env, st->Ist.CAS.details); break;
      case Ist_Dirty: put_dirty(st->Ist.Dirty.details); break;
      case Ist_MBE:
         put_byte(11);
         put_byte(st->Ist.MBE.event == Imbe_Fence ? 0 : 1);
         break;
      case Ist_Exit: {
         IRExpr target = { .tag = Iex_Const };
         target.Iex.Const.con = st->Ist.Exit.dst;
         put_byte(12);
         put_operand(st->Ist.Exit.guard);
         put_byte(jump_code(st->Ist.Exit.jk));
         put_operand(&target);
         put_v(st->Ist.Exit.offsIP);
         break;
      }
      default: tl_assert2(0, "unknown kind of IR statement");
   }
}

/* ---------------------------------------------------------------- instrumentation */

static Bool is_evaluated_helper(const HChar* name)
{
   for (UInt i = 0; grind_evaluated_helpers[i]; i++)
      if (VG_(strcmp)(name, grind_evaluated_helpers[i]) == 0) return True;
   /* The check for self-modified code: replay learns of its failure from the new translation. */
   return VG_(strncmp)(name, "genericg_compute_checksum", 25) == 0;
}

static Bool is_logged(const IRStmt* st)
{
   if (st->tag != Ist_WrTmp) return False;
   const IRExpr* e = st->Ist.WrTmp.data;
   switch (e->tag) {
      case Iex_Unop: return !grind_evaluated_ops[e->Iex.Unop.op - Iop_INVALID];
      case Iex_Binop: return !grind_evaluated_ops[e->Iex.Binop.op - Iop_INVALID];
      case Iex_Triop: return !grind_evaluated_ops[e->Iex.Triop.details->op - Iop_INVALID];
      case Iex_Qop: return !grind_evaluated_ops[e->Iex.Qop.details->op - Iop_INVALID];
      case Iex_CCall: return !is_evaluated_helper(e->Iex.CCall.cee->name);
      default: return False;
   }
}

static IRExpr* word(ULong value) { return IRExpr_Const(IRConst_U64(value)); }

static IRExpr* assign(IRSB* sb, IRType type, IRExpr* e)
{
   IRTemp t = newIRTemp(sb->tyenv, type);
   addStmtToIRSB(sb, IRStmt_WrTmp(t, e));
   return IRExpr_RdTmp(t);
}

/* The words (I64, F64, V128 or V256) that hold a value in the log. */
static UInt log_parts(IRSB* sb, IRExpr* value, IRExpr* parts[2])
{
   IRType type = typeOfIRExpr(sb->tyenv, value);
   parts[1] = NULL;
   switch (type) {
      case Ity_I1: parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_1Uto64, value)); return 8;
      case Ity_I8: parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_8Uto64, value)); return 8;
      case Ity_I16: parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_16Uto64, value)); return 8;
      case Ity_I32: parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_32Uto64, value)); return 8;
      case Ity_F32: {
         IRExpr* bits = assign(sb, Ity_I32, IRExpr_Unop(Iop_ReinterpF32asI32, value));
         parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_32Uto64, bits));
         return 8;
      }
      case Ity_I64:
      case Ity_F64: parts[0] = value; return 8;
      case Ity_I128:
         parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_128to64, value));
         parts[1] = assign(sb, Ity_I64, IRExpr_Unop(Iop_128HIto64, value));
         return 16;
      case Ity_V128: parts[0] = value; return 16;
      case Ity_V256: parts[0] = value; return 32;
      default: tl_assert2(0, "a value of this IR type cannot be logged");
   }
}

/* Appends `value` to the value log; if `flag` (I64, 0 or 1) is given, only when it is 1. */
static void add_log(IRSB* sb, IRExpr* value, IRExpr* flag)
{
   IRExpr* parts[2];
   UInt size = log_parts(sb, value, parts);
   IRExpr* cell = word((Addr)&log_cursor);
   IRExpr* at = assign(sb, Ity_I64, IRExpr_Load(Iend_LE, Ity_I64, cell));
   addStmtToIRSB(sb, IRStmt_Store(Iend_LE, at, parts[0]));
   if (parts[1]) {
      IRExpr* second = assign(sb, Ity_I64, IRExpr_Binop(Iop_Add64, at, word(8)));
      addStmtToIRSB(sb, IRStmt_Store(Iend_LE, second, parts[1]));
   }
   /* Without a branch: the bytes are written anyway, and kept when the cursor moves. */
   IRExpr* step = word(size);
   if (flag) {
      UInt shift = size == 8 ? 3 : size == 16 ? 4 : 5;
      step = assign(sb, Ity_I64, IRExpr_Binop(Iop_Shl64, flag, IRExpr_Const(IRConst_U8(shift))));
   }
   IRExpr* next = assign(sb, Ity_I64, IRExpr_Binop(Iop_Add64, at, step));
   addStmtToIRSB(sb, IRStmt_Store(Iend_LE, cell, next));
}

/* 1 when others can change the memory at `address` (and `guard`, if given, holds), as I64. */
static IRExpr* shared_flag(IRSB* sb, IRExpr* address, IRExpr* guard)
{
   IRExpr* granule = assign(sb, Ity_I64, IRExpr_Binop(Iop_Shr64, address, IRExpr_Const(IRConst_U8(16))));
   IRExpr* index = assign(sb, Ity_I64, IRExpr_Binop(Iop_And64, granule, word(SHARED_GRANULES - 1)));
   IRExpr* at = assign(sb, Ity_I64, IRExpr_Binop(Iop_Add64, index, word((Addr)shared_granules)));
   IRExpr* byte = assign(sb, Ity_I8, IRExpr_Load(Iend_LE, Ity_I8, at));
   IRExpr* flag = assign(sb, Ity_I64, IRExpr_Unop(Iop_8Uto64, byte));
   if (guard == NULL) return flag;
   IRExpr* wide = assign(sb, Ity_I64, IRExpr_Unop(Iop_1Uto64, guard));
   return assign(sb, Ity_I64, IRExpr_Binop(Iop_And64, flag, wide));
}

static void add_call(IRSB* sb, const HChar* name, void* function, Int regparms, IRExpr** args, IRExpr* guard)
{
   IRDirty* d = unsafeIRDirty_0_N(regparms, name, VG_(fnptr_to_fnentry)(function), args);
   if (guard) d->guard = guard;
   addStmtToIRSB(sb, IRStmt_Dirty(d));
}

/* What a dirty helper did, in the order that docs/architecture.md gives. */
static void add_dirty_log(IRSB* sb, const IRDirty* d)
{
   if (d->tmp != IRTemp_INVALID) {
      IRExpr* parts[2];
      UInt size = log_parts(sb, IRExpr_RdTmp(d->tmp), parts);
      tl_assert2(size == 8, "a dirty helper with a vector result");
      if (typeOfIRExpr(sb->tyenv, parts[0]) == Ity_F64)
         parts[0] = assign(sb, Ity_I64, IRExpr_Unop(Iop_ReinterpF64asI64, parts[0]));
      add_call(sb, "log_word", log_word, 1, mkIRExprVec_1(parts[0]), d->guard);
   }
   for (Int i = 0; i < d->nFxState; i++) {
      if (!effect_writes(d->fxState[i].fx)) continue;
      for (UInt repeat = 0; repeat <= d->fxState[i].nRepeats; repeat++) {
         IRDirty* call = unsafeIRDirty_0_N(
            3, "log_state", VG_(fnptr_to_fnentry)(log_state),
            mkIRExprVec_3(IRExpr_GSPTR(), word(d->fxState[i].offset + repeat * d->fxState[i].repeatLen),
                          word(d->fxState[i].size)));
         call->guard = d->guard;
         call->nFxState = 1;
         call->fxState[0].fx = Ifx_Read;
         call->fxState[0].offset = d->fxState[i].offset + repeat * d->fxState[i].repeatLen;
         call->fxState[0].size = d->fxState[i].size;
         call->fxState[0].nRepeats = 0;
         call->fxState[0].repeatLen = 0;
         addStmtToIRSB(sb, IRStmt_Dirty(call));
      }
   }
   if (effect_writes(d->mFx))
      add_call(sb, "log_memory", log_memory, 2, mkIRExprVec_2(d->mAddr, word(d->mSize)), d->guard);
}

static void add_ticks(IRSB* sb, Int cells, UInt count)
{
   if (count == 0) return;
   IRExpr* old = assign(sb, Ity_I64, IRExpr_Get(cells + CELL_TICK, Ity_I64));
   IRExpr* sum = assign(sb, Ity_I64, IRExpr_Binop(Iop_Add64, old, word(count)));
   addStmtToIRSB(sb, IRStmt_Put(cells + CELL_TICK, sum));
}

/* Adds the logging that must follow a statement of the guest. */
static void add_after(IRSB* sb, const IRStmt* st)
{
   if (is_logged(st)) {
      add_log(sb, IRExpr_RdTmp(st->Ist.WrTmp.tmp), NULL);
   } else if (st->tag == Ist_Dirty) {
      add_dirty_log(sb, st->Ist.Dirty.details);
   } else if (!checked_mode) {
      return;
   } else if (st->tag == Ist_WrTmp && st->Ist.WrTmp.data->tag == Iex_Load) {
      add_log(sb, IRExpr_RdTmp(st->Ist.WrTmp.tmp), shared_flag(sb, st->Ist.WrTmp.data->Iex.Load.addr, NULL));
   } else if (st->tag == Ist_LoadG) {
      const IRLoadG* lg = st->Ist.LoadG.details;
      add_log(sb, IRExpr_RdTmp(lg->dst), shared_flag(sb, lg->addr, lg->guard));
   } else if (st->tag == Ist_CAS) {
      const IRCAS* cas = st->Ist.CAS.details;
      IRExpr* flag = shared_flag(sb, cas->addr, NULL);
      add_log(sb, IRExpr_RdTmp(cas->oldLo), flag);
      if (cas->oldHi != IRTemp_INVALID) add_log(sb, IRExpr_RdTmp(cas->oldHi), flag);
   }
}

/* A block is translated when it is about to run for the first time: the moment to begin, or end, if the
   function asked for is entered in it (a block goes on through calls). */
static void check_function(Addr pc)
{
   const HChar* name;
   if (!VG_(get_fnname_if_entry)(VG_(current_DiEpoch)(), pc, &name)) return;
   if (opt_start_function && VG_(strcmp)(name, opt_start_function) == 0) {
      opt_start_function = NULL;
      recording_start();
   }
   if (recording && opt_stop_function && VG_(strcmp)(name, opt_stop_function) == 0) recording_stop("stopped as asked");
}

/* A call of the function that tells of synchronisation is told to the tool: its arguments, and where it is. */
static void add_sync(IRSB* sb, const VexGuestLayout* layout, Int cells, Addr pc)
{
   addStmtToIRSB(sb, IRStmt_Put(layout->offset_IP, word(pc)));
   static const Int offsets[5] = { CELL_TICK, offsetof(VexGuestAMD64State, guest_RDI), offsetof(VexGuestAMD64State, guest_RSI),
                                   offsetof(VexGuestAMD64State, guest_RDX), offsetof(VexGuestAMD64State, guest_RCX) };
   IRExpr* values[5];
   for (UInt i = 0; i < 5; i++) values[i] = assign(sb, Ity_I64, IRExpr_Get(offsets[i] + (i == 0 ? cells : 0), Ity_I64));
   IRDirty* call = unsafeIRDirty_0_N(0, "on_sync", VG_(fnptr_to_fnentry)(on_sync),
                                     mkIRExprVec_5(values[0], values[1], values[2], values[3], values[4]));
   /* The call stack is found from these. */
   const Int read[3][2] = { { layout->offset_SP, layout->sizeof_SP }, { layout->offset_FP, layout->sizeof_FP },
                            { layout->offset_IP, layout->sizeof_IP } };
   call->nFxState = 3;
   for (UInt i = 0; i < 3; i++) {
      call->fxState[i].fx = Ifx_Read;
      call->fxState[i].offset = read[i][0];
      call->fxState[i].size = read[i][1];
      call->fxState[i].nRepeats = 0;
      call->fxState[i].repeatLen = 0;
   }
   addStmtToIRSB(sb, IRStmt_Dirty(call));
}

static UInt block_count;

IRSB* instrument(VgCallbackClosure* closure, IRSB* in, const VexGuestLayout* layout,
                 const VexGuestExtents* extents, const VexArchInfo* arch, IRType gWord, IRType hWord)
{
   (void)arch;
   (void)gWord;
   (void)hWord;
   Int cells = layout->total_sizeB;
   Addr address = extents->base[0];
   UInt instructions = 0, pending = 0, statements = 0;
   Bool logs = checked_mode;

   if (opt_start_function || opt_stop_function) {
      for (Int i = 0; i < in->stmts_used; i++)
         if (in->stmts[i]->tag == Ist_IMark) check_function(in->stmts[i]->Ist.IMark.addr);
   }
   IRSB* out = deepCopyIRSBExceptStmts(in);

   /* Statements first, into `code`; the header needs their constants. */
   code_used = 0;
   constant_count = 0;
   for (Int i = 0; i < in->stmts_used; i++) {
      const IRStmt* st = in->stmts[i];
      if (st->tag == Ist_NoOp) continue;
      Bool logged = is_logged(st);
      logs |= logged;
      put_stmt(in->tyenv, st, address, logged);
      statements++;
   }
   reserve_code(2 * PART_SIZE + in->tyenv->types_used + constant_count * 9);
   put_operand(in->next);
   put_byte(jump_code(in->jumpkind));
   put_v(in->offsIP);
   UInt body_size = code_used;
   put_byte(checked_mode ? 1 : 0);
   put_v(in->tyenv->types_used);
   for (Int i = 0; i < in->tyenv->types_used; i++) put_byte(type_code(in->tyenv->types[i]));
   put_v(constant_count);
   for (UInt i = 0; i < constant_count; i++) {
      put_byte(constants[i].type);
      for (UInt shift = 0; shift < 64; shift += 8) put_byte(constants[i].bits >> shift);
   }
   put_v(statements);
   UInt header_size = code_used - body_size;

   if (logs) {
      IRExpr* at = assign(out, Ity_I64, IRExpr_Load(Iend_LE, Ity_I64, word((Addr)&log_cursor)));
      IRExpr* full = assign(out, Ity_I1, IRExpr_Binop(Iop_CmpLT64U, word((Addr)(log_base + LOG_SIZE - LOG_SLACK)), at));
      add_call(out, "log_full", log_full, 0, mkIRExprVec_0(), full);
   }
   Addr next_address = 0;
   for (Int i = 0; i < in->stmts_used; i++) {
      IRStmt* st = in->stmts[i];
      if (st->tag == Ist_NoOp) continue;
      if (st->tag == Ist_IMark) {
         /* At the beginning of a block all registers are in the guest state. */
         if (st->Ist.IMark.addr == sync_marker && instructions == 0) add_sync(out, layout, cells, sync_marker);
         /* A loop was unrolled: an address is to be there once between two ticks, so that replay knows where a
            fault was. */
         if (instructions > 0 && st->Ist.IMark.addr != next_address) {
            add_ticks(out, cells, pending);
            pending = 0;
         }
         next_address = st->Ist.IMark.addr + st->Ist.IMark.len;
         instructions++;
         pending++;
         describe_instruction(st->Ist.IMark.addr, st->Ist.IMark.len);
      }
      if (st->tag == Ist_Exit) {
         add_ticks(out, cells, pending);
         pending = 0;
      }
      addStmtToIRSB(out, st);
      add_after(out, st);
   }
   add_ticks(out, cells, pending);
   if (in->jumpkind == Ijk_ClientReq) addStmtToIRSB(out, IRStmt_Put(cells + CELL_END, word(END_REQUEST)));
   if (in->jumpkind == Ijk_NoRedir) addStmtToIRSB(out, IRStmt_Put(cells + CELL_END, word(END_NO_REDIRECT)));

   RawBlocks* r = EMIT(RawBlocks, TABLE_BLOCKS, code_used);
   r->tick = now;
   r->thread = thread_number(closure->tid);
   r->block = ++block_count;
   r->entry = closure->nraddr;
   r->address = address;
   for (UInt i = 0; i < extents->n_used; i++) r->size += extents->len[i];
   r->instructions = instructions;
   r->no_redirect = jumped_without_redirect(closure->tid);
   r->ir_size = code_used;
   VG_(memcpy)(EXTRA(r), code + body_size, header_size);
   VG_(memcpy)(EXTRA(r) + header_size, code, body_size);
   return out;
}
