// Places one thing per step: a wanted standby, else the waiting job whose turn it is. What finds no offer is blocked until capacity that could matter is gained.
import type { Machine } from "./machine.ts";
import { type OfferRequest, admits, findOffer, refreshMarket } from "./market.ts";
import { isHeld } from "./mass-silence.ts";
import { checkerRank } from "./check-state.ts";
import { refusedByCheck } from "./check-places.ts";
import { refusedByMirror } from "./mirror.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import { assignTo } from "./placing.ts";
import { seekProof } from "./proofs.ts";
import { block, noteServed, offerCandidate, type Signature, turns } from "./queue.ts";
import { freePlace } from "./kept-places.ts";
import { watchLongWaits } from "./queue-deadline.ts";
import { rateOf, standbyRatesAt, type StandbyRates } from "./resources.ts";
import { isUnsteady } from "./standing.ts";
import { reserveStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { currentAttempt, emitJob, jobOf, liveStandby } from "./tables.ts";
import { addToQueue, requestOf, takeFromQueue, waitsForPlace } from "./indexes.ts";
import { deadlineKey } from "./silence.ts";
import { runPriceMax } from "@qubix/shared/protocol";
import type { JobId } from "@qubix/shared/domain";

/** A search through this many offers counts as one try: a dispatch stays short in a large, full fleet too. */
const OFFERS_PER_TRY = 64;
/** Of a worker that is silent together with many: it gets work only where there is nobody else, and begins when it is heard again. */
const HELD_RANK = 16;

export function dispatch(state: CoreState): void {
  const { ix, volatile } = state;
  volatile.dispatchPending = false;
  for (const machine of refreshMarket(ix.market)) {
    volatile.gained.add(machine);
    seekProof(state, machine);
  }
  // What is to be proven now is out of the market before anything is placed.
  for (const machine of refreshMarket(ix.market)) volatile.gained.add(machine);
  if (placeKept(state)) {
    volatile.dispatchPending = true;
    return;
  }
  const judged = judgeGained(state);
  // As long as some of the waiting are not judged, none is served: those who are judged first must not always be first.
  if (judged === "half") {
    volatile.dispatchPending = true;
    return;
  }
  const budget = { left: state.config.dispatchTriesMax };
  const placed = placeStandby(state, budget) || placeJob(state, budget);
  volatile.dispatchPending = judged === "some" || (!placed && budget.left <= 0);
}

/** Judges what waits for each machine that gained capacity, up to a bound per step. `half`: one machine is not through; `some`: others are left. */
function judgeGained(state: CoreState): "all" | "some" | "half" {
  const { volatile, ix } = state;
  const { judgementsPerStepMax } = state.config;
  let left = judgementsPerStepMax;
  for (;;) {
    if (volatile.judging === null) {
      const [machine] = volatile.gained;
      if (machine === undefined) return "all";
      // Not begun where it cannot be finished, so that there is time to serve somebody in between.
      if (left < judgementsPerStepMax && left < ix.queue.narrowed.size) return "some";
      volatile.gained.delete(machine);
      volatile.judging = { machine, rest: ix.queue.narrowed.values() };
      offerStandbyCandidate(state, machine);
    }
    const { machine, rest } = volatile.judging;
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      offerCandidate(ix.queue, next.value, machine);
      left -= 1;
      if (left <= 0) return "half";
    }
    volatile.judging = null;
  }
}

/** True when something was placed, or said. */
function placeStandby(state: CoreState, budget: { left: number }): boolean {
  const { openStandbys, blockedStandbys, standbyNoted } = state.volatile;
  for (const [jobId, among] of openStandbys) {
    if (budget.left <= 0) return false;
    budget.left -= 1;
    state.step.handling = standbyPlacing(jobId);
    const job = jobOf(state, jobId);
    if (job.mirror !== undefined && standbyMayBeSought(state, job)) {
      const request = standbyRequest(job);
      const found = findPlace(state, job, { request, candidates: among }, budget);
      if (found !== undefined) {
        standbyNoted.delete(jobId);
        assignTo(state, job, found.machine.id, found.ratePerHour);
        return true;
      }
    } else if (standbyMayBeSought(state, job)) {
      const found = findStandby(state, job, among, budget);
      if (found !== undefined) {
        standbyNoted.delete(jobId);
        reserveStandby(state, job, found.machine.id, found.rates);
        return true;
      }
    }
    const quiet = standbyNoted.has(jobId) || standbyIsDeferred(state, jobId);
    if (!quiet) reportUnavailable(state, job);
    openStandbys.delete(jobId);
    blockedStandbys.set(jobId, standbyRequest(job));
    if (quiet) continue;
    standbyNoted.add(jobId);
    return true;
  }
  return false;
}

function reportUnavailable(state: CoreState, job: JobRecord): void {
  if (job.mirror === undefined) emitJob(state, job, "standby_unavailable", { message: STANDBY_UNAVAILABLE });
  else emitJob(state, job, "mirror_unavailable", { message: MIRROR_UNAVAILABLE });
}

const MIRROR_UNAVAILABLE =
  "No worker of another provider fits and keeps both replicas within priceMaxPerHour: the job runs once until one does.";
const STANDBY_UNAVAILABLE =
  "No other worker fits and keeps the job within priceMaxPerHour: it runs without a standby until one does.";

function standbyMayBeSought(state: CoreState, job: JobRecord): boolean {
  return job.standbysMade < state.config.standbysPerJobMax && !standbyIsDeferred(state, job.id);
}

/** After a failure or a promotion; a timer seeks again. */
function standbyIsDeferred(state: CoreState, jobId: JobId): boolean {
  const failure = state.volatile.standbyFailures.get(jobId);
  return failure !== undefined && state.nowMs < failure.retryAtMs;
}

interface FoundStandby {
  readonly machine: Machine;
  readonly rates: StandbyRates;
}

/** On another worker than the job's, of another provider where there is one; then on one that is steady; last of all where it went wrong before. */
function findStandby(
  state: CoreState,
  job: JobRecord,
  among: ReadonlySet<Machine> | null,
  budget: { left: number },
): FoundStandby | undefined {
  const primary = currentAttempt(state, job);
  const request = standbyRequest(job);
  const { machine, looked } = findOffer(
    state.ix.market,
    state.ix.machines,
    state.ix.workersByImage,
    request,
    {
      refuses: (other) => other.id === primary?.workerId || ratesFor(job, other, request) === undefined,
      rank: (other) =>
        (other.worker.providerId === primary?.providerId ? 1 : 0) +
        (isUnsteady(state, other) ? 2 : 0) +
        (job.troubledWorkers.includes(other.id) ? 4 : 0) +
        (isHeld(state, other) ? HELD_RANK : 0),
    },
    state.config.preferenceScanMax,
    among,
  );
  budget.left -= triesFor(looked);
  const rates = machine === undefined ? undefined : ratesFor(job, machine, request);
  return machine === undefined || rates === undefined ? undefined : { machine, rates };
}

/** Where a job can be moved to: reserved as a standby, or, where its price cap does not allow that, without. */
export type MoveTarget =
  | { readonly kind: "reserve"; readonly machine: Machine; readonly rates: StandbyRates }
  | { readonly kind: "plain" };

/** `among`: no other machine will do; null for any. */
export function findMoveTarget(
  state: CoreState,
  job: JobRecord,
  from: AttemptRecord,
  among: Iterable<Machine> | null,
): MoveTarget | undefined {
  const isApart = refusedByCheck(state, job);
  const find = (request: OfferRequest, refuses: (machine: Machine) => boolean) =>
    findOffer(
      state.ix.market,
      state.ix.machines,
      state.ix.workersByImage,
      request,
      {
        refuses: (other) => other.id === from.workerId || isApart(other) || refuses(other),
        rank: (other) =>
          (job.troubledWorkers.includes(other.id) ? 2 : 0) +
          (isUnsteady(state, other) ? 1 : 0) +
          (isHeld(state, other) ? HELD_RANK : 0),
      },
      state.config.preferenceScanMax,
      among,
    ).machine;
  const request = standbyRequest(job);
  if (job.standbysMade < state.config.standbysPerJobMax) {
    const machine = find(request, (other) => ratesFor(job, other, request) === undefined);
    const rates = machine === undefined ? undefined : ratesFor(job, machine, request);
    if (machine !== undefined && rates !== undefined) return { kind: "reserve", machine, rates };
  }
  return find(plainRequest(job), () => false) === undefined ? undefined : { kind: "plain" };
}

function standbyRequest(job: JobRecord): OfferRequest {
  if (job.mirror !== undefined) return plainRequest(job);
  // Promoted it may cost what the cap allows beside the dearest standby; that is checked per offer.
  return { ...plainRequest(job), rateMax: runPriceMax(job.spec) };
}

/** Of a job that has a place: who waits for one goes before. */
function plainRequest(job: JobRecord): OfferRequest {
  return { ...requestOf(job), takesKept: false };
}

function ratesFor(job: JobRecord, machine: Machine, request: OfferRequest): StandbyRates | undefined {
  return standbyRatesAt(machine, request, job, runPriceMax(job.spec));
}

/** This machine gained capacity: standbys that found no offer before are sought there again, and there alone. */
function offerStandbyCandidate(state: CoreState, machine: Machine): void {
  const { openStandbys, blockedStandbys } = state.volatile;
  for (const [jobId, request] of blockedStandbys) {
    if (!admits(machine, request)) continue;
    const job = jobOf(state, jobId);
    const isPrimary = job.mirror === undefined && currentAttempt(state, job)?.workerId === machine.id;
    if (!standbyMayBeSought(state, job) || isPrimary) continue;
    blockedStandbys.delete(jobId);
    openStandbys.set(jobId, new Set([machine]));
  }
  for (const [jobId, among] of openStandbys) {
    if (among !== null && admits(machine, standbyRequest(jobOf(state, jobId)))) among.add(machine);
  }
}

/** True when a job was placed on the machine that was kept for it. */
function placeKept(state: CoreState): boolean {
  for (const [jobId, machine] of state.volatile.keptPlaces) {
    const job = jobOf(state, jobId);
    const request = { ...requestOf(job), takesKept: true };
    state.step.handling = jobPlacing(jobId);
    const found = findPlace(state, job, { request, candidates: new Set([machine]) }, { left: 0 });
    if (found === undefined) continue;
    assignTo(state, job, machine.id, found.ratePerHour);
    const account = state.ix.queue.accounts.get(job.accountId);
    if (account !== undefined) noteServed(state.ix.queue, account);
    return true;
  }
  return false;
}

/** True when a job was placed. */
function placeJob(state: CoreState, budget: { left: number }): boolean {
  const { ix } = state;
  for (const next of turns(ix.queue, ix.usage, ix.totals, budget)) {
    state.step.handling = jobPlacing(next.waiting.jobId);
    const job = jobOf(state, next.waiting.jobId);
    const found = findPlace(state, job, next.line.signature, budget);
    budget.left -= 1;
    if (found === undefined) {
      block(ix.queue, next.line.signature);
      continue;
    }
    noteServed(ix.queue, next.line.account);
    assignTo(state, job, found.machine.id, found.ratePerHour);
    return true;
  }
  return false;
}

function findPlace(
  state: CoreState,
  job: JobRecord,
  { request, candidates }: Pick<Signature, "request" | "candidates">,
  budget: { left: number },
): { readonly machine: Machine; readonly ratePerHour: bigint } | undefined {
  const standby = liveStandby(state, job);
  const { troubledWorkers } = job;
  const isRefused = refusedByMirror(state, job);
  const isApart = refusedByCheck(state, job);
  const { machine, looked } = findOffer(
    state.ix.market,
    state.ix.machines,
    state.ix.workersByImage,
    request,
    {
      refuses: (other) => other.id === standby?.workerId || isRefused(other) || isApart(other),
      rank: (other) =>
        checkerRank(state.config, job, other) +
        (troubledWorkers.length > 0 && troubledWorkers.includes(other.id) ? 2 : 0) +
        (isUnsteady(state, other) ? 1 : 0) +
        (isHeld(state, other) ? HELD_RANK : 0),
    },
    state.config.preferenceScanMax,
    candidates,
  );
  budget.left -= triesFor(looked);
  const offer = machine?.worker.offer;
  const ratePerHour = offer === undefined || offer === null ? null : rateOf(offer, request.needs, request.currency);
  return machine === undefined || ratePerHour === null ? undefined : { machine, ratePerHour };
}

function triesFor(looked: number): number {
  return Math.floor(looked / OFFERS_PER_TRY);
}

// ── What threw ──

const JOB_PLACING = "place-job:";
const STANDBY_PLACING = "place-standby:";

function jobPlacing(id: JobId): string {
  return `${JOB_PLACING}${id}`;
}

function standbyPlacing(id: JobId): string {
  return `${STANDBY_PLACING}${id}`;
}

/** A step threw, and was undone: what it was handling is left for a while, so that the others go on. */
export function setAside(state: CoreState, handling: string): void {
  const atMs = state.nowMs + state.config.faultRetryMs;
  if (handling.startsWith(STANDBY_PLACING))
    setStandbyAside(state, handling.slice(STANDBY_PLACING.length) as JobId, atMs);
  else if (handling.startsWith(JOB_PLACING)) setJobAside(state, handling.slice(JOB_PLACING.length) as JobId, atMs);
  else state.deadlines.set(handling, atMs);
}

function setStandbyAside(state: CoreState, jobId: JobId, atMs: number): void {
  const { openStandbys, blockedStandbys, standbyFailures } = state.volatile;
  const job = state.rows.jobs.get(jobId);
  if (job === undefined || !openStandbys.delete(jobId)) return;
  blockedStandbys.set(jobId, standbyRequest(job));
  standbyFailures.set(jobId, { count: 1, retryAtMs: atMs });
  state.deadlines.set(deadlineKey.standbyRetry(jobId), atMs);
  state.volatile.dispatchPending = true;
}

function setJobAside(state: CoreState, jobId: JobId, atMs: number): void {
  const job = state.rows.jobs.get(jobId);
  if (job?.phase !== "queued") return;
  takeFromQueue(state.ix.queue, job);
  freePlace(state, jobId);
  state.volatile.setAside.add(jobId);
  state.deadlines.set(deadlineKey.requeue(jobId), atMs);
  state.volatile.dispatchPending = true;
}

/** A job that was set aside waits again. */
export function putBack(state: CoreState, id: JobId): void {
  const job = state.rows.jobs.get(id);
  if (!state.volatile.setAside.delete(id) || job === undefined || !waitsForPlace(job)) return;
  addToQueue(state.ix.queue, job);
  watchLongWaits(state);
  state.volatile.dispatchPending = true;
}
