/** Valgrind's suppression files: what is read, what is wrong, what fits, what is written. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import type { Finding } from '../analyses/finding.js';
import {
  formatSuppression,
  parseSuppressions,
  readSuppressions,
  Suppressions,
  suppressionHead,
  textFits,
  type NamedFrame,
} from '../analyses/suppressions.js';
import { UserError } from '../schemas/errors.js';

const finding = (kind: string, what = '', more: Partial<Finding> = {}): Finding => ({
  kind,
  what,
  notes: [],
  process: 0,
  thread: 1,
  tick: 1n,
  stacks: [],
  count: 1,
  ...more,
});

/** A frame `function file:line module mangled`, parts left out from the end. */
function frame(text: string): NamedFrame {
  const [fn = '', place = '', module = '', mangled = ''] = text.split(' ');
  const [file = '', line = '0'] = place.split(':');
  return {
    fn: fn === '-' ? '' : fn,
    file,
    directory: '',
    line: Number(line),
    module,
    pc: 0n,
    inlined: false,
    namesForLinker: () => (mangled ? [mangled] : []),
  };
}

const STACK = [
  'strlen a.c:1 /lib/libc.so.6',
  'ns::f(int) b.cpp:20 /opt/prog _ZN2ns1fEi',
  '- - /opt/plugin.so',
  'run c.c:3 /opt/prog',
  'main m.c:9 /opt/prog',
].map(frame);

const fits = (lines: string, found = finding('UninitCondition'), head = 'Memcheck:Cond') => {
  const text = `{\n name\n ${head}\n ${lines.replaceAll(' ', '\n ')}\n}\n`;
  return new Suppressions(parseSuppressions(text, 'x')).find(found, STACK) !== undefined;
};

test('entries, comments, several tools; entries for other tools are passed over', () => {
  const text = `# a comment
{
   first name
   Memcheck:Param
   # within
   write(buf)
   fun:a*
   obj:/lib/*.so

   src:x.c:12
   src:y.c
   ...
}
{
   second
   Helgrind,Memcheck:Leak
   match-leak-kinds: definite,possible
   ...
   fun:main
}
{
   of another tool
   drd:ConflictingAccess
   whatever
}
{
   older
   Memcheck:Value0
   fun:f
}
`;
  assert.deepEqual(parseSuppressions(text, 'file.supp'), [
    {
      name: 'first name',
      file: 'file.supp',
      line: 3,
      kind: 'Param',
      detail: 'write(buf)',
      frames: [
        { type: 'fun', pattern: 'a*' },
        { type: 'obj', pattern: '/lib/*.so' },
        { type: 'src', pattern: 'x.c', line: 12 },
        { type: 'src', pattern: 'y.c', line: 0 },
        { type: 'any' },
      ],
    },
    {
      name: 'second',
      file: 'file.supp',
      line: 15,
      kind: 'Leak',
      detail: 'definite,possible',
      frames: [{ type: 'any' }, { type: 'fun', pattern: 'main' }],
    },
    {
      name: 'older',
      file: 'file.supp',
      line: 27,
      kind: 'Cond',
      detail: '',
      frames: [{ type: 'fun', pattern: 'f' }],
    },
  ]);
  assert.deepEqual(parseSuppressions('\n# nothing\n', 'x'), []);
});

test('what is wrong is told with file and line', () => {
  const wrong: [string, RegExp][] = [
    ['fun:x', /f\.supp, line 1: "\{" should stand here/],
    ['{\n}\n', /line 2: an entry needs a name/],
    ['{\nname\nMemcheck', /line 3: "Memcheck" is not of the form/],
    ['{\nname\nMemcheck:Nothing\nfun:f\n}', /line 3: "Nothing" is no kind/],
    ['{\nname\nMemcheck:Cond\nfun:f\n', /line 5: the file ends/],
    ['{\nname\nMemcheck:Cond\nfun:f\n{\nname', /line 5: .*does not end/],
    ['{\nname\nMemcheck:Cond\nfn:f\n}', /line 4: .*fun:, obj: or src:/],
    ['{\nname\nMemcheck:Cond\n...\n}', /line 3: .*other than/],
    ['{\nname\nMemcheck:Cond\n}', /line 3: .*other than/],
    ['{\nname\nMemcheck:Param\nfun:f\n}', /line 3: .*parameter/],
    ['{\nname\nMemcheck:Leak\nmatch-leak-kinds: some\nfun:f\n}', /line 4: .*match-leak-kinds/],
  ];
  for (const [text, message] of wrong) {
    assert.throws(
      () => parseSuppressions(text, 'f.supp'),
      (error) => error instanceof UserError && message.test(error.message),
      text,
    );
  }
  assert.throws(() => readSuppressions('/no/such.supp'), /no such file/);
  assert.throws(() => readSuppressions('/'), /is a folder/);
});

test('wildcards', () => {
  const cases: [string, string, boolean][] = [
    ['', '', true],
    ['a', '', false],
    ['*', '', true],
    ['a*c', 'abcbc', true],
    ['a*d', 'abc', false],
    ['?b*', 'abc', true],
    ['?', '', false],
    ['*.so*', '/lib/x.so.6', true],
    ['a.c', 'abc', false],
    ['*a*b*c*', 'xaxbxcx', true],
  ];
  for (const [pattern, text, expected] of cases)
    assert.equal(textFits(pattern, text), expected, `${pattern} ${text}`);
  assert.equal(textFits('*a'.repeat(50) + 'b', 'a'.repeat(20000)), false, 'in good time');
});

test('stacks: the innermost frames must fit', () => {
  assert.ok(fits('fun:strlen'));
  assert.ok(fits('fun:str* obj:/opt/prog'));
  assert.ok(!fits('fun:run'));
  assert.ok(fits('... fun:run'));
  assert.ok(fits('fun:strlen ... fun:main'));
  assert.ok(fits('... fun:strlen'), 'none may stand for ...');
  assert.ok(!fits('... fun:main fun:more'));
  assert.ok(fits('... fun:main ...'));
  assert.ok(fits('obj:*libc* ... obj:*plugin* fun:run'));
  assert.ok(!fits('obj:*libc* obj:*plugin*'));
  assert.ok(fits('... fun:???'), 'no name');
  assert.ok(fits('src:a.c:1'));
  assert.ok(fits('src:*.c'));
  assert.ok(!fits('src:a.c:2'));
  assert.ok(fits('* fun:run'.replace('*', '...')));
});

test('C++: the mangled name fits, by the symbol table; so does the demangled one', () => {
  assert.ok(fits('fun:strlen fun:_ZN2ns1fEi'));
  assert.ok(fits('fun:strlen fun:_ZN2ns*'));
  assert.ok(fits('fun:strlen fun:ns::f(*'));
  assert.ok(!fits('fun:strlen fun:_ZN2ns1gEi'));
});

test('kinds of findings and of suppressions', () => {
  const leak = { bytes: 1n, indirectBytes: 0n, blocks: 1 };
  const pairs: [Finding, string, string?][] = [
    [finding('InvalidRead', 'Invalid read of size 4'), 'Addr4'],
    [finding('InvalidWrite', 'Invalid write of size 16'), 'Addr16'],
    [finding('UninitValue', 'Use of uninitialised value of size 8'), 'Value8'],
    [finding('UninitCondition'), 'Cond'],
    [finding('UninitCondition'), 'Value0'],
    [finding('InvalidJump'), 'Jump'],
    [finding('InvalidFree'), 'Free'],
    [finding('MismatchedFree'), 'Free'],
    [finding('Overlap'), 'Overlap'],
    [finding('ClientCheck'), 'User'],
    [finding('InvalidMemPool'), 'Mempool'],
    [finding('SyscallParam', '', { parameter: 'write(buf)' }), 'Param', 'write(buf)'],
    [finding('Leak_DefinitelyLost', '', { leak }), 'Leak'],
    [finding('Leak_PossiblyLost', '', { leak }), 'Leak', 'match-leak-kinds: possible,reachable'],
    [finding('Leak_StillReachable', '', { leak }), 'Leak', 'match-leak-kinds: all'],
    [
      finding(
        'FishyValue',
        "Argument 'size' of function malloc has a fishy (possibly negative) value: -1",
      ),
      'FishyValue',
      'malloc(size)',
    ],
  ];
  const entry = (kind: string, extra?: string) =>
    `Memcheck:${kind}${extra ? `\n${extra.replaceAll(' ', '')}` : ''}`;
  for (const [found, kind, extra] of pairs) {
    assert.ok(fits('fun:strlen', found, entry(kind, extra)), `${found.kind} ${kind}`);
    assert.ok(!fits('fun:strlen', found, 'Memcheck:Addr2'), found.kind);
    assert.ok(!fits('fun:main', found, entry(kind, extra)), found.kind);
  }
  const write = finding('SyscallParam', '', { parameter: 'write(buf)' });
  assert.ok(!fits('fun:strlen', write, entry('Param', 'write(count)')));
  const reachable = finding('Leak_StillReachable', '', { leak });
  assert.ok(!fits('fun:strlen', reachable, entry('Leak', 'match-leak-kinds:definite')));
  assert.ok(!fits('fun:strlen', reachable, entry('Leak', 'match-leak-kinds:none')));
});

test('what is written hides what it was written for', () => {
  const cases = [
    finding('UninitCondition'),
    finding('InvalidRead', 'Invalid read of size 4'),
    finding('InvalidRead', 'Invalid read of size 28'),
    finding('SyscallParam', '', { parameter: 'ioctl(SIOCGIFCONF).ifc_buf' }),
    finding('Leak_IndirectlyLost', '', { leak: { bytes: 1n, indirectBytes: 0n, blocks: 1 } }),
    finding('UseAfterReuse'),
  ];
  for (const found of cases) {
    const text = formatSuppression(found, STACK);
    const [entry] = parseSuppressions(text, 'x');
    assert.equal(entry!.kind, suppressionHead(found).kind);
    assert.deepEqual(entry!.frames, [
      { type: 'fun', pattern: 'strlen' },
      { type: 'fun', pattern: '_ZN2ns1fEi' },
      { type: 'obj', pattern: '/opt/plugin.so' },
      { type: 'fun', pattern: 'run' },
      { type: 'fun', pattern: 'main' },
    ]);
    assert.equal(new Suppressions([entry!]).find(found, STACK), entry, text);
  }
});

test("Valgrind's own file can be read", () => {
  const path = '/usr/libexec/valgrind/default.supp';
  if (existsSync(path)) assert.ok(readSuppressions(path).length > 20);
});
