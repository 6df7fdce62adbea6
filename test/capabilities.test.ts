/** The program's own capabilities: what findings tell, and the table of their lives. What is found, guests announce. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CAPABILITY_REQUESTS, FIRST_CAPABILITY_REQUEST } from '../schemas/requests.js';
import type { FoundJson } from './expectations.js';
import { compile, grind, record, ROOT, run, type Recording } from './guest.js';

describe('capabilities', () => {
  let recording: Recording;
  const found = (...options: string[]): FoundJson[] => {
    const report = grind(['analyze', 'capcheck', recording.folder, '-f', 'json', ...options]);
    return (JSON.parse(report.stdout) as { findings: FoundJson[] }).findings;
  };

  before(() => {
    recording = record([compile('capcheck/service.c')]);
    assert.equal(recording.status, 0, recording.stderr);
  });

  test('the header and the analysis number the requests alike', () => {
    const header = readFileSync(join(ROOT, 'recorder', 'grind-capabilities.h'), 'utf8');
    const numbers = [
      ...header.matchAll(/define GRIND_(\w+)\(.*\)[\s\\]+GRIND_CAP_REQUEST_\((\d+),/g),
    ];
    assert.deepEqual(
      numbers.map(([, name, number]) => [name, Number(number)]),
      CAPABILITY_REQUESTS.map((name, i) => [name, i]),
    );
    assert.deepEqual(
      recording.query(
        `select distinct name, code from client_requests where name like 'GRIND_CAP_S%' order by code`,
      ),
      ['CAP_SPACE', 'CAP_SPACE_END', 'CAP_SEND'].map((name) => ({
        name: `GRIND_${name}`,
        code: BigInt(FIRST_CAPABILITY_REQUEST + CAPABILITY_REQUESTS.indexOf(name as never)),
      })),
    );
  });

  test('a finding has the stacks of allocation, mapping and use, and names', () => {
    const shown = found().map(({ kind, notes, stacks }) => [
      kind,
      stacks.map(({ role, frames }) => `${role}: ${frames[0]!.fn}`),
      notes.map((note) => note.replace(/0x[0-9a-f]{3,}/g, 'ADDRESS')),
    ]);
    const of = (kind: string) => shown.filter(([its]) => its === kind).map((row) => row.slice(1));
    assert.deepEqual(of('CapProtocol'), [
      [
        [
          ': wrong_use',
          'The index was allocated: dataspace',
          'The capability was mapped: dataspace',
        ],
        ['The index is 0x4 of space "client" (ADDRESS)', 'It leads to "first" (ADDRESS)'],
      ],
    ]);
    assert.deepEqual(of('CapDoubleFree'), [
      [
        [
          ': after_free',
          'The index was allocated: dataspace',
          'The capability was mapped: dataspace',
          'It was unmapped: give_back',
          'The index was freed: give_back',
        ],
        ['The index is 0x4 of space "client" (ADDRESS)', 'It led to "first" (ADDRESS)'],
      ],
    ]);
    assert.deepEqual(of('CapOvermap')[1], [
      [': over', 'The index was allocated: dataspace', 'The capability was mapped: over'],
      [
        'The index is 0x4 of space "client" (ADDRESS)',
        'It leads to "first" (ADDRESS)',
        'It leads to "name service" (ADDRESS) now',
      ],
    ]);
  });

  test('leaks can be left out', () => {
    const kinds = new Set(found('--cap-leak=no').map(({ kind }) => kind));
    assert.ok(kinds.has('CapProtocol') && !kinds.has('CapLeak') && !kinds.has('CapLost'));
  });

  test('the table of lives', () => {
    found();
    const rows =
      recording.query(`select space_name, index, generation, object_name, protocol, rights,
      "end"::varchar as how, mappings, invocations from capabilities order by process, allocated_tick`);
    assert.deepEqual(
      rows.slice(0, 5).map((row) => Object.values(row)),
      [
        ['client', 0n, 1n, 'name service', 1n, 1n, 'freed', 1n, 1n],
        ['memory service', 0n, 1n, 'memory gate', 2n, 3n, 'freed', 1n, 0n],
        ['client', 1n, 1n, 'memory gate', 2n, 3n, 'freed', 1n, 1n],
        ['client', 2n, 1n, 'first', 3n, 1n, 'allocated', 1n, 0n],
        ['client', 3n, 1n, '', 0n, 0n, 'allocated', 0n, 0n],
      ],
    );
    assert.deepEqual(
      rows.filter((row) => row['how'] === 'space_ended').map((row) => row['space_name']),
      ['short task'],
    );
    assert.equal(
      recording.cell(`select count(*) from capabilities c join frames f
        on f.process = c.process and f.stack = c.allocated_stack and f.depth = 0
        where "end" = 'allocated' and f.function = 'leaks'`),
      2n,
    );
  });

  test('the header asks for nothing, in C and in C++, with and without requests', () => {
    const header = join(ROOT, 'recorder', 'grind-capabilities.h');
    const source = `#include "${header}"
      int main(void) { int space = 0, index = 1; GRIND_CAP_ALLOC(&space, index); GRIND_CAP_FREE(&space, index); return 0; }`;
    const strict = ['-Wall', '-Wextra', '-Werror', '-pedantic', '-fsyntax-only', '-'];
    for (const compiler of [
      ['gcc', '-x', 'c', '-std=c99'],
      ['g++', '-x', 'c++', '-std=c++11'],
      ['gcc', '-x', 'c', '-std=c99', '-DGRIND_NO_CAPABILITIES'],
      ['g++', '-x', 'c++', '-std=c++11', '-DGRIND_NO_CAPABILITIES'],
    ]) {
      const result = run([...compiler, ...strict], { stdin: source });
      assert.equal(result.stderr, '', compiler.join(' '));
    }
  });
});
