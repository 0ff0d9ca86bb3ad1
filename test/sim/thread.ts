// One thread's share of the seeds. Results go back in small batches, so that a broken seed is known soon.
import { parentPort, workerData } from "node:worker_threads";
import { runSeed, type SeedResult } from "./run.ts";

const BATCH = 8;

const { first, step, end } = workerData as { readonly first: number; readonly step: number; readonly end: number };
let batch: SeedResult[] = [];
for (let seed = first; seed < end; seed += step) {
  batch.push(runSeed(seed));
  if (batch.length === BATCH) flush();
}
flush();

function flush(): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(batch);
  batch = [];
}
