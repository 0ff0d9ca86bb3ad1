// Jobs: to create them, to look at them, to wait for them.
import { callsOf } from "./calls.ts";
import { allItems, type PageOptions } from "./paging.ts";
import { type EventsDeps, subscribe } from "./events.ts";
import { parseNdjson } from "./ndjson.ts";
import { QubixError } from "@qubix/shared/errors";
import { errorFromTransport } from "./problem.ts";
import type { Call, CallOptions, CreateOptions } from "./request.ts";
import { backoffMs, sleep } from "./retry.ts";
import {
  type BatchResult,
  type Checkpoint,
  type CheckpointEntry,
  type EventView,
  hasEnded,
  type JobPhase,
  type JobSpec,
  type JobView,
  type LogLine,
  type OutputFile,
  type Page,
  type Receipt,
} from "./types.ts";

/** The server holds a request for this long at most; seconds. */
const WAIT_S_MAX = 60;
/** And at least so long: answered at once, we would ask without a pause. */
const WAIT_S_MIN = 1;
/** What the head of a held request may take beyond the time it is held. */
const WAIT_GRACE_MS = 15_000;
/** Until the head of a CAR file: all of a checkpoint is hashed before. A runtime's own limit is often this too. */
const CAR_HEAD_MS = 300_000;
/** Kinds of events after which a job's timeline gets no more but its settlement. */
const END_KINDS: readonly string[] = ["completed", "failed", "cancelled"];

export interface ListJobsOptions extends PageOptions, CallOptions {
  readonly phase?: JobPhase | undefined;
}
export interface GetJobOptions extends CallOptions {
  /** Held by the server until the job has ended, for at most this many seconds (≤ 60). */
  readonly waitS?: number | undefined;
}
export interface WaitOptions extends CallOptions {
  /** Told of every view that was seen on the way. */
  readonly onUpdate?: ((job: JobView) => void) | undefined;
  /** How often a view is wanted, in seconds, from 1 to 60 [60]. The end is reported at once in any case. */
  readonly everyS?: number | undefined;
}
export interface EventsOptions extends PageOptions, CallOptions {
  readonly after?: number | undefined;
}
export interface LogsOptions extends CallOptions {
  /** Go on with what is written from now on, until the job has ended. */
  readonly follow?: boolean | undefined;
  /** The `cursor` of the last line that was seen. */
  readonly after?: string | undefined;
  /** Only this replica's lines, of a mirror job. */
  readonly replica?: number | undefined;
}

export interface CheckpointsOptions extends CallOptions {
  readonly replica?: 0 | 1 | "all" | undefined;
}

export interface MoveOptions extends CallOptions {
  readonly to?: string | undefined;
  readonly force?: boolean | undefined;
}

export interface CarOptions extends CallOptions {
  readonly sealed?: boolean | undefined;
}

export interface OutputDownload {
  /** The bytes as they come. */
  readonly body: AsyncIterable<Uint8Array>;
  text(): Promise<string>;
}

export interface Jobs {
  /** Submits a job; it is durable when this returns. Errors: `invalid_request`, `insufficient_funds`, `not_available`, … */
  create(spec: JobSpec, options?: CreateOptions): Promise<JobView>;
  /** Submits up to 100; each has a result of its own: the job, or the problem. */
  batch(specs: readonly JobSpec[], options?: CreateOptions): Promise<BatchResult>;
  get(id: string, options?: GetJobOptions): Promise<JobView>;
  /** Newest first. */
  list(options?: ListJobsOptions): Promise<Page<JobView>>;
  listAll(options?: Omit<ListJobsOptions, "cursor">): AsyncIterable<JobView>;
  cancel(id: string, options?: CallOptions): Promise<JobView>;
  /**
   * Moves a running job to another worker, to `to` or to any; it saves first and loses nothing. Returns once the move has begun: its events tell the rest.
   * `force`: also where it does not save when it is asked to. Errors: `job_not_running`, `move_not_possible`, `worker_not_found`.
   */
  move(id: string, options?: MoveOptions): Promise<JobView>;
  /** Resolves with the job once it has ended, however that was. A lost connection or a restarting orchestrator is waited out for about two minutes. */
  wait(id: string, options?: WaitOptions): Promise<JobView>;
  /** The timeline so far; `after` is the `seq` of the last event that is known. */
  events(id: string, options?: EventsOptions): Promise<Page<EventView>>;
  eventsAll(id: string, options?: Omit<EventsOptions, "cursor">): AsyncIterable<EventView>;
  /** The timeline so far and as it goes on; ends when the job has ended. */
  followEvents(id: string, options?: CallOptions): AsyncIterable<EventView>;
  /** Lines of the log, with a marker at each promotion. A cut connection is opened again after the last line. */
  logs(id: string, options?: LogsOptions): AsyncIterable<LogLine>;
  /** Oldest first. Those of a mirror job's second replica, which cannot be fetched or removed, only with `replica` 1 or `all`. */
  checkpoints(id: string, options?: CheckpointsOptions): Promise<readonly Checkpoint[]>;
  /** What a checkpoint has. */
  checkpointEntries(id: string, seq: number, options?: CallOptions): Promise<readonly CheckpointEntry[]>;
  /** One file of a checkpoint. Read its body once, or leave the loop early. */
  checkpointFile(id: string, seq: number, path: string, options?: CallOptions): Promise<OutputDownload>;
  /**
   * A checkpoint as a CAR file: its files as UnixFS, or with `sealed` the stored blocks, which are ciphertext. The orchestrator reads all of a checkpoint
   * before the first byte: that may take minutes.
   */
  checkpointCar(id: string, seq: number, options?: CarOptions): Promise<OutputDownload>;
  /** Errors: `checkpoint_in_use` for the newest of a job that has not ended. */
  removeCheckpoint(id: string, seq: number, options?: CallOptions): Promise<void>;
  /** Its whole account, which `verifyReceipt` of the shared package verifies; of a running job so far. */
  receipt(id: string, options?: CallOptions): Promise<Receipt>;
  outputs(id: string, options?: CallOptions): Promise<readonly OutputFile[]>;
  /** One output file. Read its body once, or leave the loop early. */
  output(id: string, path: string, options?: CallOptions): Promise<OutputDownload>;
}

/** Creates the `jobs` part of a client. */
export function createJobs(deps: EventsDeps): Jobs {
  const { requester } = deps;
  const { get, post, postCreating, postOnce } = callsOf(requester);
  const items = async <T>(path: string, options: CallOptions, query: Call["query"] = {}) =>
    (await get<{ readonly items: readonly T[] }>(path, query, options)).items;

  const open = async (call: Pick<Call, "path" | "query">, options: CallOptions): Promise<OutputDownload> => {
    const response = await requester.stream({ method: "GET", idempotent: true, ...call, ...options });
    return { body: response.stream(), text: () => response.text() };
  };
  const download = (folder: string, path: string, options: CallOptions): Promise<OutputDownload> =>
    open({ path: `${folder}/${path.split("/").map(encodeURIComponent).join("/")}` }, options);

  const jobs: Jobs = {
    create: (spec, options = {}) => postCreating("/v1/jobs", spec, options),
    batch: (specs, options = {}) => postCreating("/v1/jobs/batch", { jobs: specs }, options),
    get: (id, { waitS, ...options } = {}) =>
      get(
        at(id),
        { waitS },
        waitS === undefined ? options : { timeoutMs: waitS * 1000 + WAIT_GRACE_MS, ...definedOnly(options) },
      ),
    list: ({ cursor, limit, phase, ...options } = {}) => get("/v1/jobs", { cursor, limit, phase }, options),
    listAll: (options = {}) => allItems((cursor) => jobs.list({ ...options, cursor })),
    cancel: (id, options = {}) => post(at(id, "/cancel"), {}, options),
    move: (id, { to, force = false, ...options } = {}) => {
      const body = { ...(to === undefined ? {} : { to }), force };
      return postOnce(at(id, "/move"), body, options);
    },
    wait: (id, options = {}) => waitForEnd(deps, jobs, id, options),
    events: (id, { cursor, limit, after, ...options } = {}) =>
      get(at(id, "/events"), { cursor, limit, after }, options),
    eventsAll: (id, options = {}) => allItems((cursor) => jobs.events(id, { ...options, cursor })),
    followEvents: (id, options = {}) => followEvents(deps, jobs, id, options),
    logs: (id, options = {}) => logLines(deps, jobs, id, at(id, "/logs"), options),
    checkpoints: (id, { replica, ...options } = {}) => items(at(id, "/checkpoints"), options, { replica }),
    checkpointEntries: (id, seq, options = {}) => items(at(id, `/checkpoints/${seq}/files`), options),
    checkpointFile: (id, seq, path, options = {}) => download(at(id, `/checkpoints/${seq}/files`), path, options),
    checkpointCar: (id, seq, { sealed = false, ...options } = {}) =>
      open(
        { path: at(id, `/checkpoints/${seq}/car`), query: { sealed: sealed ? "1" : undefined } },
        { timeoutMs: CAR_HEAD_MS, ...definedOnly(options) },
      ),
    removeCheckpoint: async (id, seq, options = {}) => {
      const call = { method: "DELETE", path: at(id, `/checkpoints/${seq}`), idempotent: true } as const;
      await (await requester.stream({ ...call, ...options })).text();
    },
    receipt: (id, options = {}) => get(at(id, "/receipt"), {}, options),
    outputs: (id, options = {}) => items(at(id, "/outputs"), options),
    output: (id, path, options = {}) => download(at(id, "/outputs"), path, options),
  };
  return jobs;
}

function definedOnly(options: CallOptions): CallOptions {
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  };
}

/** An orchestrator that restarts is waited for: so many failures in a row, each after the retries of a request, are about two minutes. */
const FAILURES_MAX = 20;

async function waitForEnd(
  deps: EventsDeps,
  jobs: Jobs,
  id: string,
  { onUpdate, everyS = WAIT_S_MAX, ...options }: WaitOptions,
): Promise<JobView> {
  for (let failures = 0; ; ) {
    try {
      const job = await jobs.get(id, { ...options, waitS: Math.max(WAIT_S_MIN, Math.min(everyS, WAIT_S_MAX)) });
      failures = 0;
      onUpdate?.(job);
      if (hasEnded(job.phase)) return job;
    } catch (error) {
      failures += 1;
      if (!isPassing(error) || failures > FAILURES_MAX) throw error;
      await sleep(backoffMs(failures, deps.random()), options.signal);
    }
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof QubixError && error.retryable;
}

function at(id: string, rest = ""): string {
  return `/v1/jobs/${encodeURIComponent(id)}${rest}`;
}

/** What was, then live; at the end the list once more, so that nothing written with the end (the settlement) is missing. */
async function* followEvents(
  deps: EventsDeps,
  jobs: Jobs,
  id: string,
  options: CallOptions,
): AsyncGenerator<EventView, void, undefined> {
  let last = 0;
  let ended = false;
  const note = (event: EventView) => {
    last = event.seq;
    ended ||= END_KINDS.includes(event.kind);
  };
  for await (const event of jobs.eventsAll(id, options)) {
    note(event);
    yield event;
  }
  if (ended) return;
  for await (const event of subscribe(deps, { after: last, jobId: id, signal: options.signal })) {
    note(event);
    yield event;
    if (ended) break;
  }
  if (options.signal?.aborted === true) return;
  yield* jobs.eventsAll(id, { ...options, after: last });
}

async function* logLines(
  deps: EventsDeps,
  jobs: Jobs,
  id: string,
  path: string,
  { follow = false, after, replica, ...options }: LogsOptions,
): AsyncGenerator<LogLine, void, undefined> {
  let cursor = after;
  for (let failures = 0; ; ) {
    try {
      const response = await deps.requester.stream({
        method: "GET",
        path,
        query: { follow: follow ? true : undefined, after: cursor, replica },
        idempotent: true,
        ...options,
      });
      for await (const line of parseNdjson<LogLine>(response.stream())) {
        cursor = line.cursor;
        failures = 0;
        yield line;
      }
      // A server that stops ends the stream too: it is complete only when the job has ended.
      if (!follow || hasEnded((await jobs.get(id, options)).phase)) return;
    } catch (error) {
      if (options.signal?.aborted === true) return;
      if (error instanceof QubixError && !error.retryable) throw error;
    }
    failures += 1;
    if (failures > FAILURES_MAX) throw errorFromTransport(deps.requester.baseUrl, new Error("the log was cut off"));
    await sleep(backoffMs(failures, deps.random()), options.signal).catch(() => {});
  }
}
