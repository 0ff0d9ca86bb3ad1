// Proofs of hardware: who is challenged when, and what a verdict does. The shell asks, takes the time and judges; this part decides.
// The GPUs of a machine are asked at once, or one card could answer for several; its cores alone. So many machines are asked at a time over the fleet.
// Challenges are volatile: after a restart, or when the connection goes, they are asked anew.
// Hardware under a challenge takes no new work until its answer is fixed, because that would falsify the time.
import type { WrongClaim } from "@qubix/shared/proof";
import { type Claim, canProve, claimsOf, dueMs, failureOf, proofOf } from "./proof-claims.ts";
import type { CoreEvent, ProofVerdict } from "./events.ts";
import type { Machine, Proving } from "./machine.ts";
import { isOpen, machineLoad } from "./market.ts";
import { FIGURES_MAX, type ProofFailure, type ProofRecord, type ProofTargetKey, type WorkerRecord } from "./model.ts";
import { newChallengeId, randomWaitMs } from "./random.ts";
import { deadlineKey } from "./silence.ts";
import { accuse } from "./slashes.ts";
import type { CoreState } from "./state.ts";
import { countUp, effect, emit, put } from "./tables.ts";

/** Declined by the worker itself for reasons that pass: its owner uses the hardware. */
const EXCUSES: ReadonlySet<string> = new Set(["busy"]);
/** Rows kept of hardware that is not offered any more (a card may come back), so that leaving it out does not shorten a back-off. */
const ABSENT_KEPT_MAX = 64;
/** GPUs of one machine that are asked at once: each ends with an answer of a few MiB. */
const GPUS_AT_ONCE_MAX = 16;
/** A card that was proven this recently, in parts of the mean time, is not asked only because another one is due. */
const RECENT_PARTS = 4;
const MESSAGE_LENGTH_MAX = 500;
const CODE = /^[a-z][a-z0-9_]{0,39}$/;
/** Different codes counted; workers name some of their own. */
const CODES_COUNTED_MAX = 40;

/** Challenges the machine if something of it is due and idle; else sees to it that somebody looks again. */
export function seekProof(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  if (state.config.workerProofs === "off" || machine.proving.size > 0) return;
  forgiveAbsent(state, machine);
  const atMs = Math.max(machine.proofDueMs, machine.proofNotBeforeMs);
  if (atMs > state.nowMs) {
    if (atMs < Infinity && worker.phase !== "offline") state.deadlines.set(deadlineKey.proof(machine.id), atMs);
    return;
  }
  if (!isOpen(machine) || worker.sessionId === null || machine.greeted !== worker.sessionId) return;
  const claims = nextClaims(state, machine);
  // When what is busy becomes idle, the dispatch comes by.
  if (claims.length === 0) return lookAgain(state, machine);
  if (state.volatile.proving.size < state.config.proofsUnderWayMax) {
    for (const claim of claims) challenge(state, machine, claim);
    return armChallenges(state, machine);
  }
  const { first, again } = state.volatile.proofsWaiting;
  if (claims.some((claim) => proofOf(worker, claim) === undefined)) first.add(machine);
  else if (!first.has(machine)) again.add(machine);
  state.deadlines.set(deadlineKey.proof(machine.id), state.nowMs + state.config.proofRetryMs);
}

/** After its hello was reconciled. Whoever connects anew may have mended something: it is asked after the shortest wait. */
export function greetProver(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  const { proofRetryMs } = state.config;
  const proofFailures = worker.proofFailures.map((failure) => {
    const retryAtMs = Math.min(failure.retryAtMs, failure.atMs + proofRetryMs);
    return retryAtMs === failure.retryAtMs ? failure : { ...failure, retryAtMs };
  });
  const changed = proofFailures.some((failure, at) => failure !== worker.proofFailures[at]);
  if (changed) put(state, "workers", worker.id, { ...worker, proofFailures });
  seekProof(state, machine);
}

/** The answer is fixed: the clock has stopped and the hardware is free. */
export function onCommitted(state: CoreState, machine: Machine, challengeId: string): void {
  const proving = findChallenge(machine, challengeId);
  if (proving === undefined || proving.committedAtMs !== null) return;
  const { target } = proving;
  patchMachine(state, machine, {
    proving: new Map(machine.proving).set(target, { ...proving, committedAtMs: state.nowMs }),
    owes: without(machine.owes, target),
  });
  armChallenges(state, machine);
  freed(state, machine);
}

/** The deadline of a challenge: the shell gave no verdict, because the worker gave no answer. */
export function onChallengeDue(state: CoreState, machine: Machine): void {
  for (const proving of machine.proving.values()) {
    if (endMs(state, proving) > state.nowMs) continue;
    const verdict: ProofVerdict =
      proving.committedAtMs === null
        ? { ok: false, code: "no_commitment", message: "It did not answer in time." }
        : {
            ok: false,
            code: "no_answer",
            message: "It committed to an answer that never arrived. Its line may be too slow.",
          };
    judge(state, machine, proving, verdict);
  }
  if (machine.proving.size > 0) armChallenges(state, machine);
}

export function onVerdict(state: CoreState, event: Extract<CoreEvent, { kind: "worker.proof" }>): void {
  const machine = state.ix.machines.get(event.workerId);
  const proving = machine === undefined ? undefined : findChallenge(machine, event.challengeId);
  // Given up meanwhile: by its deadline, or with its connection.
  if (machine !== undefined && proving !== undefined) judge(state, machine, proving, event.verdict);
}

/** Its connection is gone: no failure. What it was asked it still owes, so that nobody evades a challenge by hanging up. */
export function abandonChallenge(state: CoreState, machine: Machine): void {
  const { proofsWaiting } = state.volatile;
  proofsWaiting.first.delete(machine);
  proofsWaiting.again.delete(machine);
  if (machine.proving.size === 0) return;
  const cuts = machine.proofCuts + 1;
  const { proofCutMs, proofCutMsMax } = state.config;
  const waitMs = cuts === 1 ? 0 : Math.min(proofCutMs * 2 ** Math.min(cuts - 2, 20), proofCutMsMax);
  const owes = new Set([...machine.owes, ...machine.proving.keys()]);
  const proofNotBeforeMs = state.nowMs + waitMs;
  patchMachine(state, machine, { proving: new Map(), owes, proofCuts: cuts, proofNotBeforeMs });
  endChallenges(state, machine);
}

// ── Asking ──

/** The cores when they are due and idle, else the GPUs; what is owed or unproven comes first. */
function nextClaims(state: CoreState, machine: Machine): readonly Claim[] {
  const { worker, owes } = machine;
  const idle = claimsOf(state.config, worker.offer).filter((claim) => isIdle(machine, claim));
  const due = idle.filter((claim) => dueMs(worker, claim) <= state.nowMs);
  const pressing = (claim: Claim): boolean => owes.has(claim.key) || proofOf(worker, claim) === undefined;
  const next = due.find(pressing) ?? due[0];
  if (next === undefined || next.target.kind === "cpu") return next === undefined ? [] : [next];
  const gpus = due.filter(({ target }) => target.kind === "gpu");
  const beside = idle.filter((claim) => !gpus.includes(claim) && isWorthAsking(state, worker, claim));
  return [...gpus.filter(pressing), ...gpus.filter((claim) => !pressing(claim)), ...beside].slice(0, GPUS_AT_ONCE_MAX);
}

/** A card that could stand in for another one that is asked now. */
function isWorthAsking(state: CoreState, worker: WorkerRecord, claim: Claim): boolean {
  const proof = claim.target.kind === "gpu" ? proofOf(worker, claim) : undefined;
  return proof !== undefined && state.nowMs - proof.provenAtMs > state.config.proofRecheckMs / RECENT_PARTS;
}

/** All that is due is busy; something else becomes due later. */
function lookAgain(state: CoreState, machine: Machine): void {
  const times = claimsOf(state.config, machine.worker.offer).map((claim) => dueMs(machine.worker, claim));
  const atMs = Math.min(...times.filter((timeMs) => timeMs > state.nowMs));
  if (atMs < Infinity) state.deadlines.set(deadlineKey.proof(machine.id), atMs);
}

function isIdle(machine: Machine, { target }: Claim): boolean {
  return target.kind === "cpu" ? machineLoad(machine) === 0 : !machine.usedGpus.has(target.uuid);
}

function challenge(state: CoreState, machine: Machine, claim: Claim): void {
  const { worker } = machine;
  if (worker.sessionId === null || worker.offer === null) return;
  const challengeId = newChallengeId(state.meta);
  const { model, cpus, memoryMiB } = claim;
  const proving: Proving = {
    challengeId,
    target: claim.key,
    model,
    cpus,
    memoryMiB,
    fromMs: state.nowMs,
    committedAtMs: null,
  };
  patchMachine(state, machine, {
    proving: new Map(machine.proving).set(claim.key, proving),
    owes: new Set(machine.owes).add(claim.key),
  });
  setUnderWay(state, machine, true);
  state.deadlines.clear(deadlineKey.proof(machine.id));
  state.ix.market.dirty.add(machine);
  countUp(state, "challenges");
  const { id: workerId, sessionId, offer } = worker;
  effect(state, { kind: "challenge", workerId, sessionId, challengeId, target: claim.target, offer });
}

/** When a challenge is given up. */
function endMs({ config }: CoreState, { fromMs, committedAtMs }: Proving): number {
  return committedAtMs === null ? fromMs + config.proofCommitMsMax : committedAtMs + config.proofAnswerMsMax;
}

function armChallenges(state: CoreState, machine: Machine): void {
  const atMs = Math.min(...[...machine.proving.values()].map((proving) => endMs(state, proving)));
  state.deadlines.set(deadlineKey.challenge(machine.id), atMs);
}

function findChallenge(machine: Machine, challengeId: string): Proving | undefined {
  return [...machine.proving.values()].find((proving) => proving.challengeId === challengeId);
}

function without<Item>(items: ReadonlySet<Item>, item: Item): ReadonlySet<Item> {
  return new Set([...items].filter((other) => other !== item));
}

// ── Judging ──

function judge(state: CoreState, machine: Machine, proving: Proving, verdict: ProofVerdict | null): void {
  const { worker } = machine;
  const { target } = proving;
  const left = new Map(machine.proving);
  left.delete(target);
  const notBeforeMs = verdict === null ? state.nowMs + state.config.proofRetryMs : 0;
  const proofNotBeforeMs = Math.max(notBeforeMs, machine.proofCuts > 0 ? 0 : machine.proofNotBeforeMs);
  patchMachine(state, machine, { proving: left, owes: without(machine.owes, target), proofCuts: 0, proofNotBeforeMs });
  const holder = verdict?.ok === true ? holderOf(state, machine, target) : undefined;
  if (holder?.worker.phase === "online") fail(state, worker, proving, TAKEN);
  else if (verdict?.ok === true) {
    if (holder !== undefined) takeFrom(state, holder.worker, target);
    pass(state, worker, proving, verdict.figures);
  } else if (verdict !== null) fail(state, worker, proving, verdict);
  freed(state, machine);
  if (left.size > 0) return;
  endChallenges(state, machine);
  seekProof(state, machine);
}

const TAKEN = {
  ok: false,
  code: "uuid_taken",
  message: "Another worker that is online has proven a GPU with this UUID. Offer each GPU by one worker only.",
} as const;

/** Another worker that has proven the GPU of this UUID. */
function holderOf(state: CoreState, machine: Machine, target: ProofTargetKey): Machine | undefined {
  if (target === "cpu") return undefined;
  for (const other of state.ix.machines.values()) {
    if (other !== machine && other.worker.proofs.some((proof) => proof.target === target)) return other;
  }
  return undefined;
}

/** The card is elsewhere now. */
function takeFrom(state: CoreState, worker: WorkerRecord, target: ProofTargetKey): void {
  put(state, "workers", worker.id, { ...worker, proofs: worker.proofs.filter((proof) => proof.target !== target) });
}

function pass(state: CoreState, worker: WorkerRecord, proving: Proving, figures: ProofRecord["figures"]): void {
  const { target, model, cpus, memoryMiB } = proving;
  const record: ProofRecord = {
    target,
    model,
    cpus,
    memoryMiB,
    provenAtMs: state.nowMs,
    recheckAtMs: recheckAtMs(state, worker, proving),
    figures: Object.fromEntries(Object.entries(figures).slice(0, FIGURES_MAX)),
  };
  const again = worker.proofs.some((proof) => proof.target === target);
  put(state, "workers", worker.id, {
    ...worker,
    proofs: kept(worker, [...worker.proofs.filter((proof) => proof.target !== target), record]),
    proofFailures: worker.proofFailures.filter((failure) => failure.target !== target),
  });
  countUp(state, "proofsPassed");
  report(state, worker, "worker_proven", { target, model, figures: record.figures, again });
}

/**
 * At a random time, so that nobody can prepare for it, and so seldom that it takes its small share of the hardware's time at most. Cards that were asked
 * together are asked together again.
 */
function recheckAtMs(state: CoreState, worker: WorkerRecord, { target, fromMs, committedAtMs }: Proving): number {
  const { proofRecheckMs, proofAgeMsMax, proofTimeParts } = state.config;
  const together = worker.proofs.find((other) => other.target !== "cpu" && other.provenAtMs >= fromMs);
  const drawnMs =
    together === undefined || target === "cpu"
      ? randomWaitMs(state.meta, proofRecheckMs)
      : together.recheckAtMs - state.nowMs;
  const tookMs = (committedAtMs ?? state.nowMs) - fromMs;
  return Math.round(state.nowMs + Math.min(Math.max(drawnMs, tookMs * proofTimeParts), proofAgeMsMax));
}

function fail(
  state: CoreState,
  worker: WorkerRecord,
  { target }: Proving,
  { code: told, message, wrongClaim }: Extract<ProofVerdict, { ok: false }>,
): void {
  const { proofRetryMs, proofRetryMsMax, proofExcusesMax } = state.config;
  const before = worker.proofFailures.find((failure) => failure.target === target);
  const count = (before?.count ?? 0) + 1;
  const retryMs = Math.min(proofRetryMs * 2 ** Math.min(count - 1, 30), proofRetryMsMax);
  const code = CODE.test(told) ? told : "other";
  const failure: ProofFailure = {
    target,
    code,
    message: message.slice(0, MESSAGE_LENGTH_MAX),
    atMs: state.nowMs,
    count,
    retryAtMs: state.nowMs + retryMs,
    ...keptClaim(before?.wrongClaim, wrongClaim),
  };
  const excused = EXCUSES.has(code) && count <= proofExcusesMax;
  const wasProven = worker.proofs.some((proof) => proof.target === target);
  put(state, "workers", worker.id, {
    ...worker,
    proofs: excused ? worker.proofs : worker.proofs.filter((proof) => proof.target !== target),
    proofFailures: kept(worker, [...worker.proofFailures.filter((other) => other.target !== target), failure]),
  });
  countUp(state, "proofsFailed");
  countFailure(state, code);
  const data = { target, code, message: failure.message, retryInMs: retryMs, attempt: count };
  report(state, worker, "proof_failed", { ...data, unlisted: wasProven && !excused });
  const first = before?.wrongClaim;
  if (first === undefined || wrongClaim === undefined) return;
  accuse(state, { kind: "failed_proof", workerId: worker.id, jobId: null, evidence: { proofs: [first, wrongClaim] } });
}

/** The first waits for a second: together they accuse, and two others have to come for the next accusation. */
function keptClaim(first: WrongClaim | undefined, second: WrongClaim | undefined): Pick<ProofFailure, "wrongClaim"> {
  if (first !== undefined && second !== undefined) return {};
  const wrongClaim = second ?? first;
  return wrongClaim === undefined ? {} : { wrongClaim };
}

/** All that is offered, and the newest of the rest. */
function kept<Row extends { readonly target: ProofTargetKey }>(worker: WorkerRecord, rows: readonly Row[]): Row[] {
  const offered = new Set<string>(["cpu", ...(worker.offer?.gpus ?? []).map(({ uuid }) => `gpu:${uuid}`)]);
  const absent = rows.filter(({ target }) => !offered.has(target)).slice(-ABSENT_KEPT_MAX);
  return [...absent, ...rows.filter(({ target }) => offered.has(target))];
}

// ── What is under way ──

/** The last of a machine's is over: others have their turn. */
function endChallenges(state: CoreState, machine: Machine): void {
  setUnderWay(state, machine, false);
  state.deadlines.clear(deadlineKey.challenge(machine.id));
  freed(state, machine);
  const { first, again } = state.volatile.proofsWaiting;
  while (state.volatile.proving.size < state.config.proofsUnderWayMax) {
    const [next] = first.size > 0 ? first : again;
    if (next === undefined) return;
    first.delete(next);
    again.delete(next);
    seekProof(state, next);
  }
}

/** Hardware that is not offered any more is not owed either. */
function forgiveAbsent(state: CoreState, machine: Machine): void {
  const { owes, worker } = machine;
  if (owes.size === 0 || worker.offer === null) return;
  const claimed = new Set(claimsOf(state.config, worker.offer).map(({ key }) => key));
  const left = new Set([...owes].filter((key) => claimed.has(key)));
  if (left.size === owes.size) return;
  patchMachine(state, machine, { owes: left });
  freed(state, machine);
}

/** The market looks at it again. */
function freed(state: CoreState, machine: Machine): void {
  machine.gained = true;
  state.ix.market.dirty.add(machine);
  state.volatile.dispatchPending = true;
}

type Volatile = Pick<Machine, "proving" | "owes" | "proofCuts" | "proofNotBeforeMs">;

/** Undone with the step. */
function patchMachine(state: CoreState, machine: Machine, patch: Partial<Volatile>): void {
  const { proving, owes, proofCuts, proofNotBeforeMs } = machine;
  state.step.undo.push(() => void Object.assign(machine, { proving, owes, proofCuts, proofNotBeforeMs }));
  Object.assign(machine, patch);
}

function setUnderWay({ step, volatile }: CoreState, machine: Machine, is: boolean): void {
  const { proving } = volatile;
  if (proving.has(machine) === is) return;
  step.undo.push(() => void (is ? proving.delete(machine) : proving.add(machine)));
  if (is) proving.add(machine);
  else proving.delete(machine);
}

function countFailure({ step, volatile: { proofFailures } }: CoreState, code: string): void {
  const name = proofFailures.has(code) || proofFailures.size < CODES_COUNTED_MAX ? code : "other";
  const before = proofFailures.get(name) ?? 0;
  step.undo.push(() => void proofFailures.set(name, before));
  proofFailures.set(name, before + 1);
}

function report(
  state: CoreState,
  { id, providerId, name }: WorkerRecord,
  kind: "worker_proven" | "proof_failed",
  data: Readonly<Record<string, unknown>>,
): void {
  emit(state, { channel: "workers", kind, providerId, workerId: id, data: { name, ...data } });
}

// ── For people ──

/** How it stands with one piece of hardware. `unsupported`: the worker is too old to be asked. */
export interface ProofState {
  readonly claim: Claim;
  readonly state: "proven" | "proving" | "waiting" | "failed" | "unsupported";
  readonly proof: ProofRecord | undefined;
  readonly failure: ProofFailure | undefined;
}

/** Of everything that this worker has to prove; empty where nothing has to be. */
export function proofStates(state: CoreState, machine: Machine): readonly ProofState[] {
  const { worker, proving } = machine;
  return claimsOf(state.config, worker.offer).map((claim) => {
    const proof = proofOf(worker, claim);
    const failure = failureOf(worker, claim);
    const asked = proving.has(claim.key) || machine.owes.has(claim.key);
    const unproven = asked ? "proving" : failure !== undefined ? "failed" : "waiting";
    const unable = canProve(worker.offer) ? unproven : "unsupported";
    return { claim, proof, failure, state: proof === undefined ? unable : "proven" };
  });
}
