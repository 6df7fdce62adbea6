/** Names of addresses: inlined functions, addresses between known ones, forked images, main and below. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Symbols, type Frame } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import { instructions, modules, processes, strings } from '../schemas/tables.js';
import { record } from './guest.js';
import { add, contents, writeRun, type PartialRow } from './query-trace.js';

const TEXTS = ['outer', 'a.c', 'inner|a.h|7\nouter|a.c|12', 'other', 'main', '(below main)'];
const [OUTER, FILE, CHAIN, OTHER, MAIN, BELOW] = [1, 2, 3, 4, 5, 6] as const;

const at = (
  pc: bigint,
  fn: number,
  line: number,
  more: PartialRow<typeof instructions> = {},
): PartialRow<typeof instructions> => ({
  process: 0,
  pc,
  length: 4,
  module: 1,
  function: fn,
  file: FILE,
  line,
  ...more,
});

function traceOf(images?: readonly PartialRow<typeof processes>[]): Trace {
  const run = contents(images);
  add(
    run,
    strings,
    TEXTS.map((text, i) => ({ process: 0, event: BigInt(i), string: i + 1, text })),
  );
  add(run, modules, [
    { process: 0, event: 10n, module: 1, address: 0x1000n, size: 0x1000n, path: '/lib/x.so' },
  ]);
  add(run, modules, [
    { process: 0, event: 10n, module: 2, path: '/x/vgpreload_helgrind-amd64-linux.so' },
  ]);
  add(run, instructions, [
    at(0x1000n, OUTER, 10, { event: 11n }),
    at(0x1004n, OUTER, 12, { event: 12n, inlined: CHAIN }),
    at(0x1010n, OUTER, 12, { event: 13n }),
    at(0x1020n, OUTER, 12, { event: 14n }),
    at(0x1030n, OUTER, 13, { event: 15n }),
    at(0x1040n, OTHER, 20, { event: 16n }),
    at(0x1050n, MAIN, 30, { event: 17n }),
    at(0x1060n, BELOW, 0, { event: 18n, file: 0 }),
    at(0x5000n, OTHER, 0, { event: 19n, module: 2, file: 0 }),
    { process: 0, event: 20n, pc: 0xffff_ffff_ff60_0000n, length: 7 },
  ]);
  add(run, strings, [
    { process: 1, event: 5n, string: 7, text: 'child' },
    { process: 1, event: 6n, string: 8, text: 'late' },
  ]);
  add(run, instructions, [at(0x1070n, 7, 40, { process: 1, event: 8n })]);
  return Trace.open(writeRun(run));
}

const brief = (frames: readonly Frame[]) =>
  frames.map(({ fn, file, line, module }) => [fn, file, line, module]);

test('known addresses, inlined functions first; an address within an instruction', () => {
  const symbols = new Symbols(traceOf(), 0);
  assert.deepEqual(symbols.frames(0x1000n), [
    {
      fn: 'outer',
      file: 'a.c',
      directory: '',
      line: 10,
      module: '/lib/x.so',
      pc: 0x1000n,
      inlined: false,
    },
  ]);
  const inlined: Frame[] = [
    {
      fn: 'inner',
      file: 'a.h',
      directory: '',
      line: 7,
      module: '/lib/x.so',
      pc: 0x1007n,
      inlined: true,
    },
    {
      fn: 'outer',
      file: 'a.c',
      directory: '',
      line: 12,
      module: '/lib/x.so',
      pc: 0x1007n,
      inlined: false,
    },
  ];
  assert.deepEqual(symbols.frames(0x1007n), inlined);
  assert.deepEqual(brief(symbols.frames(0xffff_ffff_ff60_0000n)), [['', '', 0, '']]);
});

test('addresses without a row have only names that are certain', () => {
  const symbols = new Symbols(traceOf(), 0);
  assert.deepEqual(brief(symbols.frames(0x1018n)), [['outer', 'a.c', 12, '/lib/x.so']]);
  assert.deepEqual(brief(symbols.frames(0x1028n)), [['outer', '', 0, '/lib/x.so']]);
  assert.deepEqual(brief(symbols.frames(0x1038n)), [['', '', 0, '/lib/x.so']]);
  assert.deepEqual(brief(symbols.frames(0x1fffn)), [['', '', 0, '/lib/x.so']]);
  assert.deepEqual(brief(symbols.frames(0x9000n)), [['', '', 0, '']]);
  assert.deepEqual(brief(symbols.frames(0n)), [['', '', 0, '']]);
});

test('a stack ends with main, or with what calls it, and after so many addresses', () => {
  const symbols = new Symbols(traceOf(), 0);
  const names = (pcs: bigint[], callers?: number) =>
    symbols.stack(pcs, callers).map(({ fn }) => fn);
  assert.deepEqual(names([0x1004n, 0x1040n, 0x1050n, 0x1060n]), [
    'inner',
    'outer',
    'other',
    'main',
  ]);
  assert.deepEqual(names([0x1040n, 0x1060n, 0x1060n]), ['other', '(below main)']);
  assert.deepEqual(names([0x1004n, 0x1040n, 0x1050n], 1), ['inner', 'outer']);
});

test('wrappers that the recorder needs are no part of a stack, unless innermost', () => {
  const symbols = new Symbols(traceOf(), 0);
  const names = symbols.stack([0x5000n, 0x1000n, 0x5000n, 0x1040n], 3).map(({ fn }) => fn);
  assert.deepEqual(names, ['other', 'outer', 'other']);
});

test('a forked image has the names of its parent from before the fork', () => {
  const trace = traceOf([
    { process: 0, pid: 1, parent: -1, how: 'start' },
    { process: 1, pid: 2, parent: 0, how: 'fork', parent_event: 16n },
  ]);
  const symbols = new Symbols(trace, 1);
  assert.deepEqual(brief(symbols.frames(0x1000n)), [['outer', 'a.c', 10, '/lib/x.so']]);
  assert.deepEqual(brief(symbols.frames(0x1070n)), [['child', 'a.c', 40, '/lib/x.so']]);
  assert.equal(symbols.frames(0x1050n)[0]!.fn, '', 'after the fork');
});

test('every function of a C++ program has its mangled name', () => {
  const trace = Trace.open(record(['exceptions.cpp']).folder);
  const symbols = new Symbols(trace, 0);
  const mangled = new Map<string, readonly string[]>();
  for (const { pc } of trace.rows(instructions, 0)) {
    const frame = symbols.frames(pc).at(-1)!;
    if (/[^\w.$@]/.test(frame.fn) && frame.fn !== '(below main)' && !mangled.has(frame.fn))
      mangled.set(frame.fn, symbols.namesForLinker(frame));
  }
  assert.deepEqual(mangled.get('thrower(int, int&)'), ['_ZL7throweriRi']);
  assert.deepEqual(mangled.get('operator new(unsigned long)'), ['_Znwm']);
  const without = [...mangled].filter(([, names]) => names.length === 0).map(([fn]) => fn);
  assert.deepEqual(without, []);
});
