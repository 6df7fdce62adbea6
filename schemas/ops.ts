/**
 * What replay evaluates by itself: the VEX operations (without `Iop_`) and pure helper functions.
 * The recorder logs the result of everything that is not listed here, so a name may only be added
 * together with an exact implementation in `replay/`; a test compares the two.
 *
 * Left out on purpose: transcendental x87 operations, reciprocal estimates, half floats and fused
 * multiply-add (their results depend on the host), and operations that VEX's amd64 back end lacks.
 */

/** All combinations of the alternatives: `names('Add', ['8', '16'])` → Add8, Add16. */
function names(...parts: readonly (string | readonly string[])[]): string[] {
  return parts.reduce<string[]>(
    (done, part) => {
      const alternatives = typeof part === 'string' ? part.split(' ') : part;
      return done.flatMap((prefix) => alternatives.map((alternative) => prefix + alternative));
    },
    [''],
  );
}

const INTEGER = [
  ...names('Add Sub Mul Or And Xor Shl Shr Sar', '8 16 32 64'),
  ...names('Not CmpEQ CmpNE CasCmpEQ CasCmpNE ExpCmpNE CmpNEZ Left', '8 16 32 64'),
  ...names('CmpLT CmpLE', '32 64', 'S U'),
  ...names('CmpwNEZ', '32 64'),
  ...names('Mull', 'S U', '8 16 32 64'),
  ...names('Clz Ctz ClzNat CtzNat PopCount', '32 64'),
  ...names('DivMod', 'S U', '64to32 128to64'),
  'Max32U',
  ...names('8', 'U S', 'to', '16 32 64'),
  ...names('16', 'U S', 'to', '32 64'),
  ...names('32', 'U S', 'to64'),
  ...names('64to8 32to8 64to16 16to8 32to16 64to32 128to64'),
  ...names('16HIto8 32HIto16 64HIto32 128HIto64 8HLto16 16HLto32 32HLto64 64HLto128'),
  ...names('Not1 And1 Or1 32to1 64to1 1Uto8 1Uto32 1Uto64 1Sto8 1Sto16 1Sto32 1Sto64'),
];

const FLOAT = [
  ...names('Add Sub Mul Div Neg Abs Sqrt', 'F64'),
  ...names('NegF32 AbsF32 CmpF64 CmpF32 RoundF64toInt RoundF32toInt'),
  ...names('F64toI32S F64toI64S I32StoF64 I64StoF64 F32toF64 F64toF32'),
  ...names('ReinterpF64asI64 ReinterpI64asF64 ReinterpF32asI32 ReinterpI32asF32'),
];

/** Operations on whole lanes that exist for 64-bit (MMX), 128-bit and 256-bit vectors. */
const VECTOR64 = [
  ...names('Add Sub CmpEQ CmpNEZ', '8x8 16x4 32x2'),
  ...names('QAdd QSub', '8Sx8 8Ux8 16Sx4 16Ux4'),
  ...names('CmpGT', '8Sx8 16Sx4 32Sx2'),
  ...names('Avg8Ux8 Avg16Ux4 Max16Sx4 Max8Ux8 Min16Sx4 Min8Ux8'),
  ...names('Mul16x4 Mul32x2 MulHi16Sx4 MulHi16Ux4'),
  ...names('ShlN ShrN SarN', '16x4 32x2'),
  'SarN8x8',
  ...names('QNarrowBin16Sto8Sx8 QNarrowBin16Sto8Ux8 QNarrowBin32Sto16Sx4'),
  ...names('Interleave', 'HI LO', '8x8 16x4 32x2'),
  ...names('CatEvenLanes16x4 CatOddLanes16x4 PermOrZero8x8 GetMSBs8x8'),
];

const VECTOR128 = [
  ...names('Not And Or Xor', 'V128'),
  ...names('Add Sub CmpEQ CmpNEZ', '8x16 16x8 32x4 64x2'),
  ...names('QAdd QSub', '8Sx16 8Ux16 16Sx8 16Ux8'),
  ...names('CmpGT', '8Sx16 16Sx8 32Sx4 64Sx2'),
  ...names('Max Min', '8Sx16 8Ux16 16Sx8 16Ux8 32Sx4 32Ux4'),
  ...names('Avg8Ux16 Avg16Ux8 Mul16x8 Mul32x4 MulHi16Sx8 MulHi16Ux8 PwExtUSMulQAdd8x16'),
  ...names('ShlN ShrN SarN', '16x8 32x4 64x2'),
  'SarN8x16',
  ...names('QNarrowBin16Sto8Sx16 QNarrowBin16Sto8Ux16 QNarrowBin32Sto16Sx8 QNarrowBin32Sto16Ux8'),
  ...names('NarrowBin16to8x16 NarrowBin32to16x8'),
  ...names('Interleave', 'HI LO', '8x16 16x8 32x4 64x2'),
  ...names('PermOrZero8x16 Perm32x4 GetMSBs8x16'),
  ...names('V128to64 V128HIto64 V128to32 64HLtoV128 64UtoV128 32UtoV128 SetV128lo64 SetV128lo32'),
  ...names('ZeroHI', '64 96 112 120', 'ofV128'),
];

const VECTOR256 = [
  ...names('Not And Or Xor', 'V256'),
  ...names('Add Sub CmpEQ CmpNEZ', '8x32 16x16 32x8 64x4'),
  ...names('QAdd QSub', '8Sx32 8Ux32 16Sx16 16Ux16'),
  ...names('CmpGT', '8Sx32 16Sx16 32Sx8 64Sx4'),
  ...names('Max Min', '8Sx32 8Ux32 16Sx16 16Ux16 32Sx8 32Ux8'),
  ...names('Avg8Ux32 Avg16Ux16 Mul16x16 Mul32x8 MulHi16Sx16 MulHi16Ux16'),
  ...names('ShlN ShrN', '16x16 32x8 64x4'),
  ...names('SarN', '16x16 32x8'),
  'Perm32x8',
  ...names('V256toV128_0 V256toV128_1 V128HLtoV256 64x4toV256'),
  ...names('V256to64_', '0 1 2 3'),
];

const VECTOR_FLOAT = [
  ...names('Add Sub Mul Div Max Min Sqrt', '32Fx4 64Fx2 32Fx8 64Fx4 32F0x4 64F0x2'),
  ...names('CmpEQ CmpLT CmpLE CmpUN', '32Fx4 64Fx2 32F0x4 64F0x2'),
  ...names('I32StoF32 F32toI32S', 'x4 x8'),
];

/** VEX operations that replay evaluates, as in libvex_ir.h without `Iop_`. */
export const EVALUATED_OPS: readonly string[] = [
  ...INTEGER,
  ...FLOAT,
  ...VECTOR64,
  ...VECTOR128,
  ...VECTOR256,
  ...VECTOR_FLOAT,
];

/** Clean helpers (CCall) that replay evaluates, by name. */
export const EVALUATED_HELPERS: readonly string[] = [
  ...names('amd64g_calculate_', 'condition rflags_all rflags_c'),
  ...names('amd64g_calc_crc32', 'b w l q'),
  ...names('amd64g_calculate_', 'pdep pext mmx_pmaddwd mmx_psadbw'),
  ...names('amd64g_', 'create_mxcsr create_fpucw check_ldmxcsr check_fldcw'),
];
