/** V8's flags, which commands set as suits their own code. */
import { setFlagsFromString } from 'node:v8';

let areKept = false;

/** Leaves all flags as they are from now on: compiled code can be used again under the same flags only. */
export function keepFlags(): void {
  areKept = true;
}

/** Sets flags of V8, such as `--no-opt`, unless they are to be left alone. */
export function setFlags(...flags: readonly string[]): void {
  if (!areKept) for (const flag of flags) setFlagsFromString(flag);
}
