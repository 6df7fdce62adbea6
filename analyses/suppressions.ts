/**
 * Valgrind's suppression files: reads them, finds the entry that hides a finding, and writes an entry
 * that would. The syntax is that of the Valgrind manual, section 2.5.
 *
 * Names of C++ functions are mangled in these files. A trace has them demangled, so a `fun:` line is
 * compared with both the demangled name and the names that the object file's symbol table has for the
 * address (replay/link-names.ts); when that file is gone or has changed, a mangled line matches nothing.
 */
import { readFileSync, statSync } from 'node:fs';
import type { Frame } from '../replay/symbols.js';
import { UserError } from '../schemas/errors.js';
import type { Finding } from './finding.js';

/** One line of a suppression's stack. `any` is `...`: any number of frames, also none. */
export type FramePattern =
  | { readonly type: 'fun' | 'obj'; readonly pattern: string }
  /** `line` is 0 when any line will do. */
  | { readonly type: 'src'; readonly pattern: string; readonly line: number }
  | { readonly type: 'any' };

/** An entry of a suppression file. */
export interface Suppression {
  readonly name: string;
  readonly file: string;
  /** Line of the name in the file. */
  readonly line: number;
  /** Such as `Addr4`, `Cond`, `Leak`. */
  readonly kind: string;
  /** The extra line of `Param` and `FishyValue`; of `Leak` without `match-leak-kinds:`; else empty. */
  readonly detail: string;
  readonly frames: readonly FramePattern[];
}

/** A frame to be matched, with the linker's names of its function. */
export interface NamedFrame extends Frame {
  /** Asked only for functions whose demangled name is not also their name for the linker. */
  readonly namesForLinker: () => readonly string[];
}

const MEMCHECK = 'Memcheck';
/** The name under which an entry is only for us: for kinds that Valgrind does not have. */
const GRIND = 'grind';

const MEMCHECK_KINDS = new Set([
  'Param',
  'User',
  'CoreMem',
  'Jump',
  'Free',
  'Leak',
  'Overlap',
  'Mempool',
  'Cond',
  'FishyValue',
  // Of later versions.
  'ReallocZero',
  'BadAlign',
  'BadSize',
  ...[1, 2, 4, 8, 16, 32].flatMap((size) => [`Addr${size}`, `Value${size}`]),
]);
const HELGRIND = 'Helgrind';
const HELGRIND_KINDS = new Set([
  'Race',
  'FreeMemLock',
  'LockOrder',
  'UnlockUnlocked',
  'UnlockForeign',
  'UnlockBogus',
  'PthAPIerror',
  'Misc',
]);
/** The tools whose entries are read, each with kinds that no other has. */
const TOOLS = new Map([
  [MEMCHECK, MEMCHECK_KINDS],
  [HELGRIND, HELGRIND_KINDS],
]);
/** An older name of `Cond`. */
const OLD_COND = 'Value0';

/** Leak kinds as these files and the options of Memcheck name them, by the finding's kind. */
export const LEAK_KINDS: Readonly<Record<string, string>> = {
  Leak_DefinitelyLost: 'definite',
  Leak_IndirectlyLost: 'indirect',
  Leak_PossiblyLost: 'possible',
  Leak_StillReachable: 'reachable',
};

/** Reads a suppression file. Throws UserError when it cannot be read or is wrong, naming the line. */
export function readSuppressions(path: string): Suppression[] {
  let text: string;
  try {
    if (statSync(path).isDirectory())
      throw new UserError(`The suppression file ${path} is a folder: name a file.`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `Cannot read the suppression file ${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message}.`,
    );
  }
  return parseSuppressions(text, path);
}

/** The entries in the text of a suppression file that are for Memcheck, for Helgrind, or for us. */
export function parseSuppressions(text: string, file: string): Suppression[] {
  const lines = text
    .split('\n')
    .map((line, i) => ({ text: line.trim(), line: i + 1 }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
  const found: Suppression[] = [];
  let at = 0;
  const wrong = (why: string, line = lines[at]?.line ?? text.split('\n').length): UserError =>
    new UserError(`Suppression file ${file}, line ${line}: ${why}.`);
  const next = (what: string): { text: string; line: number } => {
    const line = lines[at];
    if (!line) throw wrong(`the file ends where ${what} should stand`);
    at++;
    return line;
  };
  while (at < lines.length) {
    if (lines[at]!.text !== '{') throw wrong(`"{" should stand here, not "${lines[at]!.text}"`);
    at++;
    if (lines[at]?.text === '}') throw wrong('an entry needs a name and a kind');
    const name = next("the entry's name");
    const { text: head, line: headLine } = next('tool:kind');
    const colon = head.indexOf(':');
    if (colon < 0) throw wrong(`"${head}" is not of the form tool1,tool2:kind`, headLine);
    const tools = head.slice(0, colon).split(',');
    const kind = head.slice(colon + 1).trim();
    const known = tools.filter((tool) => TOOLS.has(tool));
    const body: { text: string; line: number }[] = [];
    for (;;) {
      const line = next('"}"');
      if (line.text === '}') break;
      if (line.text === '{')
        throw wrong('the entry before this one does not end with "}"', line.line);
      body.push(line);
    }
    if (known.length === 0 && !tools.includes(GRIND)) continue;
    const isKnown = kind === OLD_COND || known.some((tool) => TOOLS.get(tool)!.has(kind));
    if (known.length > 0 && !isKnown) {
      throw wrong(`"${kind}" is no kind of error that ${known[0]} has`, headLine);
    }
    const isFrame = (line: string): boolean => line === '...' || /^(fun|obj|src):/.test(line);
    let detail = '';
    const first = body[0];
    if (first && !isFrame(first.text)) {
      if (kind === 'Leak') {
        const kinds = /^match-leak-kinds:\s*(.*)$/.exec(first.text)?.[1];
        if (kinds === undefined || !isLeakKinds(kinds))
          throw wrong(
            'a Leak entry takes a line "match-leak-kinds:" with definite, indirect, possible, reachable, all or none',
            first.line,
          );
        detail = kinds;
        body.shift();
      } else if (kind === 'Param' || kind === 'FishyValue') {
        if (kind === 'FishyValue' && !/^[^(]*\([^)]*\)/.test(first.text))
          throw wrong(`"${first.text}" is not of the form function(argument)`, first.line);
        detail = first.text;
        body.shift();
      }
    }
    if (kind === 'Param' && detail === '') {
      throw wrong(
        'a Param entry needs the parameter, such as write(buf), in its first line',
        headLine,
      );
    }
    const frames = body.map((line): FramePattern => {
      if (line.text === '...') return { type: 'any' };
      const [, type, pattern] = /^(fun|obj|src):(.*)$/.exec(line.text) ?? [];
      if (type === undefined)
        throw wrong(
          `a line of the stack begins with fun:, obj: or src:, or is "...", not "${line.text}"`,
          line.line,
        );
      if (type !== 'src') return { type: type as 'fun' | 'obj', pattern: pattern! };
      const [path, number] = pattern!.split(':', 2);
      return {
        type,
        pattern: path!,
        line: number === undefined ? 0 : Number.parseInt(number) || 0,
      };
    });
    if (!frames.some(({ type }) => type !== 'any')) {
      throw wrong('the stack of an entry needs a line other than "..."', headLine);
    }
    found.push({
      name: name.text,
      file,
      line: name.line,
      kind: kind === OLD_COND ? 'Cond' : kind,
      detail,
      frames,
    });
  }
  return found;
}

const isLeakKinds = (text: string): boolean =>
  text
    .split(',')
    .every((kind) => ['all', 'none', ...Object.values(LEAK_KINDS)].includes(kind.trim()));

/** What a suppression must say to fit a finding. */
interface SuppressionHead {
  readonly tool: string;
  readonly kind: string;
  /** As in `Suppression`; of a leak its kind. */
  readonly detail: string;
}

/** What an entry for a finding begins with. */
export function suppressionHead(finding: Finding): SuppressionHead {
  const head = (kind: string, detail = '') => ({ tool: MEMCHECK, kind, detail });
  // Valgrind names these sizes only, and refuses a file with others.
  const sized = (kind: string) => {
    const name = `${kind}${/\bof size (\d+)/.exec(finding.what)?.[1] ?? ''}`;
    return MEMCHECK_KINDS.has(name) ? head(name) : { tool: GRIND, kind: name, detail: '' };
  };
  switch (finding.kind) {
    case 'InvalidRead':
    case 'InvalidWrite':
      return sized('Addr');
    case 'UninitValue':
      return sized('Value');
    case 'UninitCondition':
      return head('Cond');
    case 'InvalidJump':
      return head('Jump');
    case 'InvalidFree':
    case 'MismatchedFree':
      return head('Free');
    case 'SyscallParam':
      return head('Param', finding.parameter ?? '');
    case 'ClientCheck':
      return head('User');
    case 'InvalidMemPool':
      return head('Mempool');
    case 'CoreMemError':
      return head('CoreMem');
    case 'ReallocSizeZero':
      return head('ReallocZero');
    case 'Overlap':
      return head('Overlap');
    case 'FishyValue': {
      const [, argument, fn] = /^Argument '(.*)' of function (.*?) has /.exec(finding.what) ?? [];
      return head('FishyValue', `${fn ?? ''}(${argument ?? ''})`);
    }
    default: {
      if (HELGRIND_KINDS.has(finding.kind))
        return { tool: HELGRIND, kind: finding.kind, detail: '' };
      const leak = LEAK_KINDS[finding.kind];
      if (leak !== undefined) return head('Leak', leak);
      return { tool: GRIND, kind: finding.kind, detail: '' };
    }
  }
}

/** Entries in the order in which they are tried. */
export class Suppressions {
  constructor(
    private readonly entries: readonly Suppression[],
    /** Lines of an entry's stack beyond so many are not looked at, as stacks are cut there, too. */
    private readonly callers = Infinity,
  ) {}

  /** The first entry that fits a finding; `frames` are those of its first stack, innermost first. */
  find(finding: Finding, frames: readonly NamedFrame[]): Suppression | undefined {
    const { kind, detail } = suppressionHead(finding);
    return this.entries.find(
      (entry) =>
        entry.kind === kind &&
        detailFits(entry, kind, detail) &&
        framesFit(entry.frames.slice(0, this.callers), frames),
    );
  }
}

function detailFits(entry: Suppression, kind: string, detail: string): boolean {
  switch (kind) {
    case 'Param':
      return entry.detail === detail;
    case 'FishyValue':
      return entry.detail === '' || entry.detail.startsWith(detail);
    case 'Leak': {
      const kinds = entry.detail.split(',').map((name) => name.trim());
      return entry.detail === '' || kinds.includes('all') || kinds.includes(detail);
    }
    default:
      return true;
  }
}

/** The patterns fit the innermost frames: what lies further out does not matter. */
function framesFit(patterns: readonly FramePattern[], frames: readonly NamedFrame[]): boolean {
  let [p, f] = [0, 0];
  // After the last `...`: where to go on when what follows it does not fit.
  let [retryPattern, retryFrame] = [-1, 0];
  while (p < patterns.length) {
    const pattern = patterns[p]!;
    if (pattern.type === 'any') {
      [retryPattern, retryFrame] = [++p, f];
    } else if (f < frames.length && frameFits(pattern, frames[f]!)) {
      p++;
      f++;
    } else if (retryPattern >= 0 && retryFrame < frames.length) {
      [p, f] = [retryPattern, ++retryFrame];
    } else {
      return false;
    }
  }
  return true;
}

const UNKNOWN = '???';

function frameFits(pattern: Exclude<FramePattern, { type: 'any' }>, frame: NamedFrame): boolean {
  switch (pattern.type) {
    case 'obj':
      return textFits(pattern.pattern, frame.module || UNKNOWN);
    case 'src':
      return (
        frame.file !== '' &&
        textFits(pattern.pattern, frame.file) &&
        (pattern.line === 0 || pattern.line === frame.line)
      );
    case 'fun':
      return (
        textFits(pattern.pattern, frame.fn || UNKNOWN) ||
        (isDemangled(frame.fn) &&
          frame.namesForLinker().some((name) => textFits(pattern.pattern, name)))
      );
  }
}

/** A name that the linker does not know in this form. */
const isDemangled = (fn: string): boolean => /[^\w.$@]/.test(fn);

/** Text against a pattern in which * is any text and ? any character. Takes time of at most pattern × text. */
export function textFits(pattern: string, text: string): boolean {
  let [p, t] = [0, 0];
  let [retryPattern, retryText] = [-1, 0];
  while (t < text.length) {
    const c = pattern[p];
    if (c === '*') {
      [retryPattern, retryText] = [++p, t];
    } else if (c !== undefined && (c === '?' || c === text[t])) {
      p++;
      t++;
    } else if (retryPattern >= 0) {
      [p, t] = [retryPattern, ++retryText];
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** An entry that hides a finding with this very stack, as `--gen-suppressions=all` writes it. */
export function formatSuppression(finding: Finding, frames: readonly NamedFrame[]): string {
  const { tool, kind, detail } = suppressionHead(finding);
  const extra = kind === 'Leak' ? `match-leak-kinds: ${detail}` : detail;
  return [
    '{',
    '   <insert_a_suppression_name_here>',
    `   ${tool}:${kind}`,
    ...(extra ? [`   ${extra}`] : []),
    ...frames.map((frame) => {
      if (frame.fn)
        return `   fun:${(isDemangled(frame.fn) && frame.namesForLinker()[0]) || frame.fn}`;
      return `   obj:${frame.module || '*'}`;
    }),
    '}',
    '',
  ].join('\n');
}
