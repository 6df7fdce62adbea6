/**
 * Capabilities of the program's own, as it announces them with recorder/grind-capabilities.h: indices in the space of a
 * task, which its allocator gives out and takes back, and objects that are mapped there. The model, and most of the
 * mistakes, are those of CapCheck, the Valgrind tool for tasks of Fiasco.OC.
 *
 * A *life* of an index goes from its allocation to its release. What the kernel does not take back stays: a mapping
 * outlives the release of its index, and is found there by the next owner.
 */
import type { EventRow } from '../../replay/types.js';
import { hex } from '../../schemas/numbers.js';
import { CAPABILITY_REQUESTS, FIRST_CAPABILITY_REQUEST } from '../../schemas/requests.js';
import type { Row } from '../../schemas/schema.js';
import { client_requests } from '../../schemas/tables.js';
import { capabilities } from '../../schemas/views.js';
import type { AnalysisOption } from '../analysis.js';
import type { AnalysisRows, FindingStack } from '../finding.js';
import { momentOf, type CapContext, type CapPart, type Moment } from './part.js';

export const CAPABILITY_OPTIONS = {
  'cap-leak': {
    describe:
      "Report the program's own capabilities (recorder/grind-capabilities.h) that are allocated at the end, and those sent that nobody received",
    default: 'yes',
    values: ['no', 'yes'],
  },
} as const satisfies Record<string, AnalysisOption>;

interface Space {
  readonly id: bigint;
  readonly name: string;
  ended?: Moment;
  /** The last life of each index. */
  readonly lives: Map<bigint, Life>;
}

interface KernelObject {
  readonly id: bigint;
  readonly name: string;
  /** 0: any. */
  readonly protocol: bigint;
  ended?: Moment;
}

interface Mapping {
  readonly object: KernelObject;
  readonly rights: bigint;
  readonly at: Moment;
  /** Where it was sent from; absent if it was not. */
  readonly sent?: Moment;
}

interface Life {
  readonly space: Space;
  readonly index: bigint;
  /** Counted in its space and index. */
  readonly number: number;
  readonly allocated: Moment;
  /** Not inherited from the process that this one was forked from. */
  readonly isOwn: boolean;
  freed?: Moment;
  mapping?: Mapping | undefined;
  /** The last one that there was, and where it went. */
  lastMapping?: Mapping;
  unmapped?: Moment;
  mappings: number;
  invocations: number;
}

interface Sent {
  readonly mapping: Mapping;
  readonly life: Life;
  readonly at: Moment;
}

/** What a use says of the capability, in findings. */
interface Use {
  /** A noun, such as "Invocation". */
  readonly what: string;
  readonly at: Moment;
}

const quoted = (name: string, id: bigint): string =>
  name === '' ? hex(id) : `"${name}" (${hex(id)})`;

/** The capabilities of one process image. */
export class Capabilities implements CapPart {
  readonly tables = [client_requests];
  rows: readonly AnalysisRows[] = [];
  summary: Readonly<Record<string, number>> = {};

  private readonly spaces = new Map<bigint, Space>();
  private readonly objects = new Map<bigint, KernelObject>();
  /** By message, in the order in which they were sent. */
  private readonly messages = new Map<bigint, Sent[]>();
  private readonly all: Life[] = [];

  constructor(private readonly context: CapContext) {}

  applied(row: EventRow): void {
    const request = CAPABILITY_REQUESTS[row.u32('code') - FIRST_CAPABILITY_REQUEST];
    if (request === undefined) return;
    const at = momentOf(row);
    const [space, second, third, fourth] = [1, 2, 3, 4].map((n) => row.u64(`arg${n}`)) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    const text = Buffer.from(row.bytes('text')).toString();
    switch (request) {
      case 'CAP_SPACE':
        this.spaces.set(space, { id: space, name: text, lives: new Map() });
        return;
      case 'CAP_SPACE_END':
        return this.endSpace(space, at);
      case 'CAP_OBJECT':
        this.objects.set(space, { id: space, name: text, protocol: third });
        return;
      case 'CAP_OBJECT_END':
        return this.endObject(space, at);
      case 'CAP_ALLOC':
        return this.allocate(this.space(space), second, at);
      case 'CAP_FREE':
        return this.free(this.space(space), second, at);
      case 'CAP_MAP':
      case 'CAP_OVERMAP': {
        const use = { what: 'Mapping', at };
        const life = this.usable(this.space(space), second, use);
        const mapping = { object: this.object(third), rights: fourth, at };
        return this.map(life, mapping, use, request === 'CAP_OVERMAP');
      }
      case 'CAP_UNMAP':
        return this.unmap(this.space(space), second, at);
      case 'CAP_INVOKE':
        return this.invoke(this.space(space), second, third, fourth, at);
      case 'CAP_SEND':
      case 'CAP_GRANT':
        return this.send(this.space(space), second, third, fourth, at, request === 'CAP_GRANT');
      case 'CAP_RECEIVE':
        return this.receive(this.space(space), second, third, at);
      default:
        request satisfies never;
    }
  }

  finish(): void {
    if (this.context.options['cap-leak'] !== 'no' && this.context.image.end === 'exit')
      this.findLeaks();
    const lives = this.all;
    this.rows = [{ table: capabilities, rows: lives.map((life) => this.rowOf(life)) }];
    if (lives.length === 0) return;
    this.summary = {
      capabilities_allocated: lives.length,
      capabilities_left: lives.filter(({ freed, space }) => !freed && !space.ended).length,
    };
  }

  // ---------------------------------------------------------------- what is announced

  private space(id: bigint): Space {
    const known = this.spaces.get(id);
    if (known) return known;
    const made: Space = { id, name: '', lives: new Map() };
    this.spaces.set(id, made);
    return made;
  }

  private object(id: bigint): KernelObject {
    const known = this.objects.get(id);
    if (known) return known;
    const made: KernelObject = { id, name: '', protocol: 0n };
    this.objects.set(id, made);
    return made;
  }

  private endSpace(id: bigint, at: Moment): void {
    const space = this.space(id);
    if (space.ended) this.complainOfSpace('End', space, at);
    space.ended ??= at;
  }

  private endObject(id: bigint, at: Moment): void {
    const object = this.object(id);
    if (object.ended)
      this.context.found({
        kind: 'CapDangling',
        what: 'End of an object that had ended before',
        at,
        notes: [`The object is ${quoted(object.name, object.id)}`],
        more: [this.context.stack('It had ended', object.ended)],
      });
    object.ended ??= at;
  }

  private allocate(space: Space, index: bigint, at: Moment): void {
    if (space.ended) this.complainOfSpace('Allocation', space, at);
    const last = space.lives.get(index);
    if (last && !last.freed)
      return this.complain(
        'CapDoubleAlloc',
        'Allocation of a capability index that is allocated',
        at,
        last,
      );
    this.begin(space, index, at, last);
  }

  private begin(space: Space, index: bigint, at: Moment, last?: Life): Life {
    const life: Life = {
      ...{ space, index, number: (last?.number ?? 0) + 1, allocated: at },
      ...{ isOwn: this.context.isInImage(), mappings: 0, invocations: 0 },
      mapping: last?.mapping,
    };
    space.lives.set(index, life);
    this.all.push(life);
    return life;
  }

  private free(space: Space, index: bigint, at: Moment): void {
    if (space.ended) this.complainOfSpace('Release', space, at);
    const life = space.lives.get(index);
    if (!life) return this.complainOfIndex('Release', space, index, at);
    if (life.freed)
      return this.complain('CapDoubleFree', 'Release of a capability index that is free', at, life);
    if (life.mapping && !life.mapping.object.ended)
      this.complain('CapFreeMapped', 'Release of a capability index that is mapped', at, life);
    life.freed = at;
  }

  private map(life: Life | undefined, mapping: Mapping, { what, at }: Use, isMeant: boolean): void {
    if (!life) return;
    const { object } = mapping;
    const old = life.mapping?.object;
    if (object.ended)
      this.complain('CapDangling', `${what} of an object that has ended`, at, life, [
        this.context.stack('The object had ended', object.ended),
      ]);
    if (old && old !== object && !old.ended && !isMeant)
      this.complain(
        'CapOvermap',
        `${what} over a capability to another object`,
        at,
        life,
        [],
        [`It leads to ${quoted(object.name, object.id)} now`],
      );
    life.mapping = life.lastMapping = mapping;
    life.mappings++;
  }

  private unmap(space: Space, index: bigint, at: Moment): void {
    const life = this.usable(space, index, { what: 'Unmapping', at });
    if (!life) return;
    if (!life.mapping)
      return life.unmapped
        ? this.complain(
            'CapDoubleUnmap',
            'Unmapping of a capability that was unmapped before',
            at,
            life,
          )
        : this.complain('CapUnmapped', 'Unmapping of a capability that was never mapped', at, life);
    life.mapping = undefined;
    life.unmapped = at;
  }

  private invoke(space: Space, index: bigint, protocol: bigint, rights: bigint, at: Moment): void {
    const use = { what: 'Invocation', at };
    const life = this.usable(space, index, use);
    const mapping = life && this.mapped(life, use, rights);
    if (!mapping) return;
    life.invocations++;
    const { object } = mapping;
    if (protocol !== 0n && object.protocol !== 0n && protocol !== object.protocol)
      this.complain(
        'CapProtocol',
        `Invocation with protocol ${hex(protocol)} of an object that speaks ${hex(object.protocol)}`,
        at,
        life,
      );
  }

  private send(
    space: Space,
    index: bigint,
    message: bigint,
    rights: bigint,
    at: Moment,
    isGrant: boolean,
  ): void {
    const use = { what: isGrant ? 'Grant' : 'Sending', at };
    const life = this.usable(space, index, use);
    const mapping = life && this.mapped(life, use, 0n);
    if (!mapping) return;
    const sent = { mapping: { ...mapping, rights: mapping.rights & rights }, life, at };
    this.messages.set(message, [...(this.messages.get(message) ?? []), sent]);
    if (!isGrant) return;
    life.mapping = undefined;
    life.unmapped = at;
  }

  private receive(space: Space, index: bigint, message: bigint, at: Moment): void {
    const use = { what: 'Reception', at };
    const life = this.usable(space, index, use);
    const [sent, ...others] = this.messages.get(message) ?? [];
    if (!sent)
      return this.context.found({
        kind: 'CapEmptyMessage',
        what: 'Reception from a message that brings no capability, or no more',
        at,
        notes: [this.placeOf(space, index), `The message is ${hex(message)}`],
        more: life ? this.stacksOf(life) : [],
      });
    this.messages.set(message, others);
    const { object, rights } = sent.mapping;
    this.map(life, { object, rights, at, sent: sent.at }, use, false);
  }

  // ---------------------------------------------------------------- what is wrong

  /** The life of an index for a use of it; undefined, and a finding, when there is none. */
  private usable(space: Space, index: bigint, { what, at }: Use): Life | undefined {
    const life = space.lives.get(index);
    if (space.ended) this.complainOfSpace(what, space, at);
    else if (!life) this.complainOfIndex(what, space, index, at);
    else if (life.freed)
      this.complain('CapUseAfterFree', `${what} at a capability index that is free`, at, life);
    else return life;
    return undefined;
  }

  /** What is mapped at an index, to be used with some rights; undefined, and a finding, when it cannot be used. */
  private mapped(life: Life, { what, at }: Use, rights: bigint): Mapping | undefined {
    const { mapping } = life;
    if (!mapping) {
      this.complain('CapUnmapped', `${what} of a capability that is not mapped`, at, life);
      return undefined;
    }
    const { ended } = mapping.object;
    if (ended) {
      const where = this.context.stack('The object had ended', ended);
      this.complain(
        'CapDangling',
        `${what} of a capability to an object that has ended`,
        at,
        life,
        [where],
      );
      return undefined;
    }
    const lacking = rights & ~mapping.rights;
    if (lacking !== 0n)
      this.complain(
        'CapRights',
        `${what} that takes rights which the capability lacks: ${hex(lacking)}`,
        at,
        life,
      );
    return mapping;
  }

  private findLeaks(): void {
    for (const life of this.all) {
      if (life.freed || life.space.ended || !life.isOwn) continue;
      const state = life.mapping ? 'allocated and mapped' : 'allocated';
      const [, ...others] = this.stacksOf(life);
      this.context.found({
        kind: 'CapLeak',
        what: `A capability index is ${state} at the end`,
        at: life.allocated,
        notes: this.notesOf(life),
        more: others,
      });
    }
    for (const [message, list] of this.messages)
      for (const { life, at } of list)
        if (life.isOwn)
          this.context.found({
            kind: 'CapLost',
            what: 'A capability was sent and never received',
            at,
            notes: [...this.notesOf(life), `The message is ${hex(message)}`],
            more: this.stacksOf(life),
          });
  }

  private complain(
    kind: string,
    what: string,
    at: Moment,
    life: Life,
    more: readonly FindingStack[] = [],
    notes: readonly string[] = [],
  ): void {
    const of = [...this.notesOf(life), ...notes];
    this.context.found({ kind, what, at, notes: of, more: [...this.stacksOf(life), ...more] });
  }

  private complainOfIndex(what: string, space: Space, index: bigint, at: Moment): void {
    this.context.found({
      kind: 'CapInvalid',
      what: `${what} at a capability index that was never allocated`,
      at,
      notes: [this.placeOf(space, index)],
    });
  }

  private complainOfSpace(what: string, { id, name, ended }: Space, at: Moment): void {
    this.context.found({
      kind: 'CapSpaceEnded',
      what: `${what} in a space of capabilities that has ended`,
      at,
      notes: [`The space is ${quoted(name, id)}`],
      more: [this.context.stack('It had ended', ended!)],
    });
  }

  private placeOf({ id, name }: Space, index: bigint): string {
    return `The index is ${hex(index)} of space ${quoted(name, id)}`;
  }

  private notesOf(life: Life): string[] {
    const object = (life.mapping ?? life.lastMapping)?.object;
    const leads = life.mapping ? 'leads' : 'led';
    return [
      this.placeOf(life.space, life.index),
      ...(object ? [`It ${leads} to ${quoted(object.name, object.id)}`] : []),
    ];
  }

  private stacksOf({ allocated, freed, mapping, lastMapping, unmapped }: Life): FindingStack[] {
    const { context } = this;
    const last = mapping ?? lastMapping;
    return [
      context.stack('The index was allocated', allocated),
      ...(last ? [context.stack('The capability was mapped', last.at)] : []),
      ...(last?.sent ? [context.stack('It had been sent', last.sent)] : []),
      ...(unmapped && !mapping ? [context.stack('It was unmapped', unmapped)] : []),
      ...(freed ? [context.stack('The index was freed', freed)] : []),
    ];
  }

  private rowOf(life: Life): Omit<Row<typeof capabilities>, 'analysis'> {
    const { space, freed, lastMapping: last } = life;
    const end = freed ?? space.ended;
    return {
      ...{ process: this.context.process, space: space.id, space_name: space.name },
      ...{ index: life.index, generation: life.number },
      ...{ object: last?.object.id ?? 0n, object_name: last?.object.name ?? '' },
      ...{ protocol: last?.object.protocol ?? 0n, rights: last?.rights ?? 0n },
      allocated_tick: BigInt(life.allocated.tick),
      allocated_thread: life.allocated.thread,
      allocated_stack: life.allocated.stack,
      mapped_tick: BigInt(last?.at.tick ?? 0),
      mapped_stack: last?.at.stack ?? 0,
      end_tick: BigInt(end?.tick ?? 0),
      end_stack: end?.stack ?? 0,
      end: freed ? 'freed' : space.ended ? 'space_ended' : 'allocated',
      mappings: BigInt(life.mappings),
      invocations: BigInt(life.invocations),
    };
  }
}
