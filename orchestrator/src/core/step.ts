// One event, one step: either the state advanced and the changes are returned, or it throws and the state is as before.
import { unreachable } from "@qubix/shared/runtime";
import {
  applyLedger,
  createAccount,
  createAdmin,
  createApiKey,
  createEnrolment,
  createUpload,
  deposit,
  redeemEnrolment,
} from "./accounts.ts";
import { noteChain, noteDisputes, onChainFinal, releaseChainPay, retryChain } from "./chain.ts";
import { clearBudget, setBudget } from "./budgets.ts";
import { askComparisons, onCompared } from "./check-results.ts";
import { noteStorageRefused, removeCheckpoint } from "./checkpoints.ts";
import { introduceTouched } from "./direct.ts";
import { openDispute, resolveDispute } from "./disputes.ts";
import { dispatch, setAside } from "./dispatch.ts";
import type { CoreEvent, Reply, StepResult } from "./events.ts";
import { cancelJob, createJob, drainWorker } from "./jobs.ts";
import { onMessage } from "./messages.ts";
import type { Changes, EventRecord, LogRecord, Put, SettledRecord, TickRecord, TransferRecord } from "./model.ts";
import type { CoreState } from "./state.ts";
import { moveJob } from "./moves.ts";
import { endPayout, onPayoutFinal, requestPayout, setDepositAddress, setPayoutAddress } from "./payouts.ts";
import { onVerdict } from "./proofs.ts";
import { rateJob } from "./ratings.ts";
import { appealSlash, proposeSlash, resolveSlash } from "./slashes.ts";
import { addStake, removeStake } from "./stakes.ts";
import { emit, replace } from "./tables.ts";
import { armAll, onTimer } from "./timers.ts";
import { onClosed, onHeard, onOpened } from "./workers.ts";

const NO_REPLY: Reply = { kind: "none" };
const NO_PUTS: readonly Put[] = [];
const NO_EVENTS: readonly EventRecord[] = [];
const NO_TRANSFERS: readonly TransferRecord[] = [];
const NO_KNOWN: CoreState["step"]["known"] = new Map();
const NO_LOGS: readonly LogRecord[] = [];
const NO_TICKS: readonly TickRecord[] = [];
const NO_SETTLED: readonly SettledRecord[] = [];

/**
 * Advances the state by one event at `nowMs` (never less than before). A throw undoes rows, indexes, deadlines, counters and ids; not signs of
 * life, what heartbeats said and which signatures are blocked: those are true all the same.
 */
export function step(state: CoreState, nowMs: number, event: CoreEvent): StepResult {
  state.nowMs = Math.max(state.nowMs, nowMs);
  const { random, jobCount, workerCount, accountCount, transferCount, eventSeq, checkDebt, canaries } = state.meta;
  if ("known" in event && event.known !== undefined) state.step.known = event.known;
  try {
    handle(state, event);
    noteDisputes(state);
    introduceTouched(state);
    return finish(state, random);
  } catch (error) {
    rollBack(state);
    Object.assign(state.meta, { random, jobCount, workerCount, accountCount, transferCount, eventSeq });
    if (checkDebt === undefined) delete state.meta.checkDebt;
    else state.meta.checkDebt = checkDebt;
    if (canaries === undefined) delete state.meta.canaries;
    else state.meta.canaries = canaries;
    throw error;
  }
}

/** When the next `timer` event should come; `null` for never. A time that is past means at once. */
export function nextDeadlineMs(state: CoreState): number | null {
  return state.volatile.dispatchPending ? state.nowMs : state.deadlines.nextMs();
}

function handle(state: CoreState, event: CoreEvent): void {
  switch (event.kind) {
    case "boot":
      return boot(state, event);
    case "timer":
      return onTimer(state);
    case "lagged":
      state.volatile.lagMs += Math.max(0, event.ms);
      if (event.ms > state.config.stallLateMs) state.volatile.stalledUntilMs = state.nowMs;
      return;
    case "month":
      state.volatile.month = event.month;
      return;
    case "dispatch":
      return dispatch(state);
    case "account.create":
      return createAccount(state, event);
    case "apiKey.create":
      return createApiKey(state, event);
    case "enrolment.create":
      return createEnrolment(state, event);
    case "enrolment.redeem":
      return redeemEnrolment(state, event);
    case "deposit":
      return deposit(state, event);
    case "payout.address":
      return setPayoutAddress(state, event);
    case "deposit.address":
      return setDepositAddress(state, event);
    case "payout.request":
      return requestPayout(state, event);
    case "payout.end":
      return endPayout(state, event);
    case "payout.final":
      return onPayoutFinal(state, event);
    case "chain.final":
      return onChainFinal(state, event);
    case "chain.retry":
      return retryChain(state, event);
    case "chain.release":
      return releaseChainPay(state, event);
    case "chain.note":
      return noteChain(state, event);
    case "budget.set":
      return setBudget(state, event);
    case "budget.clear":
      return clearBudget(state, event);
    case "ledger.apply":
      return applyLedger(state, event);
    case "upload.create":
      return createUpload(state, event);
    case "job.create":
      return createJob(state, event);
    case "job.cancel":
      return cancelJob(state, event);
    case "job.move":
      return moveJob(state, event);
    case "checkpoint.remove":
      return removeCheckpoint(state, event);
    case "worker.drain":
      return drainWorker(state, event);
    case "job.rate":
      return rateJob(state, event);
    case "job.dispute":
      return openDispute(state, event);
    case "dispute.resolve":
      return resolveDispute(state, event);
    case "stake.add":
      return addStake(state, event);
    case "stake.remove":
      return removeStake(state, event);
    case "slash.propose":
      return proposeSlash(state, event);
    case "slash.appeal":
      return appealSlash(state, event);
    case "slash.resolve":
      return resolveSlash(state, event);
    case "worker.opened":
      return onOpened(state, event.workerId, event.sessionId, event.network ?? null);
    case "worker.closed":
    case "worker.heard":
    case "worker.message":
      return handleWorker(state, event);
    case "storage.refused":
      return noteStorageRefused(state, event);
    case "check.compared":
      return onCompared(state, event.jobId, event.comparison);
    case "worker.proof":
      return onVerdict(state, event);
    default:
      unreachable(event);
  }
}

type SessionEvent = Extract<CoreEvent, { kind: "worker.closed" | "worker.heard" | "worker.message" }>;

function handleWorker(state: CoreState, event: SessionEvent): void {
  const machine = state.ix.machines.get(event.workerId);
  if (machine === undefined) return;
  switch (event.kind) {
    case "worker.closed":
      return onClosed(state, machine, event.sessionId);
    case "worker.heard":
      if (machine.worker.sessionId === event.sessionId && machine.greeted === event.sessionId) onHeard(state, machine);
      return;
    case "worker.message":
      return onMessage(state, machine, event.sessionId, event.message, event);
    default:
      unreachable(event);
  }
}

function boot(state: CoreState, event: Extract<CoreEvent, { kind: "boot" }>): void {
  if (event.admin !== undefined) createAdmin(state, event.admin);
  state.volatile.bootedAtMs = state.nowMs;
  armAll(state);
  for (const verification of state.rows.verifications.values()) askComparisons(state, verification);
  // Bears the clock's and, once committed, the wall's time: by it moments of this life are told to people later.
  emit(state, { channel: "system", kind: "orchestrator_started", data: {} });
}

/** `randomBefore`: of the generator. What was drawn is durable before anybody hears of it, also where nothing else is: no name is given twice. */
function finish(state: CoreState, randomBefore: number): StepResult {
  const { step: scratch } = state;
  const { effects, fired, incidents, reply } = scratch;
  const changed =
    scratch.touched.size > 0 ||
    scratch.events.length > 0 ||
    scratch.transfers.length > 0 ||
    scratch.logs.length > 0 ||
    scratch.ticks.length > 0 ||
    state.meta.random !== randomBefore;
  if (changed) scratch.meta = { ...state.meta, clockMs: state.nowMs };
  const changes: Changes = {
    puts: scratch.touched.size > 0 ? [...scratch.touched.values()] : NO_PUTS,
    events: scratch.events.length > 0 ? scratch.events : NO_EVENTS,
    transfers: scratch.transfers.length > 0 ? scratch.transfers : NO_TRANSFERS,
    logs: scratch.logs.length > 0 ? scratch.logs : NO_LOGS,
    ticks: scratch.ticks.length > 0 ? scratch.ticks : NO_TICKS,
    settled: scratch.settled.length > 0 ? scratch.settled : NO_SETTLED,
    meta: scratch.meta,
  };
  for (const jobId of scratch.ended) evict(state, jobId);
  for (const id of scratch.payoutsEnded) replace(state, "payouts", id, null);
  for (const jobId of scratch.decided) replace(state, "verifications", jobId, null);
  for (const id of scratch.endedCases) replace(state, "cases", id, null);
  reset(state);
  return { changes, effects, reply, fired, incidents, changed };
}

/** Ended jobs live on in the store only. */
function evict(state: CoreState, jobId: StepEnded): void {
  const links = state.ix.links.get(jobId);
  for (const id of links?.attempts ?? []) {
    replace(state, "attempts", id, null);
    state.volatile.live.delete(id);
  }
  for (const id of links?.standbys ?? []) replace(state, "standbys", id, null);
  replace(state, "jobs", jobId, null);
  state.volatile.logs.delete(jobId);
  state.volatile.standbyNoted.delete(jobId);
  state.volatile.storageNoted.delete(jobId);
  state.volatile.standbyFailures.delete(jobId);
  state.volatile.setAside.delete(jobId);
  state.volatile.direct.delete(jobId);
}
type StepEnded = CoreState["step"]["ended"][number];

function rollBack(state: CoreState): void {
  const { step: scratch } = state;
  for (let undo = scratch.undo.pop(); undo !== undefined; undo = scratch.undo.pop()) undo();
  state.deadlines.rollBack();
  // What threw is tried again later, so that it does not keep the others from their turn.
  if (scratch.handling !== null) setAside(state, scratch.handling);
  reset(state);
}

function reset(state: CoreState): void {
  const { step: scratch } = state;
  state.deadlines.commit();
  if (scratch.undo.length > 0) scratch.undo.length = 0;
  if (scratch.touched.size > 0) scratch.touched.clear();
  if (scratch.events.length > 0) scratch.events = [];
  if (scratch.transfers.length > 0) scratch.transfers = [];
  if (scratch.logs.length > 0) scratch.logs = [];
  if (scratch.ticks.length > 0) scratch.ticks = [];
  if (scratch.settled.length > 0) scratch.settled = [];
  if (scratch.effects.length > 0) scratch.effects = [];
  if (scratch.fired.length > 0) scratch.fired = [];
  if (scratch.incidents.length > 0) scratch.incidents = [];
  if (scratch.ended.length > 0) scratch.ended = [];
  if (scratch.payoutsEnded.length > 0) scratch.payoutsEnded = [];
  if (scratch.decided.length > 0) scratch.decided = [];
  if (scratch.endedCases.length > 0) scratch.endedCases = [];
  scratch.known = NO_KNOWN;
  scratch.reply = NO_REPLY;
  scratch.handling = null;
}
