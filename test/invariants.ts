/**
 * What holds for every trace, whatever was recorded: each invariant is an SQL query that returns the rows
 * that break it. Checking also replays every process, so that hashes of registers and memory are compared.
 */
import assert from 'node:assert/strict';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import type { Recording } from './guest.js';

/** Stored tables whose rows carry a tick and are shown as they are stored. */
const TICKED = [
  'mappings',
  'signals',
  'sync',
  'client_requests',
  'heap',
  'thread_events',
  'slices',
  'descriptor_events',
  'faults',
];
const WITH_STACK = [
  'syscalls',
  'mappings',
  'signals',
  'sync',
  'client_requests',
  'heap',
  'thread_events',
  'faults',
];

const INVARIANTS: Readonly<Record<string, string>> = {
  'no anomaly makes the trace unusable': `
    select process || ' ' || what || ': ' || detail from health where severity = 'error'`,
  'ticks never go back': TICKED.map(
    (table) => `select '${table} ' || event from (
      select event, tick < lag(tick) over (partition by process order by event) as back from ${table}) where back`,
  ).join(' union all '),
  'no event lies behind the end of its process': TICKED.map(
    (table) =>
      `select '${table} ' || t.tick from ${table} t join processes p using (process) where t.tick > p.ticks`,
  ).join(' union all '),
  'every stack exists': WITH_STACK.map(
    (table) => `select '${table} ' || t.stack from ${table} t
      anti join stacks s on s.process = t.process and s.stack = t.stack where t.stack <> 0`,
  ).join(' union all '),
  'every address in a stack is a known instruction': `
    select f.pc from stacks f anti join instructions i on i.process = f.process and i.pc = f.pc`,
  'every site is a known instruction': `
    select s.pc from sites s anti join instructions i on i.process = s.process and i.pc = s.pc`,
  'every module exists': `
    select i.pc from instructions i left join modules m on m.process = i.process and m.module = i.module
    where i.module <> 0 and m.module is null`,
  'every site has a size': `
    select pc from sites where size not between 1 and 4096`,
  'a syscall ends after it began': `
    select call from syscalls where end_tick < tick or duration_ns < 0`,
  'each syscall appears once': `
    select call from syscalls group by process, call having count(*) > 1`,
  'kernel accesses belong to a syscall': `
    select m.call from syscall_memory m anti join syscalls s on s.process = m.process and s.call = m.call`,
  'a block is freed after it was allocated': `
    select address from allocations where free_tick < tick`,
  'every thread that runs is known': `
    select s.thread from slices s anti join threads t on t.process = s.process and t.thread = s.thread`,
  'every parent exists': `
    select c.process from processes c left join processes p on p.process = c.parent
    where c.parent >= 0 and p.process is null`,
};

/** Those that SQL needs a replay or a large join for: asked of short runs. */
const SHORT_RUN_INVARIANTS: Readonly<Record<string, string>> = {
  'executions of segments add up to the ticks': `
    select p.process || ': ' || p.ticks || ' ticks, ' || s.n from processes p
    join (select process, sum(instructions * executions) as n from segments group by process) s using (process)
    left join (select process, min(tick) as first from slices group by process) b using (process)
    where s.n + coalesce(b.first, p.ticks) <> p.ticks
      and not exists (select 1 from signals g where g.process = p.process)`,
  'live blocks do not overlap': `
    select a.address from allocations a join allocations b
      on a.process = b.process and a.address < b.address + b.size and b.address < a.address + a.size
      and b.tick < coalesce(a.free_tick, b.tick + 1) and a.event < b.event
      and a.allocator not in ('malloclike', 'mempool') and b.allocator not in ('malloclike', 'mempool')`,
};
const SHORT_RUN_TICKS = 20_000_000n;

/** Re-executes each process to its end; what does not follow the recording is returned as sentences. */
function replayAll(recording: Recording): { problems: string[]; ticks: bigint } {
  const trace = Trace.open(recording.folder);
  try {
    const problems = trace.processes.flatMap(({ process, ticks }) => {
      const replay = openReplay(trace, process);
      replay.finish();
      if (replay.divergences.length > 0) return replay.divergences;
      return replay.tick === ticks
        ? []
        : [`process ${process}: replay ended at tick ${replay.tick}, not ${ticks}`];
    });
    return { problems, ticks: trace.processes.reduce((sum, row) => sum + row.ticks, 0n) };
  } finally {
    trace.close();
  }
}

/** Replays all of the recording and asserts every invariant. */
export function checkInvariants(recording: Recording): void {
  const { problems, ticks } = replayAll(recording);
  assert.deepEqual(problems, [], recording.folder);
  const invariants =
    ticks < SHORT_RUN_TICKS ? { ...INVARIANTS, ...SHORT_RUN_INVARIANTS } : INVARIANTS;
  const parts = Object.entries(invariants).map(
    ([name, sql], index) => `
      select ${index} as number, '${name}' as invariant, count(*) as violations, cast(min(x) as varchar) as example
      from (${sql}) as broken(x)`,
  );
  const broken = recording
    .query(parts.join(' union all '))
    .filter((row) => row['violations'] !== 0n)
    .map((row) => `${row['invariant']}: ${row['violations']} times, such as ${row['example']}`);
  assert.deepEqual(broken, [], recording.folder);
}
