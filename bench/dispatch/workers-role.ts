// The workers of the dispatch benchmark: all in this one process, each with its own key, socket and journal.
import { waitFor } from "../harness/clock.ts";
import { createApi, enrolWorkers } from "../harness/network.ts";
import { createNullWorker, type NullWorker } from "../harness/null-worker.ts";
import { serveRole } from "../harness/roles.ts";

const ONLINE_TIMEOUT_MS = 30_000;
const QUIET_TIMEOUT_MS = 10_000;

const startedAtMs = new Map<string, number>();
let workers: readonly NullWorker[] = [];

const handlers = {
  /** Enrols and connects `count` workers; returns when all are online. */
  async connect(input: {
    readonly url: string;
    readonly adminKey: string;
    readonly providerId: string;
    readonly count: number;
    readonly cpus: number;
    readonly pricePerCpuHour: bigint;
  }): Promise<void> {
    const url = new URL(input.url);
    const admin = createApi(url, input.adminKey);
    const enrolled = await enrolWorkers(admin, input.providerId, input.count);
    admin.close();
    workers = enrolled.map((worker) =>
      createNullWorker({
        url,
        worker,
        cpus: input.cpus,
        pricePerCpuHour: input.pricePerCpuHour,
        onStart: (jobId, atMs) => startedAtMs.set(jobId, atMs),
      }),
    );
    const timeout = waitFor("workers online", ONLINE_TIMEOUT_MS, () => undefined);
    await Promise.race([Promise.all(workers.map((worker) => worker.online)), timeout]);
  },
  /** When each job's null runner started, on the monotonic clock; forgets them. */
  takeStarts(): ReadonlyMap<string, number> {
    const taken = new Map(startedAtMs);
    startedAtMs.clear();
    return taken;
  },
  /** Waits until every end is acknowledged; returns how many are not. */
  async settle(): Promise<number> {
    await waitFor("ends acknowledged", QUIET_TIMEOUT_MS, () => (unacknowledged() === 0 ? true : undefined)).catch(
      () => undefined,
    );
    return unacknowledged();
  },
};
export type WorkersRole = typeof handlers;

function unacknowledged(): number {
  return workers.reduce((sum, worker) => sum + worker.unacknowledged(), 0);
}

serveRole(handlers);
