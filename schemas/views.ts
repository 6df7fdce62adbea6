/**
 * What SQL offers, declared once: each table, view and macro with its sentence and its columns.
 * A stored table appears as it is stored (tables.ts); a computed table is filled by a scan in replay/;
 * a view or a macro is SQL over those. `grind query --tables` and docs/tables.md print this.
 */
import { ADDED_COLUMNS } from './stored.js';
import {
  binary,
  bool,
  enumOf,
  i32,
  i64,
  string,
  table,
  u16,
  u32,
  u64,
  u8,
  type Table,
} from './schema.js';
import { OBJECT_KINDS } from './descriptor-calls.js';
import { REQUEST_NAMES } from './requests.js';
import { COMMANDS_IN_MEMORY, HYPERCALL_NAMES, HYPERCALL_OPERATIONS } from './hypercalls.js';
import { IOCTL_DIRECTIONS } from './ioctls.js';
import { ERRNO_NAMES, SYSCALL_NAMES, syscallNumber } from './syscalls.js';
import * as stored from './tables.js';

const { process, event } = ADDED_COLUMNS;
const { tick, thread, stack } = stored.syscall_enters.columns;
const functionName = string('Function, demangled; empty when unknown.');
const file = string('Source file name; empty when unknown.');
const line = u32('Line in the source file; 0 when unknown.');
const modulePath = string('Path of the object file; NULL when none holds the code.');

/** Stored as numbers of texts. */
export const instructions = table(
  'instructions',
  'One row per address of code that was translated or stands in a call stack.',
  {
    ...stored.instructions.columns,
    function: functionName,
    file,
    directory: string('Folder of the source file; empty when unknown.'),
    inlined: string(
      'Chain of inlined functions, innermost first, as `function|file|line` separated by newlines; empty when nothing is inlined here.',
    ),
  },
);

/**
 * Stored tables that SQL shows under their own names and, `instructions` apart, with their own columns.
 * A forked process has the rows of `modules`, `instructions`, `blocks` and `stacks` that its parent had
 * at the fork, with event and tick 0.
 */
export const SHOWN_TABLES: readonly Table[] = [
  stored.processes,
  stored.process_ends,
  stored.modules,
  instructions,
  stored.registers,
  stored.memory,
  stored.syscall_memory,
  stored.syscall_contents,
  stored.heap,
  stored.mappings,
  stored.signals,
  stored.thread_events,
  stored.slices,
  stored.sync,
  stored.descriptor_events,
  stored.faults,
];

/** Stored tables that only views read. */
export const HIDDEN_TABLES: readonly Table[] = [
  stored.syscall_enters,
  stored.syscall_exits,
  stored.client_requests,
  stored.blocks,
  stored.health,
];

// ---------------------------------------------------------------- computed tables

export const run = table(
  'run',
  'What is known of the run as a whole: one row per entry of its manifest.',
  {
    key: string(
      'Name of the entry; entries within entries have dotted names, such as `git.commit`.',
    ),
    value: string('Its value as text.'),
  },
);

export const accesses = table(
  'accesses',
  'Every load and store of guest memory, in order, computed by replay while the table is read.',
  {
    process,
    tick: u64('Tick of the instruction that made the access.'),
    thread,
    pc: u64('Address of the instruction.'),
    kind: enumOf(['load', 'store'], 'Whether it read or wrote.'),
    atomic: bool('Part of a compare-and-swap or another locked operation.'),
    addr: u64('Address of the first byte.'),
    size: u16('Width in bytes.'),
    value: u64('The lowest 8 bytes loaded or stored, zero-extended.'),
    bytes: binary('All bytes of an access wider than 8; NULL for others.'),
  },
);

export const sites = table(
  'sites',
  'One row per place in the code that accesses memory, once for each superblock that holds it.',
  {
    process,
    site: u32(
      'Number of the site within the process, counted over the superblocks in order of translation.',
    ),
    block: u32('Number of the superblock.'),
    segment: u32('Number of the segment within the process.'),
    pc: u64('Address of the instruction.'),
    kind: accesses.columns.kind,
    atomic: accesses.columns.atomic,
    guarded: bool('The access only happens when a condition holds.'),
    size: accesses.columns.size,
  },
);

export const segments = table(
  'segments',
  'One row per straight-line part of a superblock, which ends at a side exit or at the end.',
  {
    process,
    segment: u32(
      'Number of the segment within the process, counted over the superblocks in order of translation.',
    ),
    block: u32('Number of the superblock.'),
    address: u64('Address of its first instruction.'),
    last: u64('Address of its last instruction.'),
    instructions: u32('Guest instructions in one execution.'),
    executions: u64('How often it ran, computed by replay.'),
  },
);

export const segment_instructions = table(
  'segment_instructions',
  'One row per instruction of each segment.',
  {
    process,
    segment: u32('Number of the segment within the process.'),
    pc: u64('Address of the instruction.'),
  },
);

export const ir = table(
  'ir',
  'The VEX IR of the translated superblocks as text: one row per line.',
  {
    process,
    block: u32('Number of the superblock.'),
    line: u32('Number of the line within the superblock, from 1.'),
    pc: u64('Address of the guest instruction it belongs to.'),
    text: string('The statement, in the manner of VEX.'),
  },
);

export const stacks = table('stacks', 'Call stacks: one row per address of a stack.', {
  process,
  stack: u32(
    'Number of the stack within the process; what column `stack` of other tables refers to.',
  ),
  depth: u32('Place in the stack: 0 is innermost.'),
  pc: u64('Address of the instruction; that of a caller points into its call instruction.'),
});

export const ioctl_names = table(
  'ioctl_names',
  "Names of ioctl requests: those that grind knows, and those of the user's own file `ioctls` beside the runs.",
  {
    request: u32('The whole number of the request.'),
    name: string(
      "Name as in the kernel's headers; several, with | between, that share the number.",
    ),
    family: string('The kind of object that takes it, such as kvm-vm; empty when not known.'),
  },
);

/** Kept in the run folder by `grind analyze`; an analysis that runs again replaces its rows. */
export const findings = table(
  'findings',
  'What analyses found, suppressed findings too: one row per defect and place, of the last run of each analysis (`grind analyze`).',
  {
    process,
    analysis: string('Name of the analysis.'),
    finding: u32('Number of the finding within the analysis, from 1.'),
    kind: string('Kind of defect, such as InvalidRead.'),
    what: string('What happened, in a sentence.'),
    count: u64('How often it happened; for a leak, the number of blocks.'),
    tick: u64('Tick of the first occurrence.'),
    thread,
    pc: u64('Address of the instruction; 0 when there is no call stack.'),
    function: functionName,
    file,
    line,
    notes: string('Further sentences, separated by newlines.'),
    parameter: string(
      'The parameter of a system call, such as `write(buf)`; empty for other kinds.',
    ),
    leak_bytes: u64('For a leak: bytes lost directly; otherwise 0.'),
    leak_indirect_bytes: u64('For a leak: bytes lost because of these; otherwise 0.'),
    shown: bool('The report shows it.'),
    error: bool('It counts as an error, unless suppressed.'),
    suppressed_by: string('Name of the suppression that hides it; empty when none does.'),
  },
);

export const finding_frames = table(
  'finding_frames',
  'Call stacks of the findings with their functions: one row per function of a stack, inlined functions included.',
  {
    process,
    analysis: findings.columns.analysis,
    finding: findings.columns.finding,
    stack: u32('Number of the stack within the finding: 0 is where it happened.'),
    role: string('What the stack shows; empty for where it happened.'),
    depth: u32('Place in the stack: 0 is innermost; inlined functions count.'),
    pc: stacks.columns.pc,
    ...{ function: functionName, file, line },
    module: string('Path of the object file; empty when none holds the code.'),
    inlined: bool('The function is inlined into the next one.'),
  },
);

/** Kept in the run folder as findings are. */
export const lock_uses = table(
  'lock_uses',
  'How each lock was used, as the last run of an analysis of locks counted it; read through lock_contention.',
  {
    process,
    analysis: findings.columns.analysis,
    lock: u32(
      'Number of the lock within the process, in order of appearance; an address may have several locks one after another.',
    ),
    address: u64('Address of the lock.'),
    kind: enumOf(
      ['mutex', 'recursive mutex', 'rwlock', 'spin lock'],
      'What it is; a mutex that no call initialised may be recursive.',
    ),
    tick: u64('Tick at which it was initialised or first taken.'),
    thread: u32('Thread that initialised it or took it first.'),
    stack: u32('Call stack at that moment, a key of `stacks`; 0 when there is none.'),
    acquisitions: u64('How often it was taken; a recursive lock only from outside.'),
    contended: u64('Acquisitions that another thread was in the way of.'),
    failed: u64('Attempts that gave up.'),
    waited_ticks: u64('Guest instructions of the process that passed in contended acquisitions.'),
    held_ticks: u64(
      'Guest instructions of the process that passed while it was held, for each holder.',
    ),
    longest_ticks: u64('The longest of these.'),
    threads: u32('Threads that took it.'),
  },
);

/** Kept in the run folder as findings are. */
export const sync_variables = table(
  'sync_variables',
  'Memory through which threads order their accesses without announcing it, as the last run of an analysis of races learned it: loads of it acquire, stores release. Only what several threads used.',
  {
    process,
    analysis: findings.columns.analysis,
    address: u64('Address of the variable.'),
    size: u32('Its size in bytes.'),
    evidence: string(
      'By what it is known, separated by commas: atomic instruction, C++ atomic, futex, thread end, spin loop, OpenMP (its library accesses it without any other order), _Atomic (its type, by debug information).',
    ),
    tick: u64('Tick of the first operation by which it is known.'),
    operations: u64('Loads and stores while several threads lived.'),
  },
);

/** Kept in the run folder as findings are. */
export const descriptors = table(
  'descriptors',
  'Every descriptor from when the process got its number until it was closed, as the last `grind analyze capcheck` followed them; the same number is another row afterwards.',
  {
    process,
    analysis: findings.columns.analysis,
    generation: u32('Number of the row within the process, in order of appearance.'),
    descriptor: i32('The number that the program uses.'),
    description: u32(
      'Number of the open file description: descriptors that were duplicated have the same.',
    ),
    kind: enumOf(OBJECT_KINDS, 'What sort of object it is of.'),
    name: string('Path or other name, as /proc/self/fd has it; empty when not known.'),
    flags: u32(
      'How it was opened, as F_GETFL of fcntl(2) says at the end of its row; 0 when not known.',
    ),
    origin: enumOf(
      ['opened', 'duplicated', 'received', 'inherited', 'forked'],
      'How the process got it; `inherited`: open when the program began, `forked`: opened by the process that this one was forked from.',
    ),
    opened_tick: u64('Tick at which it appeared; 0 when that was before this process.'),
    opened_thread: u32('Thread that opened it; 0 when not known.'),
    opened_stack: u32('Call stack at that moment, a key of `stacks`; 0 when there is none.'),
    closed_tick: u64('Tick at which it ended; 0 when it did not.'),
    closed_thread: u32('Thread that closed it; 0 when none did.'),
    closed_stack: u32('Call stack at that moment, a key of `stacks`; 0 when there is none.'),
    end: enumOf(
      ['open', 'closed', 'replaced', 'closed_on_exec', 'passed_on', 'unknown'],
      'How it ended; `replaced` by dup2 or dup3, `passed_on` to the program that an exec began.',
    ),
    uses: u64('System calls that used it and did not fail, that which closed it included.'),
  },
);

/** Kept in the run folder as findings are. */
export const mapping_lives = table(
  'mapping_lives',
  'Every mapping of memory from when it was made until its last part was unmapped, as the last `grind analyze capcheck` followed them.',
  {
    process,
    analysis: findings.columns.analysis,
    mapping: u32('Number of the mapping within the process, in order of appearance.'),
    address: u64('First byte, when it was made.'),
    size: u64('Size in bytes, then.'),
    left: u64('Bytes that are there at the end.'),
    protection: u8('Bits, when it was made: 1 read, 2 write, 4 execute.'),
    shared: bool('Others can change it.'),
    file: string('Path of the mapped file; empty for anonymous memory.'),
    origin: enumOf(
      ['startup', 'mmap', 'shmat', 'brk', 'forked'],
      'How the process got it; `startup`: there when the program began, `forked`: made by the process that this one was forked from.',
    ),
    mapped_tick: u64('Tick at which it was made; 0 when that was before this process.'),
    mapped_thread: u32('Thread that made it; 0 when not known.'),
    mapped_stack: u32('Call stack at that moment, a key of `stacks`; 0 when there is none.'),
    unmapped_tick: u64('Tick at which its last part ended; 0 when it did not.'),
    unmapped_thread: u32('Thread that ended it; 0 when none did.'),
    unmapped_stack: u32('Call stack at that moment, a key of `stacks`; 0 when there is none.'),
    end: enumOf(
      ['mapped', 'unmapped', 'replaced'],
      'How its last part ended; `replaced`: by another mapping.',
    ),
  },
);

/** Kept in the run folder as findings are. */
export const capabilities = table(
  'capabilities',
  "Every index of a capability of the program's own (recorder/grind-capabilities.h) from its allocation to its release, as the last `grind analyze capcheck` followed them.",
  {
    process,
    analysis: findings.columns.analysis,
    space: u64('The space, as the program tells them apart.'),
    space_name: string('Its name; empty when the program gave none.'),
    index: u64('The index in the space.'),
    generation: u32('How many times it has been allocated, from 1.'),
    object: u64('The object mapped there last; 0 when none was.'),
    object_name: string('Its name; empty when the program gave none.'),
    protocol: u64('Its protocol; 0 when it has none.'),
    rights: u64('The rights that it was mapped with, as bits.'),
    allocated_tick: u64('Tick of the allocation.'),
    allocated_thread: u32('Thread that allocated it.'),
    allocated_stack: u32('Call stack of the allocation, a key of `stacks`.'),
    mapped_tick: u64('Tick of the last mapping; 0 when there was none.'),
    mapped_stack: u32('Call stack of that, a key of `stacks`; 0 when there was none.'),
    end: enumOf(
      ['allocated', 'freed', 'space_ended'],
      'How it ended; `allocated`: it did not; `space_ended`: with its task.',
    ),
    end_tick: u64('Tick of that; 0 when it did not end.'),
    end_stack: u32('Call stack of that, a key of `stacks`; 0 when it did not end.'),
    mappings: u64('How often something was mapped there.'),
    invocations: u64('How often it was invoked.'),
  },
);

/** Kept in the run folder as findings are. */
export const heap_timeline = table(
  'heap_timeline',
  'Heap use over time, as the last `grind analyze heap` measured it: for each stretch of time the moment at which most was in use, and the first and the last moment.',
  {
    process,
    analysis: findings.columns.analysis,
    tick: u64('Tick of the moment.'),
    allocations: u64('Blocks allocated before, each realloc as one more.'),
    traffic_bytes: u64(
      'Bytes by which the heap had grown and shrunk before, extra bytes included: the unit B of time in massif.',
    ),
    blocks: u64('Live blocks; with --pages-as-heap=yes mapped pages.'),
    heap_bytes: u64('Bytes of these, as asked for.'),
    extra_bytes: u64('What rounding up and administration add, as massif counts it.'),
    stack_bytes: u64("Bytes on the threads' stacks; 0 unless --stacks=yes."),
    peak: bool('The first moment of all at which most was in use.'),
  },
);

/** Kept in the run folder as findings are. */
export const heap_sites = table(
  'heap_sites',
  'Heap use by call stack of the allocation, as the last `grind analyze heap` measured it. A block that realloc changes is the same block still, but counts as one more allocated.',
  {
    process,
    analysis: findings.columns.analysis,
    stack: u32('Call stack of the allocation, a key of `stacks`.'),
    blocks: u64('Blocks allocated.'),
    bytes: u64('Bytes allocated, all blocks together.'),
    smallest_bytes: u64('Size of the smallest block.'),
    largest_bytes: u64('Size of the largest block.'),
    lifetime_ticks: u64('Ticks from allocation to release or to the end, of all blocks together.'),
    short_lived_blocks: u64('Blocks that lived no longer than --short-lived says.'),
    most_blocks: u64('Live blocks when these blocks had most bytes.'),
    most_bytes: u64('Most bytes that were live at a time.'),
    peak_blocks: u64(
      "Live blocks at the program's peak: when its heap was largest, the last time.",
    ),
    peak_bytes: u64("Live bytes at the program's peak."),
    end_blocks: u64('Blocks live at the end.'),
    end_bytes: u64('Bytes live at the end.'),
    counted: bool(
      'Accesses were counted (--accesses); the columns after this one are 0 otherwise.',
    ),
    read_bytes: u64('Bytes read in these blocks, by instructions and by the kernel.'),
    written_bytes: u64('Bytes written in these blocks.'),
    copied_bytes: u64('Bytes that realloc copied, which are not among those read and written.'),
    untouched_bytes: u64('Bytes that were neither read nor written as long as their block lived.'),
    write_only_bytes: u64('Bytes that were written and never read as long as their block lived.'),
    function: string(
      'Innermost function of the stack with a source file, or else with a name, outside of the allocator.',
    ),
    file,
    line,
  },
);

/** Kept in the run folder as findings are. */
export const heap_offsets = table(
  'heap_offsets',
  'Accesses to heap blocks by offset from the start of the block, all blocks of a call stack together, as the last `grind analyze heap --accesses=yes` counted them: one row per run of bytes with equal counts.',
  {
    process,
    analysis: findings.columns.analysis,
    stack: heap_sites.columns.stack,
    offset: u64('Offset of the first byte of the run.'),
    bytes: u64(
      'Bytes of the run; where blocks are larger than 16 KiB, bytes that are counted together.',
    ),
    read_bytes: u64('Bytes read there.'),
    written_bytes: u64('Bytes written there.'),
  },
);

/** Events of simulated caches and branch predictors, by Cachegrind's names. */
const cacheEvents = {
  ir: u64('Instructions executed.'),
  i1mr: u64('Of these, fetches that missed the first-level instruction cache.'),
  ilmr: u64('Of these, fetches that missed the last level, too.'),
  dr: u64('Reads of data.'),
  d1mr: u64('Of these, misses of the first-level data cache.'),
  dlmr: u64('Of these, misses of the last level, too.'),
  dw: u64('Writes of data that were not of what the instruction just read.'),
  d1mw: u64('Of these, misses of the first-level data cache.'),
  dlmw: u64('Of these, misses of the last level, too.'),
  bc: u64('Conditional branches.'),
  bcm: u64('Of these, mispredicted; 0 without --branch-sim=yes.'),
  bi: u64('Jumps to places that the instruction does not say; returns do not count.'),
  bim: u64('Of these, mispredicted; 0 without --branch-sim=yes.'),
  i2mr: u64('Fetches that missed the second level, too; 0 without --L2.'),
  d2mr: u64('Reads that missed the second level, too; 0 without --L2.'),
  d2mw: u64('Writes that missed the second level, too; 0 without --L2.'),
  dtmr: u64('Reads that missed the data TLB; 0 without --DTLB.'),
  dtmw: u64('Writes that missed the data TLB; 0 without --DTLB.'),
  stmr: u64('Of these reads, those that missed the second TLB, too; 0 without --STLB.'),
  stmw: u64('Of these writes, those that missed the second TLB, too; 0 without --STLB.'),
};

/** Kept in the run folder as findings are. */
export const cache_levels = table(
  'cache_levels',
  'The caches that the last run of an analysis of caches simulated.',
  {
    process,
    analysis: findings.columns.analysis,
    level: string('Name of the cache: I1, D1, L2, LL, DTLB, STLB.'),
    size: u64('Its size in bytes; of a TLB, the bytes that its entries stand for.'),
    ways: u32('Lines of a set.'),
    line: u32('Size of a line in bytes; of a TLB, of a page.'),
    policy: string('Which line of a set gives way to another.'),
    misses: u64('References that missed it.'),
    prefetched: u64('Lines that a prefetcher put there.'),
    prefetched_used: u64('Of these, lines that were referenced before they went.'),
  },
);

const placeColumns = {
  ...{ function: functionName, file, line },
  outer: string('The function that the code is in; another than `function` where that is inlined.'),
};

/** Kept in the run folder as findings are. */
export const cache_lines = table(
  'cache_lines',
  'Cache behaviour of each source line that ran, as the last run of an analysis of caches simulated it.',
  { process, analysis: findings.columns.analysis, ...placeColumns, ...cacheEvents },
);

/** Kept in the run folder as findings are. */
export const cache_sites = table(
  'cache_sites',
  'The same of each instruction that missed a cache or was mispredicted.',
  {
    process,
    analysis: findings.columns.analysis,
    pc: u64('Address of the instruction.'),
    ...placeColumns,
    ...cacheEvents,
  },
);

/** Kept in the run folder as findings are. */
export const cache_threads = table(
  'cache_threads',
  'Cache behaviour of each thread; the caches are shared by all, as threads take turns.',
  { process, analysis: findings.columns.analysis, thread, ...cacheEvents },
);

/** Kept in the run folder as findings are. */
export const cache_allocations = table(
  'cache_allocations',
  'Misses of data in heap blocks, by where the block was allocated and the place in it.',
  {
    process,
    analysis: findings.columns.analysis,
    stack: u32('Call stack of the allocation, a key of `stacks`.'),
    ...{ function: functionName, file, line },
    offset: u64(
      'Offset within the block in bytes, a multiple of 8; 4096 stands for all from there on.',
    ),
    d1mr: cacheEvents.d1mr,
    dlmr: cacheEvents.dlmr,
    d1mw: cacheEvents.d1mw,
    dlmw: cacheEvents.dlmw,
  },
);

const sharingEvents = {
  true_misses: u64(
    'Misses of lines that another core had taken away, after which the core accessed bytes that others had written.',
  ),
  false_misses: u64(
    'Misses of lines that another core had taken away, after which the core accessed no byte that others had written: the line had only to be fetched for its other bytes.',
  ),
  upgrades: u64('Writes to lines that other cores had, too, and lost by them.'),
  interventions: u64('Misses of lines that another core had modified (HITM).'),
  invalidations: u64('How often another core lost a line by it.'),
};
const sharedLine = {
  process,
  analysis: findings.columns.analysis,
  place: u32(
    'Number of the line and what lay in it: a line whose heap blocks change is several places.',
  ),
  line_address: u64('Address of the line.'),
};

/** Kept in the run folder as findings are. */
export const sharing_threads = table(
  'sharing_threads',
  'What the private cache of its core was to each thread while several threads lived, as the last run of an analysis of sharing simulated it.',
  {
    process,
    analysis: findings.columns.analysis,
    thread,
    core: u32('The core that it ran on.'),
    instructions: u64('Instructions executed.'),
    accesses: u64('Loads and stores; what did not miss are hits.'),
    cold_misses: u64('Lines fetched that the core had never had.'),
    capacity_misses: u64('Lines fetched that the core had replaced.'),
    ...sharingEvents,
    invalidations_received: u64('How often its core lost a line to another one.'),
  },
);

/** Kept in the run folder as findings are. */
export const sharing_lines = table('sharing_lines', 'Lines of memory that passed between cores.', {
  ...sharedLine,
  objects: string('What lies in it, as far as it took part: variables, heap blocks, stacks.'),
  threads: u32('How many threads took part.'),
  ...sharingEvents,
  advice: string('What to do where much of the sharing is false; else empty.'),
});

/** Kept in the run folder as findings are. */
export const sharing_sites = table(
  'sharing_sites',
  'Who made lines pass between cores: events of each instruction, thread and offset in a line.',
  {
    ...sharedLine,
    offset: u32('Offset in the line of the first byte, in bytes.'),
    size: u32('Size of the access in bytes.'),
    object: string('The variable, heap block or stack that it lies in.'),
    object_offset: u64('Offset in that, in bytes.'),
    stack: u32(
      'Call stack of the allocation of the heap block, a key of `stacks`; 0 of other memory.',
    ),
    thread,
    is_store: bool('It writes.'),
    pc: u64('Address of the instruction.'),
    ...{ function: functionName, file, line },
    ...sharingEvents,
  },
);

const callEvents = {
  allocations: u64('Heap blocks that were allocated meanwhile.'),
  allocated: u64('Bytes of these blocks.'),
  i1_misses: u64('Misses of the first-level instruction cache meanwhile; 0 without --cache-sim.'),
  d1_misses: u64('Misses of the first-level data cache meanwhile; 0 without --cache-sim.'),
  ll_misses: u64('Misses of the last level meanwhile; 0 without --cache-sim.'),
};
const selfMisses = {
  self_i1_misses: u64('Misses of the first-level instruction cache in the function itself.'),
  self_d1_misses: u64('Misses of the first-level data cache in the function itself.'),
  self_ll_misses: u64('Misses of the last level in the function itself.'),
};

/** Kept in the run folder as findings are. */
export const function_costs = table(
  'function_costs',
  'What each function cost in each thread, as the last run of an analysis of calls counted it.',
  {
    process,
    analysis: findings.columns.analysis,
    thread,
    function: functionName,
    module: string('Path of the object file; empty when none holds the code.'),
    file,
    line: u32('A line of the function in its source file, the first that ran; 0 when unknown.'),
    calls: u64('How often it was called.'),
    self: u64('Instructions executed in the function itself.'),
    inclusive: u64(
      'Instructions executed from its call to its return, with all that it called; of recursive calls only the outermost counts.',
    ),
    ...callEvents,
    ...selfMisses,
  },
);

/** Kept in the run folder as findings are. */
export const call_edges = table(
  'call_edges',
  'Who called whom from where in each thread, as the last run of an analysis of calls counted it.',
  {
    process,
    analysis: findings.columns.analysis,
    thread,
    caller: string(
      'Function that called; empty when unknown, or when the thread began with the callee.',
    ),
    caller_module: string('Its object file.'),
    callee: string('Function that was called; empty when unknown.'),
    callee_module: string('Its object file.'),
    how: enumOf(
      ['call', 'jump', 'signal'],
      'By what: a jump from one function to the beginning of another is a call at the end of the first one.',
    ),
    pc: u64('Address of the call instruction; 0 when it was no call instruction.'),
    file,
    line,
    calls: u64('How many calls.'),
    inclusive: u64('Instructions executed while at least one of these calls was under way.'),
    ...callEvents,
  },
);

/** Kept in the run folder as findings are. */
export const call_contexts = table(
  'call_contexts',
  'The tree of calling contexts: what each function cost when it was called along one path, as the last run of an analysis of calls counted it. A function that is under way already goes on in its outermost context.',
  {
    process,
    analysis: findings.columns.analysis,
    context: u32(
      'Number of the context in the process, from 1; callers stand before what they call.',
    ),
    parent: u32('The context that it was called from; 0 where a thread begins.'),
    thread,
    function: functionName,
    module: string('Path of the object file; empty when none holds the code.'),
    calls: u64('How often it was called from there, recursive calls included.'),
    self: u64('Instructions executed in the function itself.'),
    inclusive: u64('The same with all contexts below.'),
  },
);

/** Kept in the run folder as findings are. */
export const reuse_distances = table(
  'reuse_distances',
  'How many other cache lines were referenced between a reference to a line and the next one, as the last run of an analysis of reuse counted it. A fully associative LRU cache of n lines misses the references at distances from n on, and the first ones to each line, which are not in this table.',
  {
    process,
    analysis: findings.columns.analysis,
    distance: u64('Distance in lines: 0 for a reference to the line referenced last.'),
    last_distance: u64(
      'The largest that is counted together with it: the same below 4096; from there on a power of two is divided into 16.',
    ),
    references: u64('References at these distances.'),
  },
);

const curveColumns = {
  cache_bytes: u64('Size of a fully associative cache that replaces the least recently used line.'),
  references: u64('References to cache lines.'),
  misses: u64('Of these, misses.'),
};

/** Kept in the run folder as findings are. */
export const miss_curve = table(
  'miss_curve',
  'Misses by size of the cache: for 16 sizes between one power of two and the next, up to the one that misses each line once.',
  { process, analysis: findings.columns.analysis, ...curveColumns },
);

/** Kept in the run folder as findings are. */
export const function_miss_curves = table(
  'function_miss_curves',
  'The same by function, with inlined functions told apart: sizes that miss as often as the one before have no row.',
  { process, analysis: findings.columns.analysis, function: functionName, file, ...curveColumns },
);

/** Kept in the run folder as findings are. */
export const optimal_misses = table(
  'optimal_misses',
  "Misses under the best replacement that there is, Belady's, for the sizes that the last run of an analysis of reuse was asked for (--belady).",
  {
    process,
    analysis: findings.columns.analysis,
    cache_bytes: u64('Size of a fully associative cache.'),
    misses: u64('Misses if the least recently used line is replaced.'),
    optimal_misses: u64('Misses if the line is replaced that is referenced again last.'),
  },
);

/** Kept in the run folder as findings are. */
export const working_set = table(
  'working_set',
  'How many cache lines were referenced in each window of time: the working set of a window of that length, at its end.',
  {
    process,
    analysis: findings.columns.analysis,
    tick: u64('Tick at which the window begins.'),
    ticks: u64('Its length; the last one may be cut off by the end.'),
    lines: u64('Lines referenced.'),
    bytes: u64('Bytes of these lines.'),
  },
);

/** Damage that only the reader sees. */
export const trace_damage = table('trace_damage', 'Stored tables that are not whole.', {
  what: string('Short name of the anomaly.'),
  detail: string('What is missing.'),
});

/** Tables that analyses store with a run (analyses/finding.ts). */
export const ANALYSIS_TABLES = [
  findings,
  finding_frames,
  heap_timeline,
  heap_sites,
  heap_offsets,
  lock_uses,
  sync_variables,
  descriptors,
  mapping_lives,
  capabilities,
  cache_levels,
  cache_lines,
  cache_sites,
  cache_threads,
  cache_allocations,
  sharing_threads,
  sharing_lines,
  sharing_sites,
  function_costs,
  call_edges,
  call_contexts,
  reuse_distances,
  miss_curve,
  function_miss_curves,
  optimal_misses,
  working_set,
] as const;

/** Tables that scans in replay/ compute. */
export const COMPUTED_TABLES = [
  run,
  accesses,
  sites,
  segments,
  segment_instructions,
  ir,
  stacks,
  ioctl_names,
  ...ANALYSIS_TABLES,
  trace_damage,
] as const;

/** Computed tables that only views read. */
export const HIDDEN_COMPUTED: readonly Table[] = [lock_uses, trace_damage];

// ---------------------------------------------------------------- views

export interface View extends Table {
  readonly sql: string;
}

function view(declared: Table, sql: string): View {
  return { ...declared, sql };
}

/** A table of numbers and names, written out. */
function names(
  columns: readonly [string, string],
  rows: readonly (readonly [number, string])[],
): string {
  const values = rows.map(([number, name]) => `(${number}::uinteger, '${name}')`).join(', ');
  return `from (values ${values}) t(${columns.join(', ')})`;
}

/** The unsigned little-endian number of some bytes of a blob from an offset on. */
const littleEndian = (blob: string, offset: number, sizeBytes: number): string =>
  `('0x' || ${Array.from({ length: sizeBytes }, (_, i) => offset + sizeBytes - i)
    .map((place) => `hex(${blob}[${place}:${place}])`)
    .join(' || ')})::ubigint`;

const hypercallNumbers = (names: readonly string[]): string =>
  [...HYPERCALL_NAMES]
    .filter(([, name]) => names.includes(name))
    .map(([number]) => number)
    .join(', ');

const operationNumbers = [...HYPERCALL_NAMES].flatMap(([hypercall, name]) =>
  (HYPERCALL_OPERATIONS[name] ?? []).map(
    ([operation, its]) => [(hypercall << 16) | operation, its] as const,
  ),
);

/** An ioctl's request is an int, whatever the register's upper half holds. */
const request = '(arg2 & 4294967295)';
const [DOMCTL] = [...HYPERCALL_NAMES].find(([, name]) => name === 'domctl')!;
const PRIVCMD_HYPERCALL = 0x305000;

const frameColumns = { function: functionName, file, line };

/** In an order in which each uses only those before it. */
export const VIEWS: readonly View[] = [
  view(
    table('syscall_names', 'Names of system calls.', {
      number: u32('System call number on amd64.'),
      name: string('Name.'),
    }),
    names(
      ['number', 'name'],
      [...SYSCALL_NAMES.entries()].filter(([, name]) => name),
    ),
  ),
  view(
    table('errno_names', 'Names of errors.', {
      number: u32('Error number.'),
      name: string('Name, such as ENOENT.'),
    }),
    names(['number', 'name'], [...ERRNO_NAMES]),
  ),
  view(
    table('request_names', 'Names of client request codes.', {
      code: u32('Request code.'),
      name: string('Name as in the header that defines it, without VG_USERREQ__.'),
    }),
    names(['code', 'name'], [...REQUEST_NAMES]),
  ),
  view(
    table('blocks', 'One row per translated superblock; `ir` has its statements.', {
      process,
      event,
      ...Object.fromEntries(
        Object.entries(stored.blocks.columns).filter(([name]) => name !== 'ir'),
      ),
    }),
    'select * exclude (ir) from scan_blocks()',
  ),
  view(
    table('health', 'One row per anomaly of the recording or of the stored files.', {
      process: u32('Process image; NULL for an anomaly of the stored files.'),
      event: u64(
        'Place of the row in the order of events; NULL for an anomaly of the stored files.',
      ),
      ...stored.health.columns,
    }),
    `select * from scan_health()
     union all by name
     select 'error'::enum('info', 'warning', 'error') severity, what, detail from scan_trace_damage()`,
  ),
  view(
    table('client_requests', stored.client_requests.doc, {
      process,
      event,
      ...stored.client_requests.columns,
      name: string('Name of the request; NULL when it is none of the known headers.'),
    }),
    'select r.*, n.name from scan_client_requests() r left join request_names n using (code)',
  ),
  view(
    table('syscalls', 'One row per system call, from its begin to its end.', {
      process,
      call: stored.syscall_enters.columns.call,
      tick,
      thread,
      number: stored.syscall_enters.columns.number,
      name: string('Name of the call; NULL when unknown.'),
      arg1: stored.syscall_enters.columns.arg1,
      arg2: stored.syscall_enters.columns.arg2,
      arg3: stored.syscall_enters.columns.arg3,
      arg4: stored.syscall_enters.columns.arg4,
      arg5: stored.syscall_enters.columns.arg5,
      arg6: stored.syscall_enters.columns.arg6,
      result: i64(
        'Result; the negated error number when it failed; NULL when the call did not end.',
      ),
      errno: string('Name of the error; NULL when the call did not fail.'),
      ioctl: string('Name of the request, of an ioctl; NULL when unknown, and of other calls.'),
      time_ns: u64('Monotonic clock at the begin, in nanoseconds.'),
      duration_ns: i64('Time from begin to end, in nanoseconds; NULL when the call did not end.'),
      end_tick: u64('Tick at which the call ended; NULL when it did not.'),
      stack,
    }),
    `select e.process, e.call, e.tick, e.thread, e.number, n.name,
            e.arg1, e.arg2, e.arg3, e.arg4, e.arg5, e.arg6,
            x.result, if(x.failed, coalesce(m.name, (-x.result)::varchar), null) as errno,
            i.name as ioctl, e.time_ns, x.time_ns::bigint - e.time_ns::bigint as duration_ns, x.tick end_tick, e.stack
     from scan_syscall_enters() e
     left join scan_syscall_exits() x on x.process = e.process and x.call = e.call
     left join syscall_names n on n.number = e.number
     left join errno_names m on x.failed and m.number = -x.result
     left join ioctl_names i on e.number = ${syscallNumber('ioctl')} and i.request = ${request}
     order by e.process, e.call`,
  ),
  view(
    table('hypercall_names', "Names of Xen's hypercalls.", {
      number: u32('Number of the hypercall.'),
      name: string('Name, without __HYPERVISOR_.'),
    }),
    names(['number', 'name'], [...HYPERCALL_NAMES]),
  ),
  view(
    table('hypercall_operations', "Names of the operations of Xen's hypercalls.", {
      number: u32('Number of the hypercall, times 65536, and of the operation.'),
      name: string('Name, such as createdomain.'),
    }),
    names(['number', 'name'], operationNumbers),
  ),
  view(
    table(
      'ioctls',
      'One row per ioctl, with its request taken apart; of a hypercall of Xen through privcmd, which one it is.',
      {
        process,
        call: stored.syscall_enters.columns.call,
        tick,
        thread,
        descriptor: i64('The descriptor.'),
        request: ioctl_names.columns.request,
        name: string('Name of the request; NULL when unknown.'),
        family: string('The kind of object that takes it; NULL when unknown.'),
        direction: string(
          'What becomes of the structure at the argument: the kernel reads it (write), fills it (read), both or none. Of old requests it means nothing, nor do the next columns.',
        ),
        type: u32("The driver's letter, as a number."),
        number: u32('Number of the request within its type.'),
        size: u32('Size of the structure in bytes.'),
        argument: u64('The argument: mostly the address of a structure, see `syscall_contents`.'),
        hypercall: string('Of a hypercall its name, or its number when unknown; NULL of others.'),
        operation: string('Its operation, or the number of it; NULL when it has none.'),
        domain: u32('The domain that a domctl is for; NULL of others.'),
        result: i64('As in `syscalls`.'),
        errno: string('Name of the error; NULL when the call did not fail.'),
        stack,
      },
    ),
    `with asked as (
       select *, ${request}::uinteger as request from syscalls where name = 'ioctl'),
     passed as (
       select a.process, a.call, ${littleEndian('c.bytes', 0, 8)}::uinteger as hypercall,
              ${littleEndian('c.bytes', 8, 8)} as first
       from asked a join syscall_contents c on c.process = a.process and c.call = a.call and c.address = a.arg3
       where a.request = ${PRIVCMD_HYPERCALL}),
     commands as (
       select p.process, p.call, p.hypercall,
              if(p.hypercall in (${hypercallNumbers(COMMANDS_IN_MEMORY)}), ${littleEndian('o.bytes', 0, 4)}, p.first) as command,
              if(p.hypercall = ${DOMCTL}, ${littleEndian('o.bytes', 8, 2)}, null)::uinteger as domain
       from passed p left join syscall_contents o on o.process = p.process and o.call = p.call
         and o.address = p.first and p.hypercall in (${hypercallNumbers(COMMANDS_IN_MEMORY)}))
     select a.process, a.call, a.tick, a.thread, a.arg1::uinteger::integer::bigint as descriptor, a.request,
            n.name, n.family,
            (['${IOCTL_DIRECTIONS.join("', '")}'])[(a.request >> 30)::integer + 1] as direction,
            (a.request >> 8) & 255 as type, a.request & 255 as number, (a.request >> 16) & 16383 as size,
            a.arg3 as argument, coalesce(h.name, c.hypercall::varchar) as hypercall,
            if(c.hypercall in (${hypercallNumbers(Object.keys(HYPERCALL_OPERATIONS))}), coalesce(o.name, c.command::varchar), null) as operation,
            c.domain, a.result, a.errno, a.stack
     from asked a
     left join ioctl_names n on n.request = a.request
     left join commands c on c.process = a.process and c.call = a.call
     left join hypercall_names h on h.number = c.hypercall
     left join hypercall_operations o on c.command < 65536 and o.number = c.hypercall * 65536 + c.command
     order by a.process, a.call`,
  ),
  view(
    table('threads', 'One row per thread.', {
      process,
      thread,
      os_thread: u32('Operating-system thread id; NULL when not known.'),
      name: string('The last name set; NULL when none was.'),
      created_tick: u64('Tick at which another thread created it; NULL for the first thread.'),
      created_by: u32('The thread that created it; NULL for the first thread.'),
      create_stack: u32('Call stack of the creation; NULL for the first thread.'),
      start_tick: u64('Tick at which it first ran.'),
      exit_tick: u64('Tick at which it ended; NULL when it did not.'),
      joined_by: u32('The thread that joined it; NULL when none did.'),
      instructions: u64('Guest instructions that it executed.'),
    }),
    `with happened as (
       select process, event, tick, op::varchar op, if(op in ('create', 'joined'), other, thread) thread,
              thread actor, nullif(os_thread, 0) as os_thread, name, stack
       from thread_events),
     turns as (
       select process, thread, tick,
              coalesce(lead(tick) over (partition by process order by event), ticks, tick) - tick instructions
       from slices left join (select process, ticks from processes) using (process)),
     ran as (select process, thread, min(tick) as start_tick, sum(instructions)::ubigint as instructions from turns group by all),
     lived as (
       select process, thread, max(os_thread) as os_thread,
              arg_max(name, event) filter (op = 'name') as name,
              min(tick) filter (op = 'create') as created_tick,
              min(actor) filter (op = 'create') as created_by,
              arg_min(stack, event) filter (op = 'create') as create_stack,
              min(tick) filter (op = 'start') as start_tick,
              max(tick) filter (op = 'exit') as exit_tick,
              min(actor) filter (op = 'joined') as joined_by
       from happened group by all)
     select process, thread, os_thread, name, created_tick, created_by, create_stack,
            coalesce(ran.start_tick, lived.start_tick) as start_tick, exit_tick,
            joined_by,
            coalesce(instructions, 0)::ubigint as instructions
     from lived full join ran using (process, thread)
     order by process, thread`,
  ),
  view(
    table(
      'allocations',
      'One row per generation of a heap block, from its allocation to its release; realloc ends one and begins another. Blocks announced by MALLOCLIKE_BLOCK and MEMPOOL_ALLOC requests are included. A forked process also has a row for each block of its parent that it releases itself.',
      {
        process,
        event: u64(
          'Event of the allocation: identifies the generation within the process; NULL when a parent process allocated it.',
        ),
        address: u64('First byte of the block.'),
        size: u64('Size asked for, in bytes.'),
        alignment: u64('Alignment asked for; 0 for the default.'),
        allocator: string(
          'The kind of allocator function: malloc, calloc, memalign, new, new_array, realloc, malloclike, resize or mempool.',
        ),
        tick: u64('Tick of the allocation; NULL when a parent process allocated it.'),
        thread: u32('Thread that allocated it.'),
        stack: u32('Call stack of the allocation.'),
        free_tick: u64('Tick of the release; NULL when it was not released.'),
        free_thread: u32('Thread that released it.'),
        free_stack: u32('Call stack of the release.'),
        freed_by: string(
          'What released it: free, delete, delete_array, realloc, resize, freelike or mempool_free; NULL when nothing did.',
        ),
      },
    ),
    `with recursive requests as (
       select * from scan_client_requests() where code in (4865, 4866, 4869, 4870, 4875)),
     steps as (
       select process, event, tick, thread, stack, op::varchar op, address, size, alignment, true begins
       from heap where op in ('malloc', 'calloc', 'memalign', 'new', 'new_array', 'realloc', 'resize') and address <> 0
       union all
       select process, event, tick, thread, stack, op::varchar, address, size, 0::ubigint, false
       from heap where op in ('free', 'delete', 'delete_array') and known
       union all
       select process, event, tick, thread, stack, op::varchar, if(op = 'resize' and previous = 0, address, previous), 0::ubigint, 0::ubigint, false
       from heap where op in ('realloc', 'resize') and known and (address <> 0 or size = 0)
       union all
       select process, event, tick, thread, stack,
              case code when 4865 then 'malloclike' when 4869 then 'mempool' else 'resize' end,
              if(code = 4869, arg2, arg1),
              case code when 4865 then arg2 else arg3 end, 0::ubigint, true
       from requests where code in (4865, 4869, 4875)
       union all
       select process, event, tick, thread, stack,
              case code when 4866 then 'freelike' when 4870 then 'mempool_free' else 'resize' end,
              if(code = 4870, arg2, arg1), 0::ubigint, 0::ubigint, false
       from requests where code in (4866, 4870, 4875)),
     lineage(process, ancestor, until, generation) as (
       select process, process, null::ubigint, 0 from processes
       union all
       select l.process, p.parent::uinteger, p.parent_event, l.generation + 1
       from lineage l join processes p on p.process = l.ancestor
       where p.how = 'fork' and p.parent >= 0 and p.parent < p.process),
     inherited as (
       select l.process, l.generation, s.* exclude (process)
       from steps s join lineage l on l.ancestor = s.process and (l.until is null or s.event < l.until)),
     paired as (
       select *, lead({'tick': tick, 'thread': thread, 'stack': stack, 'op': op, 'begins': begins, 'generation': generation})
                 over (partition by process, address order by generation desc, event, begins) as next
       from inherited)
     select process, if(generation = 0, event, null) as event, address, size, alignment, op allocator,
            if(generation = 0, tick, null) as tick, thread, stack,
            if(next.begins, null, next.tick) as free_tick,
            if(next.begins, null, next.thread) as free_thread,
            if(next.begins, null, next.stack) as free_stack,
            if(next.begins, null, next.op) as freed_by
     from paired where begins and (generation = 0 or (next.generation = 0 and not next.begins))
     order by process, event`,
  ),
  view(
    table(
      'locations',
      'What an address of code belongs to: one row per function, inlined ones first.',
      {
        process,
        pc: u64('Address of the instruction.'),
        inline_depth: i64('0 for the innermost function.'),
        ...frameColumns,
        module: modulePath,
        inlined: bool('The function is inlined into the next one.'),
      },
    ),
    `with chains as (
       select i.process, i.pc, i.function, i.file, i.line, m.path as module,
              case when i.inlined <> '' then string_split(i.inlined, chr(10)) end as functions
       from instructions i left join modules m on m.process = i.process and m.module = i.module),
     entries as (
       select process, pc, module, len(functions) as links, unnest(functions) as link, generate_subscripts(functions, 1) as n
       from chains where functions is not null),
     parts as (
       select *, regexp_extract(link, '^(.*)\\|([^|]*)\\|([0-9]*)$', ['function', 'file', 'line']) as part from entries)
     select process, pc, 0::bigint inline_depth, function, file, line, module, false as inlined from chains where functions is null
     union all
     select process, pc, n - 1, part.function, part.file, coalesce(try_cast(part.line as uinteger), 0), module, n < links from parts`,
  ),
  view(
    table(
      'frames',
      'Call stacks with their functions: one row per function of a stack, inlined functions included.',
      {
        process,
        stack: stacks.columns.stack,
        depth: i64('Place in the stack: 0 is innermost; inlined functions count.'),
        pc: stacks.columns.pc,
        ...frameColumns,
        module: modulePath,
        inlined: bool('The function is inlined into the next one.'),
      },
    ),
    `select s.process, s.stack,
            row_number() over (partition by s.process, s.stack order by s.depth, l.inline_depth) - 1 depth,
            s.pc, coalesce(l.function, '') as function, coalesce(l.file, '') as file, coalesce(l.line, 0) as line,
            l.module, coalesce(l.inlined, false) as inlined
     from stacks s left join locations l on l.process = s.process and l.pc = s.pc
     order by s.process, s.stack, depth`,
  ),
  view(
    table('instruction_counts', 'How often each instruction ran.', {
      process,
      pc: u64('Address of the instruction.'),
      executions: u64('How often it ran.'),
    }),
    `select process, pc, sum(executions)::ubigint as executions
     from segment_instructions join segments using (process, segment)
     group by process, pc`,
  ),
  view(
    table('instructions_by_function', 'Instructions executed per function.', {
      process,
      function: functionName,
      module: modulePath,
      executions: u64('Guest instructions executed.'),
    }),
    `select c.process, coalesce(i.function, '') as function, m.path as module, sum(c.executions)::ubigint as executions
     from instruction_counts c
     left join instructions i on i.process = c.process and i.pc = c.pc
     left join modules m on m.process = i.process and m.module = i.module
     group by all order by executions desc`,
  ),
  view(
    table(
      'instructions_by_line',
      'Instructions executed per source line; those of inlined functions count for their own lines.',
      {
        process,
        file,
        line,
        executions: u64('Guest instructions executed.'),
      },
    ),
    `select c.process, coalesce(i.file, '') as file, coalesce(i.line, 0) as line, sum(c.executions)::ubigint as executions
     from instruction_counts c
     left join instructions i on i.process = c.process and i.pc = c.pc
     group by all order by executions desc`,
  ),
  view(
    table('access_counts', 'Accesses made by each instruction.', {
      process,
      pc: u64('Address of the instruction.'),
      loads: u64('Loads.'),
      stores: u64('Stores.'),
      loaded_bytes: u64('Bytes loaded.'),
      stored_bytes: u64('Bytes stored.'),
    }),
    `select process, pc,
            coalesce(sum(n) filter (kind = 'load'), 0)::ubigint as loads,
            coalesce(sum(n) filter (kind = 'store'), 0)::ubigint as stores,
            coalesce(sum(n * size) filter (kind = 'load'), 0)::ubigint as loaded_bytes,
            coalesce(sum(n * size) filter (kind = 'store'), 0)::ubigint as stored_bytes
     from (select process, pc, kind, size, count(*) n from accesses group by all)
     group by process, pc`,
  ),
  view(
    table('accesses_by_function', 'Accesses made per function.', {
      process,
      function: functionName,
      module: modulePath,
      loads: u64('Loads.'),
      stores: u64('Stores.'),
      loaded_bytes: u64('Bytes loaded.'),
      stored_bytes: u64('Bytes stored.'),
    }),
    `select c.process, coalesce(i.function, '') as function, m.path as module,
            sum(loads)::ubigint as loads, sum(stores)::ubigint as stores,
            sum(loaded_bytes)::ubigint as loaded_bytes, sum(stored_bytes)::ubigint as stored_bytes
     from access_counts c
     left join instructions i on i.process = c.process and i.pc = c.pc
     left join modules m on m.process = i.process and m.module = i.module
     group by all order by sum(c.loads + c.stores) desc`,
  ),
  view(
    table('accesses_by_line', 'Accesses made per source line.', {
      process,
      file,
      line,
      loads: u64('Loads.'),
      stores: u64('Stores.'),
      loaded_bytes: u64('Bytes loaded.'),
      stored_bytes: u64('Bytes stored.'),
    }),
    `select c.process, coalesce(i.file, '') as file, coalesce(i.line, 0) as line,
            sum(loads)::ubigint as loads, sum(stores)::ubigint as stores,
            sum(loaded_bytes)::ubigint as loaded_bytes, sum(stored_bytes)::ubigint as stored_bytes
     from access_counts c
     left join instructions i on i.process = c.process and i.pc = c.pc
     group by all order by sum(c.loads + c.stores) desc`,
  ),
  view(
    table('allocations_by_site', 'Heap use per call stack of the allocation.', {
      process,
      stack,
      allocator: string('The kind of allocator function.'),
      blocks: i64('Blocks allocated.'),
      bytes: u64('Bytes allocated, all blocks together.'),
      live_blocks: i64('Blocks never released.'),
      live_bytes: u64('Bytes of the blocks never released.'),
      mean_lifetime: i64(
        'Mean ticks from allocation to release of the released blocks; NULL when none was.',
      ),
      function: string(
        'Innermost function of the stack with a source file, which is usually the one that asked.',
      ),
      file,
      line,
    }),
    `with asked as (
       select process, stack, arg_min({'function': function, 'file': file, 'line': line}, depth) as place
       from frames where file <> '' and file not like 'vg_replace%' group by all)
     select a.process, a.stack, a.allocator, count(*) as blocks, sum(a.size)::ubigint as bytes,
            count(*) filter (a.free_tick is null) as live_blocks,
            coalesce(sum(a.size) filter (a.free_tick is null), 0)::ubigint as live_bytes,
            round(avg(a.free_tick::double - a.tick::double))::bigint as mean_lifetime,
            coalesce(any_value(place.function), '') as function, coalesce(any_value(place.file), '') as file,
            coalesce(any_value(place.line), 0) as line
     from allocations a left join asked f on f.process = a.process and f.stack = a.stack
     group by all order by bytes desc`,
  ),
  view(
    table(
      'lock_contention',
      'How each lock was used, those that threads waited for longest first; filled by `grind analyze race`.',
      {
        ...lock_uses.columns,
        function: string(
          'Innermost function of the stack that is not of the recorder: who initialised it or took it first.',
        ),
        file,
        line,
      },
    ),
    `with places as (
       select process, stack, arg_min({'function': function, 'file': file, 'line': line}, depth) as place
       from frames where coalesce(module, '') not like '%/vgpreload_%' group by all)
     select u.*, coalesce(place.function, '') as function, coalesce(place.file, '') as file,
            coalesce(place.line, 0) as line
     from scan_lock_uses() u left join places p on p.process = u.process and p.stack = u.stack
     order by waited_ticks desc, held_ticks desc`,
  ),
  view(
    table('syscalls_by_name', 'System calls per name, those that took longest first.', {
      process,
      name: string('Name of the call.'),
      calls: i64('How many.'),
      failed: i64('How many failed.'),
      total_ns: i64('Time in all of them, in nanoseconds.'),
      max_ns: i64('Longest, in nanoseconds.'),
    }),
    `select process, coalesce(name, number::varchar) as name, count(*) as calls, count(errno) as failed,
            coalesce(sum(duration_ns), 0)::bigint as total_ns, coalesce(max(duration_ns), 0) as max_ns
     from syscalls group by all order by total_ns desc`,
  ),
];

// ---------------------------------------------------------------- macros

export interface Macro extends Table {
  /** As declared: names with their defaults. */
  readonly parameters: string;
  readonly sql: string;
}

function macro(declared: Table, parameters: string, sql: string): Macro {
  return { ...declared, parameters, sql };
}

/** The widest access: a vector register, or the 4 KiB at most that one instruction such as xsave moves. */
const WIDEST = 4096;
const below = (address: string) =>
  `(greatest(${address}::ubigint, ${WIDEST - 1}::ubigint) - ${WIDEST - 1}::ubigint)`;

export const MACROS: readonly Macro[] = [
  macro(
    table(
      'touched',
      'Who touched an address: accesses that overlap `size` bytes from `address` on, in order.',
      {
        ...accesses.columns,
        ...frameColumns,
      },
    ),
    'address, size := 1',
    `select a.*, coalesce(i.function, '') as function, coalesce(i.file, '') as file, coalesce(i.line, 0) as line
     from accesses a left join instructions i on i.process = a.process and i.pc = a.pc
     where a.addr >= ${below('address')} and a.addr < address::ubigint + size::ubigint and a.addr + a.size > address::ubigint
     order by a.process, a.tick`,
  ),
  macro(
    table(
      'last_write',
      'The last write to the byte at `address` before tick `before`, in each process: by a store, from outside as in table `memory`, or by an allocation, which fills with zeros.',
      {
        process,
        tick: u64('Tick of the write.'),
        thread,
        how: string('`store`, the cause as in table `memory`, or the kind of allocator function.'),
        pc: u64('Address of the storing instruction; NULL for a write from outside.'),
        addr: u64('First byte written.'),
        size: u64('Bytes written.'),
        value: u64('For a store: its lowest 8 bytes; NULL otherwise.'),
        ...frameColumns,
      },
    ),
    'address, before',
    `with written as (
       select process, tick, thread, 'store' how, pc, addr, size::ubigint size, value
       from accesses
       where kind = 'store' and tick < before::ubigint
         and addr >= ${below('address')} and addr <= address::ubigint and addr + size > address::ubigint
       union all
       select m.process, m.tick, m.thread, m.cause::varchar, null, m.address, m.size, null
       from memory m
       where m.tick < before::ubigint and m.address <= address::ubigint and m.address + m.size > address::ubigint
       union all
       select h.process, h.tick, h.thread, h.op::varchar, null, h.address, h.size, null
       from heap h
       where h.op not in ('free', 'delete', 'delete_array', 'resize') and h.tick < before::ubigint
         and h.address <= address::ubigint and h.address + h.size > address::ubigint),
     last as (select unnest(max_by(written, row(tick, how = 'store'))) from written group by process)
     select w.process, w.tick, w.thread, w.how, w.pc, w.addr, w.size, w.value,
            coalesce(i.function, '') as function, coalesce(i.file, '') as file, coalesce(i.line, 0) as line
     from last w left join instructions i on i.process = w.process and i.pc = w.pc`,
  ),
  macro(
    table(
      'memory_at',
      'Contents of `length` bytes of memory from `start` on before tick `before`, one row per byte and process, as far as the last write to each byte tells.',
      {
        process,
        address: u64('Address of the byte.'),
        byte: u8('Its value; NULL when it was copied from elsewhere by mremap or realloc.'),
        tick: u64('Tick of the last write to it.'),
        how: string('What wrote it, as in `last_write`.'),
      },
    ),
    'start, length, before',
    `with written as (
       select process, tick, 'store' as how, true as is_store, addr, a.size::ubigint as extent, value,
              coalesce(bytes, ''::blob) as bytes, if(bytes is null, 'value', 'bytes') as form
       from accesses a
       where kind = 'store' and tick < before::ubigint
         and addr >= ${below('start')} and addr < start::ubigint + length::ubigint
       union all
       select m.process, m.tick, m.cause::varchar, false, m.address, m.size, 0, m.bytes, m.op::varchar
       from memory m
       where m.tick < before::ubigint
         and m.address < start::ubigint + length::ubigint and m.address + m.size > start::ubigint
       union all
       select h.process, h.tick, h.op::varchar, false, h.address, h.size, 0, ''::blob, if(h.op = 'realloc', 'copy', 'zero')
       from heap h
       where h.op not in ('free', 'delete', 'delete_array', 'resize') and h.tick < before::ubigint
         and h.address < start::ubigint + length::ubigint and h.address + h.size > start::ubigint),
     wanted as (select start::ubigint + unnest(range(length::bigint))::ubigint as place),
     last as (
       select place, unnest(max_by(written, row(tick, is_store)))
       from wanted join written on place >= addr and place < addr + extent
       group by place, process)
     select process, place as address,
            case form
              when 'value' then (value >> (8 * (place - addr)::integer)) & 255
              when 'bytes' then ('0x' || hex(bytes[(place - addr + 1)::bigint:(place - addr + 1)::bigint]))::ubigint
              when 'zero' then 0
            end::utinyint as byte,
            tick, how
     from last order by process, address`,
  ),
];

/** Matches statements that may read `accesses`, by the names of what does. */
export const READS_ACCESSES = new RegExp(
  [
    'access',
    ...[...VIEWS, ...MACROS].filter(({ sql }) => /access/.test(sql)).map(({ name }) => name),
  ].join('|'),
  'i',
);
