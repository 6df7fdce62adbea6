/**
 * Lock discipline on guests whose sources say what is to be found: each line with a bug names the kinds of
 * findings that it gives, and the same program without its bugs (-DCLEAN) gives none.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { findingsIn, recordSource, run, testGuests, type FoundJson } from './expectations.js';
import { record, ROOT } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'locks');
const SOURCES = readdirSync(GUESTS).filter((file) => !file.startsWith('contention'));

/** The analysis of locks alone imports modules of grind, and so runs beside them. */
const analyzeLocks = (folder: string, ...options: string[]) => {
  const [program, analysis] = ['from-modules.js', 'lock-analysis.js'].map((name) =>
    join(ROOT, 'dist', 'test', name),
  );
  return run(process.execPath, [program!, 'analyze', analysis!, folder, ...options]);
};

const analyze = async (folder: string, ...options: string[]): Promise<FoundJson[]> =>
  findingsIn(await analyzeLocks(folder, '--format=json', ...options));

/** The sentence without addresses and numbers of threads. */
const sentence = ({ what }: FoundJson): string =>
  what.replace(/0x[0-9A-F]+/g, 'ADDRESS').replace(/hread #\d+/g, 'hread #N');

describe('locks', { concurrency: 2 }, () => {
  testGuests(GUESTS, SOURCES, analyze);

  test('an order of three locks, with all places and where the locks come from', async () => {
    const findings = await analyze(await recordSource(join(GUESTS, 'order.c')));
    const { stacks } = findings.find(({ what }) => (what.match(/before/g) ?? []).length === 2)!;
    const places = stacks.map(({ role, frames }) => [
      role.replace(/0x[0-9A-F]+/, 'ADDRESS').replace(/thread #\d+/, 'thread #N'),
      frames.find(({ file, fn }) => file === 'order.c' && fn !== 'both')!.fn,
    ]);
    assert.deepEqual(places, [
      ['', 'z_then_x'],
      ['after the acquisition of lock at ADDRESS', 'z_then_x'],
      ['Required order was established by acquisition of lock at ADDRESS by thread #N', 'x_then_y'],
      ['followed by a later acquisition of lock at ADDRESS', 'x_then_y'],
      ['Required order was established by acquisition of lock at ADDRESS by thread #N', 'y_then_z'],
      ['followed by a later acquisition of lock at ADDRESS', 'y_then_z'],
      ['Lock at ADDRESS, 0 bytes inside data symbol "x", was first observed', 'x_then_y'],
      ['Lock at ADDRESS, 0 bytes inside data symbol "y", was first observed', 'x_then_y'],
      ['Lock at ADDRESS, 0 bytes inside data symbol "z", was first observed', 'y_then_z'],
    ]);
  });

  test('orders that need more threads are marked, those in turn are shown when asked for', async () => {
    const folder = await recordSource(join(GUESTS, 'order.c'), '-DCLEAN');
    const all = await analyze(folder, '--track-lockorders=all');
    assert.deepEqual(
      all.map(({ notes, stacks }) => [
        notes[0]?.slice(0, 38),
        stacks[0]!.frames.find(({ file, fn }) => file === 'order.c' && fn !== 'both')!.fn,
      ]),
      [['These threads ran one after another: a', 'w_then_v']],
    );
    const bad = await recordSource(join(GUESTS, 'order.c'));
    const alone = (await analyze(bad)).filter(({ notes }) => notes.length > 0);
    assert.deepEqual(
      alone.map(({ notes }) => notes[0]?.slice(0, 41)),
      ['One thread took them in several of these '],
    );
    assert.deepEqual(await analyze(bad, '--track-lockorders=no'), []);
  });

  test("Helgrind's words", async () => {
    const unlocks = await analyze(await recordSource(join(GUESTS, 'unlocks.c')));
    assert.deepEqual([...new Set(unlocks.map(sentence))].sort(), [
      'Thread #N unlocked a not-locked lock at ADDRESS',
      'Thread #N unlocked an invalid lock at ADDRESS',
      'Thread #N unlocked lock at ADDRESS currently held by thread #N',
      "Thread #N's call to pthread_mutex_unlock failed with error code 1 (EPERM)",
      'Thread #N: pthread_mutex_unlock with a pthread_rwlock_t* argument',
    ]);
  });

  test('how locks were used, in SQL', async () => {
    const recording = record(['locks/contention.c']);
    const { facts } = recording;
    await analyze(recording.folder);
    const use = (name: string) =>
      recording.row(
        `select kind, acquisitions, contended, failed, threads, function, waited_ticks, held_ticks, longest_ticks
         from lock_contention where address = ${facts.hex(name)}`,
      );
    const counts = (name: string) => {
      const { kind, acquisitions, contended, failed, threads, function: fn } = use(name);
      return [kind, acquisitions, contended, failed, threads, fn];
    };
    assert.deepEqual(counts('wanted'), ['mutex', 2n, 1n, 0n, 2n, 'main']);
    assert.deepEqual(counts('alone'), ['mutex', 3n, 0n, 0n, 1n, 'main']);
    assert.deepEqual(counts('shared'), ['rwlock', 2n, 0n, 1n, 2n, 'main']);
    const { waited_ticks: waited, held_ticks: held, longest_ticks: longest } = use('wanted');
    const least = facts.int('wanted', 1);
    assert.ok((waited as bigint) > least && (longest as bigint) > (waited as bigint));
    assert.ok((held as bigint) > (longest as bigint));
    assert.equal(use('alone')['waited_ticks'], 0n);
  });

  test('wrong values of options', async () => {
    const folder = await recordSource(join(GUESTS, 'hold.c'));
    const { err } = await analyzeLocks(folder, '--exclusive-threshold=long');
    assert.match(err, /--exclusive-threshold takes a number of instructions or off, not "long"/);
  });
});
