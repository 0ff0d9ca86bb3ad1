// The market as people see it: what each worker can run now, and at what price.
import type { WorkerId } from "@qubix/shared/domain";
import { toWireMoney, type offerViewSchema, type workerViewSchema } from "@qubix/shared/protocol";
import type { z } from "zod";
import {
  freeCapacity,
  lastHeardMs,
  listWorkers,
  liveJobIdsOf,
  type CoreState,
  type WorkerRecord,
} from "../core/index.ts";

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

/** A worker is on offer while it is connected and takes new work. */
export function isOffered(worker: WorkerRecord): boolean {
  return worker.phase === "online" && worker.offer !== null && !isDraining(worker);
}

/** None for a worker that never said what it has. */
export function viewOffer(state: CoreState, worker: WorkerRecord): readonly OfferView[] {
  const { offer } = worker;
  if (offer === null) return [];
  const free = freeCapacity(state, worker.id);
  const view: OfferView = {
    workerId: worker.id,
    providerId: worker.providerId,
    name: worker.name,
    region: offer.region,
    gpus: offer.gpus.map(({ model, memoryMiB }) => ({ model, memoryMiB })),
    gpusFree: free?.gpuUuids.length ?? 0,
    cpus: offer.cpus,
    cpusFree: (free?.cpuMilli ?? 0) / MILLI_PER_CORE,
    memoryMiB: offer.memoryMiB,
    memoryMiBFree: free?.memoryMiB ?? 0,
    diskMiB: offer.diskMiB,
    diskMiBFree: free?.diskMiB ?? 0,
    pricePerGpuHour:
      offer.pricePerGpuHour === undefined
        ? null
        : toWireMoney(offer.pricePerGpuHour.amount, offer.pricePerGpuHour.currency),
    pricePerCpuHour: toWireMoney(offer.pricePerCpuHour.amount, offer.pricePerCpuHour.currency),
    standbyPercent: offer.standbyPercent,
  };
  return [view];
}

export function viewWorker(state: CoreState, worker: WorkerRecord, nowMs: number): WorkerView {
  const { offer } = worker;
  const held = liveJobIdsOf(state, worker.id);
  const heardMs = lastHeardMs(state, worker.id);
  return {
    id: worker.id,
    name: worker.name,
    providerId: worker.providerId,
    phase: worker.phase,
    draining: isDraining(worker),
    region: offer?.region ?? "unknown",
    gpus: (offer?.gpus ?? []).map(({ uuid, model, memoryMiB }) => ({ uuid, model, memoryMiB })),
    cpus: offer?.cpus ?? 0,
    memoryMiB: offer?.memoryMiB ?? 0,
    attempts: [...held.attempts],
    standbys: [...held.standbys],
    earned: worker.earned.map(({ amount, currency }) => toWireMoney(amount, currency)),
    lastSeenMsAgo: heardMs === undefined ? null : Math.max(0, Math.round(nowMs - heardMs)),
  };
}

/** Its owner said so on the machine, or over the API. */
function isDraining(worker: WorkerRecord): boolean {
  return worker.draining || (worker.offer?.draining ?? false);
}
