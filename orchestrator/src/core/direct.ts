// The direct path between a hot job's primary and its standby: each is told of the other while there are both, and that there is none when that ends. What was told
// to whom is compared with what holds after every step that touched one of them, so that no place where a pair changes can forget to say so.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { isActiveAttempt, isLiveStandby } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import type { JobRecord } from "./model.ts";
import type { CoreState, DirectTold } from "./state.ts";
import { currentAttempt, liveStandby, send } from "./tables.ts";

type DirectPeer = Extract<OrchestratorMessage, { kind: "direct.peer" }>;

const NOBODY: ReadonlyMap<WorkerId, DirectTold> = new Map();

/** Tells the pairs that the step under way made, changed or ended. */
export function introduceTouched(state: CoreState): void {
  if (state.step.touched.size === 0) return;
  const jobs = new Set<JobId>();
  for (const { table, record } of state.step.touched.values()) {
    if (record === null) continue;
    if (table === "attempts" || table === "standbys") jobs.add(record.jobId);
    else if (table === "jobs" && state.volatile.direct.has(record.id)) jobs.add(record.id);
    else if (table === "workers") for (const id of jobsOf(state, record.id)) jobs.add(id);
  }
  for (const id of jobs) introduce(state, id);
}

/** A session said hello: it is told of all its pairs, whatever it was told in an older one. */
export function introduceAll(state: CoreState, machine: Machine): void {
  for (const id of jobsOf(state, machine.id)) introduce(state, id);
}

/** Whether these two are a pair now: whom a relay may bring together. */
export function areIntroduced(state: CoreState, one: WorkerId, other: WorkerId): boolean {
  for (const id of jobsOf(state, one)) {
    const job = state.rows.jobs.get(id);
    const pair = job === undefined ? undefined : pairOf(state, job);
    if (pair !== undefined && [pair.primary.id, pair.standby.id].includes(other)) return one !== other;
  }
  return false;
}

/** Whether this worker is one of some pair now. */
export function isIntroduced(state: CoreState, id: WorkerId): boolean {
  return [...jobsOf(state, id)].some((jobId) => {
    const job = state.rows.jobs.get(jobId);
    return job !== undefined && pairOf(state, job) !== undefined;
  });
}

function* jobsOf({ ix, rows }: CoreState, id: WorkerId): Iterable<JobId> {
  const machine = ix.machines.get(id);
  for (const attempt of machine?.attempts ?? []) {
    const record = rows.attempts.get(attempt);
    if (record !== undefined) yield record.jobId;
  }
  for (const standby of machine?.standbys ?? []) {
    const record = rows.standbys.get(standby);
    if (record !== undefined) yield record.jobId;
  }
}

function introduce(state: CoreState, jobId: JobId): void {
  const job = state.rows.jobs.get(jobId);
  const pair = job === undefined ? undefined : pairOf(state, job);
  const before = state.volatile.direct.get(jobId) ?? NOBODY;
  if (pair === undefined && before.size === 0) return;
  const after = new Map<WorkerId, DirectTold>();
  const wanted = pair === undefined ? [] : messagesOf(state, jobId, pair);
  for (const [machine, message] of wanted) {
    const told = before.get(machine.id);
    const text = JSON.stringify(message);
    // One without a session hears it after its next hello.
    const sessionId = machine.greeted;
    if (sessionId === null || (told?.text === text && told.sessionId === sessionId)) {
      if (told !== undefined) after.set(machine.id, told);
      continue;
    }
    send(state, machine.id, message);
    after.set(machine.id, { sessionId, text });
  }
  for (const [id, { sessionId }] of before) {
    const isStill = wanted.some(([machine]) => machine.id === id);
    if (!isStill && state.ix.machines.get(id)?.greeted === sessionId) {
      send(state, id, { kind: "direct.peer", jobId, peer: null, relays: [] });
    }
  }
  remember(state, jobId, after);
}

interface Pair {
  readonly primary: Machine;
  readonly standby: Machine;
}

/** Both there, on two workers that can do it. */
function pairOf(state: CoreState, job: JobRecord): Pair | undefined {
  const standbyRecord = liveStandby(state, job);
  if (standbyRecord === undefined || !isLiveStandby(standbyRecord)) return undefined;
  const attempt = currentAttempt(state, job);
  if (attempt === undefined || !isActiveAttempt(attempt)) return undefined;
  const primary = state.ix.machines.get(attempt.workerId);
  const standby = state.ix.machines.get(standbyRecord.workerId);
  if (primary === undefined || standby === undefined || primary === standby) return undefined;
  return primary.features.has("direct") && standby.features.has("direct") ? { primary, standby } : undefined;
}

function messagesOf(
  { config }: CoreState,
  jobId: JobId,
  { primary, standby }: Pair,
): readonly (readonly [Machine, DirectPeer])[] {
  const to = (as: "primary" | "standby", { worker }: Machine): DirectPeer => ({
    kind: "direct.peer",
    jobId,
    peer: { as, publicKey: worker.publicKey, addresses: worker.offer?.directAddresses ?? [] },
    relays: [...config.directRelays],
  });
  return [
    [primary, to("primary", standby)],
    [standby, to("standby", primary)],
  ];
}

/** Undone with the step: what was not sent was not told. */
function remember(state: CoreState, jobId: JobId, told: ReadonlyMap<WorkerId, DirectTold>): void {
  const { direct } = state.volatile;
  const before = direct.get(jobId);
  state.step.undo.push(() => void (before === undefined ? direct.delete(jobId) : direct.set(jobId, before)));
  if (told.size === 0) direct.delete(jobId);
  else direct.set(jobId, told);
}
