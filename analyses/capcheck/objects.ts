/** What descriptors are of, by what the kernel says of them, and which operations such objects have. */
import type { Need, ObjectKind } from '../../schemas/descriptor-calls.js';

const O_ACCMODE = 3;
const O_WRONLY = 1;
const O_RDONLY = 0;
const O_PATH = 0o10000000;
const S_IFMT = 0o170000;

/** By the type bits of st_mode (inode(7)). */
const BY_MODE: Readonly<Record<number, ObjectKind>> = {
  0o100000: 'file',
  0o040000: 'directory',
  0o020000: 'device',
  0o060000: 'device',
  0o010000: 'pipe',
  0o140000: 'socket',
};

/** By the name that /proc/self/fd gives. */
const BY_NAME: readonly (readonly [RegExp, ObjectKind])[] = [
  [/^\/dev\/kvm$|^anon_inode:kvm-/, 'kvm'],
  [/^anon_inode:\[?eventfd/, 'eventfd'],
  [/^anon_inode:\[?eventpoll/, 'epoll'],
  [/^anon_inode:\[?timerfd/, 'timerfd'],
  [/^anon_inode:\[?signalfd/, 'signalfd'],
  [/^anon_inode:\[?inotify/, 'inotify'],
  [/^anon_inode:\[?fanotify/, 'fanotify'],
  [/^anon_inode:\[?userfaultfd/, 'userfaultfd'],
  [/^anon_inode:\[?io_uring/, 'io_uring'],
  [/^anon_inode:\[?pidfd|^pidfd:/, 'pidfd'],
  [/^\/memfd:/, 'memfd'],
  [/^anon_inode:/, 'other'],
];

/**
 * The kind of an object.
 * @param given - what the call that gave the descriptor says
 * @param mode - st_mode, or 0 when it is not known
 */
export function kindOf(given: ObjectKind, name: string, mode: number): ObjectKind {
  if (given === 'mqueue') return given; // its name and its mode are those of a file
  const named = BY_NAME.find(([pattern]) => pattern.test(name))?.[1];
  return named ?? BY_MODE[mode & S_IFMT] ?? given;
}

const UNREADABLE: ReadonlySet<ObjectKind> = new Set(['epoll', 'pidfd', 'io_uring', 'kvm']);
const UNWRITABLE: ReadonlySet<ObjectKind> = new Set([
  ...UNREADABLE,
  ...(['directory', 'timerfd', 'signalfd', 'inotify', 'userfaultfd'] as const),
]);
const UNSEEKABLE: ReadonlySet<ObjectKind> = new Set(['pipe', 'socket']);
/** Needs that are no kind of object. */
const ABILITIES: ReadonlySet<Need> = new Set(['any', 'close', 'ioctl', 'map', 'unknown', 'other']);

/** An object with the flags it was opened with; undefined when these are not known. */
export interface Ability {
  readonly kind: ObjectKind;
  readonly flags: number | undefined;
}

/**
 * What stands against an operation on an object, as the end of a sentence; undefined if nothing is known to.
 * @param need - what the operation needs
 */
export function obstacle(need: Need, { kind, flags }: Ability): string | undefined {
  if (flags !== undefined && flags & O_PATH && need !== 'at' && need !== 'any' && need !== 'close')
    return 'a descriptor that was opened with O_PATH';
  const access = flags === undefined ? undefined : flags & O_ACCMODE;
  const isPlain = kind === 'file' || kind === 'device' || kind === 'pipe' || kind === 'memfd';
  switch (need) {
    case 'read':
      if (isPlain && access === O_WRONLY) return 'a descriptor that was opened for writing only';
      return UNREADABLE.has(kind) ? withArticle(kind) : undefined;
    case 'write':
      if (isPlain && access === O_RDONLY) return 'a descriptor that was opened for reading only';
      return UNWRITABLE.has(kind) ? withArticle(kind) : undefined;
    case 'seek':
      return UNSEEKABLE.has(kind) ? withArticle(kind) : undefined;
    case 'at':
      return kind === 'directory' || kind === 'unknown' ? undefined : withArticle(kind);
  }
  if (kind === 'unknown' || need === kind || ABILITIES.has(need)) return undefined;
  return withArticle(kind);
}

const NAMES: Partial<Readonly<Record<ObjectKind, string>>> = {
  eventfd: 'an eventfd',
  epoll: 'an epoll instance',
  inotify: 'an inotify instance',
  io_uring: 'an io_uring',
  mqueue: 'a message queue',
  kvm: 'a KVM device',
  other: 'another kind of object',
  unknown: 'an object of unknown kind',
};

export const withArticle = (kind: ObjectKind): string => NAMES[kind] ?? `a ${kind}`;
