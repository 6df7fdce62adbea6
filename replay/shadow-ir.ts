/**
 * Statements that an analysis adds to a superblock to follow definedness beside the values. They never
 * come from a trace: `instrument` of an analysis puts them among the statements of the guest, and
 * compiler and interpreter carry them out on shadow registers and shadow memory.
 *
 * The shadow of a value of type T has a bit for each of its bits, set where that is undefined; its type
 * is that of `shadowType`. An origin is an I32 (`OriginTag` in shadow.ts), which means something only
 * where a bit is set.
 */
import { TYPE, type Operand, type StateArray, type Type } from './ir.js';

export type ShadowStatement =
  /** Reads the shadow of guest registers into two temporaries. `type` is that of the registers. */
  | {
      readonly tag: 'ShadowGet';
      readonly bits: number;
      readonly origin: number;
      readonly offset: number;
      readonly type: Type;
    }
  | ({ readonly tag: 'ShadowGetI'; readonly bits: number; readonly origin: number } & StateArray)
  | {
      readonly tag: 'ShadowPut';
      readonly offset: number;
      readonly type: Type;
      readonly bits: Operand;
      readonly origin: Operand;
    }
  | ({
      readonly tag: 'ShadowPutI';
      readonly bits: Operand;
      readonly origin: Operand;
    } & StateArray)
  /**
   * Reads the shadow of memory into two temporaries, and reports an access to memory that is not
   * accessible: then, and when the guard does not hold, all bits are defined. `type` is that in memory.
   */
  | {
      readonly tag: 'ShadowLoad';
      readonly bits: number;
      readonly origin: number;
      readonly type: Type;
      readonly address: Operand;
      readonly guard: Operand | undefined;
    }
  | {
      readonly tag: 'ShadowStore';
      readonly type: Type;
      readonly address: Operand;
      readonly bits: Operand;
      readonly origin: Operand;
      readonly guard: Operand | undefined;
    }
  /** Memory of any size that a dirty statement reads: `bits` (I64) is all ones if any bit is undefined. */
  | {
      readonly tag: 'ShadowReadRange';
      readonly bits: number;
      readonly origin: number;
      readonly address: Operand;
      readonly sizeBytes: number;
      readonly guard: Operand;
    }
  /** Memory of any size that a dirty statement writes: undefined as a whole if `bits` (I64) is not 0. */
  | {
      readonly tag: 'ShadowWriteRange';
      readonly bits: Operand;
      readonly origin: Operand;
      readonly address: Operand;
      readonly sizeBytes: number;
      readonly guard: Operand;
    }
  /** Reports the use of a value if any of `bits` is set: a condition, an address, a jump's target. */
  | {
      readonly tag: 'ShadowCheck';
      readonly bits: Operand;
      readonly origin: Operand;
      readonly use: 'condition' | 'value';
      /** Size of the value in bytes, as the report says it; 0 for a condition. */
      readonly sizeBytes: number;
      /** If absent, always. */
      readonly guard: Operand | undefined;
    };

/** The type that holds the shadow of a value. */
export function shadowType(type: Type): Type {
  switch (type) {
    case TYPE.F16:
      return TYPE.I16;
    case TYPE.F32:
    case TYPE.D32:
      return TYPE.I32;
    case TYPE.F64:
    case TYPE.D64:
      return TYPE.I64;
    case TYPE.F128:
    case TYPE.D128:
      return TYPE.I128;
    default:
      return type;
  }
}
