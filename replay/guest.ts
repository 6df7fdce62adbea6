/**
 * The machine that replay drives: guest memory, the state of the current thread, the value log and
 * the superblocks, run by compiled code. It knows nothing of events: its user applies them between
 * calls of `run`.
 */
import { UserError } from '../schemas/errors.js';
import { Segments, Sites } from './code-tables.js';
import assert from 'node:assert/strict';
import { CacheGuest, cacheModes, type CacheHooks } from './cache-guest.js';
import { cacheSites } from './cache-sites.js';
import { callSites, isAtEnd } from './call-sites.js';
import { CallsGuest, type CallHooks } from './calls-guest.js';
import type { CompileUnit, Modes } from './compile-block.js';
import { spilledOf, type ShadowSite, type ShadowUnit } from './compile-shadow.js';
import { compileBlocks, compileDispatcher, compileStop, compileThreadedEntry } from './compile.js';
import { EVALUATION_NUMBERS, IMPORTS, type ImportName } from './emit.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from './eval-ops.js';
import { AccessTally } from './access-tally.js';
import { wordsOf } from './event-cursor.js';
import { ACCESS_SERVES, ACCESS_STORES, FreshAccesses } from './fresh-accesses.js';
import { grown } from './grown.js';
import { GuestMemory, bitsOf, bytesOf } from './guest-memory.js';
import { LineFilter, type LineHooks } from './line-filter.js';
import { applyDirty, interpretBlock, type Machine, type ShadowMachine } from './interpret.js';
import {
  JUMP_NO_REDIRECT,
  TYPE,
  TYPE_SIZES,
  accessSites,
  assignedBy,
  decodeBlock,
  endsSegment,
  fetchSites,
  segmentsOf,
  type AccessSite,
  type Block,
  type DirtyStatement,
  type Type,
} from './ir.js';
import {
  BAIL_SLOT,
  CELL,
  COUNTS,
  DEFINED,
  HOT_SLOT,
  JUMP_CACHE,
  JUMP_CACHE_BITS,
  JUMP_CACHE_ENTRIES,
  MAX_ROWS,
  MAX_SEGMENTS,
  MAX_SHADOWED_STATE,
  MAX_SLOTS,
  MAX_TEMPS,
  MAX_STATE_SIZE,
  ROW_ADDRESSES,
  ROW_SITES,
  ROW_TICKS,
  ROW_VALUES,
  SCRATCH,
  SCRATCH_RESULT,
  SCRATCH_STRIDE,
  SLOTS,
  SLOT_SIZE,
  STATE,
  TEMPS,
  TEMP_SIZE,
  THREADED_FUNCTION,
  UNDEFINED,
  VALUES,
  VALUES_SIZE,
  WIDE,
  WIDE_SIZE,
} from './layout.js';
import { nativeEngine, type NativeEngine, type NativeReplay } from './native.js';
import type { QuickEvents } from './quick-events.js';
import { StackSizes } from './stack-sizes.js';
import { ShadowGuest, type ShadowHooks } from './shadow-guest.js';
import { ThreadedCode, type FirstNumbers, type Translation } from './threaded.js';
import type { SegmentTable, SiteTable } from './types.js';

/** Replay no longer follows the recorded execution. */
export class Divergence extends Error {
  override name = 'Divergence';
  constructor(
    message: string,
    readonly tick: bigint,
    readonly pc: bigint,
  ) {
    super(message);
  }
}

/** Offsets in the guest state, in bytes. */
export interface StateLayout {
  readonly stateSize: number;
  readonly RIP: number;
  readonly RSP: number;
}

/** A translated superblock, as the trace gives it. */
export interface BlockDefinition {
  /** Number of the superblock; the same number always means the same block. */
  readonly id: number;
  /** Guest address that jumps to it name. */
  readonly entry: bigint;
  /** Guest address that was translated. */
  readonly address: bigint;
  readonly ir: Uint8Array;
  /** It was translated for jumps of the no-redirect kind. */
  readonly noRedirect: boolean;
}

/** Why `run` returned: enough ticks passed, the access rows must be taken, the target has no block. */
export type StopReason = 'ticks' | 'buffer' | 'missing';

export interface RunResult {
  /** Guest instructions passed in this call. */
  readonly ticks: number;
  /** Where to go on. */
  readonly pc: bigint;
  readonly noRedirect: boolean;
  readonly reason: StopReason;
}

/** The rows written since `resetAccesses`, as columns; valid until the next call of `run`. */
export interface Accesses {
  readonly count: number;
  readonly sites: Uint32Array;
  readonly ticks: BigUint64Array;
  readonly addresses: BigUint64Array;
  readonly values: BigUint64Array;
  readonly wide: Uint8Array;
}

/** Access rows for those who look at them often: 64-bit columns as pairs of words, the low one first. */
export interface AccessRows {
  readonly count: number;
  readonly sites: Uint32Array;
  readonly ticks: Uint32Array;
  readonly addresses: Uint32Array;
}

interface BlockRecord {
  /** As it was defined last; what was announced may not know its name space yet. */
  definition: BlockDefinition;
  /** Number of its function in the table; 0, which stops, while there is none. */
  functionIndex: number;
  /** Where its threaded code is, and the machine code of that; 0 while it has none. */
  threaded: number;
  machineCode: number;
  /** Slots of its exact versions by the statement that they begin with. */
  exactSlots: Map<number, number> | undefined;
  /** Its place in the order of announcement. */
  readonly position: number;
  /** Number of the slot of its entry address; -1 while it is only announced. */
  slot: number;
  /** What is known of its code once that was needed. */
  numbers: BlockNumbers | undefined;
}

/** Where the parts of a block stand in the tables of the guest. */
interface BlockNumbers extends FirstNumbers {
  /** Of its first dirty statement, in `dirties`; 0 when it has none. */
  readonly firstDirty: number;
}

interface Dirty {
  readonly statement: DirtyStatement;
  readonly resultType: Type;
  /** Number of its first site; instruction within the block. */
  readonly site: number;
  readonly instruction: number;
}

interface Slot {
  readonly entry: bigint;
  readonly noRedirect: boolean;
  record: BlockRecord | undefined;
  /** It is for the exact version of `record` from this statement on. */
  readonly exactFrom?: number;
  /** That version, and how often it ran, while it is interpreted. */
  exact?: { readonly unit: CompileUnit; runs: number };
}

/** How many blocks are compiled together at most. */
const BATCH_SIZE = 400;
/**
 * Executions of its threaded code after which a block is compiled: before the first one is, and from then on. The way
 * between compiled and threaded code costs as much as dozens of blocks, so there is to be none in a short execution, and
 * little of one kind in a long one. Measured on short and long programs.
 */
const HOT_AFTER = 2_000_000;
const HOT_IN_LONG_RUN = 100_000;
/** Blocks are compiled together with a hot one when less than this part of the latter is left. */
const WARM = 0.75;
const MOST_AT_ONCE = 2000;
/** The exact version of a block is compiled after it was interpreted so often. */
const EXACT_HOT_AFTER = 12;

const NO_SITES: readonly AccessSite[] = [];

const NOWHERE: Slot = { entry: 0n, noRedirect: false, record: undefined };

/** How many instructions begin before a statement; address of the last of them, and the one after it. */
function instructionAt(
  { statements }: Block,
  before: number,
): { readonly instructions: number; readonly pc?: bigint; readonly nextPc?: bigint } {
  const marks = statements.slice(0, before).filter((statement) => statement.tag === 'IMark');
  const last = marks.at(-1);
  return {
    instructions: marks.length,
    ...(last && {
      pc: BigInt.asUintN(64, last.address + BigInt(last.delta)),
      nextPc: BigInt.asUintN(64, last.address + BigInt(last.length)),
    }),
  };
}

/** How many accesses without a guard each segment of a block has. */
function unguarded({ statements }: Block, sites: readonly AccessSite[]): number[] {
  const counts = [0];
  let [at, site] = [0, 0];
  for (; site < sites.length; site++) {
    for (; at < sites[site]!.statement; at++) if (endsSegment(statements[at]!)) counts.push(0);
    if (!sites[site]!.guarded) counts[counts.length - 1]!++;
  }
  return counts;
}

const NAMES_BY_NUMBER = [...EVALUATION_NUMBERS.keys()];

export class Guest implements Machine {
  private readonly modes: Modes;
  readonly memory: GuestMemory;
  /** Sites of the blocks that ran so far, and more; empty unless `accesses`. */
  readonly sites: SiteTable;
  private readonly siteColumns = new Sites();
  private readonly segmentColumns = new Segments();
  private readonly records = new Map<number, BlockRecord>();
  /** All blocks, in the order in which they were announced. */
  private readonly announced: BlockRecord[] = [];
  /** The same as two words each: number of the function, and machine code. Replaced when it grows. */
  codes = new Uint32Array(0);
  /** How many blocks are compiled together at most; fewer where most of those announced will not run. */
  blocksPerModule = BATCH_SIZE;
  /** Executions after which a block is compiled; 0 compiles all. */
  hotAfter: number;
  /** Absent where the module that runs it was not built: all blocks are compiled then. */
  private readonly threaded: ThreadedCode | undefined;
  /** Blocks as `step` runs them when it is watched. */
  private readonly stepped = new Map<BlockRecord, CompileUnit>();
  private readonly dirties: Dirty[] = [];
  private readonly slots: Slot[] = [];
  /** By address, below 2^53 as a number: those are found faster. */
  private readonly slotNumbers = [
    new Map<bigint | number, number>(),
    new Map<bigint | number, number>(),
  ] as const;
  /** Blocks by the number of their threaded code. */
  private readonly threadedBlocks: BlockRecord[] = [];
  private readonly functions: WebAssembly.Table;
  private nextFunction = THREADED_FUNCTION + 1;
  private readonly imports: WebAssembly.Imports;
  private readonly dispatch: (slot: number) => number;
  /** Value log not yet in linear memory, and how much of the first chunk is used. */
  private readonly values: Uint8Array[] = [];
  private valuesUsed = 0;
  /** Most instructions, rows and wide bytes of one block. */
  mostInstructions = 0;
  private mostRows = 0;
  private mostWide = 0;
  /** Sites of the block that is being interpreted. */
  private interpreting: {
    readonly firstSite: number;
    readonly tick: bigint;
    /** With simulated caches: by access of the block, its cache site. */
    readonly cacheSites?: readonly (number | undefined)[];
  } = { firstSite: 0, tick: 0n };

  /** The module that runs threaded code, and what it knows this replay by. */
  native: { readonly engine: NativeEngine; readonly replay: NativeReplay } | undefined;
  /** What the module asks of the host, by number in `IMPORTS`. */
  functionsOfHost: readonly unknown[] = [];

  /** Of a replay that tells only of fresh accesses. */
  readonly fresh: FreshAccesses | undefined;

  /** Of a replay that leaves out accesses to the latest lines. */
  readonly lines: LineFilter | undefined;

  /** Of a replay that counts accesses to bytes. */
  readonly tally: AccessTally | undefined;
  /** Of a replay that simulates caches. */
  readonly cache: CacheGuest | undefined;

  /** Of a replay that tells of calls. */
  readonly calls: CallsGuest | undefined;

  /** Of a replay that measures stacks. */
  readonly stacks: StackSizes | undefined;

  /** Of a replay that follows definedness. */
  readonly shadow: ShadowGuest | undefined;

  /**
   * @param opNames - names of the trace's operations by key
   * @param layout - size of the guest state and where its program counter is
   * @param modes - what to produce; a guest without either only computes
   * @param hooks - follow definedness, with neither accesses nor counts
   * @param cache - simulate these caches, with counts
   * @param calls - tell of calls, with counts
   * @param lines - leave out accesses to the latest lines; `modes.fresh` says that nothing synchronises
   */
  constructor(
    private readonly opNames: readonly string[],
    private readonly layout: StateLayout,
    modes: Omit<Modes, 'shadow' | 'cache' | 'calls'>,
    hooks?: ShadowHooks,
    cache?: CacheHooks,
    calls?: CallHooks,
    lines?: LineHooks,
  ) {
    this.modes = {
      ...modes,
      shadow: hooks !== undefined,
      ...(cache && { cache: cacheModes(cache, calls !== undefined) }),
      calls: calls !== undefined,
    };
    if (layout.stateSize > MAX_STATE_SIZE) {
      throw new UserError(
        `The trace has a guest state of ${layout.stateSize} bytes, which replay does not support; record it again with this version.`,
      );
    }
    // Where accesses are told of, compiled code leaves more out.
    this.hotAfter = modes.accesses ? HOT_IN_LONG_RUN : HOT_AFTER;
    this.sites = this.siteColumns;
    const isFresh = modes.fresh !== undefined;
    this.memory = new GuestMemory({
      cache: cache !== undefined,
      counts: modes.counts,
      shadow: hooks !== undefined,
      fresh: isFresh,
    });
    if (lines) this.lines = new LineFilter(this.memory, lines);
    else if (modes.fresh) this.fresh = new FreshAccesses(this.memory, modes.fresh);
    if (modes.tally) this.tally = new AccessTally(this.memory);
    if (cache) {
      assert(modes.counts && !isFresh && !hooks, 'caches are simulated with counters only');
      this.cache = new CacheGuest(this.memory, cache, calls !== undefined);
    }
    if (calls) {
      assert(modes.counts && !hooks, 'calls are told of with counters only');
      this.calls = new CallsGuest(this.memory, calls, layout.RSP);
    }
    if (modes.stacks) {
      assert(!hooks, 'stacks are measured without definedness');
      this.stacks = new StackSizes(this.memory, layout.RSP);
    }
    if (hooks) {
      assert(!modes.accesses && !modes.counts, 'shadow memory stands where counters would');
      if (layout.stateSize > MAX_SHADOWED_STATE) {
        throw new UserError(
          `The trace has a guest state of ${layout.stateSize} bytes, whose definedness cannot be followed; record it again with this version.`,
        );
      }
      this.shadow = new ShadowGuest(this.memory, hooks, layout.RSP, (at) => this.threadedSite(at));
    }
    this.functions = new WebAssembly.Table({ element: 'anyfunc', initial: 1024 });
    const implementations: Partial<Record<ImportName, (...args: never[]) => unknown>> = {
      evaluate: (number: number) => this.evaluate(number),
      loadSlowly: (address: bigint, size: number) => {
        const at = BigInt.asUintN(64, address);
        const { memory, shadow } = this;
        this.tally?.add(Number(at), size, false);
        const loaded = memory.read(at, size); // linear memory may grow
        memory.bytes.set(loaded, memory.slowLoad);
        memory.clearSlowTags();
        if (shadow) {
          const isDefined = shadow.planes.firstUndefined(at, BigInt(size)) === undefined;
          memory.fillState(memory.slowLoad, 0, size, isDefined ? DEFINED : UNDEFINED);
        }
        return memory.slowLoad - memory.base;
      },
      storeSlowly: (address: bigint, size: number) => {
        const at = BigInt.asUintN(64, address);
        this.tally?.add(Number(at), size, true);
        this.store(at, size, this.getBits(SCRATCH_RESULT, size));
        this.memory.clearSlowTags();
      },
      tallyWrapped: (counter: number) => this.tally!.wrapped(counter >>> 0),
      takeCalls: () => this.calls!.take(),
      changeStack: (before: bigint, after: bigint) =>
        this.stacks!.change(Number(BigInt.asUintN(64, before)), Number(BigInt.asUintN(64, after))),
      takeMisses: () => this.cache!.takeMisses(),
      beginEpoch: () => this.fresh!.beginEpoch(),
      synchronised: (address: bigint, size: number, how: number) => {
        const at = Number(BigInt.asUintN(64, address));
        if (this.lines) return this.lines.passed(at, size);
        const [stores, serves] = [(how & ACCESS_STORES) !== 0, (how & ACCESS_SERVES) !== 0];
        this.fresh!.synchronised(at, size, stores, serves);
      },
      refill: (size: number) => this.refill(size),
      lookup: (address: bigint, space: number) =>
        this.lookup(BigInt.asUintN(64, address), space as 0 | 1),
      dirty: (number: number, address: bigint) =>
        this.performDirty(number, BigInt.asUintN(64, address)),
      ...this.shadow?.imports,
    };
    this.imports = {
      env: {
        memory: this.memory.wasm,
        table: this.functions,
        ...Object.fromEntries(
          Object.keys(IMPORTS).map((name) => [
            name,
            (implementations[name as ImportName] ??
              (() => assert.fail(`${name} without shadow memory`))) as WebAssembly.ImportValue,
          ]),
        ),
      },
    };
    if (this.cache) this.cache.imports = this.imports;
    const stop = new WebAssembly.Instance(new WebAssembly.Module(compileStop()), this.imports);
    this.functions.set(0, stop.exports['stop']);
    const dispatcher = new WebAssembly.Instance(
      new WebAssembly.Module(compileDispatcher(modes)),
      this.imports,
    );
    this.dispatch = dispatcher.exports['dispatch'] as (slot: number) => number;
    this.imports['env']!['dispatch'] = this.dispatch;
    for (const slot of [BAIL_SLOT, HOT_SLOT])
      assert.equal(SLOTS + SLOT_SIZE * this.addSlot({ ...NOWHERE }), slot);
    this.threaded =
      nativeEngine &&
      modes.fetches === undefined &&
      !(this.cache && (modes.accesses || modes.tally))
        ? this.makeThreaded(nativeEngine, implementations, hooks?.trackedWords ?? 0n)
        : undefined;
    this.memory.view.setUint32(CELL.values, VALUES, true);
    this.memory.view.setUint32(CELL.valuesEnd, VALUES, true);
    this.limitRows();
    const [first, last] = this.modes.addresses ?? [0n, 0n];
    this.memory.view.setBigUint64(CELL.firstAddress, first, true);
    this.memory.view.setBigUint64(CELL.addressRange, last - first, true);
  }

  /** Nothing runs any more; what memory holds can still be read. */
  release(): void {
    if (this.native) this.native.engine.release(this.native.replay);
  }

  /** Makes the way from compiled code into the module that runs threaded code. */
  private makeThreaded(
    engine: NativeEngine,
    implementations: Partial<Record<ImportName, unknown>>,
    trackedWords: bigint,
  ): ThreadedCode | undefined {
    const functions = Object.keys(IMPORTS).map((name) => implementations[name as ImportName]);
    let { bytes } = this.memory;
    const replay = engine.attach(bytes);
    if (!replay) return undefined;
    this.native = { engine, replay };
    this.functionsOfHost = functions;
    const run = (slot: number): number => {
      if (bytes !== this.memory.bytes) {
        bytes = this.memory.bytes;
        assert(engine.isAt(replay, bytes), 'linear memory has moved');
      }
      return engine.run(replay, slot, functions);
    };
    const imports = { env: { ...this.imports['env'], run } };
    const entry = new WebAssembly.Instance(
      new WebAssembly.Module(compileThreadedEntry(this.modes)),
      imports,
    );
    this.functions.set(THREADED_FUNCTION, entry.exports['entry']);
    return new ThreadedCode({
      engine,
      memory: this.memory,
      replay,
      modes: this.modes,
      opNames: this.opNames,
      stateSize: this.layout.stateSize,
      RSP: this.layout.RSP,
      trackedWords,
      sites: this.siteColumns,
      segments: this.segmentColumns,
      cacheSites: this.cache?.sites,
      callSites: this.calls?.sites,
      slotFor: (target, noRedirect) => this.slotAddress(target, noRedirect),
    });
  }

  /** Guest state of the current thread; fetch it again after `run`, which may move it. */
  get state(): Uint8Array {
    return this.memory.bytes.subarray(STATE, STATE + this.layout.stateSize);
  }

  /** Guest instructions passed so far; set it when replay does not begin at 0. */
  get tick(): bigint {
    return this.memory.view.getBigUint64(CELL.tick, true);
  }
  set tick(tick: bigint) {
    this.memory.view.setBigUint64(CELL.tick, tick, true);
  }

  /** The tick as a number, which takes less time. */
  get now(): number {
    const { view } = this.memory;
    return view.getUint32(CELL.tick, true) + view.getUint32(CELL.tick + 4, true) * 0x1_0000_0000;
  }

  /** Code stops at this tick. */
  private get limit(): number {
    const { view } = this.memory;
    return view.getUint32(CELL.limit, true) + view.getUint32(CELL.limit + 4, true) * 0x1_0000_0000;
  }
  private set limit(limit: number) {
    const { view } = this.memory;
    view.setUint32(CELL.limit, limit % 0x1_0000_0000, true);
    view.setUint32(CELL.limit + 4, Math.floor(limit / 0x1_0000_0000), true);
  }

  /** A copy of `size` bytes of guest memory. */
  readMemory(address: bigint, size: number): Uint8Array {
    return this.memory.read(address, size);
  }
  writeMemory(address: bigint, bytes: Uint8Array): void {
    this.memory.write(address, bytes);
  }
  /** Makes `size` bytes read as zero. */
  zeroMemory(address: bigint, size: bigint): void {
    this.memory.zero(address, size);
  }
  /** Copies `size` bytes. */
  copyMemory(from: bigint, to: bigint, size: bigint): void {
    this.memory.copy(from, to, size);
  }
  /** Marks a range as one that others can change: checked blocks take loads from there from the log. */
  setShared(address: bigint, size: bigint): void {
    this.memory.setShared(address, size);
  }

  /** Asked for more of the value log when it runs out; undefined ends it. */
  moreValues: () => Uint8Array | undefined = () => undefined;

  /** Appends to the value log. The bytes must not change afterwards. */
  pushValues(bytes: Uint8Array): void {
    if (bytes.length > 0) this.values.push(bytes);
  }

  /** Bytes of the value log that were pushed and not used yet. */
  get valuesLeft(): number {
    const { view } = this.memory;
    const inWindow = view.getUint32(CELL.valuesEnd, true) - view.getUint32(CELL.values, true);
    return inWindow + this.values.reduce((sum, chunk) => sum + chunk.length, 0) - this.valuesUsed;
  }

  /**
   * Announces blocks that will be defined soon, in that order, so that they can be compiled
   * together. Optional; blocks that are known already are ignored.
   */
  prefetch(definitions: Iterable<BlockDefinition>): void {
    for (const definition of definitions) this.record(definition);
  }

  /** From now on jumps to the block's entry run this block. */
  define(definition: BlockDefinition): void {
    const record = this.record(definition);
    record.definition = definition;
    record.slot = this.slotNumber(definition.entry, definition.noRedirect);
    this.slots[record.slot]!.record = record;
    this.enterSlot(record);
  }

  /**
   * Runs from `pc` until at least `ticks` guest instructions have passed: the block in which the
   * last of them falls is completed.
   * @param quick - applies events on the way: until the next one that it leaves to the host, whatever `ticks` says
   */
  run(pc: bigint, noRedirect: boolean, ticks: number, quick?: QuickEvents): RunResult {
    const start = this.now;
    const limit = start + Math.max(0, Math.floor(ticks));
    // What quick events jump to is found as compiled code finds it.
    let slot = quick ? this.lookup(pc, noRedirect ? 1 : 0) : this.slotAddress(pc, noRedirect);
    for (;;) {
      if (quick) slot = quick.proceed(slot);
      else this.limit = limit;
      if (!quick?.stopped) slot = this.dispatch(slot) >>> 0;
      if (slot === BAIL_SLOT) slot = this.bail();
      else if (slot === HOT_SLOT) {
        slot = this.compileHot();
        continue;
      }
      const target = this.slots[(slot - SLOTS) / SLOT_SIZE]!;
      if (target.exactFrom !== undefined) {
        slot = this.runExact(target, slot);
        continue;
      }
      const { entry, noRedirect: space, record } = target;
      const done = (reason: StopReason): RunResult => ({
        ticks: this.now - start,
        pc: entry,
        noRedirect: space,
        reason,
      });
      if (quick?.stopped) return done(quick.stopped);
      if (this.now >= (quick ? this.limit : limit)) {
        if (quick) continue;
        return done('ticks');
      }
      if (this.rowsFull()) return done('buffer');
      if (!record) return done('missing');
      assert(record.functionIndex === 0, 'compiled code stopped without a reason');
      this.prepare(record);
    }
  }

  /**
   * Like `run`, but stops in the middle of a block: at the first arrival at `faultPc` after `ticks`
   * instructions or more. Nothing of the instruction there, or after it, takes effect; `ticks` of the
   * result does not count the instructions that came after these, as the recorder's tick does not.
   * The caller sets the state that follows.
   * @param before - told the address of each instruction that is interpreted, before it takes effect
   */
  runToFault(
    pc: bigint,
    noRedirect: boolean,
    ticks: number,
    faultPc: bigint,
    before?: (pc: bigint) => void,
  ): RunResult {
    const start = this.tick;
    const target = start + BigInt(ticks);
    let at = { pc, noRedirect };
    const fast = ticks - this.mostInstructions;
    if (fast > 0) {
      const result = this.run(pc, noRedirect, fast);
      if (result.reason !== 'ticks') return result;
      at = result;
    }
    for (;;) {
      const done = (reason: StopReason, where: bigint): RunResult => ({
        ticks: Number(this.tick - start),
        pc: where,
        noRedirect: at.noRedirect,
        reason,
      });
      if (this.rowsFull()) return done('buffer', at.pc);
      const { record } = this.slots[this.slotNumber(at.pc, at.noRedirect)]!;
      // With shadow, what the first instruction of a block was about to access is judged, too.
      if (this.tick === target && at.pc === faultPc && !(this.shadow && record))
        return done('ticks', at.pc);
      if (this.tick > target)
        throw new Divergence(
          `the fault at 0x${faultPc.toString(16)} was not reached`,
          this.tick,
          at.pc,
        );
      if (!record) return done('missing', at.pc);
      const entered = this.tick;
      const outcome = this.interpret(record, (instructions, address) => {
        if (address === faultPc && entered + BigInt(instructions) >= target) return true;
        before?.(address);
        return false;
      });
      if (outcome.stopped) {
        this.tick = target;
        return done('ticks', outcome.next);
      }
      at = { pc: outcome.next, noRedirect: outcome.jumpKind === JUMP_NO_REDIRECT };
    }
  }

  /**
   * Runs one superblock by the interpreter. Slow: for tests and for looking closer.
   * @param before - told the address of each instruction before it takes effect
   */
  step(pc: bigint, noRedirect: boolean, before?: (pc: bigint) => void): RunResult {
    const { record } = this.slots[this.slotNumber(pc, noRedirect)]!;
    if (!record) return { ticks: 0, pc, noRedirect, reason: 'missing' };
    let unit = before && this.stepped.get(record);
    if (before && !unit)
      this.stepped.set(
        record,
        (unit = this.shadow ? this.exactUnit(record, 0) : this.decode(record)),
      );
    const { instructions, next, jumpKind } = this.interpret(
      record,
      before &&
        ((_, address) => {
          before(address);
          return false;
        }),
      unit,
    );
    return {
      ticks: instructions,
      pc: next,
      noRedirect: jumpKind === JUMP_NO_REDIRECT,
      reason: 'ticks',
    };
  }

  /** The access rows written so far. */
  takeAccesses(): Accesses {
    const { view, wasm } = this.memory;
    const count = view.getUint32(CELL.rows, true) / 8;
    return {
      count,
      sites: new Uint32Array(wasm.buffer, ROW_SITES, count),
      ticks: new BigUint64Array(wasm.buffer, ROW_TICKS, count),
      addresses: new BigUint64Array(wasm.buffer, ROW_ADDRESSES, count),
      values: new BigUint64Array(wasm.buffer, ROW_VALUES, count),
      wide: new Uint8Array(wasm.buffer, WIDE, view.getUint32(CELL.wide, true)),
    };
  }

  /** The access rows written so far, as in `AccessRows`. */
  accessRows(): AccessRows {
    const { buffer } = this.memory.wasm;
    if (this.rows?.buffer !== buffer) {
      this.rows = {
        buffer,
        count: 0,
        sites: new Uint32Array(buffer, ROW_SITES, MAX_ROWS),
        ticks: new Uint32Array(buffer, ROW_TICKS, 2 * MAX_ROWS),
        addresses: new Uint32Array(buffer, ROW_ADDRESSES, 2 * MAX_ROWS),
      };
    }
    this.rows.count = this.memory.view.getUint32(CELL.rows, true) / 8;
    return this.rows;
  }
  private rows: (AccessRows & { readonly buffer: ArrayBufferLike; count: number }) | undefined;

  /** Forgets the access rows, making room for more. */
  resetAccesses(): void {
    this.memory.view.setUint32(CELL.rows, 0, true);
    this.memory.view.setUint32(CELL.wide, 0, true);
  }

  /**
   * The segments of the blocks that ran so far, and more; without `counts` none was executed. Executions are valid until the
   * next call.
   */
  segments(): SegmentTable {
    const { count, blocks, addresses, instructions, accesses } = this.segmentColumns;
    this.executions = grown(this.executions, count);
    const executions = this.executions.subarray(0, count);
    if (this.modes.counts) this.addUpWaysOut(executions, blocks);
    return { count, blocks, addresses, instructions, accesses, executions };
  }
  private executions = new BigUint64Array(0);

  /** Each way out of a block is counted at the segment that it ends: that and those before it were executed. */
  private addUpWaysOut(executions: BigUint64Array, blocks: Uint32Array): void {
    const count = executions.length;
    const words = wordsOf(executions);
    const left = new Uint32Array(this.memory.wasm.buffer, COUNTS, 2 * count);
    let [block, low, high] = [-1, 0, 0];
    for (let i = count - 1; i >= 0; i--) {
      if (blocks[i] !== block) low = high = 0;
      block = blocks[i]!;
      low += left[2 * i]!;
      high += left[2 * i + 1]!;
      if (low >= 0x1_0000_0000) {
        low -= 0x1_0000_0000;
        high++;
      }
      words[2 * i] = low;
      words[2 * i + 1] = high;
    }
  }

  /** Counts the executions of segments from here on. */
  forgetExecutions(): void {
    if (this.modes.counts)
      new Uint32Array(this.memory.wasm.buffer, COUNTS, 2 * this.segmentColumns.count).fill(0);
    this.cache?.forgetCounts();
  }

  // ---- Blocks ----

  private record(definition: BlockDefinition): BlockRecord {
    const known = this.records.get(definition.id);
    if (known) return known;
    const record: BlockRecord = {
      definition,
      functionIndex: 0,
      threaded: 0,
      machineCode: 0,
      exactSlots: undefined,
      position: this.announced.length,
      slot: -1,
      numbers: undefined,
    };
    this.records.set(definition.id, record);
    this.announced.push(record);
    this.codes = grown(this.codes, 2 * this.announced.length);
    return record;
  }

  /** Where the slot of a block's entry is, and its place in the order of announcement. */
  placeOf(definition: BlockDefinition): [slot: number, position: number] {
    const { entry, noRedirect } = definition;
    return [this.lookup(entry, noRedirect ? 1 : 0), this.record(definition).position];
  }

  /** What runs a block changes. */
  private enterCode({ position, functionIndex, machineCode }: BlockRecord): void {
    this.codes[2 * position] = functionIndex;
    this.codes[2 * position + 1] = machineCode;
  }

  private sitesOf(block: Block, address: bigint): readonly AccessSite[] {
    const accesses = accessSites(block, address);
    const { fetches } = this.modes;
    return fetches === undefined ? accesses : [...accesses, ...fetchSites(block, fetches)];
  }

  /** Decodes a block; the first time, enters what it consists of in the tables. */
  private decode(record: BlockRecord): CompileUnit {
    const { id, address, ir } = record.definition;
    const block = decodeBlock(ir, address, this.opNames, this.layout.stateSize);
    if (this.shadow && block.temps.length > MAX_TEMPS) {
      throw new UserError(
        'The trace is damaged: a block of code has too many values; record the program again.',
      );
    }
    const sites = this.modes.accesses ? this.sitesOf(block, address) : NO_SITES;
    const ownCalls = this.calls
      ? callSites(block, address, this.layout.RSP, this.calls.hooks.isFunction(address))
      : [];
    record.numbers ??= {
      ...this.enter(id, address, block, sites),
      firstCallSite: this.calls?.sites.add(ownCalls) ?? 0,
    };
    const { firstSite, firstSegment, firstDirty, firstCacheSite, firstCallSite } = record.numbers;
    const dirties = block.statements.filter((statement) => statement.tag === 'Dirty');
    return {
      block,
      sites,
      firstSite,
      firstSegment,
      firstCacheSite,
      callSites: ownCalls,
      firstCallSite,
      stackPointer: STATE + this.layout.RSP,
      dirtyNumbers: new Map(dirties.map((statement, i) => [statement, firstDirty + i])),
      slotFor: (target, noRedirect) => this.slotAddress(target, noRedirect),
      ...(this.shadow && { shadow: this.cleanUnit(record, block, this.shadow) }),
    };
  }

  private cleanUnit(record: BlockRecord, block: Block, shadow: ShadowGuest): ShadowUnit {
    const touched = this.touchedBy(record, block, shadow);
    return {
      exact: false,
      instructions: 0,
      pc: record.definition.address,
      nextPc: 0n,
      spilled: spilledOf(block),
      touchedLow: BigInt.asUintN(64, touched),
      touchedHigh: touched >> 64n,
      exactSlot: (from) => this.exactSlot(record, from),
      site: (site) => shadow.site(site),
    };
  }

  /** Bits for the registers that a block touches, as in `CELL.undefinedLow`. */
  private touchedBy(record: BlockRecord, block: Block, shadow: ShadowGuest): bigint {
    if (record.threaded !== 0) return this.threaded!.touchedBy(record.threaded);
    let touched = 0n;
    for (const [offset, size] of shadow.hooks.touchedRegisters(block))
      for (let word = offset >> 3; word <= (offset + size - 1) >> 3; word++)
        touched |= 1n << BigInt(word);
    return touched;
  }

  /** The exact version of a block from a statement on, as an analysis rewrites it. */
  private exactUnit(record: BlockRecord, from: number): CompileUnit {
    const unit = this.decode(record);
    const clean = unit.shadow!;
    const assigned = new Set(unit.block.statements.slice(0, from).flatMap(assignedBy));
    return {
      ...unit,
      block: this.shadow!.hooks.instrument(unit.block, from),
      shadow: {
        ...clean,
        exact: true,
        ...instructionAt(unit.block, from),
        spilled: clean.spilled.filter((temp) => assigned.has(temp)),
      },
    };
  }

  /** The slot of the exact version of a block from a statement on. */
  private exactSlot(record: BlockRecord, from: number): number {
    record.exactSlots ??= new Map();
    let slot = record.exactSlots.get(from);
    if (slot === undefined) {
      const { entry, noRedirect } = record.definition;
      slot = SLOTS + SLOT_SIZE * this.addSlot({ entry, noRedirect, record, exactFrom: from });
      record.exactSlots.set(from, slot);
    }
    return slot;
  }

  /** Where threaded code was left: the instruction, its block and the statement that it belongs to. */
  private leftBlock(): { address: number; record: BlockRecord; statement: number } {
    const address = this.memory.view.getUint32(CELL.left, true);
    const { number, statement } = this.threaded!.find(address);
    return { address, record: this.threadedBlocks[number]!, statement };
  }

  /** Threaded code came upon something undefined: its slot from now on. */
  private bail(): number {
    const { address, record, statement } = this.leftBlock();
    const slot = this.exactSlot(record, statement);
    this.threaded!.setBailSlot(address, slot);
    return slot;
  }

  /** The site of a load or store in threaded code, by where the instruction stands. */
  private threadedSite(address: number): ShadowSite {
    const { number, statement } = this.threaded!.find(address);
    const { block } = this.decode(this.threadedBlocks[number]!);
    const { instructions, pc = 0n } = instructionAt(block, statement);
    return { pc, instruction: Math.max(instructions - 1, 0), use: 'value', sizeBytes: 0 };
  }

  /** Runs the exact version of a block, or compiles it; returns the slot to go on with. */
  private runExact(target: Slot, slot: number): number {
    target.exact ??= { unit: this.exactUnit(target.record!, target.exactFrom!), runs: 0 };
    const { unit } = target.exact;
    if (++target.exact.runs > EXACT_HOT_AFTER) {
      const [functionIndex] = this.instantiate([() => unit]);
      this.memory.view.setUint32(slot, functionIndex!, true);
      delete target.exact;
      return slot;
    }
    const { spilled, instructions, pc, nextPc } = unit.shadow!;
    const temps = new Map(
      spilled.map((temp) => [temp, this.spilledTemp(temp, unit.block.temps[temp] as Type)]),
    );
    this.interpreting = { firstSite: unit.firstSite, tick: this.tick };
    const outcome = interpretBlock(this, unit.block, undefined, {
      guest: this.shadow!,
      RSP: this.layout.RSP,
      start: { temps, instructions, pc, nextPc },
    });
    this.tick += BigInt(outcome.instructions);
    return this.slotAddress(outcome.next, outcome.jumpKind === JUMP_NO_REDIRECT);
  }

  /** A temporary as the clean version left it. */
  private spilledTemp(temp: number, type: Type): bigint {
    const at = TEMPS + TEMP_SIZE * temp;
    if (type === TYPE.I1) return BigInt(this.memory.bytes[at]! & 1);
    const size = TYPE_SIZES[type];
    if (type !== TYPE.I128) return this.getBits(at, size);
    return this.getBits(at, 8) | (this.getBits(at + 16, 8) << 64n);
  }

  private enter(
    id: number,
    address: bigint,
    block: Block,
    sites: readonly AccessSite[],
  ): Omit<BlockNumbers, 'firstCallSite'> {
    const firstSegment = this.modes.counts
      ? this.segmentColumns.add(id, segmentsOf(block, address), unguarded(block, sites))
      : 0;
    const firstSite = this.modes.accesses ? this.siteColumns.add(id, sites) : 0;
    const firstCacheSite = this.cache ? this.cache.sites.add(cacheSites(block), firstSegment) : 0;
    const firstDirty = this.dirties.length;
    block.statements.forEach((statement, index) => {
      if (statement.tag !== 'Dirty') return;
      const own = sites.findIndex((site) => site.statement === index);
      this.dirties.push({
        statement,
        resultType: (statement.result >= 0 ? block.temps[statement.result]! : TYPE.none) as Type,
        site: firstSite + Math.max(own, 0),
        instruction: own < 0 ? 0 : sites[own]!.instruction,
      });
    });
    let instructions = 0;
    let firstInstructions = -1;
    for (const statement of block.statements) {
      if (statement.tag === 'IMark') instructions++;
      else if (endsSegment(statement) && firstInstructions < 0) firstInstructions = instructions;
    }
    if (firstInstructions < 0) firstInstructions = instructions;
    const wideBytes = sites.reduce((sum, { size }) => sum + (size > 8 ? size : 0), 0);
    this.checkBlock({ instructions, firstInstructions, rows: sites.length, wideBytes });
    return { firstSite, firstSegment, firstDirty, firstCacheSite };
  }

  /** Refuses a block that could not run to its end, and takes note of the largest. */
  private checkBlock({
    instructions,
    firstInstructions,
    rows,
    wideBytes,
  }: Pick<Translation, 'instructions' | 'firstInstructions' | 'rows' | 'wideBytes'>): void {
    this.cache?.checkSites();
    if (this.segmentColumns.count > MAX_SEGMENTS) {
      throw new UserError(
        'The program has more code than replay can count; ask for a smaller part of it.',
      );
    }
    if (firstInstructions === 0) {
      // a loop of such blocks would never end, as no tick passes
      throw new UserError(
        'The trace is damaged: a block of code has no instruction; record the program again.',
      );
    }
    if (rows > MAX_ROWS / 4 || wideBytes > WIDE_SIZE / 4) {
      throw new UserError(
        'The trace is damaged: a block of code has too many accesses; record the program again.',
      );
    }
    this.mostInstructions = Math.max(this.mostInstructions, instructions);
    this.mostRows = Math.max(this.mostRows, rows);
    this.mostWide = Math.max(this.mostWide, wideBytes);
    this.limitRows();
  }

  /** Makes a block ready to run, together with others that are waiting. */
  private prepare(wanted: BlockRecord): void {
    const batch = [wanted];
    // Those announced after it first ran after it: they are likely to be wanted next.
    for (let i = wanted.position + 1; i < this.announced.length; i++) {
      if (batch.length >= this.blocksPerModule) break;
      if (this.announced[i]!.functionIndex === 0) batch.push(this.announced[i]!);
    }
    const left = batch.filter((record) => this.hotAfter === 0 || !this.thread(record));
    if (left.length > 0) this.compile(left);
    for (const record of batch) this.enterSlot(record);
  }

  /** Makes the threaded code of a block; false when it has to be compiled. */
  private thread(record: BlockRecord): boolean {
    const { id, address, ir } = record.definition;
    const isFunction = this.threaded !== undefined && !!this.calls?.hooks.isFunction(address);
    const known = record.numbers;
    const translation = this.threaded?.translate(
      { id, address, ir, isFunction, known },
      this.hotAfter,
    );
    if (!translation) return false;
    this.checkBlock(translation);
    const { number, start, machineCode } = translation;
    const { firstSite, firstSegment, firstCacheSite, firstCallSite } = translation;
    record.numbers ??= { firstSite, firstSegment, firstDirty: 0, firstCacheSite, firstCallSite };
    record.threaded = start;
    record.machineCode = machineCode;
    record.functionIndex = THREADED_FUNCTION;
    this.enterCode(record);
    this.threadedBlocks[number] = record;
    return true;
  }

  /**
   * Compiles the block that has run often, and others that are on the way there: modules cost, too.
   * Returns its slot.
   */
  private compileHot(): number {
    const wanted = this.leftBlock().record;
    const hotAfter = Math.min(this.hotAfter, HOT_IN_LONG_RUN);
    const fewer = this.hotAfter - hotAfter;
    const numbers = this.threaded!.warm(fewer + hotAfter * WARM, MOST_AT_ONCE);
    const warm = Array.from(numbers, (number) => this.threadedBlocks[number]!).filter(
      (record) => record !== wanted,
    );
    this.compile([wanted, ...warm]);
    if (fewer > 0) this.threaded!.hurry(fewer);
    this.hotAfter = hotAfter;
    return this.slotAddress(wanted.definition.entry, wanted.definition.noRedirect);
  }

  private compile(batch: readonly BlockRecord[]): void {
    const slots = batch.map(({ definition }) =>
      this.slotAddress(definition.entry, definition.noRedirect),
    );
    const units = batch.map((record) => () => this.decode(record));
    const indices = this.instantiate(units, slots);
    batch.forEach((record, i) => {
      record.functionIndex = indices[i]!;
      if (record.threaded !== 0) this.threaded!.retire(this.threaded!.find(record.threaded).number);
      record.threaded = 0;
      this.enterCode(record);
      this.enterSlot(record);
    });
  }

  /** Writes the cells of a block's slot, if it is the one that runs there. */
  private enterSlot(record: BlockRecord): void {
    if (record.slot < 0 || this.slots[record.slot]!.record !== record) return;
    const address = SLOTS + SLOT_SIZE * record.slot;
    this.memory.view.setUint32(address, record.functionIndex, true);
    this.memory.view.setUint32(address + 4, record.machineCode, true);
  }

  /**
   * Compiles blocks into a module and returns the numbers of their functions in the table.
   * @param slots - where these blocks run
   */
  private instantiate(
    units: readonly (() => CompileUnit)[],
    slots: readonly number[] = [],
  ): number[] {
    const numbers = units.map(() => this.nextFunction++);
    const places = slots.map((slot, position) => {
      return [slot, { number: numbers[position]!, position }] as const;
    });
    this.enterFunctions(compileBlocks(units, this.modes, new Map(places)), numbers);
    return numbers;
  }

  /** Enters the functions that a module exports as "0", "1", … in the table under these numbers. */
  private enterFunctions(binary: Uint8Array<ArrayBuffer>, numbers: readonly number[]): void {
    let compiled: WebAssembly.Module;
    try {
      compiled = new WebAssembly.Module(binary);
    } catch (error) {
      // decodeBlock and the compiler check types, but the engine has the last word
      throw new UserError(
        `The trace is damaged: its code does not make sense (${(error as Error).message}); record the program again.`,
      );
    }
    const { exports } = new WebAssembly.Instance(compiled, this.imports);
    if (this.nextFunction > this.functions.length)
      this.functions.grow(
        Math.max(this.functions.length, this.nextFunction - this.functions.length),
      );
    numbers.forEach((number, i) => this.functions.set(number, exports[i]));
  }

  private slotNumber(entry: bigint, noRedirect: boolean): number {
    const numbers = this.slotNumbers[noRedirect ? 1 : 0];
    const key = entry <= Number.MAX_SAFE_INTEGER ? Number(entry) : entry;
    let number = numbers.get(key);
    if (number === undefined) {
      number = this.addSlot({ entry, noRedirect, record: undefined });
      numbers.set(key, number);
    }
    return number;
  }

  private addSlot(slot: Slot): number {
    if (this.slots.length >= MAX_SLOTS) {
      throw new UserError(
        'The program has more code than replay can hold; record a smaller part of it.',
      );
    }
    return this.slots.push(slot) - 1;
  }

  private slotAddress(entry: bigint, noRedirect: boolean): number {
    return SLOTS + SLOT_SIZE * this.slotNumber(entry, noRedirect);
  }

  private lookup(address: bigint, space: 0 | 1): number {
    const slot = this.slotAddress(address, space === 1);
    const low = Number(BigInt.asUintN(32, address));
    const number = (low ^ (low >>> JUMP_CACHE_BITS)) & (JUMP_CACHE_ENTRIES - 1);
    const entry = JUMP_CACHE + 16 * (space * JUMP_CACHE_ENTRIES + number);
    this.memory.view.setBigUint64(entry, address, true);
    this.memory.view.setUint32(entry + 8, slot, true);
    return slot;
  }

  // ---- Value log ----

  /** Makes at least `size` bytes of the log available in linear memory. */
  private refill(size: number): void {
    const { view, bytes } = this.memory;
    const from = view.getUint32(CELL.values, true);
    const left = view.getUint32(CELL.valuesEnd, true) - from;
    bytes.copyWithin(VALUES, from, from + left);
    let end = VALUES + left;
    while (end < VALUES + VALUES_SIZE) {
      const more = this.values.length === 0 ? this.moreValues() : undefined;
      if (more) this.pushValues(more);
      if (this.values.length === 0) break;
      const chunk = this.values[0]!;
      const part = chunk.subarray(this.valuesUsed, this.valuesUsed + VALUES + VALUES_SIZE - end);
      bytes.set(part, end);
      end += part.length;
      this.valuesUsed += part.length;
      if (this.valuesUsed === chunk.length) {
        this.values.shift();
        this.valuesUsed = 0;
      }
    }
    view.setUint32(CELL.values, VALUES, true);
    view.setUint32(CELL.valuesEnd, end, true);
    if (end - VALUES < size) {
      throw new Divergence(
        'the program needs more logged values than were recorded',
        this.tick,
        view.getBigUint64(STATE + this.layout.RIP, true),
      );
    }
  }

  takeValue(size: number): bigint {
    const { view } = this.memory;
    if (view.getUint32(CELL.values, true) + size > view.getUint32(CELL.valuesEnd, true))
      this.refill(size);
    const at = view.getUint32(CELL.values, true);
    view.setUint32(CELL.values, at + size, true);
    return this.getBits(at, size);
  }

  // ---- What the interpreter and the slow paths of compiled code use ----

  private getBits(at: number, size: number): bigint {
    if (size === 8) return this.memory.view.getBigUint64(at, true);
    return bitsOf(this.memory.bytes.subarray(at, at + size));
  }

  private putBits(at: number, size: number, bits: bigint): void {
    if (size === 8) this.memory.view.setBigUint64(at, bits, true);
    else this.memory.bytes.set(bytesOf(bits, size), at);
  }

  readState(offset: number, size: number): bigint {
    return this.getBits(STATE + offset, size);
  }
  writeState(offset: number, size: number, bits: bigint): void {
    if (this.stacks && offset === this.layout.RSP)
      this.stacks.move(Number(this.readState(offset, 8)), Number(bits), this.tick);
    this.putBits(STATE + offset, size, bits);
  }
  load(address: bigint, size: number): bigint {
    return bitsOf(this.memory.read(address, size));
  }
  store(address: bigint, size: number, bits: bigint): void {
    this.memory.write(address, bytesOf(bits, size));
  }
  isShared(address: bigint): boolean {
    return this.memory.isShared(address);
  }

  access(
    site: number,
    instruction: number,
    address: bigint,
    size: number,
    bits: bigint,
    isStore: boolean,
  ): void {
    this.tally?.add(Number(address), size, isStore);
    this.lines?.passed(Number(address), size);
    const { accesses, addresses, cache } = this.modes;
    const cacheSite = this.interpreting.cacheSites?.[site];
    if (cache && cacheSite !== undefined)
      this.cache!.refer().accessData(address, Math.min(size, cache.mostBytes), cacheSite);
    if (!accesses) return;
    if (addresses && (address < addresses[0] || address > addresses[1])) return;
    this.writeRow(site, instruction, address, bits);
    if (size > 8) {
      const { view, bytes } = this.memory;
      const wide = view.getUint32(CELL.wide, true);
      bytes.set(bytesOf(bits, size), WIDE + wide);
      view.setUint32(CELL.wide, wide + size, true);
    }
  }

  private writeRow(site: number, instruction: number, address: bigint, bits: bigint): void {
    const { view } = this.memory;
    const row = view.getUint32(CELL.rows, true) / 8;
    view.setUint32(ROW_SITES + 4 * row, this.interpreting.firstSite + site, true);
    view.setBigUint64(ROW_TICKS + 8 * row, this.interpreting.tick + BigInt(instruction), true);
    view.setBigUint64(ROW_ADDRESSES + 8 * row, address, true);
    view.setBigUint64(ROW_VALUES + 8 * row, BigInt.asUintN(64, bits), true);
    view.setUint32(CELL.rows, 8 * (row + 1), true);
  }

  private interpret(
    record: BlockRecord,
    stopBefore?: (instructions: number, pc: bigint) => boolean,
    unit = this.shadow ? this.exactUnit(record, 0) : this.decode(record),
  ): ReturnType<typeof interpretBlock> {
    const { block, firstSite, firstSegment } = unit;
    this.interpreting = { firstSite, tick: this.tick };
    this.noteCall(unit, false);
    let stop = this.cache ? this.fetching(unit, record, stopBefore) : stopBefore;
    if (this.modes.fetches !== undefined) stop = this.tellingFetches(unit, stop);
    const outcome = interpretBlock(this, block, stop, this.shadow && this.shadowMachine());
    this.tick += BigInt(outcome.instructions);
    // the last segment was completed: it was not left by a side exit
    if (this.calls && outcome.segments > block.statements.filter(endsSegment).length)
      this.noteCall(unit, true);
    if (this.modes.counts && outcome.segments > 0) {
      const at = COUNTS + 8 * (firstSegment + outcome.segments - 1);
      this.memory.view.setBigUint64(at, this.memory.view.getBigUint64(at, true) + 1n, true);
    }
    return outcome;
  }

  /** Tells of the call site at the beginning or the end of a block that is interpreted. */
  private noteCall({ callSites: sites, firstCallSite }: CompileUnit, atEnd: boolean): void {
    const own = sites.findIndex((site) => isAtEnd(site) === atEnd);
    if (own >= 0) this.calls!.note(firstCallSite + own, this.tick);
  }

  /** Simulates what a block that is interpreted refers to; returns what is to be asked before each instruction. */
  private fetching(
    { block, firstSite, firstCacheSite }: CompileUnit,
    record: BlockRecord,
    stopBefore?: (instructions: number, pc: bigint) => boolean,
  ): (instructions: number, pc: bigint) => boolean {
    const sites = cacheSites(block);
    const byStatement = new Map<number, number>();
    sites.forEach(({ statement, kind }, i) => {
      if (kind === 'read' || kind === 'write') byStatement.set(statement, firstCacheSite + i);
    });
    const accesses = accessSites(block, record.definition.address).map(({ statement }) => {
      const site = byStatement.get(statement);
      byStatement.delete(statement); // what else it accesses is no reference of its own
      return site;
    });
    this.interpreting = { firstSite, tick: this.tick, cacheSites: accesses };
    const fetches = sites.flatMap((site, i) => (site.kind === 'fetch' ? [i] : []));
    return (instructions, pc) => {
      if (stopBefore?.(instructions, pc)) return true;
      const number = fetches[instructions]!;
      const mark = block.statements[sites[number]!.statement]!;
      const size = mark.tag === 'IMark' ? Math.max(mark.length, 1) : 1;
      this.cache!.refer().fetchCode(sites[number]!.pc, size, firstCacheSite + number);
      return false;
    };
  }

  /** Writes rows of the fetches of a block that is interpreted; returns what is to be asked before each instruction. */
  private tellingFetches(
    { sites }: CompileUnit,
    stopBefore?: (instructions: number, pc: bigint) => boolean,
  ): (instructions: number, pc: bigint) => boolean {
    const byInstruction = new Map<number, number>();
    sites.forEach(({ kind, instruction }, site) => {
      if (kind === 'fetch') byInstruction.set(instruction, site);
    });
    return (instructions, pc) => {
      if (stopBefore?.(instructions, pc)) return true;
      const site = byInstruction.get(instructions);
      if (site !== undefined) this.writeRow(site, instructions, pc, 0n);
      return false;
    };
  }

  private shadowMachine(): ShadowMachine {
    return { guest: this.shadow!, RSP: this.layout.RSP };
  }

  private evaluate(number: number): void {
    const name = NAMES_BY_NUMBER[number]!;
    const operation = OPERATIONS.get(name);
    if (operation) {
      const args = operation.args.map((type, i) => this.scratchArgument(i, TYPE_SIZES[type]));
      this.putBits(SCRATCH_RESULT, TYPE_SIZES[operation.result], operation.evaluate(...args));
      return;
    }
    const helper = EVALUATED_HELPER_TABLE.get(name)!;
    const args = Array.from({ length: helper.arity }, (_, i) => this.scratchArgument(i, 8));
    this.putBits(SCRATCH_RESULT, 8, helper.evaluate(...args));
  }

  private scratchArgument(index: number, size: number): bigint {
    return this.getBits(SCRATCH + index * SCRATCH_STRIDE, size);
  }

  private performDirty(number: number, address: bigint): void {
    const { statement, resultType, site, instruction } = this.dirties[number]!;
    this.interpreting = { firstSite: 0, tick: this.tick };
    const result = applyDirty(this, statement, resultType, address, site, instruction);
    if (statement.result >= 0) this.putBits(SCRATCH_RESULT, TYPE_SIZES[resultType], result);
  }

  // ---- Output rows ----

  private limitRows(): void {
    this.memory.view.setUint32(CELL.rowsLimit, 8 * (MAX_ROWS - this.mostRows), true);
    this.memory.view.setUint32(CELL.wideLimit, WIDE_SIZE - this.mostWide, true);
  }

  private rowsFull(): boolean {
    const { view } = this.memory;
    return (
      view.getUint32(CELL.rows, true) > view.getUint32(CELL.rowsLimit, true) ||
      view.getUint32(CELL.wide, true) > view.getUint32(CELL.wideLimit, true)
    );
  }
}
