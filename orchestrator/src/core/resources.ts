// What a job needs, what a worker has, whether it fits, and what it would cost an hour.
import { rateFor, type RatePart, ratePartsFor } from "@qubix/shared/domain";
import type { JobSpec, WorkerOffer } from "@qubix/shared/protocol";
import type { Machine } from "./machine.ts";
import type { Allocation } from "./model.ts";

export interface Needs {
  readonly gpus: number;
  readonly gpuModel: string | null;
  readonly gpuMemoryMiBMin: number;
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

const MILLI = 1_000;

export function needsOf(spec: JobSpec): Needs {
  const { gpus, cpus, memoryMiB, diskMiB } = spec.resources;
  return {
    gpus: gpus.count,
    gpuModel: gpus.model ?? null,
    gpuMemoryMiBMin: gpus.memoryMiBMin ?? 0,
    cpuMilli: Math.round(cpus * MILLI),
    memoryMiB,
    diskMiB,
  };
}

/** Micro-units an hour, fee included; `null` where the offer has no price for it in this currency. */
export function rateOf(offer: WorkerOffer, needs: Needs, currency: string): bigint | null {
  return rateFor(offer, needs, currency);
}

/** Kept with what has a rate of several parts; of one part alone the rate itself says all. */
export function keptParts(machine: Machine, needs: Needs, currency: string): readonly RatePart[] | undefined {
  const { offer } = machine.worker;
  const parts = offer === null ? null : ratePartsFor(offer, needs, currency);
  return parts === null || parts.length < 2 ? undefined : parts;
}

/** Micro-units an hour while it stands by, and once it is promoted. */
export interface StandbyRates {
  readonly ratePerHour: bigint;
  readonly fullRatePerHour: bigint;
}

/**
 * What a standby would cost on this machine, for a job whose dearest attempt and standby so far had the rates `had`.
 * `undefined` where the job's cap over everything does not allow it.
 */
export function standbyRatesAt(
  machine: Machine,
  request: { readonly needs: Needs; readonly currency: string },
  had: { readonly rateMax: bigint; readonly standbyRateMax: bigint },
  cap: bigint,
): StandbyRates | undefined {
  const { offer } = machine.worker;
  const fullRatePerHour = offer === null ? null : rateOf(offer, request.needs, request.currency);
  if (offer === null || fullRatePerHour === null) return undefined;
  const ratePerHour = (fullRatePerHour * BigInt(offer.standbyPercent)) / 100n;
  const most = larger(had.rateMax, fullRatePerHour) + larger(had.standbyRateMax, ratePerHour);
  return most <= cap ? { ratePerHour, fullRatePerHour } : undefined;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** `A100` is any model with the word A100 in its name: every word that is asked for must be there, in any case. */
export function gpuModelMatches(wanted: string, model: string): boolean {
  const words = wordsOf(model);
  return wordsOf(wanted).every((word) => words.includes(word));
}

function wordsOf(text: string): readonly string[] {
  return text
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

/** The GPUs to take, smallest memory first, so that large ones stay free for those who need them; `undefined` when there are too few. */
export function pickGpus(machine: Machine, needs: Needs): readonly string[] | undefined {
  if (needs.gpus === 0) return [];
  const offered = machine.worker.offer?.gpus ?? [];
  const fitting = offered.filter((gpu) => gpuIsFree(machine, gpu.uuid) && gpuFits(gpu, needs));
  if (fitting.length < needs.gpus) return undefined;
  fitting.sort((a, b) => a.memoryMiB - b.memoryMiB);
  return fitting.slice(0, needs.gpus).map((gpu) => gpu.uuid);
}

/** …and those it would take if nothing else were there. */
export function pickGpusWhenIdle(
  { listedGpus, worker: { offer } }: Machine,
  needs: Needs,
): readonly string[] | undefined {
  const listed = (offer?.gpus ?? []).filter(({ uuid }) => listedGpus === null || listedGpus.has(uuid));
  const fitting = listed.filter((gpu) => gpuFits(gpu, needs));
  if (fitting.length < needs.gpus) return undefined;
  const bySize = fitting.toSorted((a, b) => a.memoryMiB - b.memoryMiB);
  return bySize.slice(0, needs.gpus).map(({ uuid }) => uuid);
}

/** Not taken, counts in the market, and is not being proven. */
export function gpuIsFree(machine: Machine, uuid: string): boolean {
  if (machine.usedGpus.has(uuid) || (machine.owes.size > 0 && machine.owes.has(`gpu:${uuid}`))) return false;
  return machine.listedGpus === null || machine.listedGpus.has(uuid);
}

export function gpuFits(gpu: { readonly model: string; readonly memoryMiB: number }, needs: Needs): boolean {
  if (gpu.memoryMiB < needs.gpuMemoryMiBMin) return false;
  return needs.gpuModel === null || gpuModelMatches(needs.gpuModel, gpu.model);
}

/** Whether it fits beside what is there now. */
export function fits(machine: Machine, needs: Needs): boolean {
  const offer = machine.worker.offer;
  if (offer === null) return false;
  if (machine.cpuMilli - machine.usedCpuMilli < needs.cpuMilli) return false;
  if (offer.memoryMiB - machine.usedMemoryMiB < needs.memoryMiB) return false;
  if (offer.diskMiB - machine.usedDiskMiB < needs.diskMiB) return false;
  return needs.gpus === 0 || pickGpus(machine, needs) !== undefined;
}

/** Whether it would fit if nothing else were there. */
export function fitsWhenIdle(machine: Machine, needs: Needs): boolean {
  const { offer } = machine.worker;
  if (offer === null || machine.cpuMilli < needs.cpuMilli) return false;
  if (offer.memoryMiB < needs.memoryMiB || offer.diskMiB < needs.diskMiB) return false;
  return needs.gpus === 0 || pickGpusWhenIdle(machine, needs) !== undefined;
}

/** Whether exactly this allocation, its very GPUs, is free on the worker. */
export function allocationFree(machine: Machine, allocation: Allocation): boolean {
  const offer = machine.worker.offer;
  if (offer === null) return false;
  if (machine.cpuMilli - machine.usedCpuMilli < allocation.cpuMilli) return false;
  if (offer.memoryMiB - machine.usedMemoryMiB < allocation.memoryMiB) return false;
  if (offer.diskMiB - machine.usedDiskMiB < allocation.diskMiB) return false;
  return allocation.gpuUuids.every(
    (uuid) => !machine.usedGpus.has(uuid) && offer.gpus.some((gpu) => gpu.uuid === uuid),
  );
}
