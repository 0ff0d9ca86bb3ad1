// Canaries: jobs of the operator's whose results are known. They are given to workers like any other job, and cost one run where a check of a consumer's job costs
// two. Each comes to a provider once: who has seen it could answer it from memory. Nobody is accused by a canary that others have not shown to be right.
import { holdFor, jobTable } from "@qubix/shared/domain";
import { uploadedImage } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { ADMIN_ACCOUNT } from "./accounts.ts";
import type { CanaryEvidence, CanaryTally } from "./canary-records.ts";
import { chainOf } from "./chain-of.ts";
import { CHECKS_ACCOUNT, freezePay, holdForCheck, keepPay } from "./check-money.ts";
import { checkChance, debtAfter } from "./check-policy.ts";
import { historyOf, isTrusted, isUndisturbed, makersOf, modelsOf, workersOf } from "./check-state.ts";
import type { Canary } from "./config.ts";
import { newJobRecord } from "./job-record.ts";
import type { Machine } from "./machine.ts";
import type { AttemptRecord, JobRecord, RunWorker, WorkerRecord } from "./model.ts";
import { armQueue } from "./queue-deadline.ts";
import { newJobId, nextRandom } from "./random.ts";
import { recordVerdict } from "./reputation.ts";
import { needsOf, rateOf } from "./resources.ts";
import { accuse } from "./slashes.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, countUp, effect, emit, emitJob, patchJob, put } from "./tables.ts";

/** Providers that came to the known result before it is held against anybody: whoever wrote it down may be wrong. */
export const PROVEN_FROM = 2;
/** So many that came to something else, and at least as many as came to it: then it is the canary that is wrong. */
export const BROKEN_FROM = 3;
/** Proven ones that are kept in stock: each accusation uses one up. */
const READY_WANTED = 10;
const RANDOM_RANGE = 2 ** 32;
const NO_TALLY: CanaryTally = { given: 0, right: 0, wrong: 0, spent: false };

// ── Given ──

/** A job of a worker's has succeeded: now it may be given a canary. The less is known of it, the more often, by the rule of the checks. */
export function considerCanary(state: CoreState, job: JobRecord): void {
  const { canaries, canaryShare } = state.config;
  if (canaries.length === 0 || canaryShare <= 0 || job.phase !== "succeeded" || job.check !== undefined) return;
  const workerId = workersOf(attemptsOf(state, job.id)).at(-1)?.workerId;
  const machine = workerId === undefined ? undefined : state.ix.machines.get(workerId);
  if (machine === undefined) return;
  const { debt, tallies } = keptCanaries(state);
  const chance = checkChance(canaryShare, debt, historyOf(machine.worker));
  state.meta.canaries = { tallies, debt: debtAfter(canaryShare, debt, chance) };
  if (nextRandom(state.meta) / RANDOM_RANGE >= chance) return;
  const seen = seenBy(state, machine.worker);
  const open = canaries.filter((canary) => !seen.has(canary.name) && isOpenFor(state, canary, machine));
  const pool = poolOf(state, open, machine.worker);
  const drawn = pool[nextRandom(state.meta) % Math.max(1, pool.length)];
  if (drawn === undefined) return countUp(state, "canariesMissing");
  give(state, drawn, machine.worker);
}

/** Who is not known gets one that is proven, as soon as there is one; who is shows that others are right, until there are enough. */
function poolOf(state: CoreState, open: readonly Canary[], worker: WorkerRecord): readonly Canary[] {
  const ready = open.filter(({ name }) => tallyOf(state, name).right >= PROVEN_FROM);
  const unproven = open.filter((canary) => !ready.includes(canary));
  const proves = isTrusted(state.config, worker) && unproven.length > 0 && readyInAll(state) < READY_WANTED;
  if (ready.length > 0 && !proves) return ready;
  // One after the other, or none would ever be proven where there are many.
  const most = Math.max(0, ...unproven.map(({ name }) => tallyOf(state, name).right));
  return unproven.filter(({ name }) => tallyOf(state, name).right === most);
}

function readyInAll(state: CoreState): number {
  return canaryStandings(state).filter((standing) => standing.state === "ready").length;
}

function isOpenFor(state: CoreState, { name, spec }: Canary, machine: Machine): boolean {
  const { spent, right, wrong } = tallyOf(state, name);
  if (spent || isBroken({ right, wrong })) return false;
  const { offer } = machine.worker;
  const { amount, currency } = spec.priceMaxPerHour;
  if (offer === null || chainOf(state, currency) !== undefined || belongingsOf(state, spec) === null) return false;
  const { count, model } = spec.resources.gpus;
  if (
    count > 0 &&
    !modelsOf(
      machine,
      offer.gpus.map(({ uuid }) => uuid),
    ).has(model ?? "")
  )
    return false;
  const rate = rateOf(offer, needsOf(spec), currency);
  return rate !== null && rate <= amount;
}

/** By name. A provider's workers tell one another. */
function seenBy(state: CoreState, { providerId }: WorkerRecord): ReadonlySet<string> {
  const seen = new Set<string>();
  for (const worker of state.rows.workers.values()) {
    if (worker.providerId === providerId) for (const name of worker.canaries ?? []) seen.add(name);
  }
  return seen;
}

type Belongings = Pick<JobRecord, "inputs" | "imageTree">;

/** Uploads of the operator's that it names; null where one of them is not there. */
function belongingsOf(state: CoreState, { image, inputs }: JobRecord["spec"]): Belongings | null {
  const own = (id: string | undefined) => {
    const upload = id === undefined ? undefined : state.rows.uploads.get(id);
    return upload?.accountId === ADMIN_ACCOUNT ? upload.tree.manifestCid : undefined;
  };
  const imageId = uploadedImage(image);
  const imageTree = imageId === undefined ? null : own(imageId);
  const trees = inputs.map(({ upload, to }) => ({ manifestCid: own(upload), to }));
  const found = trees.flatMap(({ manifestCid, to }) => (manifestCid === undefined ? [] : [{ manifestCid, to }]));
  return imageTree === undefined || found.length < trees.length ? null : { imageTree, inputs: found };
}

/** The very same record as a consumer's job, but for who pays, and where it may run: of neither is a worker told. */
function give(state: CoreState, { name, spec: known, expected }: Canary, worker: WorkerRecord): void {
  const id = newJobId(state.meta);
  const { queueS, durationMaxS } = { ...known, queueS: state.config.checkQueueS };
  const spec: JobRecord["spec"] = { ...known, queueS, placement: { workers: [worker.id] } };
  const { amount } = spec.priceMaxPerHour;
  const belongings = belongingsOf(state, spec);
  assert(belongings !== null, `${name} is given without its inputs`);
  const job: JobRecord = {
    ...newJobRecord(state, { id, accountId: ADMIN_ACCOUNT, spec, hold: holdFor(amount, durationMaxS) }),
    ...belongings,
    check: {
      of: id,
      run: 0,
      payer: CHECKS_ACCOUNT,
      gpuModel: spec.resources.gpus.count > 0 ? (spec.resources.gpus.model ?? null) : null,
      decides: false,
      apart: [],
      canary: { name, expected },
    },
  };
  assert(job.phase === jobTable.initial, `${id} begins as ${job.phase}`);
  const inUse = new Set(state.config.canaries.map((canary) => canary.name));
  const canaries = [...(worker.canaries ?? []).filter((seen) => inUse.has(seen)), name];
  put(state, "workers", worker.id, { ...worker, canaries });
  put(state, "jobs", id, job);
  armQueue(state, job);
  holdForCheck(state, job, CHECKS_ACCOUNT);
  emitJob(state, job, "queued", { canary: name });
  countUp(state, "canariesGiven");
  setTally(state, name, { given: tallyOf(state, name).given + 1 });
}

// ── Ended ──

type Verdict = "right" | "wrong" | "unknown";

/** A canary has ended, and was settled in this step. */
export function onCanaryEnded(state: CoreState, job: JobRecord): void {
  const canary = job.check?.canary;
  if (canary === undefined) return;
  const attempts = attemptsOf(state, job.id);
  const verdict = verdictOf(job, attempts);
  const [maker] = workersOf(attempts);
  const { name } = canary;
  const { right, wrong } = tallyOf(state, name);
  if (maker !== undefined && verdict === "right") {
    setTally(state, name, { right: right + 1 });
    noteRight(state, job, maker);
  }
  // With this one: it may be the very result that shows the canary to be wrong.
  const isHeld = verdict === "wrong" && right >= PROVEN_FROM && !isBroken({ right, wrong: wrong + 1 });
  if (maker !== undefined && verdict === "wrong") {
    setTally(state, name, { wrong: wrong + 1, spent: isHeld });
    if (isHeld) blame(state, job, attempts, maker);
  }
  const data = { canary: name, verdict, held: isHeld };
  emit(state, { channel: "jobs", kind: "canary_ended", jobId: job.id, workerId: maker?.workerId ?? null, data });
  const trees = [...job.checkpoints.map(({ tree }) => tree), ...(job.outputs === null ? [] : [job.outputs])];
  if (job.checkpoints.length > 0) patchJob(state, job, { checkpoints: [] });
  if (trees.length > 0) effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees });
}

/** That it came to no result says nothing: machines fail. Only a result, or an exit code where another was due, can be wrong. */
function verdictOf(job: JobRecord, attempts: readonly AttemptRecord[]): Verdict {
  const expected = job.check?.canary?.expected;
  // What was saved and restored may come to something else by the program's own doing.
  if (expected === undefined || !isUndisturbed(attempts)) return "unknown";
  if (job.phase === "succeeded") {
    if (expected.exitCode !== 0) return "wrong";
    const { outputs, outputsSum } = job;
    if (outputs === null) return "wrong";
    if (outputsSum === undefined) return "unknown";
    return outputsSum === expected.sum ? "right" : "wrong";
  }
  const outcome = makersOf(attempts).at(-1)?.outcome;
  const isOwn = job.phase === "failed" && outcome?.kind === "failed" && outcome.code === "exit_code";
  return isOwn && expected.exitCode !== 0 && outcome.exitCode === expected.exitCode ? "right" : "unknown";
}

/** Not told to the provider: nobody learns which of his jobs it was. */
function noteRight(state: CoreState, { id }: JobRecord, { workerId }: RunWorker): void {
  const worker = state.rows.workers.get(workerId);
  if (worker === undefined) return;
  const { inARow, wrong } = historyOf(worker);
  put(state, "workers", workerId, { ...worker, checks: { inARow: inARow + 1, wrong } });
  recordVerdict(state, { workerId, jobId: id, kind: "verified", evidence: {}, isQuiet: true });
}

/** From here on its provider has the evidence, and with it the canary: it is used up. */
function blame(state: CoreState, job: JobRecord, attempts: readonly AttemptRecord[], { workerId }: RunWorker): void {
  keepPay(state, job, freezePay(state, job));
  // Only now: what it earned was taken off its row.
  const worker = state.rows.workers.get(workerId);
  if (worker === undefined) return;
  const { wrong } = historyOf(worker);
  put(state, "workers", workerId, { ...worker, checks: { inARow: 0, wrong: wrong + 1 } });
  const evidence = evidenceOf(job, attempts);
  recordVerdict(state, { workerId, jobId: job.id, kind: "wrong", evidence });
  const gain = { amount: job.settlement.hold, currency: job.currency };
  accuse(state, { kind: "wrong_result", workerId, jobId: job.id, evidence, gain, consumerId: job.accountId });
}

/** All that anybody needs to run it again and see. */
function evidenceOf(job: JobRecord, attempts: readonly AttemptRecord[]): CanaryEvidence & Record<string, unknown> {
  const { spec, imageDigest, imageTree, inputs, outputs, outputsSum, check } = job;
  const { image, command, env, resources } = spec;
  return {
    canary: check?.canary?.name ?? "",
    expected: check?.canary?.expected ?? null,
    result: { exitCode: job.phase === "succeeded" ? 0 : null, sum: outputsSum ?? outputs?.manifestCid ?? null },
    workers: workersOf(attempts),
    run: { image, command, env, outputs: spec.outputs, cpus: resources.cpus, gpus: resources.gpus },
    imageDigest,
    imageTree,
    inputs,
  };
}

// ── Tallies ──

function keptCanaries({ meta }: CoreState) {
  return meta.canaries ?? { debt: 0, tallies: {} };
}

export function tallyOf(state: CoreState, name: string): CanaryTally {
  return keptCanaries(state).tallies[name] ?? NO_TALLY;
}

export function isBroken({ right, wrong }: Pick<CanaryTally, "right" | "wrong">): boolean {
  return wrong >= BROKEN_FROM && wrong >= right;
}

/** For people. */
export interface CanaryStanding extends Omit<CanaryTally, "spent"> {
  readonly name: string;
  readonly gpuModel: string | null;
  readonly state: "unproven" | "ready" | "spent" | "broken";
}

export function canaryStandings(state: CoreState): CanaryStanding[] {
  return state.config.canaries.map(({ name, spec }) => {
    const { given, right, wrong, spent } = tallyOf(state, name);
    const { count, model } = spec.resources.gpus;
    const usable = right >= PROVEN_FROM ? "ready" : "unproven";
    const standing = spent ? "spent" : isBroken({ right, wrong }) ? "broken" : usable;
    return { name, gpuModel: count > 0 ? (model ?? null) : null, given, right, wrong, state: standing };
  });
}

/** Of those that are not in use any more nothing is kept. */
function setTally(state: CoreState, name: string, change: Partial<CanaryTally>): void {
  const { debt, tallies } = keptCanaries(state);
  const names = new Set([...state.config.canaries.map((canary) => canary.name), name]);
  const kept = Object.entries(tallies).filter(([other]) => names.has(other));
  state.meta.canaries = {
    debt,
    tallies: { ...Object.fromEntries(kept), [name]: { ...tallyOf(state, name), ...change } },
  };
}
