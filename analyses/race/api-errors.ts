/**
 * Calls of POSIX threads and semaphores that returned an error (Valgrind manual, section 7.3): which of
 * them are mistakes, and their names.
 */
import { ERRNO_NAMES } from '../../schemas/syscalls.js';

const [ENOENT, EINTR, EEXIST, EOWNERDEAD] = [2n, 4n, 17n, 130n];

/**
 * Errors by which a function says how it went, not that it was called wrongly. (That a lock was not to
 * be had, or not in time, is not recorded as an error.)
 */
const ANSWERS: ReadonlyMap<string, readonly bigint[]> = new Map([
  ['sem_wait', [EINTR]],
  ['sem_open', [ENOENT, EEXIST]],
]);

/** Whether an error tells of a wrong call. A robust mutex whose owner died is taken all the same. */
export const isMistake = (fn: string, error: bigint): boolean =>
  error !== EOWNERDEAD && !ANSWERS.get(fn)?.includes(error);

/** As Helgrind says it, but for the explanation of the error's name. */
export function apiErrorText(thread: number, fn: string, error: bigint): string {
  const name = ERRNO_NAMES.get(Number(error));
  return `Thread #${thread}'s call to ${fn} failed with error code ${error}${name ? ` (${name})` : ''}`;
}
