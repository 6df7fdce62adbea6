/** The names of ioctl requests that hold for a trace: those that grind knows, and the user's own beside the runs. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { knownIoctls, parseIoctls, type Ioctl } from '../schemas/ioctls.js';
import type { Cell } from './scan.js';
import type { Trace } from './trace.js';

/** Name of the file with the user's own names, in the folder that holds the runs. */
const OWN_TABLE = 'ioctls';

/** By number of the request; the user's own come first. Throws UserError when that file is wrong. */
export function ioctlsOf(trace: Trace): ReadonlyMap<number, Ioctl> {
  const path = join(dirname(trace.folder), OWN_TABLE);
  if (!existsSync(path)) return knownIoctls();
  return new Map([...knownIoctls(), ...parseIoctls(readFileSync(path, 'utf8'), path)]);
}

/** The same as rows of `ioctl_names`. */
export function* ioctlRows(trace: Trace): Generator<Cell[]> {
  for (const [request, { name, family }] of ioctlsOf(trace)) yield [request, name, family];
}
