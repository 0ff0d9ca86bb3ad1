// The only way rows change: through `put`, which remembers how to undo it, what the transaction must write, and keeps the indexes true.
import {
  type AccountId,
  type AttemptRef,
  attemptId,
  type JobId,
  rowName,
  type StateTable,
  transition,
  type WorkerId,
} from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { assert, type ErrorCategory } from "@qubix/shared/runtime";
import type { Effect, Incident, Refusal } from "./events.ts";
import { reindex } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import type { AttemptRecord, EventChannel, JobRecord, Put, StandbyRecord, TableName, Tables } from "./model.ts";
import type { CoreState, Counters, JobLogs } from "./state.ts";

/** Replaces a row, or removes it with `null`. */
export function put<T extends TableName>(state: CoreState, table: T, key: string, record: Tables[T] | null): void {
  const rows = state.rows[table] as Map<string, Tables[T]>;
  const before = rows.get(key);
  state.step.undo.push(() => replace(state, table, key, before ?? null));
  replace(state, table, key, record);
  // The cast joins the table's name and its record again, which the signature guarantees.
  state.step.touched.set(`${table} ${key}`, { table, key, record } as unknown as Put);
}

/** Replaces a row in memory only. */
export function replace<T extends TableName>(state: CoreState, table: T, key: string, record: Tables[T] | null): void {
  const rows = state.rows[table] as Map<string, Tables[T]>;
  const before = rows.get(key);
  if (record === null) rows.delete(key);
  else rows.set(key, record);
  reindex(state, table, before, record ?? undefined);
}

/** Moves a state machine: the next phase, or `undefined` where the event means nothing here. Counts the row that fired. */
export function fire<Phase extends string, Event extends string>(
  state: CoreState,
  table: StateTable<Phase, Event>,
  phase: Phase,
  event: Event,
): Phase | undefined {
  const next = transition(table, phase, event);
  if (next !== undefined) state.step.fired.push(rowName(table.name, phase, event));
  return next;
}

export interface TimelineEntry {
  readonly channel: EventChannel;
  readonly kind: string;
  readonly accountId?: AccountId | null;
  readonly providerId?: AccountId | null;
  readonly jobId?: JobId | null;
  readonly workerId?: WorkerId | null;
  readonly data?: Readonly<Record<string, unknown>>;
}

const NO_DATA: Readonly<Record<string, unknown>> = Object.freeze({});

/** Appends to the event log. */
export function emit(state: CoreState, entry: TimelineEntry): void {
  state.meta.eventSeq += 1;
  state.step.events.push({
    seq: state.meta.eventSeq,
    atMs: state.nowMs,
    channel: entry.channel,
    kind: entry.kind,
    accountId: entry.accountId ?? null,
    providerId: entry.providerId ?? null,
    jobId: entry.jobId ?? null,
    workerId: entry.workerId ?? null,
    data: entry.data ?? NO_DATA,
  });
}

/** A line of a job's timeline. */
export function emitJob(
  state: CoreState,
  job: JobRecord,
  kind: string,
  data: Readonly<Record<string, unknown>>,
  at?: { readonly workerId: WorkerId; readonly providerId: AccountId },
): void {
  emit(state, {
    channel: "jobs",
    kind,
    // Its owner did not ask for a check, and hears of it in the timeline of the job that is checked.
    accountId: job.check === undefined ? job.accountId : null,
    jobId: job.id,
    providerId: at?.providerId ?? null,
    workerId: at?.workerId ?? null,
    data,
  });
}

/** Appends the line to a job's logs that says where its text changes hands. */
export function markLog(state: CoreState, job: JobRecord, text: string): void {
  state.step.logs.push({
    jobId: job.id,
    replica: 0,
    epoch: job.epoch === 0 ? (1 as AttemptRecord["epoch"]) : job.epoch,
    stream: "marker",
    offset: 0,
    text,
    time: state.volatile.logs.get(job.id)?.lastTime ?? "",
  });
}

export function effect(state: CoreState, what: Effect): void {
  state.step.effects.push(what);
}

/** Sends to a worker whose session has said hello. To any other nothing is sent: its next hello reconciles. */
export function send(state: CoreState, workerId: WorkerId, message: OrchestratorMessage): void {
  const machine = state.ix.machines.get(workerId);
  if (machine === undefined) return;
  const { sessionId } = machine.worker;
  if (sessionId === null || machine.greeted !== sessionId) return;
  state.step.effects.push({ kind: "send", workerId, sessionId, message });
}

/** Counts what happened; undone with the step. */
export function countUp(state: CoreState, what: keyof Counters): void {
  const { counters } = state.volatile;
  counters[what] += 1;
  state.step.undo.push(() => {
    counters[what] -= 1;
  });
}

export function noteIncident(state: CoreState, kind: Incident["kind"], attempt: AttemptRef): void {
  state.step.incidents.push({ kind, attempt });
}

export function refuse(
  state: CoreState,
  status: number,
  code: string,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): void {
  state.step.reply = { kind: "refused", refusal: refusal(status, code, message, details) };
}

export function refusal(
  status: number,
  code: string,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): Refusal {
  const category: ErrorCategory = status === 409 ? "conflict" : "user";
  return { code, category, status, message, ...(details === undefined ? {} : { details }) };
}

// ── Finding rows ──

export function jobOf(state: CoreState, id: JobId): JobRecord {
  const job = state.rows.jobs.get(id);
  assert(job !== undefined, () => `job ${id} is not in memory`);
  return job;
}

export function machineOf(state: CoreState, id: WorkerId): Machine {
  const machine = state.ix.machines.get(id);
  assert(machine !== undefined, () => `worker ${id} is not in memory`);
  return machine;
}

export function refOf(attempt: AttemptRecord): AttemptRef {
  return { jobId: attempt.jobId, replica: attempt.replica, epoch: attempt.epoch };
}

/** The attempt of the job's (its first replica's) current epoch, whatever its phase; `undefined` before the first. */
export function currentAttempt(state: CoreState, job: JobRecord): AttemptRecord | undefined {
  if (job.epoch === 0) return undefined;
  return state.rows.attempts.get(attemptId({ jobId: job.id, replica: 0, epoch: job.epoch }));
}

export function attemptsOf(state: CoreState, jobId: JobId): readonly AttemptRecord[] {
  const found: AttemptRecord[] = [];
  for (const id of state.ix.links.get(jobId)?.attempts ?? []) {
    const attempt = state.rows.attempts.get(id);
    if (attempt !== undefined) found.push(attempt);
  }
  return found.sort((a, b) => a.epoch - b.epoch || a.replica - b.replica);
}

export function standbysOf(state: CoreState, jobId: JobId): readonly StandbyRecord[] {
  const found: StandbyRecord[] = [];
  for (const id of state.ix.links.get(jobId)?.standbys ?? []) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined) found.push(standby);
  }
  return found.sort((a, b) =>
    a.reservedAtMs === b.reservedAtMs ? (a.id < b.id ? -1 : 1) : a.reservedAtMs - b.reservedAtMs,
  );
}

export function liveStandby(state: CoreState, job: JobRecord): StandbyRecord | undefined {
  return job.standbyId === null ? undefined : state.rows.standbys.get(job.standbyId);
}

export function logsOf(state: CoreState, jobId: JobId): JobLogs {
  let logs = state.volatile.logs.get(jobId);
  if (logs === undefined) {
    state.volatile.logs.set(jobId, (logs = { bytes: 0, full: false, cursors: new Map(), lastTime: "" }));
  }
  return logs;
}

/** Changes a job's row. */
export function patchJob(state: CoreState, job: JobRecord, patch: Partial<JobRecord>): JobRecord {
  const next = { ...job, ...patch };
  put(state, "jobs", job.id, next);
  return next;
}
