// The single writer. It gathers the events of a tick, steps the core, writes all changes in one transaction, and only then carries the effects
// out and answers the submitters: one fsync serves the whole batch, and nothing is said that is not durable.
import { QubixError, type Logger, type MonotonicClock } from "@qubix/shared/runtime";
import type { JobId } from "@qubix/shared/domain";
import type { CoreEvent, Effect, Reply, StepResult } from "../core/events.ts";
import type { Changes } from "../core/model.ts";
import type { Snapshot, Store, StoredEvent } from "../store/port.ts";
import { withKnown } from "./known-transfers.ts";
import type { CoreState, EffectSink, Writer, WriterMetrics } from "./writer-port.ts";

export type { CoreState, EffectSink, Writer, WriterMetrics } from "./writer-port.ts";

/** Events that wait for a tick. Each worker of a large fleet may reconnect with a handful of messages at once; beyond that, 503. */
export const QUEUE_EVENTS_MAX = 50_000;
/** Events of one tick, and the time after which it takes no more: sockets are read again within a few milliseconds. */
export const TICK_EVENTS_MAX = 512;
const TICK_MS_MAX = 4;
/** Placements of one tick; the rest goes on in the next. */
const TICK_DISPATCHES_MAX = 256;
/** Heartbeats wait this long for company: a large fleet's then share ticks, and nothing they renew is that close to its end. */
const VOLATILE_DELAY_MS = 5;
/** A due timer waits for the queued events (they may be the very heartbeats it would miss), but not for longer than this. */
const TIMER_LATE_MS_MAX = 1_000;
/** After a timer step that threw, so that it cannot spin. */
const TIMER_RETRY_MS = 1_000;
/** Node's timers take 31 bits; there is no harm in looking once an hour. */
const TIMER_MS_MAX = 3_600_000;
/** Between attempts to bring memory back, when that failed or commits fail one after the other. The first time there is no wait. */
const REBUILD_RETRY_MS = 500;
const REBUILD_RETRY_MS_MAX = 10_000;
const RETRY_AFTER_S = 1;

/** The core as the writer uses it. */
export interface CorePort {
  create(snapshot: Snapshot, nowMs: number): CoreState;
  step(state: CoreState, nowMs: number, event: CoreEvent): StepResult;
  nextDeadlineMs(state: CoreState): number | null;
}

/** Measures for how long the event loop did nothing. */
export interface LagMeter {
  /** Milliseconds since the last call in which nobody was listened to; 0 as a rule. */
  takeMs(): number;
}

export interface WriterPorts {
  readonly store: Store;
  readonly clock: MonotonicClock;
  readonly core: CorePort;
  readonly logger: Logger;
  /** Stamps events and transfers for people; milliseconds since 1970. */
  readonly wallMs?: () => number;
  /** Without one our own lag counts as the workers' silence. */
  readonly lag?: LagMeter;
}

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: QubixError) => void;
}

interface Answer {
  readonly pending: Pending;
  readonly reply: Reply;
}

/** What the steps of one tick came to. */
interface Batch {
  readonly changes: Changes[];
  readonly effects: Effect[];
  readonly answers: Answer[];
  /** Something happened after which a place may be found for what waits. */
  dispatch: boolean;
}

const NO_SINK: EffectSink = {
  send: () => {},
  disconnect: () => {},
  challenge: () => {},
  chain: () => {},
  collect: () => {},
  shred: () => {},
  flush: () => {},
  reset: () => {},
};

/** Creates a writer over an open store. Nothing happens before `start`. */
export function createWriter(ports: WriterPorts): Writer {
  const { store, clock, core, logger } = ports;
  const wallMs = ports.wallMs ?? Date.now;
  let phase: "new" | "running" | "failed" | "stopped" = "new";
  let state: CoreState | undefined;
  let firstStart = false;
  let sink = NO_SINK;
  let events: CoreEvent[] = [];
  let pendings: (Pending | null)[] = [];
  let immediate: NodeJS.Immediate | undefined;
  let delayed: NodeJS.Timeout | undefined;
  let timer: NodeJS.Timeout | undefined;
  let timerAtMs = Number.POSITIVE_INFINITY;
  let timerNotBeforeMs = 0;
  let dispatchLeft = false;
  /** As the core was told last; empty before. */
  let month = "";
  let rebuildTimer: NodeJS.Timeout | undefined;
  /** Since the last commit that worked. */
  let failuresInRow = 0;
  const eventListeners = new Set<(events: readonly StoredEvent[]) => void>();
  const logListeners = new Set<(jobIds: ReadonlySet<JobId>) => void>();
  const counts = {
    commits: 0,
    commitFailures: 0,
    events: 0,
    volatileEvents: 0,
    stepErrors: 0,
    overloads: 0,
    commitMsLast: 0,
    commitMsTotal: 0,
    batchEventsLast: 0,
  };

  const committed = (): CoreState => {
    if (phase === "failed") throw commitFailed(undefined);
    if (state === undefined)
      throw new QubixError("not_started", "The writer was not started.", { category: "internal" });
    return state;
  };

  // ── Taking events ──

  const refuse = (): QubixError | undefined => {
    if (phase === "stopped" || phase === "new") {
      return new QubixError("stopping", "The orchestrator is stopping; ask again when it is back.", retryable());
    }
    if (phase === "failed") return commitFailed(undefined);
    if (events.length < QUEUE_EVENTS_MAX) return undefined;
    counts.overloads += 1;
    return new QubixError(
      "overloaded",
      `More than ${QUEUE_EVENTS_MAX} requests wait already; ask again in ${RETRY_AFTER_S} s.`,
      retryable(),
    );
  };

  const wake = (): void => {
    immediate ??= setImmediate(onImmediate);
  };

  const wakeSoon = (): void => {
    if (immediate === undefined) delayed ??= setTimeout(onImmediate, VOLATILE_DELAY_MS);
  };

  const onImmediate = (): void => {
    clearImmediate(immediate);
    clearTimeout(delayed);
    immediate = undefined;
    delayed = undefined;
    if (phase === "running") tick();
  };

  const enqueue = (event: CoreEvent, pending: Pending | null): void => {
    events.push(event);
    pendings.push(pending);
    if (pending === null) wakeSoon();
    else wake();
  };

  // ── One tick ──

  const tick = (): void => {
    const nowMs = clock.nowMs();
    const batch: Batch = { changes: [], effects: [], answers: [], dispatch: dispatchLeft };
    const lagMs = ports.lag?.takeMs() ?? 0;
    if (lagMs > 0) stepOne(batch, nowMs, { kind: "lagged", ms: lagMs });
    stepMonth(batch, nowMs);
    stepQueued(batch, nowMs);
    stepTimer(batch, nowMs);
    stepDispatches(batch, nowMs);
    if (!commit(batch)) return;
    carryOut(batch.effects);
    for (const { pending, reply } of batch.answers) pending.resolve(reply);
    if (events.length > 0 || dispatchLeft) wake();
    arm();
  };

  /** A commit that fails on the way ends it: what is left is refused. */
  const finishQueue = (): void => {
    while (events.length > 0) {
      if (phase !== "running") return;
      tick();
    }
  };

  /** Before what may be settled in it. */
  const stepMonth = (batch: Batch, nowMs: number): void => {
    const now = new Date(wallMs()).toISOString().slice(0, "2026-11".length);
    if (now === month) return;
    month = now;
    stepOne(batch, nowMs, { kind: "month", month });
  };

  const stepQueued = (batch: Batch, nowMs: number): void => {
    const untilMs = performance.now() + TICK_MS_MAX;
    let taken = 0;
    while (taken < events.length && taken < TICK_EVENTS_MAX) {
      const pending = pendings[taken] ?? null;
      const result = stepOne(batch, nowMs, events[taken] as CoreEvent);
      taken += 1;
      if (pending !== null) answer(batch, pending, result);
      if ((taken & 15) === 0 && performance.now() > untilMs) break;
    }
    counts.batchEventsLast = taken;
    events = taken === events.length ? [] : events.slice(taken);
    pendings = taken === pendings.length ? [] : pendings.slice(taken);
  };

  const answer = (batch: Batch, pending: Pending, result: StepResult | undefined): void => {
    if (result === undefined) {
      pending.reject(
        new QubixError(
          "internal_error",
          "This request met a fault of the orchestrator and was not carried out; the operator finds it in the log.",
          { category: "internal" },
        ),
      );
    } else batch.answers.push({ pending, reply: result.reply });
  };

  const stepTimer = (batch: Batch, nowMs: number): void => {
    const dueMs = core.nextDeadlineMs(committed());
    if (dueMs === null || dueMs > nowMs || nowMs < timerNotBeforeMs) return;
    if (events.length > 0 && nowMs - dueMs < TIMER_LATE_MS_MAX) return;
    batch.dispatch = true;
    if (stepOne(batch, nowMs, { kind: "timer" }) === undefined) timerNotBeforeMs = nowMs + TIMER_RETRY_MS;
  };

  const stepDispatches = (batch: Batch, nowMs: number): void => {
    dispatchLeft = false;
    if (!batch.dispatch) return;
    for (let n = 0; n < TICK_DISPATCHES_MAX; n++) {
      if (stepOne(batch, nowMs, { kind: "dispatch" })?.changed !== true) return;
    }
    dispatchLeft = true;
  };

  /** Undefined when the step threw: the state is as before, and the others of the tick go on. */
  const stepOne = (batch: Batch, nowMs: number, event: CoreEvent): StepResult | undefined => {
    try {
      const result = core.step(committed(), nowMs, withKnown(store, committed(), event));
      for (const effect of result.effects) batch.effects.push(effect);
      if (result.changed) {
        batch.changes.push(result.changes);
        batch.dispatch = true;
        counts.events += 1;
      }
      return result;
    } catch (error) {
      counts.stepErrors += 1;
      logger.error({ event: "step_failed", kind: event.kind, err: error }, "an event was dropped");
      return undefined;
    }
  };

  // ── Commit and what follows ──

  /** False when it failed; then everything of the batch was refused and memory is as the store says, or soon will be. */
  const commit = (batch: Batch): boolean => {
    if (batch.changes.length === 0) return true;
    const startMs = performance.now();
    const wall = wallMs();
    try {
      store.commit(batch.changes, wall);
    } catch (error) {
      fail(batch, error);
      return false;
    }
    failuresInRow = 0;
    counts.commits += 1;
    counts.commitMsLast = performance.now() - startMs;
    counts.commitMsTotal += counts.commitMsLast;
    tell(batch.changes, wall);
    return true;
  };

  const fail = (batch: Batch, cause: unknown): void => {
    counts.commitFailures += 1;
    logger.error({ event: "commit_failed", err: cause }, "the store did not take a transaction");
    for (const { pending } of batch.answers) pending.reject(commitFailed(cause));
    phase = "failed";
    if (failuresInRow === 0) rebuild();
    else rebuildLater();
    failuresInRow += 1;
  };

  const rebuildLater = (): void => {
    dropQueue(commitFailed(undefined));
    const waitMs = Math.min(REBUILD_RETRY_MS * 2 ** failuresInRow, REBUILD_RETRY_MS_MAX);
    rebuildTimer = setTimeout(rebuild, waitMs);
  };

  /** As after a restart: memory from the store, sessions closed so that workers reconcile. Tried again until it works. */
  const rebuild = (): void => {
    rebuildTimer = undefined;
    if (phase !== "failed") return;
    try {
      boot(undefined);
    } catch (error) {
      logger.error({ event: "rebuild_failed", err: error }, "memory could not be rebuilt yet");
      rebuildLater();
      failuresInRow += 1;
      return;
    }
    phase = "running";
    dispatchLeft = true;
    guarded(() => sink.reset());
    wake();
  };

  const boot = (admin: Parameters<Writer["start"]>[0]): void => {
    const snapshot = store.load();
    const nowMs = clock.nowMs();
    const next = core.create(snapshot, nowMs);
    const first = snapshot.meta === null;
    const result = core.step(next, nowMs, { kind: "boot", ...(first && admin ? { admin } : {}) });
    const wall = wallMs();
    if (result.changed) store.commit([result.changes], wall);
    state = next;
    month = "";
    firstStart = first;
    if (result.changed) tell([result.changes], wall);
    carryOut(result.effects);
  };

  const tell = (changes: readonly Changes[], wall: number): void => {
    const stored = eventListeners.size === 0 ? [] : storedEvents(changes, wall);
    if (stored.length > 0) for (const listener of eventListeners) guarded(() => listener(stored));
    const jobIds = logListeners.size === 0 ? undefined : loggedJobs(changes);
    if (jobIds !== undefined) for (const listener of logListeners) guarded(() => listener(jobIds));
  };

  const carryOut = (effects: readonly Effect[]): void => {
    if (effects.length === 0) return;
    for (const effect of effects) guarded(() => perform(sink, effect));
    guarded(() => sink.flush());
  };

  /** Listeners and sinks cannot harm the writer. */
  const guarded = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      logger.error({ event: "effect_failed", err: error }, "a listener or an effect threw");
    }
  };

  const dropQueue = (error: QubixError): void => {
    const waiting = pendings;
    events = [];
    pendings = [];
    for (const pending of waiting) pending?.reject(error);
  };

  // ── The timer ──

  /** An armed timer that comes too early looks again; so it need not be moved when deadlines recede. */
  const arm = (): void => {
    if (phase !== "running") return;
    const dueMs = core.nextDeadlineMs(committed());
    if (dueMs === null) return;
    const atMs = Math.max(dueMs, timerNotBeforeMs);
    if (atMs >= timerAtMs) return;
    clearTimeout(timer);
    timerAtMs = atMs;
    timer = setTimeout(onTimer, Math.min(Math.max(atMs - clock.nowMs(), 0), TIMER_MS_MAX));
  };

  const onTimer = (): void => {
    timerAtMs = Number.POSITIVE_INFINITY;
    wake();
  };

  return {
    store,
    start(admin) {
      if (phase !== "new") return { firstStart };
      boot(admin);
      phase = "running";
      dispatchLeft = true;
      wake();
      return { firstStart };
    },
    async stop() {
      finishQueue();
      const wasFailed = phase === "failed";
      phase = "stopped";
      if (wasFailed) dropQueue(commitFailed(undefined));
      clearImmediate(immediate);
      clearTimeout(delayed);
      immediate = undefined;
      delayed = undefined;
      clearTimeout(timer);
      clearTimeout(rebuildTimer);
    },
    submit(event) {
      const refusal = refuse();
      if (refusal !== undefined) return Promise.reject(refusal);
      return new Promise<Reply>((resolve, reject) => enqueue(event, { resolve, reject }));
    },
    submitVolatile(event) {
      if (refuse() !== undefined) return;
      counts.volatileEvents += 1;
      enqueue(event, null);
    },
    state: committed,
    nowMs: () => clock.nowMs(),
    onEvents(listener) {
      eventListeners.add(listener);
      return () => eventListeners.delete(listener);
    },
    onLogs(listener) {
      logListeners.add(listener);
      return () => logListeners.delete(listener);
    },
    setSink(next) {
      sink = next;
    },
    healthy: () => phase === "running",
    metrics: (): WriterMetrics => ({ ...counts, queued: events.length }),
  };
}

function perform(sink: EffectSink, effect: Effect): void {
  switch (effect.kind) {
    case "send":
      return sink.send(effect.workerId, effect.sessionId, effect.message);
    case "disconnect":
      return sink.disconnect(effect.workerId, effect.sessionId, effect.reason);
    case "challenge":
      return sink.challenge(effect);
    case "chain":
      return sink.chain(effect.id);
    case "collect":
      return sink.collect(effect.accountId, effect.jobId, effect.trees);
    case "shred":
      return sink.shred(effect.vaultId);
  }
}

function storedEvents(changes: readonly Changes[], wallMs: number): readonly StoredEvent[] {
  return changes.flatMap((change) => change.events.map((event) => ({ ...event, wallMs })));
}

function loggedJobs(changes: readonly Changes[]): ReadonlySet<JobId> | undefined {
  let jobIds: Set<JobId> | undefined;
  for (const change of changes) {
    for (const log of change.logs) {
      jobIds ??= new Set();
      jobIds.add(log.jobId);
    }
  }
  return jobIds;
}

function commitFailed(cause: unknown): QubixError {
  return new QubixError(
    "commit_failed",
    "The orchestrator could not write its store, so nothing was done; ask again. If it stays, the operator looks at the disk.",
    { ...retryable(), cause },
  );
}

function retryable() {
  return {
    category: "platform",
    status: 503,
    retryable: true,
    details: { retryAfterS: RETRY_AFTER_S },
  } as const;
}
