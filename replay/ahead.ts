/**
 * A replay that runs ahead in a worker while its reader still works on the accesses delivered before:
 * DuckDB and replay then each have a core. Batches are handed over whole, and their memory goes back
 * to be filled again.
 *
 * The reader is called by DuckDB and cannot wait for events, so both sides wait on counters in shared
 * memory: a batch is in the port before the counter says so.
 */
import { receiveMessageOnPort, MessageChannel, type MessagePort } from 'node:worker_threads';
import { UserError } from '../schemas/errors.js';
import { Sites } from './code-tables.js';
import type { Job } from './replay-worker.js';
import { openReplay } from './replay.js';
import { isWorthWorker, takeWorker } from './spare-workers.js';
import { TalliedReplay } from './tally.js';
import type { Trace } from './trace.js';
import type { AccessBatch, Replay, ReplayOptions, SegmentTable, SiteTable } from './types.js';

/** Batches that are delivered and not given back yet. */
const MOST_AHEAD = 4;

/** Counters in shared memory: messages that the worker sent, messages that the reader is done with. */
const SENT = 0;
const DONE = 1;

export interface AheadJob {
  readonly process: number;
  readonly options: ReplayOptions;
  readonly port: MessagePort;
  readonly counters: Int32Array;
}

/** What the worker sends: a batch with the sites that are new since the last one, or how it ended. */
type Message =
  | { readonly batch: AccessBatch; readonly newSites: SiteTable }
  | {
      readonly error: string;
      readonly isUserError: boolean;
      readonly divergences: readonly string[];
    }
  | { readonly divergences: readonly string[] };

/** Like `openReplay`, in a worker if that is worth it. */
export function openAhead(trace: Trace, process: number, options: ReplayOptions = {}): Replay {
  const ticks = trace.processes.find((row) => row.process === process)?.ticks ?? 0n;
  const { accesses, fromTick = 0n, toTick = ticks } = options;
  return accesses && isWorthWorker((toTick < ticks ? toTick : ticks) - fromTick)
    ? new ReplayAhead(trace, process, options)
    : tallied(openReplay(trace, process, options), options);
}

const tallied = (replay: Replay, options: ReplayOptions): Replay =>
  options.tallied ? new TalliedReplay(replay) : replay;

/** A replay in a worker; only for accesses. */
export class ReplayAhead implements Replay {
  readonly sites = new Sites();
  private readonly port: MessagePort;
  private readonly counters = new Int32Array(new SharedArrayBuffer(8));
  private received = 0;
  private last: AccessBatch | undefined;
  private ended = false;

  constructor(
    private readonly trace: Trace,
    process: number,
    options: ReplayOptions,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    const job: Job = { ahead: { process, options, port: port2, counters: this.counters } };
    takeWorker(trace).postMessage(job, [port2]);
  }

  nextAccesses(): AccessBatch | undefined {
    if (this.ended) return undefined;
    if (this.last) this.giveBack(this.last);
    Atomics.wait(this.counters, SENT, this.received);
    this.received++;
    const message = (receiveMessageOnPort(this.port) as { message: Message }).message;
    if ('batch' in message) {
      this.sites.append(message.newSites);
      return (this.last = message.batch);
    }
    for (const sentence of message.divergences) this.trace.noteDivergence(sentence);
    this.ended = true;
    this.port.close();
    if (!('error' in message)) return undefined;
    throw message.isUserError ? new UserError(message.error) : new Error(message.error);
  }

  finish(): void {
    while (this.nextAccesses());
  }

  segments(): SegmentTable {
    throw new Error('a replay ahead counts nothing');
  }

  private giveBack(batch: AccessBatch): void {
    const buffers = buffersOf(batch);
    this.port.postMessage(buffers, buffers);
    this.last = undefined;
    Atomics.add(this.counters, DONE, 1);
    Atomics.notify(this.counters, DONE);
  }
}

/** The memory of a batch's columns. */
const buffersOf = ({
  sites,
  ticks,
  addresses,
  values,
  wide,
  repeats,
}: AccessBatch): ArrayBuffer[] =>
  [sites, ticks, addresses, values, wide, ...(repeats ? [repeats] : [])]
    .map((column) => column.buffer as ArrayBuffer)
    .filter((buffer) => buffer.byteLength > 0);

// ---- In the worker ----

/** Copies columns into memory that the reader gave back, or new memory. */
class Copier {
  private readonly spare: ArrayBuffer[] = [];

  constructor(private readonly port: MessagePort) {}

  copy<T extends Uint8Array | Uint32Array | BigUint64Array>(column: T, wanted: boolean): T {
    const make = column.constructor as new (buffer: ArrayBuffer, start: number, size: number) => T;
    if (!wanted || column.length === 0) return new make(new ArrayBuffer(0), 0, 0);
    for (let given; (given = receiveMessageOnPort(this.port));)
      this.spare.push(...(given as { message: ArrayBuffer[] }).message);
    const fits = this.spare.findIndex((buffer) => buffer.byteLength >= column.byteLength);
    const buffer =
      fits >= 0 ? this.spare.splice(fits, 1)[0]! : new ArrayBuffer(roundUp(column.byteLength));
    const copied = new make(buffer, 0, column.length);
    copied.set(column as never);
    return copied;
  }
}

/** A power of two of at least 4096, so that memory is found to fit again. */
function roundUp(sizeBytes: number): number {
  let size = 4096;
  while (size < sizeBytes) size *= 2;
  return size;
}

/** Runs a replay and hands its accesses over; `open` opens the trace. */
export function runAhead(open: () => Trace, { process, options, port, counters }: AheadJob): void {
  const send = (message: Message, buffers: ArrayBuffer[] = []): void => {
    const sent = Atomics.load(counters, SENT);
    for (let done; sent - (done = Atomics.load(counters, DONE)) >= MOST_AHEAD;)
      Atomics.wait(counters, DONE, done);
    port.postMessage(message, buffers);
    Atomics.store(counters, SENT, sent + 1);
    Atomics.notify(counters, SENT);
  };
  const divergences: string[] = [];
  try {
    const trace = open();
    const whole = openReplay(trace, process, options);
    const replay = tallied(whole, options);
    const copier = new Copier(port);
    const wanted = (column: 'ticks' | 'addresses' | 'values' | 'wide'): boolean =>
      options.columns?.has(column) ?? true;
    let sitesSent = 0;
    for (let batch; (batch = replay.nextAccesses());) {
      const copy: AccessBatch = {
        ...batch,
        sites: copier.copy(batch.sites, true),
        ticks: copier.copy(batch.ticks, wanted('ticks')),
        addresses: copier.copy(batch.addresses, wanted('addresses')),
        values: copier.copy(batch.values, wanted('values')),
        wide: copier.copy(batch.wide, wanted('wide')),
        ...(batch.repeats && { repeats: copier.copy(batch.repeats, true) }),
      };
      const newSites = sliceOf(replay.sites, sitesSent);
      sitesSent = replay.sites.count;
      send({ batch: copy, newSites }, buffersOf(copy));
    }
    divergences.push(...whole.divergences);
    trace.close();
    send({ divergences });
  } catch (error) {
    const { message } = error as Error;
    send({ error: message, isUserError: error instanceof UserError, divergences });
  }
}

/** The sites from number `first` on. */
function sliceOf(sites: SiteTable, first: number): SiteTable {
  const { count } = sites;
  return {
    count: count - first,
    pcs: sites.pcs.slice(first, count),
    blocks: sites.blocks.slice(first, count),
    sizes: sites.sizes.slice(first, count),
    stores: sites.stores.slice(first, count),
    atomics: sites.atomics.slice(first, count),
    guarded: sites.guarded.slice(first, count),
  };
}
