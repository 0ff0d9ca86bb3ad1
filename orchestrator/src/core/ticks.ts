// Metering ticks as they come: signed by their worker (the gateway has checked that), each naming the one before. Where a worker has begun to keep such an
// account, its time is credited no further than it has signed for. A tick that is refused costs nobody anything for long: the next good one covers its time.
import { attemptId, type AttemptRef } from "@qubix/shared/domain";
import { type Tick, TICKS_PER_JOB_MAX, tickText, type WorkerMessage } from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import { ack, type Current, currentOf, refuseStale } from "./attempts.ts";
import { isActiveAttempt } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import { epochOf } from "./mirror-state.ts";
import type { AttemptRecord, TickChain, TickFacts, TickRecord } from "./model.ts";
import { accuse } from "./slashes.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, emitJob, noteIncident, put, refOf, send } from "./tables.ts";

type TickMessage = Extract<WorkerMessage, { kind: "tick" }>;

const NO_CHAIN: TickChain = { n: 0, hash: null, ranMs: 0, kept: 0, unkept: 0 };

/** Takes a tick, or says from where the chain goes on. The same tick again is answered as the first time. */
export function onTick(state: CoreState, machine: Machine, message: TickMessage, facts: TickFacts): void {
  const current = holderOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  const { attempt } = current;
  const chain = attempt.ticks ?? NO_CHAIN;
  if (!facts.signed) return refuseTick(state, current, message, "signature_invalid");
  const record = recordOf(state, attempt, message);
  if (record.n <= chain.n) {
    if (record.hash === chain.hash || record.hash === facts.known?.hash) return ack(state, machine, message);
    if (facts.known !== undefined && isContradiction(record, facts.known))
      contradict(state, current, record, facts.known);
    return refuseTick(state, current, message, "tick_out_of_chain");
  }
  if (record.prev !== chain.hash) return refuseTick(state, current, message, "tick_out_of_chain");
  const isLess = record.ranMs < chain.ranMs || egressBytesOf(record, chain) < (chain.egressBytes ?? 0);
  if (isLess) return refuseTick(state, current, message, "tick_falls");
  ack(state, machine, message);
  keep(state, attempt, chain, record, record.hash === facts.known?.hash);
}

/** The current attempt of the container that a tick speaks of: it may have been signed under an epoch of which the current one took the container over. */
function holderOf(state: CoreState, machine: Machine, ref: AttemptRef): Current | undefined {
  const named = currentOf(state, machine, ref);
  if (named !== undefined) return named;
  const job = state.rows.jobs.get(ref.jobId);
  if (job === undefined) return undefined;
  const find = (epoch: number) => state.rows.attempts.get(attemptId({ ...ref, epoch: epoch as AttemptRef["epoch"] }));
  const attempt = find(epochOf(job, ref.replica));
  if (attempt === undefined || attempt.workerId !== machine.id || !isActiveAttempt(attempt)) return undefined;
  let older: AttemptRecord | undefined = attempt;
  while (older !== undefined && older.epoch > ref.epoch) older = find(older.adoptedEpoch);
  return older?.epoch === ref.epoch ? { job, attempt } : undefined;
}

function recordOf(state: CoreState, attempt: AttemptRecord, message: TickMessage): TickRecord {
  const { kind: _, msg: __, signature, attempt: ref, usage, ...rest } = message;
  const tick: Tick = { attempt: ref, ...rest, ...(usage === undefined ? {} : { usage }) };
  return {
    ...ref,
    ...rest,
    ...(usage === undefined ? {} : { usage }),
    workerId: attempt.workerId,
    providerId: attempt.providerId,
    signature,
    hash: tickHash(tick),
    atMs: state.nowMs,
  };
}

/** What was signed: with the worker's public key anybody can check it. */
function textOf({ jobId, replica, epoch, ...rest }: TickRecord): string {
  return tickText({ attempt: { jobId, replica, epoch }, ...rest });
}

/** What it tells of traffic; a tick that tells nothing leaves it at what was told before. */
function egressBytesOf({ usage }: TickRecord, chain: TickChain): number {
  return usage?.["egressBytes"] ?? chain.egressBytes ?? 0;
}

/** `isStored`: another attempt that took the same container over has kept it already. */
function keep(state: CoreState, attempt: AttemptRecord, chain: TickChain, record: TickRecord, isStored: boolean): void {
  const keptOfJob = attemptsOf(state, attempt.jobId).reduce((sum, { ticks }) => sum + (ticks?.kept ?? 0), 0);
  // The last of each attempt is always kept: it is the one that its pay rests on. How many attempts a job has is bounded.
  const isKept = record.moment !== "checkpoint" || keptOfJob < TICKS_PER_JOB_MAX;
  const { n, hash, ranMs } = record;
  const count = isStored ? {} : isKept ? { kept: chain.kept + 1 } : { unkept: chain.unkept + 1 };
  const sent = record.usage?.["egressBytes"] === undefined ? {} : { egressBytes: egressBytesOf(record, chain) };
  put(state, "attempts", attempt.id, { ...attempt, ticks: { ...chain, n, hash, ranMs, ...sent, ...count } });
  if (isKept && !isStored) state.step.ticks.push(record);
}

/** An account that was begun badly is begun all the same: nothing is credited by a word that its worker did not sign. */
function refuseTick(
  state: CoreState,
  { job, attempt }: Current,
  message: TickMessage,
  code: keyof typeof REASONS,
): void {
  const chain = state.rows.attempts.get(attempt.id)?.ticks ?? NO_CHAIN;
  noteIncident(state, "tick_refused", refOf(attempt));
  send(state, attempt.workerId, {
    kind: "refused",
    re: message.msg,
    code,
    message: `tick ${message.n} of ${attempt.id} ${REASONS[code]}`,
    head: { n: chain.n, hash: chain.hash },
  });
  if (chain.refused === true) return;
  put(state, "attempts", attempt.id, { ...attempt, ticks: { ...chain, refused: true } });
  emitJob(state, job, "tick_refused", { epoch: attempt.epoch, n: message.n, code, headN: chain.n }, attempt);
}

const REASONS = {
  signature_invalid: "is not signed by its worker",
  tick_out_of_chain: "does not follow the newest that was taken",
  tick_falls: "tells of less time or traffic than the one before it",
} as const;

/** One worker, one number, two statements. */
function isContradiction(a: TickRecord, b: TickRecord): boolean {
  const isSame = a.jobId === b.jobId && a.replica === b.replica && a.epoch === b.epoch && a.n === b.n;
  return isSame && a.workerId === b.workerId && a.hash !== b.hash;
}

/** Both are kept, and are evidence; said once for each attempt. */
function contradict(state: CoreState, { attempt }: Current, record: TickRecord, known: TickRecord): void {
  if (attempt.ticks === undefined || attempt.ticks.contradicted === true) return;
  put(state, "attempts", attempt.id, { ...attempt, ticks: { ...attempt.ticks, contradicted: true } });
  state.step.ticks.push({ ...record, contradicts: true });
  noteIncident(state, "contradiction", refOf(attempt));
  const { jobId, workerId } = attempt;
  const statements = [known, record].map((each) => ({ text: textOf(each), signature: each.signature }));
  accuse(state, { kind: "contradiction", workerId, jobId, evidence: { statements } });
}
