/**
 * What a worker of spare-workers.ts runs: a replay that runs ahead of its reader (ahead.ts), or a part
 * of a look-up (look-up.ts). It opens its trace before it has a job.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { runAhead, type AheadJob } from './ahead.js';
import { search, type Part } from './look-up.js';
import type { WorkerData } from './spare-workers.js';
import { Trace } from './trace.js';

export type Job = { readonly ahead: AheadJob } | { readonly search: Part };

const { folder } = workerData as WorkerData;
let trace: Trace | undefined;
try {
  trace = Trace.open(folder);
} catch {
  // Who has a job for this worker is told when it is opened again.
}
const open = (): Trace => trace ?? Trace.open(folder);

parentPort!.once('message', (job: Job) => {
  if ('ahead' in job) runAhead(open, job.ahead);
  else parentPort!.postMessage(search(open(), job.search));
});
