/**
 * Modules of the user's own, in TypeScript or JavaScript. A file is bundled by esbuild with what it imports, so it needs
 * no build and no package of its own; `grind` in it is this package, wherever the file lies. Its mistakes are told as
 * such: with its name, and the line.
 */
import { build, type BuildFailure, type Plugin } from 'esbuild';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { UserError } from '../schemas/errors.js';
import { importModule, isBundle } from './importing.js';

/** The compiled package. */
const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));
/** What `grind` stands for. */
const INDEX = fileURLToPath(new URL('./index.js', import.meta.url));
/** Under which modules of the user's own find what index.ts exports. */
const SHARED = 'grind';

/**
 * What a module exports.
 * @param what - the file, as a sentence calls it: `The analysis ./mine.ts`
 * @throws UserError when it cannot be loaded
 */
export async function loadModule(path: string, what: string): Promise<Record<string, unknown>> {
  const folder = mkdtempSync(join(tmpdir(), 'grind-module-'));
  const module = join(folder, `${basename(path, extname(path))}.mjs`);
  try {
    const own = await import('./index.js');
    Object.assign(globalThis, { [Symbol.for(SHARED)]: own });
    await bundle(resolve(path), module, what, Object.keys(own));
    process.setSourceMapsEnabled(true); // so that errors tell the user's own lines
    return (await importModule(pathToFileURL(module).href)) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${what} cannot be loaded: ${reason(error)}${place(error, path)}.`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function bundle(
  path: string,
  outfile: string,
  what: string,
  exported: readonly string[],
): Promise<void> {
  try {
    await build({
      ...{ entryPoints: [path], outfile, bundle: true, format: 'esm', platform: 'node' },
      ...{
        target: 'node20',
        sourcemap: 'inline',
        logLevel: 'silent',
        plugins: [ownModules(exported)],
      },
      define: { 'import.meta.url': JSON.stringify(pathToFileURL(path).href) },
      // For packages that still use `require`.
      banner: {
        js: "import { createRequire as grindRequire } from 'node:module'; const require = grindRequire(import.meta.url);",
      },
    });
  } catch (error) {
    const [first] = (error as Partial<BuildFailure>).errors ?? [];
    if (!first) throw error;
    const { text, location } = first;
    const where = location ? ` (${location.file}:${location.line})` : '';
    throw new UserError(`${what} cannot be loaded: ${text.replace(/\.$/, '')}${where}.`);
  }
}

/** Modules of grind are those that run, and not copies of them: tables are told apart by identity. */
const ownModules = (exported: readonly string[]): Plugin => ({
  name: 'own-modules',
  setup(bundling) {
    const isAsked = {};
    bundling.onResolve(
      { filter: /.*/ },
      async ({ path, kind, resolveDir, importer, pluginData }) => {
        if (path === 'grind') return { path: INDEX, namespace: SHARED };
        if (pluginData === isAsked || kind === 'entry-point') return undefined;
        const found = await bundling.resolve(path, {
          ...{ kind, resolveDir, importer, pluginData: isAsked },
        });
        if (found.errors.length > 0 || !found.path.startsWith(`${PACKAGE}/`)) return undefined;
        if (found.path === INDEX) return { path: INDEX, namespace: SHARED };
        return isBundle()
          ? { errors: [{ text: `import from 'grind' what you need of ${path}` }] }
          : { path: pathToFileURL(found.path).href, external: true };
      },
    );
    bundling.onLoad({ filter: /.*/, namespace: SHARED }, () => ({
      contents: `export const { ${exported.join(', ')} } = globalThis[Symbol.for('${SHARED}')];`,
    }));
  },
});

/** What an error says, without its full stop. */
export const reason = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).trim().replace(/\.$/, '');

/** The innermost line of the user's file in an error's stack. */
export function place(error: unknown, path: string): string {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const name = basename(path).replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const line = new RegExp(`${name}:(\\d+):\\d+`).exec(stack)?.[1];
  return line === undefined ? '' : ` (${basename(path)}:${line})`;
}
