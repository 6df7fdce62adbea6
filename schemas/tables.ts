/**
 * Every table that the recorder stores, declared once. The first group is written by the Valgrind
 * tool, record by record, and is numbered by its place in `TOOL_TABLES`; the second group is written
 * by the TypeScript side of the recorder. What SQL shows on top of them is declared in `views.ts`.
 *
 * Two columns are added to every stored table and are not declared here:
 * `process` (u32, the run's number of the process) and `event` (u64, the row's place in the one
 * order in which the process's tool wrote all its rows; replay merges the tables by it).
 */
import { binary, bool, enumOf, i32, i64, string, table, u16, u32, u64, u8 } from './schema.js';

/**
 * Version of the trace format. A reader refuses any other.
 * 2: registers that system calls read (`syscall_memory`), both arguments of calloc (`heap.count`), fatal signals.
 */
export const FORMAT_VERSION = 2;

const tick = u64('Guest instructions executed by the process before this moment.');
const thread = u32(
  'Number of the thread within its process; 1 is the first, numbers are not reused.',
);
const stack = u32('Call stack at this moment, a key of `stacks`; 0 when there is none.');
const timeNs = u64('Monotonic clock, in nanoseconds.');

export const process_starts = table(
  'process_starts',
  'One row per process image: at the start of the run, after a fork, after an exec.',
  {
    how: enumOf(
      ['start', 'fork', 'exec'],
      'What began this image; `start` is also what an image after exec says until the recorder pairs it.',
    ),
    pid: u32('Operating-system process id.'),
    parent_pid: u32('Operating-system process id of the parent.'),
    time_ns: timeNs,
    parent: string('Spool name of the process that forked this one; empty otherwise.'),
    parent_tick: u64(
      'Tick of the parent at the fork: replaying the child replays the parent up to here first.',
    ),
    parent_event: u64('Number of events of the parent that precede the fork.'),
    executable: string('Path of the program file.'),
    arguments: binary('The arguments, each ended by a zero byte.'),
    directory: string('Working folder.'),
    engine: string('Version of the Valgrind that ran it.'),
  },
);

export const process_ends = table(
  'process_ends',
  'How a process image ended, as its tool saw it; no row for a process that was killed. What the C library does after an exit to free what it holds is recorded, but shown by no table.',
  {
    tick,
    how: enumOf(
      ['exit', 'signal', 'exec', 'stopped'],
      'Exit by itself, fatal signal, replaced by exec, or recording stopped before the end.',
    ),
    status: i32('Exit status as given to exit.'),
    time_ns: timeNs,
  },
);

export const modules = table('modules', 'One row per object file mapped as code.', {
  tick,
  module: u32('Number of the module within the process.'),
  address: u64('Lowest address of its text.'),
  size: u64('Size of its text, in bytes.'),
  bias: i64('What to add to an address of the file to get an address in memory.'),
  path: string('Path of the object file.'),
});

export const instructions = table(
  'instructions',
  'One row per address of code that was translated or stands in a call stack.',
  {
    pc: u64('Address of the instruction.'),
    length: u8('Length of the instruction in bytes; 0 when only known from a call stack.'),
    module: u32('Module that holds it; 0 when none does.'),
    line: u32('Line in the source file; 0 when unknown.'),
    function: u32('Function, demangled: key of `strings`; 0 when unknown.'),
    file: u32('Source file name: key of `strings`; 0 when unknown.'),
    directory: u32('Folder of the source file: key of `strings`; 0 when unknown.'),
    inlined: u32(
      'Chain of inlined functions, innermost first, as `function|file|line` separated by newlines: key of `strings`; 0 when nothing is inlined here.',
    ),
  },
);

export const blocks = table(
  'blocks',
  'One row per translated superblock, at the tick at which it was first run.',
  {
    tick,
    thread,
    block: u32('Number of the superblock within the process.'),
    entry: u64('Guest address that execution jumped to.'),
    address: u64(
      'Guest address that was translated: differs from `entry` when the function is replaced.',
    ),
    size: u32('Bytes of guest code covered.'),
    instructions: u32('Guest instructions in the block.'),
    no_redirect: bool(
      'It is run by jumps that ask for the function itself, not for its replacement.',
    ),
    ir: binary('The VEX IR, encoded as described in docs/architecture.md.'),
  },
);

export const registers = table(
  'registers',
  'Guest registers that the engine changed while a thread was not running guest code: syscall results, signal frames, client requests, a new thread.',
  {
    tick,
    thread,
    full: bool('The changes give the whole state, not only what differs.'),
    changes: binary('Pairs of u64: offset in the guest state, new 8 bytes there.'),
  },
);

export const memory = table(
  'memory',
  'Guest memory that changed otherwise than by a guest store.',
  {
    tick,
    thread,
    cause: enumOf(
      [
        'startup',
        'mmap',
        'brk',
        'munmap',
        'mremap',
        'syscall',
        'signal',
        'client_request',
        'heap',
        'thread_exit',
        'madvise',
      ],
      'Why it changed.',
    ),
    op: enumOf(['bytes', 'zero', 'copy'], 'Given by `bytes`, all zero, or copied from `source`.'),
    address: u64('First byte that changed.'),
    size: u64('How many bytes changed.'),
    source: u64('For a copy: where the bytes came from.'),
    bytes: binary('For `bytes`: the new contents.'),
  },
);

export const syscall_enters = table('syscall_enters', 'One row per system call begun.', {
  tick,
  thread,
  stack,
  call: u64('Number of the call within the process.'),
  number: u32('System call number.'),
  arg1: u64('First argument.'),
  arg2: u64('Second argument.'),
  arg3: u64('Third argument.'),
  arg4: u64('Fourth argument.'),
  arg5: u64('Fifth argument.'),
  arg6: u64('Sixth argument.'),
  time_ns: timeNs,
});

export const syscall_exits = table('syscall_exits', 'One row per system call ended.', {
  tick,
  thread,
  call: u64('Number of the call within the process.'),
  result: i64('Result; the negated errno when it failed.'),
  failed: bool('The call failed.'),
  time_ns: timeNs,
});

export const syscall_memory = table(
  'syscall_memory',
  'One row per range of guest memory that the kernel read or wrote for a system call, and per register that gave it a parameter.',
  {
    tick,
    thread,
    call: u64('Number of the call within the process.'),
    direction: enumOf(
      ['read', 'read_string', 'may_write', 'write', 'register'],
      'The kernel read it, read it as a string, was allowed to write it, or wrote it; or a parameter was in a register.',
    ),
    address: u64('First byte; for a register its offset in the guest state.'),
    size: u64('Size in bytes.'),
    parameter: string(
      'Which parameter, in the words of the engine, such as `write(buf)` or, of a register, `write(fd)`; empty for `write`.',
    ),
  },
);

export const heap = table(
  'heap',
  'One row per call of an allocator function. An allocated block reads as zero, realloc copies, and 16 zero bytes stand before and after each block.',
  {
    tick,
    thread,
    stack,
    op: enumOf(
      [
        'malloc',
        'calloc',
        'memalign',
        'new',
        'new_array',
        'realloc',
        'free',
        'delete',
        'delete_array',
        'resize',
      ],
      'The kind of allocator function.',
    ),
    address: u64('The block allocated (0 if that failed) or freed.'),
    size: u64('Size asked for, in bytes; for a free, the size of the block freed.'),
    alignment: u64('Alignment asked for; 0 for the default.'),
    previous: u64('For realloc: the old block; otherwise 0.'),
    previous_size: u64('For realloc: the size of the old block, in bytes.'),
    known: bool('For free, realloc and delete: the address was a live block.'),
    count: u64('For calloc: how many elements, the first argument; otherwise 0.'),
    element_size: u64('For calloc: size of an element, in bytes; otherwise 0.'),
  },
);

/** The allocator function gives a block back, and allocates none: what `heap.op` says. */
export const isRelease = (op: string | undefined): boolean =>
  op === 'free' || op === 'delete' || op === 'delete_array';

export const mappings = table('mappings', 'One row per change of the address space.', {
  tick,
  thread,
  stack,
  op: enumOf(
    ['startup', 'mmap', 'brk', 'munmap', 'brk_shrink', 'mprotect', 'mremap'],
    'What changed; mprotect with `shared`: the protection is as it was, but a system call gave the memory to others, such as a virtual machine.',
  ),
  address: u64('First byte.'),
  size: u64('Size in bytes.'),
  source: u64('For mremap: the old address.'),
  offset: u64('Offset in the file, in bytes.'),
  protection: u8('Bits: 1 read, 2 write, 4 execute.'),
  shared: bool('Others can change this memory: loads from it are logged as they happen.'),
  file: string('Path of the mapped file; empty for anonymous memory.'),
});

export const signals = table(
  'signals',
  'One row per signal delivered to a handler, return from a handler, or fatal signal.',
  {
    tick,
    thread,
    stack,
    op: enumOf(['deliver', 'return', 'fatal'], 'What happened.'),
    signal: u32('Signal number; 0 for a return.'),
    pc: u64('Program counter that was interrupted, or the one returned to.'),
    fault: bool('Raised by the instruction at `pc` in the middle of a superblock.'),
    alternate_stack: bool('The handler runs on the alternate signal stack.'),
  },
);

export const thread_events = table('thread_events', 'One row per event in the life of a thread.', {
  tick,
  thread,
  stack,
  op: enumOf(
    ['create', 'start', 'exit', 'joined', 'name'],
    'What happened to `other` (create, joined) or to `thread` itself.',
  ),
  other: u32('For create: the new thread; for joined: the thread that ended.'),
  os_thread: u32('Operating-system thread id; 0 when not known.'),
  handle: u64('The pthread_t; 0 when not known.'),
  name: string('For name: the thread name set.'),
});

export const slices = table(
  'slices',
  'One row each time a thread gets the processor, or goes on after its time slice.',
  {
    tick,
    thread,
    pc: u64('Program counter at which it goes on.'),
    sp: u64('Stack pointer.'),
    state_hash: u64('FNV-1a hash of the guest registers, which replay checks; 0 when not known.'),
  },
);

export const sync = table(
  'sync',
  'One row per synchronisation operation announced by the pthread, Qt or OpenMP wrappers or by annotations of helgrind.h and drd.h.',
  {
    tick,
    thread,
    stack,
    op: enumOf(
      [
        'mutex_init',
        'mutex_destroy',
        'mutex_lock_begin',
        'mutex_lock',
        'mutex_unlock_begin',
        'mutex_unlock',
        'mutex_acquired',
        'mutex_acquire_begin',
        'rwlock_init',
        'rwlock_destroy',
        'rwlock_lock_begin',
        'rwlock_lock',
        'rwlock_unlock_begin',
        'rwlock_unlock',
        'rwlock_acquired',
        'rwlock_released',
        'cond_init',
        'cond_destroy',
        'cond_signal',
        'cond_signal_end',
        'cond_broadcast',
        'cond_broadcast_end',
        'cond_wait_begin',
        'cond_wait',
        'sem_init',
        'sem_destroy',
        'sem_post',
        'sem_post_end',
        'sem_wait_begin',
        'sem_wait',
        'sem_acquired',
        'sem_released',
        'barrier_init',
        'barrier_resize',
        'barrier_destroy',
        'barrier_wait',
        'spin_init_or_unlock',
        'spin_init_or_unlock_end',
        'spin_lock_begin',
        'spin_lock',
        'spin_destroy',
        'happens_before',
        'happens_after',
        'happens_forget',
        'clean_memory',
        'clean_heap_block',
        'untrack',
        'track',
        'api_error',
        'unimplemented',
        'create_begin',
        'create_end',
        'set_pthread',
        'join',
        'other',
        'task_create_begin',
        'task_create',
        'task_depend',
        'task_begin',
        'task_end',
        'taskwait_begin',
        'taskwait',
        'taskgroup',
        'taskgroup_end_begin',
        'taskgroup_end',
        'tasks_done',
        'task_fulfill',
      ],
      "The operation. `x_begin` stands before the call, `x` after it. Of OpenMP's tasks: `task_depend` stands before the operation that it is for, `task_begin` and `task_end` around the execution of a task, `tasks_done` where all tasks of the team are complete.",
    ),
    code: u32('Request code as in helgrind.h, drd.h or recorder/tool/requests.h.'),
    object: u64(
      'Address of the lock, condition, semaphore, barrier or tag. The number of a task, which those of one taskloop share; for task_depend the address that it depends on.',
    ),
    object2: u64(
      'Second operand: for cond_wait the mutex; for task_create_begin bits: 1 executed at once, 2 final, 4 its creator waits for it, 8 several of a taskloop; for task_depend 0 in, 1 out, 2 inoutset; for task_begin and task_end the stack pointer; for taskwait 1 if it has depend clauses.',
    ),
    value: u64(
      'Third operand: a result, a count, whether a lock is for writing, whether a condition is not as static initialisers leave it, …',
    ),
    text: string('For api_error and unimplemented: the function named.'),
  },
);

export const client_requests = table(
  'client_requests',
  "One row per client request of valgrind.h, memcheck.h and any other tool's header.",
  {
    tick,
    thread,
    stack,
    code: u32('Request code.'),
    arg1: u64('First argument.'),
    arg2: u64('Second argument.'),
    arg3: u64('Third argument.'),
    arg4: u64('Fourth argument.'),
    arg5: u64('Fifth argument.'),
    result: u64('What the guest was answered.'),
    handled: bool('The recorder answered it; otherwise the guest got its default.'),
    text: string('The string that an argument points to, where the request is known to have one.'),
  },
);

export const stacks = table('stacks', 'One row per distinct call stack.', {
  stack: u32('Number of the stack within the process; 0 is not used.'),
  pcs: binary(
    'Addresses as u64, innermost first; those of callers point into the call instruction.',
  ),
});

export const values = table(
  'values',
  'Results that replay cannot compute, in the order in which they were produced: one chunk of the log.',
  {
    tick,
    bytes: binary('Each result in 8 bytes, or a multiple of 8 for wider ones.'),
  },
);

export const health = table('health', 'One row per anomaly of this recording.', {
  tick,
  severity: enumOf(
    ['info', 'warning', 'error'],
    'info: noted; warning: something is missing; error: part of the trace cannot be used.',
  ),
  what: string('Short name of the anomaly.'),
  detail: string('What happened and what it means for the reader.'),
});

export const page_hashes = table(
  'page_hashes',
  'Hashes of guest memory at the end of a process, which replay checks (only with --verify).',
  {
    tick,
    address: u64('First byte.'),
    size: u64('Size in bytes.'),
    hash: u64('FNV-1a over the little-endian u64 words.'),
  },
);

export const keyframes = table(
  'keyframes',
  'One row per moment at which the recorder wrote down the whole writable state of the guest: replay can begin there, or go on there after a divergence.',
  {
    tick,
    thread: u32('The thread that runs next.'),
    thread_size: u32('Size of one thread in `threads`, in bytes.'),
    threads: binary('For each live thread: its number as u64, then its guest state.'),
  },
);

export const keyframe_memory = table(
  'keyframe_memory',
  'Contents of all guest memory that can have changed since it was mapped, at the keyframe whose row follows.',
  {
    tick,
    address: u64('First byte.'),
    size: u64('Size in bytes.'),
    bytes: binary('The contents; empty when all are zero.'),
  },
);

export const strings = table(
  'strings',
  'Texts that rows of `instructions` refer to, each written before its first use.',
  {
    string: u32('Number of the text within the process, from 1.'),
    text: string('The text.'),
  },
);

export const descriptor_events = table(
  'descriptor_events',
  'One row per descriptor that was open at the start of an image or of the recording, that a system call gave, or that a message carried; and per set of descriptors that a call waits for.',
  {
    tick,
    thread,
    call: u64('Number of the system call within the process; 0 at the start.'),
    op: enumOf(
      ['startup', 'opened', 'received', 'sent', 'waited'],
      'It was open already, a call gave it, came with a message, went with one; or the call waits for `set`.',
    ),
    descriptor: i32('Number of the descriptor; -1 for waited.'),
    mode: u32('Type and permissions as st_mode of stat(2) has them; 0 when not known.'),
    flags: u32('As F_GETFL of fcntl(2) gives them, and O_CLOEXEC (02000000).'),
    device: u64('Device of the file.'),
    inode: u64(
      'Inode number: with `device` it tells whether two descriptors are of the same object.',
    ),
    name: string('What /proc/self/fd says: a path, or such as `pipe:[4711]`.'),
    set: binary('For waited: the descriptors that poll or select were given, as i32.'),
  },
);

export const faults = table(
  'faults',
  'One row per access to memory that the processor refused: it stands beside that of the signal.',
  {
    tick,
    thread,
    stack,
    signal: u32('SIGSEGV (11) or SIGBUS (7).'),
    code: i32('si_code of sigaction(2): 1 nothing is mapped there, 2 the protection forbids it.'),
    address: u64('The address accessed.'),
    fatal: bool('It ended the process.'),
  },
);

export const syscall_contents = table(
  'syscall_contents',
  'One row per structure that the program passed to an ioctl, as it was before the call; of a hypercall of Xen, its operation, too.',
  {
    tick,
    thread,
    call: u64('Number of the call within the process.'),
    address: u64('First byte.'),
    bytes: binary('What stood there: of longer ones the first 256 bytes.'),
  },
);

/** The tables that tell what happened, which analyses ask for by name (analyses/replay-parts.ts). */
export const EVENTS = {
  ...{ process_ends, memory, registers, syscall_enters, syscall_exits, syscall_memory },
  ...{ syscall_contents, descriptor_events, heap, mappings, faults, signals, thread_events },
  ...{ slices, sync, client_requests },
} as const;

/** In order of their number in a raw record. Append only: the order is part of the format. */
export const TOOL_TABLES = [
  process_starts,
  process_ends,
  modules,
  instructions,
  blocks,
  registers,
  memory,
  syscall_enters,
  syscall_exits,
  syscall_memory,
  heap,
  mappings,
  signals,
  thread_events,
  slices,
  sync,
  client_requests,
  stacks,
  values,
  health,
  page_hashes,
  keyframe_memory,
  keyframes,
  strings,
  descriptor_events,
  faults,
  syscall_contents,
] as const;

export const ops = table(
  'ops',
  'Names of the VEX IR operations that the blocks of this run refer to by number.',
  {
    op: u16('Number of the operation.'),
    name: string('Name in libvex_ir.h without its prefix, such as `Add64`.'),
  },
);

export const processes = table(
  'processes',
  'One row per process image of the run, as the recorder pieced it together.',
  {
    pid: u32('Operating-system process id.'),
    parent: i32('Process image that started this one; -1 for the first.'),
    how: enumOf(['start', 'fork', 'exec'], 'What began this image.'),
    parent_tick: u64('Tick of the parent image at that moment.'),
    parent_event: u64('For a fork: how many events of the parent precede it.'),
    executable: string('Path of the program file.'),
    arguments: string('The arguments as a JSON array.'),
    directory: string('Working folder.'),
    start_time_ns: u64('Monotonic clock at the start, in nanoseconds.'),
    end_time_ns: u64('Monotonic clock at the end, in nanoseconds; 0 when not known.'),
    end: enumOf(
      ['exit', 'signal', 'exec', 'stopped', 'killed', 'unknown'],
      'How it ended; `killed`: without a word, as by SIGKILL.',
    ),
    status: i32('Exit status, or the number of the fatal signal; -1 when not known.'),
    ticks: u64('Guest instructions executed until its end, as far as the trace tells.'),
    events: u64('Rows that its tool wrote.'),
  },
);

/** Written by the TypeScript side of the recorder. */
export const RECORDER_TABLES = [ops, processes] as const;

export const STORED_TABLES = [...TOOL_TABLES, ...RECORDER_TABLES] as const;
