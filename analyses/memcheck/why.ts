/**
 * Why a finding came about: the way of the undefined value from where it was created, or of the wild
 * address from where it was computed, through each load and store to the symptom; for a leak, where the
 * last pointer went. Found by replaying up to the finding with a log of passages (provenance.ts).
 */
import { recordedStacks } from '../../replay/lineage.js';
import { openReplay } from '../../replay/replay.js';
import { ORIGIN_KIND, type OriginTag } from '../../replay/shadow.js';
import { Symbols, type Frame } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import { UserError } from '../../schemas/errors.js';
import { hex } from '../../schemas/numbers.js';
import type { Pc } from '../finding.js';
import { creation, type Description } from './describe.js';
import { MemcheckEvents } from './events.js';
import { instrument } from './instrument.js';
import { memcheckSettings } from './options.js';
import { logUndefined, logValues, PassageLog, traceValues, type Passage } from './provenance.js';
import { GP_REGISTERS, type RegisterOffsets } from './registers.js';
import { lookAgain } from './second-look.js';

/** A finding as it is stored, with the stacks that it has besides its first. */
export interface StoredFinding {
  readonly process: number;
  readonly kind: string;
  readonly what: string;
  readonly tick: bigint;
  readonly pc: bigint;
  readonly stacks: readonly { readonly role: string; readonly frames: readonly Frame[] }[];
}

/** One station on the way of a value. */
export interface Station {
  readonly what: string;
  /** The tick, where it is known. */
  readonly tick: bigint | undefined;
  /** Innermost first; empty where no instruction did it. */
  readonly frames: readonly Frame[];
}

/**
 * So far back a value is followed instruction by instruction before it is looked up who wrote it, in
 * ticks; farther if a register held it all that time.
 */
const WINDOWS_TICKS = [4_000n, 60_000n] as const;
/** Look-ups of who wrote a word, each followed back again. */
const MOST_HOPS = 8;

/**
 * The stations that led to a finding, the first first and the symptom last.
 * Throws UserError for kinds of findings that have no such way.
 */
export function explain(trace: Trace, finding: StoredFinding): Station[] {
  if (finding.kind.startsWith('Leak_')) return explainLeak(finding);
  const explainer = new Explainer(trace, finding);
  switch (finding.kind) {
    case 'UninitCondition':
    case 'UninitValue':
    case 'SyscallParam':
      return explainer.undefinedValue();
    case 'InvalidRead':
    case 'InvalidWrite':
      return explainer.wildAddress();
    default:
      throw new UserError(
        `There is no more to say of a finding of kind ${finding.kind} than \`grind analyze\` does: ask why of undefined values, invalid reads and writes, and leaks.`,
      );
  }
}

function explainLeak({ stacks, what, tick }: StoredFinding): Station[] {
  const points = stacks.filter(({ role }) => role.startsWith('Last pointer'));
  if (points.length === 0) {
    throw new UserError(
      'Where these blocks were lost is not known: run `grind analyze memcheck --leak-check=full --leak-points=yes` first, with a leak check at the end.',
    );
  }
  return [
    { what: 'Block was allocated at', tick: undefined, frames: stacks[0]?.frames ?? [] },
    ...points.map(({ role, frames }) => ({ what: role, tick: undefined, frames })),
    { what, tick, frames: [] },
  ];
}

class Explainer {
  private readonly symbols: Symbols;
  private readonly settings = memcheckSettings({});
  private readonly registers: RegisterOffsets;

  constructor(
    private readonly trace: Trace,
    private readonly finding: StoredFinding,
  ) {
    this.symbols = new Symbols(trace, finding.process);
    this.registers = trace.manifest.guest?.registers as RegisterOffsets;
  }

  // ---- Undefined values ----

  undefinedValue(): Station[] {
    let { log, origin } = this.followUndefined(() => true);
    if (log.isCut && origin !== undefined) {
      const root = log.root(origin);
      ({ log, origin } = this.followUndefined((other) => other === root));
    }
    if (origin === undefined) throw this.notFound();
    const stations = [this.created(log.root(origin)), ...this.passages(log.chain(origin))];
    if (log.isCut)
      stations.push(station('(some loads and stores are left out: there were too many)'));
    return [...stations, this.symptom()];
  }

  /** Replays up to the finding; gives the origin of the value that was found undefined. */
  private followUndefined(wanted: (root: OriginTag) => boolean): {
    log: PassageLog;
    origin: OriginTag | undefined;
  } {
    const { finding, trace, settings } = this;
    const log = new PassageLog(wanted);
    let origin: OriginTag | undefined;
    let last: OriginTag = 0;
    class Events extends MemcheckEvents {
      override originDescription(tag: OriginTag): Description {
        last = tag;
        return super.originDescription(log.root(tag));
      }
    }
    const { replay, shadow } = lookAgain(trace, finding.process, settings, {
      report: (event) => {
        const isIt =
          event.kind === 'undefined' && event.tick === finding.tick && event.pc === finding.pc;
        if (isIt && replay.isInImage) origin ??= event.origin;
      },
      found: ({ kind, tick, what }) => {
        if (kind !== 'SyscallParam' || kind !== finding.kind) return;
        if (tick === finding.tick && what === finding.what) origin ??= last;
      },
      events: (context, options) => new Events(context, options),
    });
    logUndefined(replay, shadow, log);
    replay.runUntil(finding.tick + 1n);
    return { log, origin };
  }

  private created(origin: OriginTag): Station {
    const number = Math.floor(origin / 4);
    const kind = origin % 4;
    const pcs: readonly Pc[] =
      number === 0
        ? []
        : kind === ORIGIN_KIND.stack
          ? this.symbols.withLowBits(number, 30)
          : (recordedStacks(this.trace, this.finding.process).get(number) ?? []);
    return station(creation(kind), undefined, this.symbols.stack(pcs));
  }

  // ---- Wild addresses ----

  wildAddress(): Station[] {
    const stations: Station[] = [];
    let aim: Aim = { tick: this.finding.tick, pc: this.finding.pc, stored: undefined };
    for (let hop = 0; hop < MOST_HOPS; hop++) {
      let found: { chain: Passage[] } | undefined;
      for (const window of WINDOWS_TICKS) {
        found = this.followBack(aim, window);
        if (found?.chain[0]?.how !== 'register') break;
      }
      if (!found) {
        if (hop === 0) throw this.notFound();
        break;
      }
      const { chain } = found;
      stations.unshift(...this.passages(chain));
      const [first] = chain;
      if (!first) {
        stations.unshift(station('The value was computed from constants there'));
        break;
      }
      if (first.how === 'store') {
        const { pc, tick } = first;
        stations.unshift(
          station('The value was computed from constants at', tick, this.symbols.frames(pc)),
        );
        break;
      }
      if (first.how === 'register') {
        stations.unshift(station(`The register held the value since before tick ${first.tick}`));
        break;
      }
      const written = this.lastWrite(first);
      if (!written) {
        stations.unshift(
          station(
            `${hex(first.address)} was not written by the program before: it came from a file, the kernel or an allocator`,
          ),
        );
        break;
      }
      stations.unshift(
        station(
          `Stored ${written.sizeBytes} bytes to ${hex(written.address)} at`,
          written.tick,
          this.symbols.frames(written.pc),
        ),
      );
      aim = { tick: written.tick, pc: written.pc, stored: written.address };
    }
    return [...stations, this.symptom()];
  }

  /** What led to an address, or to a value stored, as far as a window before it shows. */
  private followBack({ tick, pc, stored }: Aim, window: bigint): { chain: Passage[] } | undefined {
    const { trace, finding, settings, registers } = this;
    const log = new PassageLog();
    const start = tick > window ? tick - window : 0n;
    let isTracing = false;
    let origin: OriginTag | undefined;
    const { replay, shadow } = lookAgain(trace, finding.process, settings, {
      instrument: (block, from, offsets) =>
        isTracing ? traceValues(block, offsets) : instrument(block, from, offsets),
    });
    if (start > 0n && !replay.runUntil(start)) return undefined;
    isTracing = true;
    for (const name of GP_REGISTERS) {
      const address = BigInt(registers[name]!);
      const at = { address, sizeBytes: 8, pc: 0n, tick: replay.tick, previous: 0 };
      shadow.writeRegisters(Number(address), 8, ALL_BITS, log.add({ how: 'register', ...at }));
    }
    const { last } = logValues(replay, shadow, log, (access) => {
      if (origin !== undefined || access.tick !== tick || access.pc !== pc) return;
      if (stored !== undefined) {
        if (access.isStore && access.address === stored) origin = access.ofValue;
      } else if (
        shadow.planes.firstNoAccess(access.address, BigInt(access.sizeBytes)) !== undefined
      )
        origin = access.ofAddress;
    });
    replay.runUntil(tick + 1n, 'before', () => undefined);
    const atFault = last();
    if (stored === undefined && atFault?.pc === pc && atFault.tick === tick)
      origin ??= atFault.origin;
    return origin === undefined ? undefined : { chain: log.chain(origin) };
  }

  /** The last store to the first byte of a load, before it. */
  private lastWrite({ address, tick }: Passage): Passage | undefined {
    const replay = openReplay(this.trace, this.finding.process, {
      accesses: true,
      tidyUp: true,
      addresses: [address - 31n, address],
      toTick: tick,
    });
    let found: Passage | undefined;
    for (let batch = replay.nextAccesses(); batch; batch = replay.nextAccesses()) {
      const { sizes, stores, pcs } = replay.sites;
      for (let i = 0; i < batch.count; i++) {
        const site = batch.sites[i]!;
        const at = batch.addresses[i]!;
        const sizeBytes = sizes[site]!;
        if (stores[site] !== 1 || batch.ticks[i]! >= tick) continue;
        if (at > address || at + BigInt(sizeBytes) <= address) continue;
        const pc = pcs[site]!;
        found = { how: 'store', address: at, sizeBytes, pc, tick: batch.ticks[i]!, previous: 0 };
      }
    }
    return found;
  }

  // ---- In words ----

  private passages(chain: readonly Passage[]): Station[] {
    return chain
      .filter(({ how }) => how !== 'register')
      .map(({ how, address, sizeBytes, pc, tick }) => {
        const what =
          how === 'load'
            ? `Loaded ${sizeBytes} bytes from ${hex(address)} at`
            : `Stored ${sizeBytes} bytes to ${hex(address)} at`;
        return station(what, tick, this.symbols.frames(pc));
      });
  }

  private symptom(): Station {
    const { what, tick, stacks } = this.finding;
    return station(what, tick, stacks[0]?.frames ?? []);
  }

  private notFound(): UserError {
    return new UserError(
      'The replay did not come upon this finding: run `grind analyze memcheck` again, and ask then.',
    );
  }
}

/** What is to be explained: an address at an instruction, or the value that it stored. */
interface Aim {
  readonly tick: bigint;
  readonly pc: bigint;
  /** The address of the store; absent for an access that may not be made. */
  readonly stored: bigint | undefined;
}

const station = (what: string, tick?: bigint, frames: readonly Frame[] = []): Station => ({
  what,
  tick,
  frames,
});

const ALL_BITS = 0xffff_ffff_ffff_ffffn;
