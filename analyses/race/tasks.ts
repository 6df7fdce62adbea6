/**
 * Tasks of OpenMP (specification 5.1, 2.12 and 2.19.5 to 2.19.11). A task may run at any time after its creation that its
 * dependences allow, whichever thread executes it: so it has a clock of its own, which begins with what its creator had done,
 * and what it did happens before the ends of the waits that are for it: `taskwait`, `taskgroup`, tasks that depend on it,
 * and barriers. A task whose creator waits for it at once (`if(0)`, one created by a final task) goes on with its creator's clock.
 *
 * Rows of `sync` say what happens; GCC's library itself orders nothing while it serves tasks, or what it did in the recorded
 * schedule would order them.
 */
import { VectorClock, type ThreadClock, type Threads } from './clocks.js';
import { bySyncOp, type SyncRow } from './sync-row.js';

/** Bits of `object2` of a creation. */
const IS_UNDEFERRED = 1;
const IS_FINAL = 2;
const IS_GROUPED = 4;
const IS_LOOP = 8;
/** Kinds of dependence. */
const IN = 0;
const SET = 2;

const CREATE_BEGIN = 1;
const CREATE_END = 2;
const DEPEND = 3;
const BEGIN = 4;
const END = 5;
const TASKWAIT = 6;
const GROUP = 7;
const GROUP_END = 8;
const DONE = 9;
const FULFILL = 10;
const ACTIONS = bySyncOp({
  task_create_begin: CREATE_BEGIN,
  task_create: CREATE_END,
  task_depend: DEPEND,
  task_begin: BEGIN,
  task_end: END,
  taskwait: TASKWAIT,
  taskgroup: GROUP,
  taskgroup_end: GROUP_END,
  tasks_done: DONE,
  task_fulfill: FULFILL,
});

/** What a task that is complete did. */
interface Completion {
  clock?: VectorClock;
}

interface Group {
  readonly done: VectorClock;
  readonly outer: Group | undefined;
}

/** Tasks that were the last to depend on an address. */
interface Dependence {
  writers: Completion[];
  readers: Completion[];
  /** The writers are a set that is not ordered (inoutset): those before them. */
  before: Completion[] | undefined;
}

/** A task region that is being executed. */
interface Task {
  readonly clock: ThreadClock;
  readonly creation: Creation | undefined;
  readonly isFinal: boolean;
  /** What those of its children did that are complete. */
  readonly children: VectorClock;
  group: Group | undefined;
  readonly dependences: Map<number, Dependence>;
  /** Announced operations that the thread was within when the task began. */
  readonly within: number;
}

interface Creation {
  readonly creator: Task;
  readonly bits: number;
  readonly isUndeferred: boolean;
  /** What happens before it. */
  readonly seen: VectorClock;
  /** Its creator is still at it: values of variables are being copied. */
  isOpen: boolean;
  readonly group: Group | undefined;
  readonly after: readonly Completion[];
  readonly completion: Completion;
}

/** Memory of a thread's stack below an address is of calls that were over at a tick. */
interface Cleared {
  readonly below: number;
  readonly tick: number;
}

/** A stack is no larger, as a rule. */
const STACK_BYTES = 8 << 20;

export class Tasks {
  /** Some have been created that may be executed later, and then are concurrent with others. */
  areDeferred = false;
  /** By thread: the tasks that it is in, the innermost last. */
  private readonly running = new Map<number, Task[]>();
  private readonly creations = new Map<number, Creation>();
  /** By thread: dependences of the next operation. */
  private readonly depends = new Map<number, { address: number; how: number }[]>();
  /** What complete tasks did, of all teams. */
  private readonly done = new VectorClock();
  /** What came before events were fulfilled, which complete detached tasks. */
  private readonly fulfilled = new VectorClock();
  /** By thread: lower addresses and later ticks last. */
  private readonly cleared = new Map<number, Cleared[]>();

  constructor(
    private readonly threads: Threads,
    /** How many announced operations a thread is within. */
    private readonly within: number[],
  ) {}

  /** Takes in a row of `sync`. */
  operation(row: SyncRow): void {
    const action = ACTIONS[row.op];
    if (!action) return;
    const { thread, object, object2 } = row;
    const task = this.current(thread);
    switch (action) {
      case CREATE_BEGIN:
        return this.create(thread, task, object, object2);
      case CREATE_END:
        return this.created(task, object);
      case DEPEND:
        this.depends.set(thread, [
          ...(this.depends.get(thread) ?? []),
          { address: object, how: object2 },
        ]);
        return;
      case BEGIN:
        this.clear(thread, object2, row.tick);
        return this.begin(thread, task, object);
      case END:
        this.clear(thread, object2, row.tick);
        return this.end(thread, task);
      case TASKWAIT:
        this.joinFulfilled(task);
        if (object2 === 0) task.clock.clock.join(task.children);
        else join(task.clock, this.takeDependences(thread, task, undefined));
        return;
      case GROUP:
        if (!this.within[thread]) task.group = { done: new VectorClock(), outer: task.group };
        return;
      case GROUP_END:
        if (!this.within[thread]) this.endGroup(task);
        return;
      case DONE:
        this.joinFulfilled(task);
        task.clock.clock.join(this.done);
        return;
      case FULFILL:
        this.fulfilled.join(task.clock.clock);
        task.clock.advance();
    }
  }

  /**
   * Memory of a stack was of other calls then: the thread began or ended a task above it since.
   * @param address - any
   */
  wasCleared(address: number, tick: number): boolean {
    for (const [, list] of this.cleared) {
      const last = list.findLast(({ below }) => below > address);
      if (last && last.below - address < STACK_BYTES && last.tick >= tick) return true;
    }
    return false;
  }

  private current(thread: number): Task {
    return this.stack(thread).at(-1)!;
  }

  /** At the bottom the thread's implicit task. */
  private stack(thread: number): Task[] {
    let stack = this.running.get(thread);
    if (!stack) {
      stack = [newTask(this.threads.get(thread), undefined, 0)];
      this.running.set(thread, stack);
    }
    return stack;
  }

  private create(thread: number, creator: Task, number: number, bits: number): void {
    const completion = {};
    const after = this.takeDependences(thread, creator, completion);
    if (bits & IS_GROUPED) creator.group = { done: new VectorClock(), outer: creator.group };
    const creation = {
      ...{ creator, bits, after, completion, group: creator.group, seen: new VectorClock() },
      isUndeferred: (bits & IS_UNDEFERRED) !== 0 || creator.isFinal,
      isOpen: true,
    };
    this.creations.set(number, creation);
    if (!creation.isUndeferred) this.areDeferred = true;
  }

  /** What the creator has done happens before the task. */
  private see(creation: Creation): void {
    const { clock } = creation.creator;
    creation.seen.assign(clock.clock);
    clock.advance();
  }

  private created(task: Task, number: number): void {
    const creation = this.creations.get(number);
    if (!creation) return;
    creation.isOpen = false;
    if (!(creation.bits & IS_GROUPED)) return this.see(creation);
    this.endGroup(task);
    this.creations.delete(number);
  }

  private begin(thread: number, outer: Task, number: number): void {
    const creation = this.creations.get(number);
    if (creation && !(creation.bits & IS_LOOP)) this.creations.delete(number);
    if (creation?.isOpen && !creation.isUndeferred) this.see(creation);
    const within = this.within[thread] ?? 0;
    this.within[thread] = 0;
    let { clock } = outer;
    if (creation?.isUndeferred) join(clock, creation.after);
    else if (creation) {
      clock = this.threads.beginTask(thread, number, creation.seen);
      join(clock, creation.after);
      clock.clock.join(this.fulfilled);
    }
    this.stack(thread).push(newTask(clock, creation, within));
  }

  private end(thread: number, task: Task): void {
    const { creation, clock } = task;
    const stack = this.stack(thread);
    if (stack.length === 1) return;
    stack.pop();
    this.within[thread] = task.within;
    if (!creation) return;
    creation.creator.children.join(clock.clock);
    creation.group?.done.join(clock.clock);
    this.done.join(clock.clock);
    if (creation.creator.dependences.size > 0) {
      creation.completion.clock = new VectorClock();
      creation.completion.clock.assign(clock.clock);
    }
    if (clock === stack.at(-1)!.clock) clock.advance();
    else this.threads.endTask(thread, clock, stack.at(-1)!.clock);
  }

  private endGroup(task: Task): void {
    this.joinFulfilled(task);
    if (!task.group) return;
    task.clock.clock.join(task.group.done);
    task.group = task.group.outer;
  }

  private joinFulfilled({ clock }: Task): void {
    clock.clock.join(this.fulfilled);
  }

  /** What comes before an operation of `task` with the dependences that were told; `completion` comes after them. */
  private takeDependences(
    thread: number,
    task: Task,
    completion: Completion | undefined,
  ): Completion[] {
    const told = this.depends.get(thread) ?? [];
    this.depends.delete(thread);
    return told.flatMap(({ address, how }) => {
      const known = task.dependences.get(address);
      const next = known ?? { writers: [], readers: [], before: undefined };
      if (!known) task.dependences.set(address, next);
      const isOfSet = how === SET && next.before !== undefined && next.readers.length === 0;
      const after = isOfSet
        ? next.before!
        : how === IN
          ? next.writers
          : [...next.writers, ...next.readers];
      if (!completion) return after;
      if (how === IN) next.readers.push(completion);
      else if (isOfSet) next.writers = [...next.writers, completion];
      else {
        next.before = how === SET ? after : undefined;
        next.writers = [completion];
        next.readers = [];
      }
      return after;
    });
  }

  private clear(thread: number, below: number, tick: number): void {
    const list = this.cleared.get(thread) ?? [];
    this.cleared.set(thread, list);
    while (list.length > 0 && list.at(-1)!.below <= below) list.pop();
    list.push({ below, tick });
  }
}

function newTask(clock: ThreadClock, creation: Creation | undefined, within: number): Task {
  return {
    ...{ clock, creation, within, group: creation?.group, dependences: new Map() },
    isFinal:
      creation !== undefined && ((creation.bits & IS_FINAL) !== 0 || creation.creator.isFinal),
    children: new VectorClock(),
  };
}

function join(thread: ThreadClock, completions: readonly Completion[]): void {
  for (const { clock } of completions) if (clock) thread.clock.join(clock);
}
