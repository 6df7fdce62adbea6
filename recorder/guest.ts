/** Checks, before anything is started, that a program can be recorded. */
import { existsSync, statSync } from 'node:fs';
import { UserError } from '../schemas/errors.js';
import { findProgram } from './build.js';
import { programKind, scriptInterpreter } from './elf.js';

/** Longest chain of scripts that interpret scripts which Linux runs. */
const MAX_INTERPRETERS = 5;

/**
 * The path of the program's file.
 * @param program a path, or a name that is searched for in PATH
 */
export function findGuest(program: string): string {
  const path = findProgram(program);
  if (path === undefined) {
    if (!program.includes('/'))
      throw new UserError(
        `There is no program ${program} in PATH: check its name, or give its path.`,
      );
    if (!existsSync(program))
      throw new UserError(`There is no program ${program}: check its path.`);
    if (!statSync(program).isFile())
      throw new UserError(`${program} is not a file: give the path of a program.`);
    throw new UserError(`${program} is not executable: make it so with \`chmod +x ${program}\`.`);
  }
  let file = path;
  for (let depth = 0; depth < MAX_INTERPRETERS; depth++) {
    const kind = kindOf(file);
    if (kind === 'script') {
      const interpreter = scriptInterpreter(file);
      if (!interpreter || !existsSync(interpreter))
        throw new UserError(
          `${file} is a script for ${interpreter || 'no program'}, which does not exist: correct its first line.`,
        );
      file = interpreter;
      continue;
    }
    if (kind === 'other-elf')
      throw new UserError(
        `${file} is not a program for 64-bit x86 Linux: grind records only those.`,
      );
    if (kind === 'unknown')
      throw new UserError(
        `${file} is neither a Linux program nor a script that begins with #!: grind cannot run it.`,
      );
    refuseSetuid(file);
    return path;
  }
  throw new UserError(
    `${path} is a script whose interpreter is a script, too many times over: grind cannot run it.`,
  );
}

function kindOf(file: string): ReturnType<typeof programKind> {
  try {
    return programKind(file);
  } catch (error) {
    throw new UserError(
      `${file} cannot be read (${(error as NodeJS.ErrnoException).code}): grind needs to read what it records.`,
    );
  }
}

/** The engine refuses programs that change to another user's rights, whoever starts them. */
function refuseSetuid(file: string): void {
  if (statSync(file).mode & 0o6000) {
    throw new UserError(
      `${file} runs with another user's rights (setuid), which cannot be recorded: record a copy without the setuid bit.`,
    );
  }
}
