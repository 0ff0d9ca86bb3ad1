// The market as people see it: what each worker can run now, and at what price.
import type { Money, WorkerId } from "@qubix/shared/domain";
import { toWireMoney, type offerViewSchema, type WireMoney, type workerViewSchema } from "@qubix/shared/protocol";
import type { z } from "zod";
import {
  balanceOf,
  freeCapacity,
  lastHeardMs,
  listedHardware,
  listWorkers,
  type Reputation,
  reputationOf,
  standingOf,
  liveJobIdsOf,
  workerProofs,
  type CoreState,
  type ProofFailure,
  type ProofRecord,
  type ProofState,
  type WorkerRecord,
} from "../core/index.ts";
import type { Backing } from "../settlement/chains.ts";

export type OfferView = z.output<typeof offerViewSchema>;
export type WorkerView = z.output<typeof workerViewSchema>;

const MILLI_PER_CORE = 1000;

/** Workers in the order of their ids, from the one after `after` on, that `keep` lets through; at most `limit`. */
export function workersAfter(
  state: CoreState,
  after: WorkerId | undefined,
  limit: number,
  keep: (worker: WorkerRecord) => boolean,
): readonly WorkerRecord[] {
  const found: WorkerRecord[] = [];
  for (const worker of listWorkers(state)) {
    if ((after === undefined || worker.id > after) && keep(worker)) found.push(worker);
  }
  return found.toSorted((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit);
}

/** A worker is on offer while it is connected, takes new work and has proven its cores and memory where it must. */
export function isOffered(state: CoreState, worker: WorkerRecord): boolean {
  if (worker.phase !== "online" || worker.offer === null || isDraining(worker)) return false;
  return listedHardware(state, worker.id).cores;
}

/** None for a worker that never said what it has. */
export function viewOffer(
  state: CoreState,
  worker: WorkerRecord,
  backing: (currency: string) => Backing,
): readonly OfferView[] {
  const { offer } = worker;
  if (offer === null) return [];
  const free = freeCapacity(state, worker.id);
  const listed = listedHardware(state, worker.id).gpuUuids;
  const proofs = new Map(workerProofs(state, worker.id).map(({ claim, proof }) => [claim.key, proof]));
  const view: OfferView = {
    workerId: worker.id,
    providerId: worker.providerId,
    name: worker.name,
    region: offer.region,
    gpus: offer.gpus
      .filter(({ uuid }) => listed === null || listed.has(uuid))
      .map(({ uuid, migParentUuid: _its, ...gpu }) => ({ ...gpu, ...verification(proofs.get(`gpu:${uuid}`)) })),
    gpusFree: free?.gpuUuids.length ?? 0,
    cpus: offer.cpus,
    cpusFree: (free?.cpuMilli ?? 0) / MILLI_PER_CORE,
    memoryMiB: offer.memoryMiB,
    memoryMiBFree: free?.memoryMiB ?? 0,
    diskMiB: offer.diskMiB,
    diskMiBFree: free?.diskMiB ?? 0,
    pricePerGpuHour: priceView(offer.pricePerGpuHour),
    pricePerCpuHour: toWireMoney(offer.pricePerCpuHour.amount, offer.pricePerCpuHour.currency),
    pricePerGpuJobCpuHour: priceView(offer.pricePerGpuJobCpuHour),
    pricePerMemoryGiBHour: priceView(offer.pricePerMemoryGiBHour),
    pricePerDiskGiBHour: priceView(offer.pricePerDiskGiBHour),
    pricePerEgressGiB: priceView(offer.pricePerEgressGiB),
    standbyPercent: offer.standbyPercent,
    settledBy: backing((offer.pricePerGpuHour ?? offer.pricePerCpuHour).currency),
    standing: viewStanding(worker, state.nowMs),
    reputation: viewReputation(reputationOf(state, worker)),
    stake: stakeOf(state, worker, offer),
    ...verification(proofs.get("cpu")),
    ...(offer.hardware === undefined ? {} : { hardware: offer.hardware }),
  };
  return [view];
}

function priceView(price: Money | undefined): WireMoney | null {
  return price === undefined ? null : toWireMoney(price.amount, price.currency);
}

function verification(proof: ProofRecord | undefined) {
  return { verified: proof !== undefined, figures: { ...proof?.figures } };
}

export function viewWorker(state: CoreState, worker: WorkerRecord, nowMs: number): WorkerView {
  const { offer } = worker;
  const held = liveJobIdsOf(state, worker.id);
  const heardMs = lastHeardMs(state, worker.id);
  const proofs = workerProofs(state, worker.id);
  return {
    id: worker.id,
    name: worker.name,
    providerId: worker.providerId,
    phase: worker.phase,
    draining: isDraining(worker),
    region: offer?.region ?? "unknown",
    gpus: (offer?.gpus ?? []).map(({ migParentUuid: _its, ...gpu }) => gpu),
    cpus: offer?.cpus ?? 0,
    memoryMiB: offer?.memoryMiB ?? 0,
    attempts: [...held.attempts],
    standbys: [...held.standbys],
    earned: worker.earned.map(({ amount, currency }) => toWireMoney(amount, currency)),
    lastSeenMsAgo: heardMs === undefined ? null : Math.max(0, Math.round(nowMs - heardMs)),
    standing: viewStanding(worker, nowMs),
    reputation: reputationDetails(reputationOf(state, worker)),
    verified: proofs.length > 0 && proofs.every(({ proof }) => proof !== undefined),
    proofs: proofs.map((proof) => viewProof(proof, nowMs)),
    ...(offer?.hardware === undefined ? {} : { hardware: offer.hardware }),
  };
}

/** To the hundredth: more would only tell how long ago something was. */
function viewStanding(worker: WorkerRecord, nowMs: number): number {
  return Math.round(standingOf(worker, nowMs) * 100) / 100;
}

const hundredths = (value: number): number => Math.round(value * 100) / 100;

function viewReputation({ score, stars, tallies }: Reputation): OfferView["reputation"] {
  return { score: hundredths(score), stars: stars === null ? null : hundredths(stars), ratings: tallies.ratings };
}

function reputationDetails(reputation: Reputation): WorkerView["reputation"] {
  const { completed, verified, failed, disputed, wrong } = reputation.tallies;
  return {
    ...viewReputation(reputation),
    completed: hundredths(completed),
    verified: hundredths(verified),
    failed: hundredths(failed),
    disputed: hundredths(disputed),
    wrong: hundredths(wrong),
  };
}

/** In the currencies in which it sells. */
function stakeOf(state: CoreState, { providerId }: WorkerRecord, offer: NonNullable<WorkerRecord["offer"]>) {
  const currencies = new Set([offer.pricePerCpuHour.currency]);
  if (offer.pricePerGpuHour !== undefined) currencies.add(offer.pricePerGpuHour.currency);
  return [...currencies].flatMap((currency) => {
    const amount = balanceOf(state, `stake:${providerId}`, currency);
    return amount === 0n ? [] : [toWireMoney(amount, currency)];
  });
}

function viewProof({ claim, state, proof, failure }: ProofState, nowMs: number): WorkerView["proofs"][number] {
  return {
    gpuUuid: claim.target.kind === "gpu" ? claim.target.uuid : null,
    state,
    provenMsAgo: proof === undefined ? null : Math.max(0, Math.round(nowMs - proof.provenAtMs)),
    figures: { ...proof?.figures },
    failure: failure === undefined ? null : viewFailure(failure, nowMs),
  };
}

function viewFailure({ code, message, count, retryAtMs }: ProofFailure, nowMs: number) {
  return { code, message, count, retryInMs: Math.max(0, Math.round(retryAtMs - nowMs)) };
}

/** Its owner said so on the machine, or over the API. */
function isDraining(worker: WorkerRecord): boolean {
  return worker.draining || (worker.offer?.draining ?? false);
}
