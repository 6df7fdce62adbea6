/** The comparison with Memcheck: reading its XML, cut off too, and telling the differences. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { differences, grindTallies, memcheckTallies, parseList } from './compare-memcheck.js';
import { compile, ROOT, run, scratch } from './guest.js';
import { parseXml } from './xml.js';

const XML = `<?xml version="1.0"?>
<valgrindoutput>
<protocolversion>4</protocolversion>
<error>
  <unique>0x1</unique>
  <kind>UninitCondition</kind>
  <what>Conditional jump &amp; more</what>
  <stack>
    <frame><ip>0x1</ip><fn>operator&lt;(int)</fn></frame>
    <frame><ip>0x2</ip><obj>/x</obj></frame>
    <frame><ip>0x3</ip><fn>main</fn></frame>
    <frame><ip>0x4</ip><fn>more</fn></frame>
  </stack>
  <suppression><rawtext><![CDATA[ {<x>} ]]></rawtext></suppression>
</error>
<errorcounts><pair><count>1</count><unique>0x1</unique></pair></errorcounts>
<error>
  <unique>0x2</unique>
  <kind>Leak_DefinitelyLost</kind>
  <xwhat><text>x</text><leakedbytes>40</leakedbytes><leakedblocks>2</leakedblocks></xwhat>
  <stack><frame><fn>malloc</fn></frame></stack>
</error>
<errorcounts><pair><count>7</count><unique>0x1</unique></pair></errorcounts>
</valgrindoutput>
`;

const COND = 'UninitCondition: operator<(int) < ??? < main';
const LEAK = 'Leak_DefinitelyLost: malloc';

test("Memcheck's XML; one that is cut off as far as it goes", () => {
  assert.deepEqual(
    [...memcheckTallies(XML)],
    [
      [COND, { count: 7, bytes: 0n }],
      [LEAK, { count: 2, bytes: 40n }],
    ],
  );
  const cut = memcheckTallies(XML.slice(0, XML.indexOf('</valgrindoutput>') - 200));
  assert.deepEqual(cut.get(COND), { count: 1, bytes: 0n });
  const uncounted = memcheckTallies(XML.slice(0, XML.indexOf('<errorcounts>')));
  assert.deepEqual(differences(uncounted, new Map([[COND, { count: 5, bytes: 0n }]])), []);
  for (let end = 0; end < XML.length; end += 7) memcheckTallies(XML.slice(0, end));
  assert.deepEqual(parseXml('<a>1<b/>&#65;&lt;</a>').children, [
    { tag: 'a', text: '1A<', children: [{ tag: 'b', text: '', children: [] }] },
  ]);
});

test('differences on both sides; kinds that Memcheck does not have make none', () => {
  const frames = (...names: string[]) => [{ frames: names.map((fn) => ({ fn })) }];
  const found = [
    { kind: 'UninitCondition', count: 7, stacks: frames('operator<(int)', '', 'main', 'x') },
    { kind: 'InvalidRead', count: 1, stacks: frames('f') },
    { kind: 'UseAfterReuse', count: 1, stacks: frames('f') },
    {
      kind: 'Leak_DefinitelyLost',
      count: 2,
      stacks: frames('malloc'),
      leak: { bytes: '30', indirect_bytes: '8', blocks: 2 },
    },
  ];
  const ours = grindTallies({ findings: found });
  const theirs = memcheckTallies(XML);
  assert.deepEqual(differences(theirs, ours), [
    { key: LEAK, memcheck: { count: 2, bytes: 40n }, grind: { count: 2, bytes: 38n } },
    { key: 'InvalidRead: f', memcheck: undefined, grind: { count: 1, bytes: 0n } },
  ]);
  assert.deepEqual(
    differences(theirs, ours, false).map(({ key }) => key),
    ['InvalidRead: f'],
  );
  assert.deepEqual(differences(theirs, new Map()).length, 2);
  const kept = (key: string) => differences(new Map(), new Map([[key, { count: 1, bytes: 0n }]]));
  assert.equal(kept('InvalidReadReused: f').length, 0);
  assert.equal(kept('InvalidRead: f').length, 1);
});

test('findings of several processes are told by the program; those of images before an exec are left out', () => {
  const program = '<args><argv><exe>/no/such/sh</exe></argv></args><error>';
  const theirs = memcheckTallies(XML.replace('<error>', program), { children: true });
  assert.deepEqual([...theirs.keys()], [`sh ${COND}`, `sh ${LEAK}`]);
  const finding = { kind: 'InvalidRead', count: 1, stacks: [{ frames: [{ fn: 'f' }] }] };
  const report = {
    findings: [0, 1].map((process) => ({ ...finding, process })),
    summary: {
      processes: [
        { process: 0, executable: '/usr/bin/env', end: 'exec' },
        { process: 1, executable: '/usr/bin/sh', end: 'exit' },
      ],
      missing: [],
    },
  };
  assert.deepEqual([...grindTallies(report, { children: true }).keys()], ['sh InvalidRead: f']);
});

test('lists of programs', () => {
  assert.deepEqual(parseList('# none\n\na "b c" \'d\'\ncwd=/x ./y 1\n'), [
    { argv: ['a', 'b c', 'd'] },
    { argv: ['./y', '1'], cwd: '/x' },
  ]);
});

test('the tool runs both and ends with 1 when they differ', () => {
  const analysis = scratch('nothing.mjs');
  writeFileSync(
    analysis,
    `export const analysis = {
       name: 'nothing', describe: 'Finds nothing',
       options: { 'leak-check': { describe: 'x', default: 'no' }, 'show-leak-kinds': { describe: 'x', default: 'all' } },
       *run(trace, options, { processes }) {
         for (const process of processes) yield { process, findings: [], summary: {}, missing: [] };
       },
     };`,
  );
  const compare = (...args: string[]) =>
    run([
      process.execPath,
      join(ROOT, 'dist/test/compare-memcheck.js'),
      `--analysis=${analysis}`,
      ...args,
    ]);
  const same = compare('/bin/true');
  assert.equal(same.status, 0, same.stdout + same.stderr);
  assert.match(same.stdout, /^same, 0 findings: \/bin\/true\n1 programs the same/);
  const program = compile('report.cpp');
  const different = compare('--option=--show-leak-kinds=all', '--', program);
  assert.equal(different.status, 1);
  assert.deepEqual(different.stdout.trim().split('\n'), [
    `different: ${program}`,
    '  only Memcheck, 1 (4000 bytes) times: Leak_DefinitelyLost: malloc < shop::order(unsigned int) < main',
    '0 programs the same, 1 different, 0 not compared',
  ]);
  assert.equal(compare('/no/such').status, 1);
  assert.equal(compare().status, 2);
});
