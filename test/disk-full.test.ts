/**
 * A disk that becomes full while recording: the program is not hurt, and what was stored is a trace. The disk
 * is a small file system in memory, in a namespace of its own, where that can be had.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { Manifest } from '../recorder/manifest.js';
import { compile, GRIND, outOptions, Recording, run, scratch } from './guest.js';
import { checkInvariants } from './invariants.js';

/** Runs a shell script in which a new file system of this size is mounted at `folder`. */
function onSmallDisk(folder: string, sizeMib: number, script: string) {
  mkdirSync(folder);
  const mount = `mount -t tmpfs -o size=${Math.round(sizeMib * 1024)}k none ${folder}`;
  return run([
    'unshare',
    '--user',
    '--map-root-user',
    '--mount',
    'sh',
    '-c',
    `${mount} && { ${script}; }`,
  ]);
}

const skip =
  onSmallDisk(scratch('disk'), 1, 'true').status === 0 ? false : 'no file system can be mounted';

/** Records `random.c` on a disk of this size, and takes the run from there. */
function recordOn(sizeMib: number): Recording {
  const [disk, kept] = [scratch('disk'), scratch('run')];
  const options = ['--verify', ...outOptions(join(disk, 'run'))].join(' ');
  const command = `${process.execPath} ${GRIND} record ${options} -- ${compile('random.c')}`;
  const script = `${command}; status=$?; [ ! -d ${disk}/run ] || cp -r ${disk}/run ${kept}; exit $status`;
  const { stdout, stderr, status } = onSmallDisk(disk, sizeMib, script);
  return new Recording(kept, stdout, stderr, status);
}

/** Sums of the words that the program read, part by part, from the replay. */
function sumsIn(recording: Recording): string[] {
  const [address, words] = [recording.facts.hex('words'), recording.facts.int('words', 1)];
  const parts =
    recording.query(`select cast(sum(value) % (1::hugeint << 64) as varchar) as sum from (
      select value, (row_number() over (order by tick) - 1) // ${words} as part from accesses
      where kind = 'load' and size = 8 and addr >= ${address} and addr < ${address + 8n * words})
    group by part having count(*) = ${words} order by part`);
  return parts.map(({ sum }) => String(sum));
}

for (const [sizeMib, least] of [
  [3, 0], // no room for the first piece of the spool
  [5, 0], // none for the second
  [14.2, 200], // none for the fourth; or, when conversion has fallen behind, for more of the trace than the first
] as const) {
  test(`a disk of ${sizeMib} MiB becomes full`, { skip }, () => {
    const recording = recordOn(sizeMib);
    const printed = recording.facts.all('sum').map(([sum]) => sum);
    assert.equal(printed.length, 4000);
    assert.equal(recording.status, 7, recording.stderr);
    assert.match(recording.stderr, /disk (is )?full/);
    const manifest = JSON.parse(
      readFileSync(join(recording.folder, 'manifest.json'), 'utf8'),
    ) as Manifest;
    assert.equal(manifest.status, 'cut_off');
    assert.ok(
      recording.cell(`select count(*) > 0 from health where what in ('disk full', 'disk_full')`),
    );
    const sums = sumsIn(recording);
    assert.ok(sums.length >= least && sums.length < 4000, `${sums.length} parts`);
    assert.deepEqual(sums, printed.slice(0, sums.length));
    checkInvariants(recording);
  });
}

test('a disk that is full from the start', { skip }, () => {
  for (const sizeMib of [1, 2.2]) {
    const { folder, stderr, status } = recordOn(sizeMib);
    assert.equal(status, 2);
    assert.match(stderr, /^grind: (No run can be written|Nothing was recorded) .*\n$/);
    assert.ok(!existsSync(folder));
  }
});
