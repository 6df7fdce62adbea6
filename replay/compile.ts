/** Compiles superblocks to modules of WebAssembly, many to a module, and how they go on to one another. */
import { BlockCompiler, type CompileUnit, type Modes } from './compile-block.js';
import { CleanBlockCompiler, ExactBlockCompiler } from './compile-shadow.js';
import { BLOCK_TYPE, ModuleContext, loadAt } from './emit.js';
import { CELL } from './layout.js';
import { Code, I32, I64 } from './wasm.js';

/**
 * Compiles blocks into one module, which exports their functions by their position: "0", "1", …
 * @param units - each is asked for when its turn comes: decoded blocks are large
 * @param slots - by slot: number in the table of functions, and position, of the block that runs there
 * @throws UserError when a block uses something that replay does not support
 */
export function compileBlocks(
  units: readonly (() => CompileUnit)[],
  modes: Modes,
  slots: ReadonlyMap<number, { readonly number: number; readonly position: number }>,
): Uint8Array<ArrayBuffer> {
  const context = new ModuleContext(modes.cache?.fixed);
  // V8 keeps a copy of a table for each instance that imports it: one instance goes on with blocks for all.
  const chain = context.builder.import('dispatch', ...BLOCK_TYPE);
  const indices = units.map(() => context.builder.declare(...BLOCK_TYPE));
  const links = new Map(
    [...slots].map(([slot, { number, position }]) => [slot, { number, index: indices[position]! }]),
  );
  units.forEach((unit, position) => {
    const index = indices[position]!;
    context.builder.define(index, compileBlock(context, { ...unit(), links }, modes, chain));
    context.builder.export(String(position), index);
  });
  return context.builder.encode();
}

function compileBlock(
  context: ModuleContext,
  unit: CompileUnit,
  modes: Modes,
  chain: number,
): Code {
  const Compiler = !unit.shadow
    ? BlockCompiler
    : unit.shadow.exact
      ? ExactBlockCompiler
      : CleanBlockCompiler;
  return new Compiler(context, unit, modes, chain).compile();
}

/**
 * The function that every block ends in: goes on with the block of a slot, or returns the slot when
 * something has to be done by the host. A tail call, so that running a million blocks takes no stack.
 */
export function defineChain(context: ModuleContext, modes: Modes): number {
  context.builder.importTable();
  const blockType = context.builder.type(...BLOCK_TYPE);
  const code = new Code(...BLOCK_TYPE);
  code.open('block');
  loadAt(code, CELL.tick, I64);
  loadAt(code, CELL.limit, I64);
  code.op('i64_ge_u');
  code.brIf(0);
  if (modes.accesses && !modes.fresh) {
    for (const [cell, limit] of [
      [CELL.rows, CELL.rowsLimit],
      [CELL.wide, CELL.wideLimit],
    ] as const) {
      loadAt(code, cell, I32);
      loadAt(code, limit, I32);
      code.op('i32_gt_u');
      code.brIf(0);
    }
  }
  code.get(0);
  code.get(0);
  code.memory('i32_load', 0);
  code.returnCallIndirect(blockType);
  code.end();
  code.get(0);
  const index = context.builder.declare(...BLOCK_TYPE);
  context.builder.define(index, code);
  return index;
}

/** Exports `stop`: what runs where there is no block, and leaves the slot to the host. */
export function compileStop(): Uint8Array<ArrayBuffer> {
  const { builder } = new ModuleContext();
  const code = new Code(...BLOCK_TYPE);
  code.get(0);
  const index = builder.declare(...BLOCK_TYPE);
  builder.define(index, code);
  builder.export('stop', index);
  return builder.encode();
}

/** The way in: runs blocks from a slot until something has to be done by the host. */
export function compileDispatcher(modes: Modes): Uint8Array<ArrayBuffer> {
  const context = new ModuleContext();
  context.builder.export('dispatch', defineChain(context, modes));
  return context.builder.encode();
}

/** Exports `entry`: runs the threaded code of a slot by the host's `run`, and goes on with what it leaves. */
export function compileThreadedEntry(modes: Modes): Uint8Array<ArrayBuffer> {
  const context = new ModuleContext();
  const run = context.builder.import('run', ...BLOCK_TYPE);
  const chain = defineChain(context, modes);
  const code = new Code(...BLOCK_TYPE);
  code.get(0);
  code.call(run);
  code.returnCall(chain);
  const index = context.builder.declare(...BLOCK_TYPE);
  context.builder.define(index, code);
  context.builder.export('entry', index);
  return context.builder.encode();
}
