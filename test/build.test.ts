/** Which build of the recorder is used: that of the Valgrind that stands first in the path. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { buildTool } from '../recorder/build.js';
import { scratch } from './guest.js';

test('each Valgrind has its own build, which is found again', async () => {
  const path = process.env['PATH'];
  const firstInPath = (folder: string): string => (process.env['PATH'] = `${folder}:${path}`);
  const built = (tool: { folder: string }): number => statSync(join(tool.folder, 'build.json')).ino;
  const usual = await buildTool();
  const usualFile = built(usual);

  const folder = scratch('another');
  mkdirSync(join(folder, 'bin'), { recursive: true });
  const launcher = join(folder, 'bin', 'valgrind');
  copyFileSync(usual.launcher, launcher);
  const prefix = dirname(dirname(usual.launcher));
  for (const name of ['include', 'lib', 'libexec'].filter((name) => existsSync(join(prefix, name))))
    symlinkSync(join(prefix, name), join(folder, name));
  const links = scratch('links');
  mkdirSync(links);
  symlinkSync(launcher, join(links, 'valgrind'));
  try {
    firstInPath(dirname(launcher));
    const other = await buildTool();
    try {
      assert.equal(other.launcher, launcher);
      assert.notEqual(other.folder, usual.folder);
      firstInPath(links);
      const otherFile = built(other);
      assert.equal((await buildTool()).launcher, launcher);
      assert.equal(built(other), otherFile);
    } finally {
      rmSync(other.folder, { recursive: true });
    }
    process.env['PATH'] = path;
    assert.equal((await buildTool()).folder, usual.folder);
    assert.equal(built(usual), usualFile);
    process.env['PATH'] = scratch('nothing');
    await buildTool(); // any build will do
  } finally {
    process.env['PATH'] = path;
  }
});
