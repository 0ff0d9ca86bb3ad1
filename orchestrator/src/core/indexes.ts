// Keeps the indexes true to the tables: each put of a row takes the old row's part out and puts the new row's part in.
import type { AccountId, AttemptId, JobId, StandbyId, WorkerId } from "@qubix/shared/domain";
import { featuresOf, imageKey, parseImageRef, runPriceMax, transparentFeature } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { waitsForLease } from "./exclusive.ts";
import { freePlace } from "./kept-places.ts";
import type { Machine, Usage } from "./machine.ts";
import { egressWishOf } from "./egress-offers.ts";
import { createMarket, type OfferRequest } from "./market.ts";
import type {
  Allocation,
  ApiKeyRecord,
  AttemptRecord,
  EnrolmentRecord,
  JobRecord,
  PayoutAddressRecord,
  StandbyRecord,
  TableName,
  Tables,
  WorkerRecord,
} from "./model.ts";
import { mayCost } from "./job-cap.ts";
import { openRuns, runRateMax } from "./mirror-state.ts";
import { listingOf } from "./proof-claims.ts";
import { createJobQueue, dequeue, enqueue, type JobQueue, waitingOf } from "./queue.ts";
import { gradeOf } from "./reputation-score.ts";
import { needsOf } from "./resources.ts";
import type { CoreState, Indexes, JobLinks } from "./state.ts";

export function createIndexes(): Indexes {
  return {
    apiKeyByHash: new Map(),
    enrolmentByTokenHash: new Map(),
    workerByPublicKey: new Map(),
    links: new Map(),
    machines: new Map(),
    usage: new Map(),
    totals: { gpus: 0, cpuMilli: 0, memoryMiB: 0 },
    queue: createJobQueue(),
    wantedStandbys: new Set(),
    market: createMarket(),
    workersByImage: new Map(),
    jobsByPhase: new Map(),
    workersByPhase: new Map(),
    mayCost: new Map(),
  };
}

/** Moves the indexes from the old row to the new one; either may be absent. */
export function reindex<T extends TableName>(
  state: CoreState,
  table: T,
  before: Tables[T] | undefined,
  after: Tables[T] | undefined,
): void {
  INDEXERS[table]?.(state, before, after);
}

export function isActiveAttempt(attempt: AttemptRecord): boolean {
  return attempt.phase === "assigned" || attempt.phase === "running" || attempt.phase === "exited";
}

export function isLiveStandby(standby: StandbyRecord): boolean {
  return standby.phase === "preparing" || standby.phase === "ready";
}

type Indexer<T extends TableName> = (
  state: CoreState,
  before: Tables[T] | undefined,
  after: Tables[T] | undefined,
) => void;

const INDEXERS: { readonly [T in TableName]?: Indexer<T> } = {
  apiKeys: indexApiKey,
  enrolments: indexEnrolment,
  workers: indexWorker,
  jobs: indexJob,
  attempts: indexAttempt,
  standbys: indexStandby,
  payoutAddresses: indexPayoutAddress,
};

function indexApiKey({ ix }: CoreState, before?: ApiKeyRecord, after?: ApiKeyRecord): void {
  if (before !== undefined) ix.apiKeyByHash.delete(before.hash);
  if (after !== undefined) ix.apiKeyByHash.set(after.hash, after.id);
}

function indexEnrolment({ ix }: CoreState, before?: EnrolmentRecord, after?: EnrolmentRecord): void {
  if (before !== undefined) ix.enrolmentByTokenHash.delete(before.tokenHash);
  if (after !== undefined) ix.enrolmentByTokenHash.set(after.tokenHash, after.id);
}

/** Whoever can be paid on a chain may be matched with what is paid there. */
function indexPayoutAddress(state: CoreState, before?: PayoutAddressRecord, after?: PayoutAddressRecord): void {
  const { accountId } = (after ?? before) as PayoutAddressRecord;
  for (const machine of state.ix.machines.values()) {
    if (machine.worker.providerId !== accountId) continue;
    machine.unpayable = unpayableOf(state, accountId);
    machine.gained = true;
    state.ix.market.dirty.add(machine);
  }
}

/** The currencies of chains on which the provider has no address. */
function unpayableOf({ config, rows }: CoreState, providerId: AccountId): ReadonlySet<string> {
  const lacking = Object.entries(config.chains).filter(
    ([, { driver }]) => !rows.payoutAddresses.has(`${driver} ${providerId}`),
  );
  return new Set(lacking.map(([currency]) => currency));
}

// ── Workers ──

function indexWorker(state: CoreState, before?: WorkerRecord, after?: WorkerRecord): void {
  const { ix, nowMs, config } = state;
  if (before !== undefined) {
    count(ix.workersByPhase, before.phase, -1);
    addTotals(ix.totals, before, -1);
  }
  if (after === undefined) {
    if (before !== undefined) forgetMachine(ix, before);
    return;
  }
  count(ix.workersByPhase, after.phase, 1);
  addTotals(ix.totals, after, 1);
  ix.workerByPublicKey.set(after.publicKey, after.id);
  let machine = ix.machines.get(after.id);
  if (machine === undefined) ix.machines.set(after.id, (machine = newMachine(after, nowMs)));
  if (before === undefined) machine.unpayable = unpayableOf(state, after.providerId);
  machine.worker = after;
  if (before?.offer !== after.offer) indexOffer(ix, machine);
  if (before === undefined || showsOther(before, after)) Object.assign(machine, listingOf(config, after));
  if (before?.offer === after.offer && before.earned !== after.earned) return;
  if (before?.offer === after.offer && before.phase === after.phase && before.trouble !== after.trouble) return;
  if (before?.offer === after.offer && before.phase === after.phase && before.checks !== after.checks) return;
  if (before?.offer === after.offer && before.phase === after.phase && before.reputation !== after.reputation) {
    // Its place among equals changes, nothing else.
    if (gradeOf(before) !== gradeOf(after)) ix.market.dirty.add(machine);
    return;
  }
  machine.gained = true;
  ix.market.dirty.add(machine);
}

/** What a listing comes from; most changes of a worker's row are about money and how its work went. */
function showsOther(before: WorkerRecord, after: WorkerRecord): boolean {
  return before.offer !== after.offer || before.proofs !== after.proofs || before.proofFailures !== after.proofFailures;
}

function newMachine(worker: WorkerRecord, nowMs: number): Machine {
  return {
    id: worker.id,
    worker,
    attempts: new Set(),
    standbys: new Set(),
    hotAttempts: 0,
    usedCpuMilli: 0,
    usedMemoryMiB: 0,
    usedDiskMiB: 0,
    usedGpus: new Set(),
    cpuMilli: 0,
    images: new Set(),
    unpayable: new Set(),
    features: new Set(),
    coresListed: false,
    listedGpus: null,
    proofDueMs: Infinity,
    gained: false,
    heardMs: nowMs,
    countFromMs: nowMs,
    heardLagMs: 0,
    beats: null,
    network: null,
    cut: false,
    blameless: false,
    suspectAtMs: null,
    greeted: null,
    lostAtMs: null,
    excused: false,
    proving: new Map(),
    owes: new Set(),
    proofCuts: 0,
    proofNotBeforeMs: 0,
    keptFor: null,
  };
}

function forgetMachine(ix: Indexes, worker: WorkerRecord): void {
  const machine = ix.machines.get(worker.id);
  ix.workerByPublicKey.delete(worker.publicKey);
  if (machine === undefined) return;
  for (const image of machine.images) ix.workersByImage.get(image)?.delete(machine);
  machine.worker = { ...worker, phase: "offline", offer: null };
  ix.market.dirty.add(machine);
  ix.machines.delete(worker.id);
}

function indexOffer(ix: Indexes, machine: Machine): void {
  const { offer } = machine.worker;
  machine.cpuMilli = offer === null ? 0 : Math.round(offer.cpus * 1000);
  machine.features = new Set(offer?.features);
  for (const image of machine.images) {
    const listed = ix.workersByImage.get(image);
    listed?.delete(machine);
    if (listed?.size === 0) ix.workersByImage.delete(image);
  }
  machine.images = new Set((offer?.localImages ?? []).flatMap((name) => keyOfImage(name) ?? []));
  for (const image of machine.images) {
    const listed = ix.workersByImage.get(image);
    if (listed === undefined) ix.workersByImage.set(image, new Set([machine]));
    else listed.add(machine);
  }
}

function keyOfImage(name: string): string | undefined {
  const ref = parseImageRef(name);
  return ref === undefined ? undefined : imageKey(ref);
}

function addTotals(totals: Usage, worker: WorkerRecord, sign: 1 | -1): void {
  if (worker.phase !== "online" || worker.offer === null) return;
  totals.gpus += sign * worker.offer.gpus.length;
  totals.cpuMilli += sign * Math.round(worker.offer.cpus * 1000);
  totals.memoryMiB += sign * worker.offer.memoryMiB;
}

// ── Jobs ──

function indexJob(state: CoreState, before?: JobRecord, after?: JobRecord): void {
  const { ix } = state;
  if (before?.phase !== after?.phase) {
    if (before !== undefined) count(ix.jobsByPhase, before.phase, -1);
    if (after !== undefined) count(ix.jobsByPhase, after.phase, 1);
  }
  indexCost(ix, before, after);
  const id = (after ?? before)?.id as JobId;
  const queues = !state.volatile.setAside.has(id);
  const waitedBefore = queues && before !== undefined && waitsForPlace(before);
  const waitsAfter = queues && after !== undefined && waitsForPlace(after);
  if (waitedBefore !== waitsAfter || (waitsAfter && before !== undefined && queueKeysDiffer(before, after))) {
    if (waitedBefore) takeFromQueue(ix.queue, before);
    if (waitsAfter) addToQueue(ix.queue, after);
    else freePlace(state, id);
  }
  const wanted = before !== undefined && wantsStandby(before);
  const wants = after !== undefined && wantsStandby(after);
  if (wants && !wanted) {
    ix.wantedStandbys.add(id);
    state.volatile.openStandbys.set(id, null);
  } else if (wanted && !wants) {
    ix.wantedStandbys.delete(id);
    state.volatile.openStandbys.delete(id);
    state.volatile.blockedStandbys.delete(id);
  }
}

function indexCost(ix: Indexes, before?: JobRecord, after?: JobRecord): void {
  const by = (after === undefined ? 0n : mayCost(after)) - (before === undefined ? 0n : mayCost(before));
  if (by === 0n) return;
  const { accountId, currency } = (after ?? before) as JobRecord;
  const key = `${accountId} ${currency}`;
  const cost = (ix.mayCost.get(key) ?? 0n) + by;
  if (cost === 0n) ix.mayCost.delete(key);
  else ix.mayCost.set(key, cost);
}

/** It is in the queue, unless it is set aside. */
export function waitsForPlace(job: JobRecord): boolean {
  return job.phase === "queued" && !waitsForLease(job);
}

export function addToQueue(queue: JobQueue, job: JobRecord): void {
  enqueue(queue, job.accountId, signatureKey(job), () => requestOf(job), waitingOf(job.id, job.epoch > 0));
}

export function takeFromQueue(queue: JobQueue, job: JobRecord): void {
  dequeue(queue, job.accountId, signatureKey(job), waitingOf(job.id, job.epoch > 0));
}

/** A hot job that runs, or is about to, and has nobody behind it; a mirror job of which one replica is missing. */
function wantsStandby(job: JobRecord): boolean {
  if (job.mirror !== undefined && job.intent === null) {
    return (job.phase === "starting" || job.phase === "running") && openRuns(job).length > 0;
  }
  if (job.spec.standby !== "hot" || job.standbyId !== null || job.intent !== null) return false;
  return job.phase === "starting" || job.phase === "running";
}

function queueKeysDiffer(before: JobRecord, after: JobRecord): boolean {
  return (
    before.epoch > 0 !== after.epoch > 0 ||
    before.standbyRateMax !== after.standbyRateMax ||
    before.standbyId !== after.standbyId ||
    (before.mirror !== after.mirror && signatureKey(before) !== signatureKey(after))
  );
}

/** What a first or next attempt of the job may be matched with. The price cap covers the dearest standby it had. */
export function requestOf(job: JobRecord): OfferRequest {
  const { spec, mirror } = job;
  const needs = needsOf(spec);
  const [run = 0] = openRuns(job);
  const gpuModel = (mirror ?? job.check)?.gpuModel ?? needs.gpuModel;
  return {
    needs: { ...needs, gpuModel },
    currency: job.currency,
    rateMax: mirror === undefined ? runPriceMax(spec) - job.standbyRateMax : runRateMax(job, run),
    image: localImageKey(spec.image),
    features: featuresOfJob(job),
    placement: spec.placement,
    egress: egressWishOf(spec),
    takesKept: job.epoch > 0,
  };
}

/** What its specification needs, and what its checkpoints do. */
export function featuresOfJob({ spec, memoryClass }: JobRecord): readonly string[] {
  return memoryClass === undefined ? featuresOf(spec) : [...featuresOf(spec), transparentFeature(memoryClass)];
}

/** The key of an image with the tag `local`; `null` for one that is pulled. */
export function localImageKey(image: string): string | null {
  const ref = parseImageRef(image);
  return ref?.local === true ? imageKey(ref) : null;
}

const signatures = new WeakMap<JobRecord["spec"], string>();

/**
 * Equal for jobs that ask the market for the same thing. One that had a place may come to machines that others may not. A job with a standby keeps off its machine, and one with a mirror off the providers of its other
 * runs, a check off all who had part in another run of the same: each asks for something of its own.
 */
export function signatureKey(job: JobRecord): string {
  const isPlain = job.memoryClass === undefined && job.mirror === undefined && job.check === undefined;
  const plain = isPlain && job.standbyId === null && job.standbyRateMax === 0n && job.epoch === 0;
  const known = plain ? signatures.get(job.spec) : undefined;
  if (known !== undefined) return known;
  const request = requestOf(job);
  const { gpus, gpuModel, gpuMemoryMiBMin, cpuMilli, memoryMiB, diskMiB } = request.needs;
  const { regions, workers, providers, avoid } = request.placement;
  const anywhere = regions === undefined && workers === undefined && providers === undefined && avoid === undefined;
  const placement = anywhere ? "" : JSON.stringify([regions, workers, providers, avoid]);
  const apart =
    job.check !== undefined
      ? `check ${job.id}`
      : (job.standbyId ?? (job.mirror === undefined ? "" : `mirror ${job.epoch > 0 ? job.id : ""}`));
  const egress = request.egress?.limit?.priceMaxPerGiB ?? "";
  const numbers = `${gpus} ${gpuMemoryMiBMin} ${cpuMilli} ${memoryMiB} ${diskMiB} ${request.rateMax} ${job.currency} ${egress}`;
  const again = request.takesKept ? "again " : "";
  const key = `${again}${numbers}|${gpuModel ?? ""}|${request.image ?? ""}|${request.features.join()}|${placement}|${apart}`;
  if (plain) signatures.set(job.spec, key);
  return key;
}

// ── Attempts and standbys: what they take of their workers ──

function indexAttempt(state: CoreState, before?: AttemptRecord, after?: AttemptRecord): void {
  const record = (after ?? before) as AttemptRecord;
  linkOf(state.ix, record.jobId, (links) => links.attempts, record.id, after !== undefined);
  const was = before !== undefined && isActiveAttempt(before);
  const is = after !== undefined && isActiveAttempt(after);
  if (was === is) return;
  const machine = machineOf(state, record.workerId);
  if (is) machine.attempts.add(record.id);
  else machine.attempts.delete(record.id);
  if (jobOf(state, record.jobId).spec.standby === "hot") machine.hotAttempts += is ? 1 : -1;
  take(state, machine, record.jobId, record.allocation, is ? 1 : -1);
  if (!is) state.volatile.live.delete(record.id);
}

function indexStandby(state: CoreState, before?: StandbyRecord, after?: StandbyRecord): void {
  const record = (after ?? before) as StandbyRecord;
  linkOf(state.ix, record.jobId, (links) => links.standbys, record.id, after !== undefined);
  const was = before !== undefined && isLiveStandby(before);
  const is = after !== undefined && isLiveStandby(after);
  if (was === is) return;
  const machine = machineOf(state, record.workerId);
  if (is) machine.standbys.add(record.id);
  else machine.standbys.delete(record.id);
  take(state, machine, record.jobId, record.allocation, is ? 1 : -1);
}

function linkOf<Id extends AttemptId | StandbyId>(
  ix: Indexes,
  jobId: JobId,
  pick: (links: JobLinks) => Set<Id>,
  id: Id,
  present: boolean,
): void {
  let links = ix.links.get(jobId);
  if (links === undefined) ix.links.set(jobId, (links = { attempts: new Set(), standbys: new Set() }));
  if (present) pick(links).add(id);
  else pick(links).delete(id);
  if (links.attempts.size === 0 && links.standbys.size === 0) ix.links.delete(jobId);
}

function take(state: CoreState, machine: Machine, jobId: JobId, allocation: Allocation, sign: 1 | -1): void {
  machine.usedCpuMilli += sign * allocation.cpuMilli;
  machine.usedMemoryMiB += sign * allocation.memoryMiB;
  machine.usedDiskMiB += sign * allocation.diskMiB;
  for (const uuid of allocation.gpuUuids) {
    if (sign > 0) machine.usedGpus.add(uuid);
    else machine.usedGpus.delete(uuid);
  }
  if (sign < 0) machine.gained = true;
  state.ix.market.dirty.add(machine);
  const accountId = jobOf(state, jobId).accountId;
  addUsage(state.ix.usage, accountId, allocation, sign);
}

function addUsage(usage: Map<AccountId, Usage>, accountId: AccountId, allocation: Allocation, sign: 1 | -1): void {
  let mine = usage.get(accountId);
  if (mine === undefined) usage.set(accountId, (mine = { gpus: 0, cpuMilli: 0, memoryMiB: 0 }));
  mine.gpus += sign * allocation.gpuUuids.length;
  mine.cpuMilli += sign * allocation.cpuMilli;
  mine.memoryMiB += sign * allocation.memoryMiB;
  if (mine.cpuMilli === 0 && mine.memoryMiB === 0) usage.delete(accountId);
}

function machineOf(state: CoreState, workerId: WorkerId): Machine {
  const machine = state.ix.machines.get(workerId);
  assert(machine !== undefined, () => `no worker ${workerId} for an attempt or standby`);
  return machine;
}

function jobOf(state: CoreState, jobId: JobId): JobRecord {
  const job = state.rows.jobs.get(jobId);
  assert(job !== undefined, () => `no job ${jobId} for an attempt or standby`);
  return job;
}

function count(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
