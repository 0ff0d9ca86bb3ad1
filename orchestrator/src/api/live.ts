// WS /v1/events: changes as they are committed, resumable by `seq`. A reader who is behind is served from the store in pages, each after his socket took the last;
// once level he gets events in the turn of their commit. Nothing is queued for him beyond his socket's bounded buffer.
import type { WebSocket } from "ws";
import type { AccountId, JobId } from "@qubix/shared/domain";
import { EVENTS_CLOSE_SLOW, eventsQuerySchema, type EventsFrame } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Actor, EventChannel } from "../core/index.ts";
import type { EventFilter, StoredEvent } from "../store/port.ts";
import { actorOf, type Api, type ApiContext } from "./context.ts";
import { findJob } from "./jobs.ts";
import { EVENT_BUFFER_BYTES_MAX, EVENT_PING_MS, EVENT_ROWS_PER_READ, EVENT_SOCKETS_MAX } from "./limits.ts";
import { invalidField } from "./problems.ts";
import { viewEvent } from "./routes/timeline.ts";
import { problems } from "./schemas.ts";

const CHANNELS: readonly EventChannel[] = ["jobs", "offers", "workers", "wallet", "system"];
const CLOSE_GOING_AWAY = 1001;
const CLOSE_TRY_LATER = 1013;

/** What one reader may and wants to see. */
interface Wanted {
  /** Null for an admin, who sees everything. */
  readonly account: AccountId | null;
  readonly channels: ReadonlySet<EventChannel> | null;
  readonly kinds: ReadonlySet<string> | null;
  readonly jobId: JobId | null;
}

export interface LiveEvents {
  /** Closes every socket with 1001. */
  stop(): void;
  count(): number;
}

export function installLiveEvents(app: Api, ctx: ApiContext): LiveEvents {
  const readers = new Set<Reader>();
  const shared = createEventTexts();
  ctx.watch.onEvents((events) => {
    for (const reader of readers) reader.deliver(events);
    shared.forget();
  });
  const pings = setInterval(() => {
    for (const reader of readers) reader.checkAlive();
  }, EVENT_PING_MS);
  pings.unref();

  app.route({
    method: "GET",
    url: "/v1/events",
    config: { access: "any" },
    exposeHeadRoute: false,
    schema: {
      tags: ["events"],
      summary: "WebSocket: changes as they are committed, from `after` on",
      querystring: eventsQuerySchema.strict(),
      response: { ...problems(400, 401, 404, 426, 503) },
    },
    preHandler: async (request) => {
      if (!request.ws) throw upgradeRequired();
      if (readers.size >= EVENT_SOCKETS_MAX) throw tooManyReaders();
      wantedBy(ctx, actorOf(request), request.query);
    },
    handler: () => {
      throw upgradeRequired();
    },
    wsHandler: (socket, request) => {
      const query = eventsQuerySchema.parse(request.query);
      // One who is ahead of us (of another life of this address) gets what comes from now on.
      const after = Math.min(query.after ?? Infinity, newestSeq(ctx));
      const reader = createReader(ctx, socket, wantedBy(ctx, actorOf(request), query), after, shared);
      readers.add(reader);
      socket.on("close", () => readers.delete(reader));
      reader.start();
    },
  });

  return {
    stop() {
      clearInterval(pings);
      for (const reader of readers) reader.close(CLOSE_GOING_AWAY, "the orchestrator stops; connect again");
      readers.clear();
    },
    count: () => readers.size,
  };
}

interface Reader {
  start(): void;
  deliver(events: readonly StoredEvent[]): void;
  checkAlive(): void;
  close(code: number, reason: string): void;
}

function createReader(ctx: ApiContext, socket: WebSocket, wanted: Wanted, after: number, texts: EventTexts): Reader {
  let cursor = after;
  /** Served by commits; before that from the store. */
  let level = false;
  let alive = true;
  socket.on("pong", () => {
    alive = true;
  });
  // A socket's fault closes it; the reader resumes.
  socket.on("error", () => socket.terminate());
  // One who speaks is not understood; frames are read and dropped within the bound on their size.
  socket.on("message", () => {});

  const send = (events: readonly StoredEvent[], sent?: () => void) => {
    socket.send(`{"seq":${cursor},"events":[${events.map((event) => texts.of(event)).join(",")}]}`, () => sent?.());
  };

  /** Nobody above catches what is thrown between two pages: it would end the program, and with it everybody's socket. */
  const catchUp = (first: boolean) => {
    try {
      readOn(first);
    } catch (error) {
      ctx.logger.error({ event: "events_not_read", err: error }, "a reader of events was cut off");
      socket.close(CLOSE_TRY_LATER, `the events cannot be read now; connect again with after=${cursor}`);
    }
  };

  const readOn = (first: boolean) => {
    if (socket.readyState !== socket.OPEN) return;
    const filter: EventFilter = {
      after: cursor,
      limit: EVENT_ROWS_PER_READ,
      ...(wanted.account === null ? {} : { account: wanted.account }),
      ...(wanted.channels === null ? {} : { channels: [...wanted.channels] }),
      ...(wanted.jobId === null ? {} : { jobId: wanted.jobId }),
    };
    const events = ctx.writer.store.events(filter);
    const newest = newestSeq(ctx);
    level = events.length < EVENT_ROWS_PER_READ;
    cursor = level ? Math.max(cursor, newest) : (events.at(-1)?.seq ?? cursor);
    const fitting = events.filter((event) => fits(wanted, event));
    if (!level) send(fitting, () => setImmediate(catchUp, false));
    else if (first || fitting.length > 0) send(fitting);
    texts.forget();
  };

  return {
    start: () => catchUp(true),
    deliver(events) {
      if (!level || socket.readyState !== socket.OPEN) return;
      const fitting = events.filter((event) => event.seq > cursor && fits(wanted, event));
      if (fitting.length === 0) return;
      if (socket.bufferedAmount > EVENT_BUFFER_BYTES_MAX) {
        level = false;
        socket.close(EVENTS_CLOSE_SLOW, `too slow: connect again with after=${cursor} or the last seq you read`);
        // The close frame waits behind what is unsent; do not keep that for a reader who reads nothing.
        setTimeout(() => socket.terminate(), EVENT_PING_MS).unref();
        return;
      }
      cursor = events.at(-1)?.seq ?? cursor;
      send(fitting);
    },
    checkAlive() {
      if (!alive) return socket.terminate();
      alive = false;
      socket.ping();
    },
    close(code, reason) {
      socket.close(code, reason);
    },
  };
}

function wantedBy(
  ctx: ApiContext,
  actor: Actor,
  query: { channels?: string | undefined; kinds?: string | undefined; jobId?: string | undefined },
): Wanted {
  const names = listOf(query.channels);
  const unknown = names?.find((name) => !CHANNELS.includes(name as EventChannel));
  if (unknown !== undefined) {
    throw invalidField("query.channels", `no such channel; there are ${CHANNELS.join(", ")}`);
  }
  const kinds = listOf(query.kinds);
  return {
    account: actor.role === "admin" ? null : actor.accountId,
    channels: names === null ? null : new Set(names as EventChannel[]),
    kinds: kinds === null ? null : new Set(kinds),
    jobId: query.jobId === undefined ? null : findJob(ctx, actor, query.jobId).stored.job.id,
  };
}

function newestSeq(ctx: ApiContext): number {
  return ctx.writer.state().meta.eventSeq;
}

function fits(wanted: Wanted, event: StoredEvent): boolean {
  return (
    (wanted.account === null || event.accountId === wanted.account || event.providerId === wanted.account) &&
    (wanted.channels === null || wanted.channels.has(event.channel)) &&
    (wanted.kinds === null || wanted.kinds.has(event.kind)) &&
    (wanted.jobId === null || event.jobId === wanted.jobId)
  );
}

/** Many readers get the same events: each is written out once per commit. */
interface EventTexts {
  of(event: StoredEvent): string;
  forget(): void;
}

function createEventTexts(): EventTexts {
  const texts = new Map<number, string>();
  return {
    of(event) {
      const known = texts.get(event.seq);
      if (known !== undefined) return known;
      const text = JSON.stringify(viewEvent(event) satisfies EventsFrame["events"][number]);
      texts.set(event.seq, text);
      return text;
    },
    forget: () => texts.clear(),
  };
}

function listOf(text: string | undefined): readonly string[] | null {
  const names = text?.split(",").filter((name) => name !== "");
  return names === undefined || names.length === 0 ? null : names;
}

function upgradeRequired(): QubixError {
  return new QubixError("upgrade_required", "Live events come over a WebSocket: connect to this address with one.", {
    category: "user",
    status: 426,
  });
}

function tooManyReaders(): QubixError {
  return new QubixError("overloaded", "Too many event sockets are open. Close some, or try again later.", {
    category: "platform",
    status: 503,
    retryable: true,
  });
}
