/** Where the executions of two runs part (analyses/behaviour), as a part of `grind diff`. */
import type { Both, CallDifference, Moment } from '../analyses/behaviour/compare.js';
import {
  compareImages,
  matchImages,
  type ProcessBehaviour,
  type ThreadBehaviour,
} from '../analyses/behaviour/compare.js';
import { frameText } from '../analyses/report.js';
import type { Frame } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import { formatCount } from '../schemas/numbers.js';

export const BEHAVIOUR_MODES = ['auto', 'yes', 'no'] as const;

/** What `auto` compares of each run, in instructions; what an image costs apart from them is as much as this. */
const AUTO_INSTRUCTIONS = 500_000_000;
const IMAGE_INSTRUCTIONS = 25_000_000;

export interface BehaviourDiff {
  /** Those that were compared. */
  readonly images: readonly ProcessBehaviour[];
  /** Process images that were left out, as they would have taken too long. */
  readonly left: number;
  /** Process images that the other run does not have. */
  readonly unmatched: Both<number>;
}

/** Compares two runs. @param isAll - however long that takes; otherwise the largest process images that cost little */
export function behaviourDiff(
  folders: Both<string>,
  isAll: boolean,
  progress: (done: number) => void = () => undefined,
): BehaviourDiff {
  const before = Trace.open(folders.before);
  const after = Trace.open(folders.after);
  try {
    const matched = matchImages(before, after);
    const cost = ({ before: one, after: other }: (typeof matched)[number]): number =>
      Math.max(Number(one.ticks), Number(other.ticks)) + IMAGE_INSTRUCTIONS;
    let rest = isAll ? Infinity : AUTO_INSTRUCTIONS;
    const chosen = new Set(
      [...matched]
        .sort((a, b) => cost(b) - cost(a))
        .filter((pair) => {
          if (cost(pair) > rest) return false;
          rest -= cost(pair);
          return true;
        }),
    );
    const pairs = matched.filter((pair) => chosen.has(pair));
    const images = pairs.map((pair, i) => {
      progress(i / pairs.length);
      return compareImages(before, after, pair);
    });
    return {
      images,
      left: matched.length - pairs.length,
      unmatched: {
        before: before.processes.length - matched.length,
        after: after.processes.length - matched.length,
      },
    };
  } finally {
    before.close();
    after.close();
  }
}

/** The program took the same way, asked for the same and ended alike. */
const isSameThread = ({ parting, request, value }: ThreadBehaviour): boolean =>
  !parting && !request && !value;

const didSame = (image: ProcessBehaviour): boolean =>
  image.threads.every(({ parting, request }) => !parting && !request) &&
  image.unmatched.before.length + image.unmatched.after.length === 0 &&
  image.end === undefined;

/** Process images that did something else, which is what the gate `behaviour` counts. */
export const otherImages = ({ images, unmatched }: BehaviourDiff): number =>
  images.filter((image) => !didSame(image)).length + unmatched.before + unmatched.after;

/** The difference as lines of text. */
export function behaviourLines(diff: BehaviourDiff): string[] {
  const { images, left, unmatched } = diff;
  const lines: string[] = [];
  for (const image of images) if (!isUnremarkable(image)) lines.push(...imageLines(image), '');
  const same = images.filter(isUnremarkable).length;
  if (same > 0) lines.push(`${imagesText(same)} did the same in both runs.`);
  if (left > 0) lines.push(`${imagesText(left)} not compared: see --behaviour.`);
  if (unmatched.before > 0) lines.push(`${imagesText(unmatched.before)} only before.`);
  if (unmatched.after > 0) lines.push(`${imagesText(unmatched.after)} only after.`);
  return lines;
}

const isUnremarkable = (image: ProcessBehaviour): boolean =>
  didSame(image) &&
  image.threads.every((thread) => isSameThread(thread) && !thread.input) &&
  image.missing.length === 0 &&
  !image.arguments;

const imagesText = (count: number): string =>
  count === 1 ? '1 process image' : `${formatCount(count)} process images`;

/** Functions and calls of a stack that are listed at most. */
const MOST_NAMES = 8;
const MOST_FRAMES = 12;

function imageLines(image: ProcessBehaviour): string[] {
  const { program, threads, functions, unmatched, end, outputs } = image;
  const lines = [
    `${program} (process ${image.before}${image.after === image.before ? '' : ` and ${image.after}`}):${
      didSame(image) ? ' took the same way and asked for the same' : ''
    }`,
  ];
  if (image.arguments)
    lines.push(` arguments: ${image.arguments.before} before, ${image.arguments.after} after`);
  for (const thread of threads) {
    if (isSameThread(thread) && !thread.input) continue;
    if (threads.length > 1) lines.push(` thread ${thread.thread}:`);
    lines.push(...threadLines(thread));
  }
  for (const side of ['before', 'after'] as const)
    if (unmatched[side].length > 0)
      lines.push(` threads only ${side}: ${unmatched[side].join(', ')}`);
  for (const side of ['before', 'after'] as const) {
    const list = functions[side];
    if (list.length === 0) continue;
    const named = list
      .slice(0, MOST_NAMES)
      .map(({ name, calls }) => `${name} (${formatCount(calls)})`);
    const more = list.length > MOST_NAMES ? ', …' : '';
    lines.push(` functions called only ${side}: ${named.join(', ')}${more}`);
  }
  if (outputs.length > 0)
    lines.push(
      ` ${outputs.map((one) => (one === 1 ? 'standard output' : 'standard error')).join(' and ')} differs`,
    );
  if (end) lines.push(` ended by ${end.before} before, ${end.after} after`);
  for (const sentence of image.missing) lines.push(` not compared: ${sentence}`);
  return lines;
}

function threadLines({
  parting,
  sequel,
  value,
  request,
  input,
  fleeting,
}: ThreadBehaviour): string[] {
  const lines: string[] = [];
  const told = (what: string, call: CallDifference): void => {
    const [head, ...rest] = callLines(call);
    lines.push(` ${what}: ${head}`, ...rest);
  };
  if (input) told('First other input', input);
  else if (fleeting && (parting || request || value))
    told('First other input, of a kind that is another in each execution', fleeting);
  if (value) {
    const { before, after } = value;
    lines.push(
      ` First other value: ${before.what} stored before, ${after.what} after, at ${before.where} (${ticksText(value)})`,
      ...stackLines(value),
    );
  }
  if (parting) {
    const { before, after, isDeep } = parting;
    lines.push(
      ` The ways part${isDeep ? ', in what the C library does' : ''} (${ticksText(parting)})`,
      ...stackLines(parting),
      `   before: goes on ${nextText(before.next)}`,
      `   after:  goes on ${nextText(after.next)}`,
    );
  }
  if (sequel) {
    const { again, partings, isWhole, left } = sequel;
    lines.push(
      again
        ? `   They go on alike ${formatCount(again.before)} and ${formatCount(again.after)} instructions later, at ${frameText(again.frame)}; they part ${timesText(partings, isWhole)}.`
        : '   They do not come together again within reach.',
      `   From the parting on, the thread executes ${formatCount(left.before)} and ${formatCount(left.after)} instructions.`,
    );
  }
  if (request) told('First other system call', request);
  return lines;
}

const timesText = (times: number, isWhole: boolean): string =>
  `${isWhole ? '' : 'at least '}${times === 1 ? 'once' : `${formatCount(times)} times`}`;

const ticksText = ({ before, after }: Both<Moment>): string =>
  before.tick === after.tick
    ? `tick ${formatCount(before.tick)}`
    : `ticks ${formatCount(before.tick)} and ${formatCount(after.tick)}`;

const nextText = ({
  frame,
  compared,
}: {
  frame: Frame | undefined;
  compared: string | undefined;
}) =>
  frame
    ? `at ${frameText(frame)}${compared === undefined ? '' : `, having compared ${compared}`}`
    : 'nowhere: the thread is at its end';

function callLines({ before, after }: CallDifference): string[] {
  const text = (call: CallDifference['before']): string =>
    call ? `${call.text}${call.contents === '' ? '' : `: ${call.contents}`}` : 'none';
  const lines = [
    before && after && before.text === after.text
      ? `${before.text} (${ticksText({ before, after })})`
      : 'not the same call',
    `   before: ${text(before)}`,
    `   after:  ${text(after)}`,
  ];
  if (before && after) return [...lines, ...stackLines({ before, after })];
  return [...lines, ...framesText((before ?? after)!.frames)];
}

const framesText = (frames: readonly Frame[]): string[] => [
  ...frames.slice(0, MOST_FRAMES).map((frame) => `   at ${frameText(frame)}`),
  ...(frames.length > MOST_FRAMES ? ['   …'] : []),
];

/** Both stacks; one where they look the same. */
function stackLines({ before, after }: Both<Moment>): string[] {
  const place = (frame: Frame): string => frameText({ ...frame, pc: 0n, module: '' });
  const isSame = before.frames.map(place).join() === after.frames.map(place).join();
  if (isSame) return framesText(before.frames);
  return ['   before:', ...framesText(before.frames), '   after:', ...framesText(after.frames)];
}

/** For JSON: what is known, with frames by name. */
export function behaviourJson(diff: BehaviourDiff): unknown {
  return JSON.parse(
    JSON.stringify(diff, (key, value: unknown) => {
      if (typeof value === 'bigint') return `0x${value.toString(16)}`;
      return key === 'directory' ? undefined : value;
    }),
  ) as unknown;
}
