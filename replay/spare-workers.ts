/**
 * Workers that replay. One takes a tenth of a second to get ready, and can be started before it is known
 * what it is to do.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Trace } from './trace.js';

/** Shorter replays are not worth the start of a worker. */
const FEWEST_TICKS = 30_000_000n;

/** Whether a replay of so many ticks should be a worker's. */
export const isWorthWorker = (ticks: bigint): boolean =>
  ticks >= FEWEST_TICKS && availableParallelism() > 1;

/** What a worker is started with. */
export interface WorkerData {
  /** The run's. */
  readonly folder: string;
}

const running = new Set<Worker>();
const spare: Worker[] = [];

function startWorker({ folder }: Trace): Worker {
  const workerData: WorkerData = { folder };
  const worker = new Worker(new URL('./replay-worker.js', import.meta.url), { workerData });
  worker.unref();
  running.add(worker);
  worker.once('exit', () => running.delete(worker));
  return worker;
}

/** Starts workers that will be wanted soon for `trace`, the one that this process reads. */
export function prepareWorkers(trace: Trace, count: number): void {
  while (spare.length < count) spare.push(startWorker(trace));
}

/** A worker, to which one job is to be sent. */
export function takeWorker(trace: Trace): Worker {
  return spare.pop() ?? startWorker(trace);
}

/** Ends all workers, also those with jobs that nobody waits for any more. */
export function endWorkers(): void {
  for (const worker of running) void worker.terminate();
  running.clear();
  spare.length = 0;
}
