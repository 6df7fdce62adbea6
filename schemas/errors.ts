/** The error for bad input: `bin/` prints its message once, as one sentence, without a stack. */
export class UserError extends Error {
  override name = 'UserError';
}
