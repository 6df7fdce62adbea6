/** The XML of findings beside that of Valgrind's own tools, read by the same reader. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { compile, grind, record, run, scratch } from './guest.js';
import { child, children, parseXml, text, type XmlNode } from './xml.js';

const ADDRESS = /0x[0-9a-f]+/gi;

/** Of each error what does not depend on where objects lie. */
function errors(xml: string): unknown[] {
  const root = child(parseXml(xml), 'valgrindoutput')!;
  assert.equal(text(root, 'protocolversion'), '4');
  return children(root, 'error').map((error) => ({
    kind: text(error, 'kind'),
    what: text(error, 'what') || text(child(error, 'xwhat')!, 'text'),
    leaked: ['leakedbytes', 'leakedblocks'].map((tag) => text(child(error, 'xwhat') ?? error, tag)),
    more: children(error, 'auxwhat').map((node) => node.text.replace(ADDRESS, 'ADDRESS')),
    stacks: children(error, 'stack').map(frames),
  }));
}

const frames = (stack: XmlNode): string[] =>
  children(stack, 'frame').map((frame) =>
    ['obj', 'fn', 'dir', 'file', 'line'].map((tag) => text(frame, tag)).join('|'),
  );

test('errors and leaks are Memcheck’s, element by element', () => {
  const program = compile('versions.c');
  const [theirs, ours] = [scratch('memcheck.xml'), scratch('ours.xml')];
  run(['valgrind', '--leak-check=full', '--xml=yes', `--xml-file=${theirs}`, program]);
  const { folder } = record(['versions.c']);
  const options = ['--leak-check=full', '--leak-points=no', `--xml-file=${ours}`];
  assert.equal(grind(['analyze', 'memcheck', folder, ...options]).status, 0);
  const [expected, found] = [theirs, ours].map((file) => errors(readFileSync(file, 'utf8')));
  assert.ok(expected!.length >= 2);
  assert.deepEqual(found, expected);
});

test('the signal that killed the program is told as Memcheck tells it', () => {
  const program = compile('die.c');
  const [theirs, ours] = [scratch('memcheck.xml'), scratch('ours.xml')];
  run(['valgrind', '--xml=yes', `--xml-file=${theirs}`, program, 'thread-segv']);
  const { folder } = record(['die.c', 'thread-segv']);
  assert.equal(grind(['analyze', 'memcheck', folder, `--xml-file=${ours}`]).status, 0);
  const [expected, found] = [theirs, ours].map((file) => {
    const xml = parseXml(readFileSync(file, 'utf8'));
    const fatal = child(child(xml, 'valgrindoutput')!, 'fatal_signal')!;
    const [stack] = children(fatal, 'stack');
    return [fatal.children.map(({ tag, text }) => [tag, text.trim()]), frames(stack!)];
  });
  assert.deepEqual(found, expected);
});

test('a file for each process image, or for one', () => {
  const { folder } = record(['sh', '-c', '/bin/true; /bin/true']);
  const to = (name: string, ...options: string[]) =>
    assert.equal(
      grind(['analyze', 'memcheck', folder, `--xml-file=${name}`, ...options]).status,
      0,
    );
  const programOf = (file: string): string => {
    const root = child(parseXml(readFileSync(file, 'utf8')), 'valgrindoutput')!;
    return text(child(child(root, 'args')!, 'argv')!, 'exe');
  };
  const images = grind([
    'query',
    folder,
    '--format=json',
    "select process, arguments->>'$[0]' as program from processes",
  ]);
  const programs = JSON.parse(images.stdout) as { process: number; program: string }[];
  const each = scratch('each');
  to(each);
  for (const { process, program } of programs)
    assert.equal(programOf(`${each}.${process}`), program);
  const last = programs.at(-1)!;
  const one = scratch('one.xml');
  to(one, `--process=${last.process}`);
  assert.equal(programOf(one), last.program);
});
