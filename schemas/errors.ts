/** The error for bad input: `bin/` prints its message once, as one sentence, without a stack. */
export class UserError extends Error {
  override name = 'UserError';
}

/** Why a file could not be opened, for people. */
export function fileProblem(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'there is no such file or folder';
  return error instanceof Error ? error.message : String(error);
}
