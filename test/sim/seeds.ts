// Spreads seeds over threads and hands their results on in the order of the seeds, so that what they add up to does not depend on the threads.
import { Worker } from "node:worker_threads";
import type { SeedResult } from "./run.ts";

export interface SeedRange {
  readonly first: number;
  /** Exclusive. */
  readonly end: number;
  readonly threads: number;
}

/** A seed leaves much behind that is young: with room for it the collector has less to do. */
const YOUNG_MIB = 48;

/** Runs the seeds until `take`, which is given each result in order, says that it is enough. */
export async function runSeeds(
  { first, end, threads }: SeedRange,
  take: (result: SeedResult) => boolean,
): Promise<void> {
  const early = new Map<number, SeedResult>();
  let next = first;
  let isEnough = false;
  const count = Math.min(threads, end - first);
  const workers = Array.from({ length: count }, (_, thread) => {
    const workerData = { first: first + thread, step: count, end };
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MIB };
    return new Worker(new URL("./thread.ts", import.meta.url), { workerData, resourceLimits });
  });
  const stop = () => {
    isEnough = true;
    for (const worker of workers) void worker.terminate();
  };
  const gather = (batch: readonly SeedResult[]) => {
    for (const result of batch) early.set(result.seed, result);
    for (let ready = early.get(next); ready !== undefined; ready = early.get(next)) {
      if (isEnough) return;
      early.delete(next);
      next += 1;
      if (!take(ready)) stop();
    }
  };
  await Promise.all(
    workers.map(
      (worker) =>
        new Promise<void>((resolve, reject) => {
          worker.on("message", gather);
          worker.on("error", (error) => {
            stop();
            reject(error);
          });
          worker.on("exit", () => resolve());
        }),
    ),
  );
}
