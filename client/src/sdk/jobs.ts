// Jobs: to create them, to look at them, to wait for them.
import { allItems, type PageOptions } from "./paging.ts";
import { type EventsDeps, subscribe } from "./events.ts";
import { parseNdjson } from "./ndjson.ts";
import type { CallOptions, CreateOptions } from "./request.ts";
import type { TransportResponse } from "./transport.ts";
import {
  type BatchResult,
  type Checkpoint,
  type EventView,
  hasEnded,
  type JobPhase,
  type JobSpec,
  type JobView,
  type LogLine,
  type OutputFile,
  type Page,
} from "./types.ts";

/** The server holds a request for this long at most; seconds. */
const WAIT_S_MAX = 60;
/** What the head of a held request may take beyond the time it is held. */
const WAIT_GRACE_MS = 15_000;
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
  /** How often a view is wanted, in seconds, at most 60 [60]. The end is reported at once in any case. */
  readonly everyS?: number | undefined;
}
export interface LogsOptions extends CallOptions {
  /** Go on with what is written from now on, until the job has ended. */
  readonly follow?: boolean | undefined;
  /** The `cursor` of the last line that was seen. */
  readonly after?: string | undefined;
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
  /** Resolves with the job once it has ended, however that was. */
  wait(id: string, options?: WaitOptions): Promise<JobView>;
  /** The timeline so far. */
  events(id: string, options?: PageOptions & CallOptions): Promise<Page<EventView>>;
  eventsAll(id: string, options?: CallOptions): AsyncIterable<EventView>;
  /** The timeline so far and as it goes on; ends when the job has ended. */
  followEvents(id: string, options?: CallOptions): AsyncIterable<EventView>;
  /** Lines of the log, with a marker at each promotion. A cut connection is opened again after the last line. */
  logs(id: string, options?: LogsOptions): AsyncIterable<LogLine>;
  checkpoints(id: string, options?: CallOptions): Promise<readonly Checkpoint[]>;
  outputs(id: string, options?: CallOptions): Promise<readonly OutputFile[]>;
  /** The bytes of one output. */
  output(id: string, path: string, options?: CallOptions): Promise<TransportResponse>;
}

/** Creates the `jobs` part of a client. */
export function createJobs(deps: EventsDeps): Jobs {
  const { requester } = deps;
  const at = (id: string, rest = "") => `/v1/jobs/${encodeURIComponent(id)}${rest}`;
  const get = <T>(path: string, query: Record<string, string | number | undefined>, options: CallOptions) =>
    requester.json<T>({ method: "GET", path, query, idempotent: true, ...options });
  const create = <T>(path: string, body: unknown, options: CreateOptions) =>
    requester.json<T>({
      method: "POST",
      path,
      body,
      idempotent: true,
      ...options,
      idempotencyKey: options.idempotencyKey ?? globalThis.crypto.randomUUID(),
    });

  const jobs: Jobs = {
    create: (spec, options = {}) => create("/v1/jobs", spec, options),
    batch: (specs, options = {}) => create("/v1/jobs/batch", { jobs: specs }, options),
    get: (id, { waitS, ...options } = {}) =>
      get(
        at(id),
        { waitS },
        waitS === undefined ? options : { timeoutMs: waitS * 1000 + WAIT_GRACE_MS, ...definedOnly(options) },
      ),
    list: ({ cursor, limit, phase, ...options } = {}) => get("/v1/jobs", { cursor, limit, phase }, options),
    listAll: (options = {}) => allItems((cursor) => jobs.list({ ...options, cursor })),
    cancel: (id, options = {}) =>
      requester.json({ method: "POST", path: at(id, "/cancel"), body: {}, idempotent: true, ...options }),
    wait: async (id, { onUpdate, everyS = WAIT_S_MAX, ...options } = {}) => {
      for (;;) {
        const job = await jobs.get(id, { ...options, waitS: Math.min(everyS, WAIT_S_MAX) });
        onUpdate?.(job);
        if (hasEnded(job.phase)) return job;
      }
    },
    events: (id, { cursor, limit, ...options } = {}) => get(at(id, "/events"), { cursor, limit }, options),
    eventsAll: (id, options = {}) => allItems((cursor) => jobs.events(id, { ...options, cursor })),
    followEvents: (id, options = {}) => followEvents(deps, jobs, id, options),
    logs: (id, options = {}) => logLines(deps, at(id, "/logs"), options),
    checkpoints: (id, options = {}) => all(at(id, "/checkpoints"), options),
    outputs: (id, options = {}) => all(at(id, "/outputs"), options),
    output: (id, path, options = {}) =>
      requester.stream({
        method: "GET",
        path: at(id, `/outputs/${path.split("/").map(encodeURIComponent).join("/")}`),
        idempotent: true,
        ...options,
      }),
  };
  const all = async <T>(path: string, options: CallOptions): Promise<readonly T[]> => {
    const items: T[] = [];
    for await (const item of allItems((cursor) => get<Page<T>>(path, { cursor }, options))) items.push(item);
    return items;
  };
  return jobs;
}

function definedOnly(options: CallOptions): CallOptions {
  return {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  };
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
  for await (const event of subscribe(deps, { after: last, channels: ["jobs"], signal: options.signal })) {
    if (event.jobId !== id) continue;
    note(event);
    yield event;
    if (ended) break;
  }
  if (options.signal?.aborted === true) return;
  for await (const event of jobs.eventsAll(id, options)) {
    if (event.seq <= last) continue;
    note(event);
    yield event;
  }
}

/** Connections a followed log may lose in a row, without a line in between. */
const LOG_RECONNECTS_MAX = 20;

async function* logLines(
  deps: EventsDeps,
  path: string,
  { follow = false, after, ...options }: LogsOptions,
): AsyncGenerator<LogLine, void, undefined> {
  let cursor = after;
  for (let cuts = 0; ; cuts += 1) {
    const response = await deps.requester.stream({
      method: "GET",
      path,
      query: { follow: follow ? true : undefined, after: cursor },
      idempotent: true,
      ...options,
    });
    try {
      for await (const line of parseNdjson<LogLine>(response.stream())) {
        cursor = line.cursor;
        cuts = 0;
        yield line;
      }
      return;
    } catch (error) {
      if (options.signal?.aborted === true) return;
      if (cuts >= LOG_RECONNECTS_MAX) throw error;
    }
  }
}
