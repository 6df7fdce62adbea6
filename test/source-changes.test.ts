/**
 * Where lines go: git's difference of random files, each line of which has a text of its own, against the place of that text
 * in the new file.
 */
import assert from 'node:assert/strict';
import { writeFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Patch } from '../bin/source-changes.js';
import { DIFF_OPTIONS } from '../recorder/manifest.js';
import { run, scratch } from './guest.js';
import { randomOf } from './random.js';

/** A text long enough to be found again wherever it is. */
const lineOf = (number: number): string => `  statement number ${number} of all the lines;`;

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
type Random = ReturnType<typeof randomOf>;
type Files = Record<string, string[]>;

function write(folder: string, files: Files): void {
  mkdirSync(folder);
  for (const [name, lines] of Object.entries(files))
    writeFileSync(join(folder, name), lines.map((line) => `${line}\n`).join(''));
}

/** Some edits: lines inserted and removed, blocks moved within the file or to the other one. */
function edit(random: Random, files: Files): Files {
  const now = Object.fromEntries(Object.entries(files).map(([name, lines]) => [name, [...lines]]));
  const names = Object.keys(now);
  let fresh = 10_000;
  for (let i = 0; i < 6; i++) {
    const lines = now[names[random(names.length)]!]!;
    const at = random(lines.length + 1);
    const count = random(5) + 1;
    const what = random(3);
    if (what === 0) lines.splice(at, 0, ...Array.from({ length: count }, () => lineOf(fresh++)));
    else {
      const taken = lines.splice(at, count);
      const other = now[names[random(names.length)]!]!;
      if (what === 2) other.splice(random(other.length + 1), 0, ...taken);
    }
  }
  return now;
}

const placesOf = (files: Files): Map<string, string> =>
  new Map(
    Object.entries(files).flatMap(([name, lines]) =>
      lines.map((line, i) => [line, `${name}:${i + 1}`] as const),
    ),
  );

describe('source changes', () => {
  test('lines of random files are where their text is, both ways', () => {
    const random = randomOf(SEED);
    for (let round = 0; round < 40; round++) {
      let number = 0;
      const lines = (count: number): string[] =>
        Array.from({ length: count }, () => lineOf(number++));
      const before: Files = { 'a.c': lines(30), 'b.c': lines(20) };
      const after = edit(random, before);
      const folder = scratch('files');
      mkdirSync(folder);
      write(join(folder, 'old'), before);
      write(join(folder, 'new'), after);
      const { stdout } = run(['git', ...DIFF_OPTIONS, '--no-index', 'old', 'new'], { cwd: folder });
      const patch = new Patch(stdout.replaceAll(/([ab])\/(?:old|new)\//g, '$1/'));
      for (const [one, other, mapping] of [
        [before, after, patch],
        [after, before, patch.inverse()],
      ] as const) {
        const places = placesOf(other);
        for (const [text, place] of placesOf(one)) {
          const [path, line] = place.split(':');
          const found = mapping.mapped({ path: path!, line: Number(line) });
          const same = found && !found.isChanged ? `${found.path}:${found.line}` : undefined;
          assert.equal(same, places.get(text), `${place} in round ${round}, seed ${SEED}`);
        }
      }
    }
  });

  test('files that are renamed, added and removed', () => {
    const patch = new Patch(
      [
        'diff --git a/old name.c b/src/new.c',
        'similarity index 90%',
        'rename from old name.c',
        'rename to src/new.c',
        '--- a/old name.c\t',
        '+++ b/src/new.c',
        '@@ -3 +2,0 @@',
        '--- not a head',
        'diff --git a/gone.c b/gone.c',
        'deleted file mode 100644',
        '--- a/gone.c',
        '+++ /dev/null',
        '@@ -1,2 +0,0 @@',
        '-one',
        '-two',
        '',
      ].join('\n'),
    );
    const at = (path: string, line: number) => {
      const found = patch.mapped({ path, line });
      return found && [found.path, found.line, found.isChanged];
    };
    assert.deepEqual(at('old name.c', 2), ['src/new.c', 2, false]);
    assert.equal(at('old name.c', 3), undefined);
    assert.deepEqual(at('old name.c', 4), ['src/new.c', 3, false]);
    assert.equal(at('gone.c', 1), undefined);
    assert.deepEqual(at('other.c', 7), ['other.c', 7, false]);
  });

  test('a line that was changed is where it stood', () => {
    const patch = new Patch('diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -5,2 +5 @@\n-x\n-y\n+z\n');
    assert.deepEqual(patch.mapped({ path: 'a', line: 6 }), { path: 'a', line: 5, isChanged: true });
    assert.deepEqual(patch.mapped({ path: 'a', line: 7 }), {
      path: 'a',
      line: 6,
      isChanged: false,
    });
  });
});
