/**
 * Bundles the compiled command line into one file, `dist/bin/command-line.HASH.bundle.js`, which holds a function that grind.ts
 * calls. Run as a script, by `npm run build`.
 */
import { build, type Plugin } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));

/** Modules find files beside their own, so each goes on to have its own address, wherever the package lies. */
const OWN_ADDRESSES: Plugin = {
  name: 'own-addresses',
  setup(bundling) {
    bundling.onLoad({ filter: /\.m?js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const address = `const importMetaUrl = addressOf(${JSON.stringify(relative(HERE, path))});`;
      return { contents: text.includes('import.meta.url') ? `${address}\n${text}` : text };
    });
  },
};

const nativeDigest = execFileSync(
  process.execPath,
  [join(HERE, '..', 'replay', 'native.js'), 'digest'],
  { encoding: 'utf8' },
).trim();

const { outputFiles } = await build({
  ...{ entryPoints: [join(HERE, 'command-line.js')], bundle: true, write: false },
  ...{
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    charset: 'ascii',
    minifyWhitespace: true,
    plugins: [OWN_ADDRESSES],
  },
  define: { 'import.meta.url': 'importMetaUrl', NATIVE_DIGEST: JSON.stringify(nativeDigest) },
  // What has machine code, or programs, of its own.
  external: ['@duckdb/*', 'lz4-napi', 'esbuild'],
});
const { text } = outputFiles[0]!;
const source = `(function (require, folder) {
'use strict';
const module = { exports: {} };
const addressOf = (path) => require('node:url').pathToFileURL(require('node:path').join(folder, path)).href;
${text}
return module.exports;
})`;
const hash = createHash('sha256').update(source).digest('hex').slice(0, 16);
const bundle = `command-line.${hash}.bundle.js`;
for (const name of readdirSync(HERE))
  if (/^command-line\..*\.bundle\.js$/.test(name) && name !== bundle) rmSync(join(HERE, name));
writeFileSync(join(HERE, bundle), source);
const launcher = join(HERE, 'grind.js');
writeFileSync(launcher, readFileSync(launcher, 'utf8').replace(/(?<=^const HASH = ')\w*/m, hash));
