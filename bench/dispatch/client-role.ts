// The consumer of the dispatch benchmark: submits over HTTP, learns of ends from the live events, keeps count.
import type { EventsFrame } from "@qubix/shared/protocol";
import { WebSocket } from "ws";
import { monotonicMs, sleepMs, waitFor } from "../harness/clock.ts";
import { createHttpPool, type HttpPool } from "../harness/http-pool.ts";
import { serveRole } from "../harness/roles.ts";

const DRAIN_TIMEOUT_MS = 60_000;
/** The open loop never has more requests under way than this; reaching it is an error, not a wait. */
const CONNECTIONS_MAX = 512;

let url: URL;
let key = "";
let pool: HttpPool;
let body = "";
let batchBody: (count: number) => string = () => "";
/** Ids the orchestrator accepted. */
const accepted = new Set<string>();
/** Jobs whose settlement was announced. */
const settled = new Set<string>();
let completed = 0;
let eventSeq = 0;
let onSettled: () => void = ignore;
/** Resolves when the newest events' socket has closed. */
let eventsEnded: Promise<void> = Promise.resolve();

const handlers = {
  async connect(input: { readonly url: string; readonly key: string; readonly spec: unknown }): Promise<void> {
    url = new URL(input.url);
    key = input.key;
    body = JSON.stringify(input.spec);
    batchBody = (count) => `{"jobs":[${Array.from({ length: count }, () => body).join(",")}]}`;
    pool = createHttpPool(url, { authorization: `Bearer ${key}` }, CONNECTIONS_MAX);
    await followEvents();
  },

  /** `count` jobs, one POST each, at most `unfinishedMax` not settled at any time. Returns the seconds from the first send to the last settlement. */
  async runSingle(input: { readonly count: number; readonly unfinishedMax: number }): Promise<number> {
    return closedLoop(input.count, input.unfinishedMax, 1, async () => {
      accepted.add(await submitOne());
    });
  },

  /** The same by `POST /v1/jobs/batch`. */
  async runBatch(input: {
    readonly count: number;
    readonly unfinishedMax: number;
    readonly batch: number;
  }): Promise<number> {
    const text = batchBody(input.batch);
    return closedLoop(input.count, input.unfinishedMax, input.batch, async () => {
      for (const id of await submitBatch(text)) accepted.add(id);
    });
  },

  /** One job each 1000/`ratePerS` ms for `seconds`, whatever becomes of them; the time of each send on the monotonic clock. */
  async runOpen(input: { readonly ratePerS: number; readonly seconds: number }): Promise<ReadonlyMap<string, number>> {
    const sentAtMs = new Map<string, number>();
    const failures: unknown[] = [];
    const settledBefore = settled.size;
    const begun = monotonicMs();
    const total = input.ratePerS * input.seconds;
    for (let sent = 0; sent < total; ) {
      const due = Math.min(total, Math.floor(((monotonicMs() - begun) / 1000) * input.ratePerS) + 1);
      for (; sent < due; sent++) {
        const atMs = monotonicMs();
        submitOne()
          .then((id) => accepted.add(id) && sentAtMs.set(id, atMs))
          .catch((error: unknown) => failures.push(error));
      }
      await sleepMs(1);
    }
    await waitFor("open-loop jobs settled", DRAIN_TIMEOUT_MS, () =>
      settled.size - settledBefore + failures.length >= total ? true : undefined,
    );
    if (failures.length > 0) throw new Error(`${failures.length} submissions failed: ${String(failures[0])}`);
    return sentAtMs;
  },

  /** Submits with `unfinishedMax` unsettled until the orchestrator is gone; what it accepted before stays accepted. */
  async runUntilGone(input: { readonly unfinishedMax: number }): Promise<number> {
    const before = accepted.size;
    const loop = closedLoop(Number.MAX_SAFE_INTEGER, input.unfinishedMax, 1, async () => {
      accepted.add(await submitOne());
    });
    // With every slot waiting for a settlement no request is there to fail: then only the events' socket tells the end.
    await Promise.race([loop.catch(() => undefined), eventsEnded]);
    onSettled = ignore;
    return accepted.size - before;
  },

  /** After a restart: reads the events from where it was and waits until every accepted job is settled. Returns how many are not. */
  async catchUp(): Promise<number> {
    pool.close();
    await followEvents();
    await waitFor("accepted jobs settled", DRAIN_TIMEOUT_MS, () => (unsettled() === 0 ? true : undefined)).catch(
      () => undefined,
    );
    return unsettled();
  },

  totals(): { readonly accepted: readonly string[]; readonly settled: number; readonly completed: number } {
    return { accepted: [...accepted], settled: settled.size, completed };
  },
};
export type ClientRole = typeof handlers;

/** Keeps the loop full until `count` jobs are sent and all are settled; `size` jobs go with each call of `submit`. */
function closedLoop(count: number, unfinishedMax: number, size: number, submit: () => Promise<void>): Promise<number> {
  return new Promise((resolve, reject) => {
    const settledBefore = settled.size;
    const begun = monotonicMs();
    let sent = 0;
    const stop = (error?: Error) => {
      onSettled = ignore;
      if (error === undefined) resolve((monotonicMs() - begun) / 1000);
      else reject(error);
    };
    const fill = () => {
      const done = settled.size - settledBefore;
      if (done >= count) return stop();
      while (sent < count && sent + size - done <= unfinishedMax) {
        sent += size;
        submit().catch(stop);
      }
    };
    onSettled = fill;
    fill();
  });
}

function unsettled(): number {
  return [...accepted].filter((id) => !settled.has(id)).length;
}

function ignore(): void {}

async function submitOne(): Promise<string> {
  const answer = await pool.request("POST", "/v1/jobs", body);
  if (answer.status !== 201) throw new Error(`POST /v1/jobs: ${answer.status} ${answer.body.slice(0, 300)}`);
  return idOf(JSON.parse(answer.body));
}

async function submitBatch(text: string): Promise<readonly string[]> {
  const answer = await pool.request("POST", "/v1/jobs/batch", text);
  if (answer.status >= 300) throw new Error(`POST /v1/jobs/batch: ${answer.status} ${answer.body.slice(0, 300)}`);
  const { results } = JSON.parse(answer.body) as { results: readonly { job?: unknown; problem?: unknown }[] };
  return results.map(({ job, problem }) => {
    if (job === undefined) throw new Error(`a job of a batch was refused: ${JSON.stringify(problem)}`);
    return idOf(job);
  });
}

function idOf(job: unknown): string {
  return (job as { id: string }).id;
}

/** Opens the live events after the newest frame seen; resolves with the first frame. */
function followEvents(): Promise<void> {
  return new Promise((resolve, reject) => {
    const query = `channels=jobs&kinds=completed,settled&after=${eventSeq}`;
    const target = new URL(`/v1/events?${query}`, url.href.replace("http", "ws"));
    const socket = new WebSocket(target, { headers: { authorization: `Bearer ${key}` }, perMessageDeflate: false });
    socket.once("error", reject);
    eventsEnded = new Promise((ended) => socket.once("close", () => ended()));
    socket.on("message", (data: Buffer) => {
      take(JSON.parse(data.toString("utf8")) as EventsFrame);
      resolve();
    });
  });
}

function take(frame: EventsFrame): void {
  eventSeq = frame.seq;
  for (const { kind, jobId } of frame.events) {
    if (jobId === null) continue;
    if (kind === "completed") completed++;
    if (kind === "settled") settled.add(jobId);
  }
  if (frame.events.length > 0) onSettled();
}

serveRole(handlers);
