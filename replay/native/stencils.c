/* The stencils of threaded code: each function is compiled into a section of its own, from which stencils.ts takes its
   machine code. The symbols that are not defined here are the places that are filled when it is copied. Compiled for
   addresses below 2^31, where the copies lie. SPDX-License-Identifier: Apache-2.0 */
#include "wasm.h"
#include "constants.h"

/* Two values that a function returns. */
typedef struct {
   u64 v0, v1;
} pair;

/* Words of the instruction, and where it stands in linear memory. */
extern u8 W1[], W2[], W3[], W4[], W5[], W6[], W7[], W8[], W9[], AT[];
#define WORD(n) ((u32)(uintptr_t)W##n)
/* The same as an address in linear memory. */
#define ADDRESS_WORD(n) ((u64)(uintptr_t)W##n)
#define INSTRUCTION ((u32)(uintptr_t)AT)

typedef u32 Stencil(u8* m);
#define STENCIL(number) u32 stencil_##number(u8* m)

/* The copy after this one. */
extern Stencil NEXT;
#define import_next NEXT

/* Goes on with the block of a slot, or leaves it to the host. Where no rows are written. */
INLINE u32 import_chainUnseen(u8* m, u32 slot)
{
   if (i64_load(m, 0, CELL_tick) >= i64_load(m, 0, CELL_limit) || i32_load(m, slot, 0) != THREADED_FUNCTION) return slot;
   return ((Stencil*)(uintptr_t)i32_load(m, slot, 4))(m);
}

/* As `defineChain` of compile.ts. */
u32 import_chain(u8* m, u32 slot)
{
   if (i32_load(m, 0, CELL_rows) > i32_load(m, 0, CELL_rowsLimit) || i32_load(m, 0, CELL_wide) > i32_load(m, 0, CELL_wideLimit))
      return slot;
   return import_chainUnseen(m, slot);
}

#include "stencils.h"
