// What the worker offers now: put together from what the machine has, what its owner says and what its own checks found, anew whenever one of them changes.
import type { Money } from "@qubix/shared/domain";
import type { Gpu, Hardware, SealingKey, OfferedFeature, WorkerOffer } from "@qubix/shared/protocol";
import type { Machine } from "../machine/machine.ts";
import type { GpuDetection } from "../gpu/nvidia-smi.ts";

/** What the machine keeps for itself of its memory and of the disk that is free. */
const MEMORY_RESERVE_SHARE = 0.1;
const MEMORY_RESERVE_MIB_MIN = 512;
const DISK_RESERVE_SHARE = 0.1;

/** What the owner asks and allows. Sizes left out are taken from the machine. */
export interface OwnerTerms {
  readonly cpus?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly diskMiB?: number | undefined;
  readonly region: string;
  readonly pricePerCpuHour: Money;
  readonly pricePerGpuHour?: Money | undefined;
  readonly pricePerGpuJobCpuHour?: Money | undefined;
  readonly pricePerMemoryGiBHour?: Money | undefined;
  readonly pricePerDiskGiBHour?: Money | undefined;
  readonly pricePerEgressGiB?: Money | undefined;
  readonly standbyPercent: number;
  readonly localImages: readonly string[];
}

/** Why no new work is taken: its owner said so, it is a quiet hour, somebody uses the GPU, … */
export type PauseReason = "drained" | "quiet_hours" | "gpu_in_use" | "maintenance";

/** All that an offer is made of. */
export interface OfferParts {
  readonly machine: Machine;
  readonly detection: GpuDetection;
  readonly terms: OwnerTerms;
  readonly pauses: ReadonlySet<PauseReason>;
  /** GPUs that are there and not offered now: in use by the owner, or in trouble. */
  readonly withheldGpus: ReadonlySet<string>;
  /** Containers cannot be given GPUs safely here: none is offered. */
  readonly gpusUnsafe?: boolean | undefined;
  /** Each only while its own check passes. */
  readonly features: ReadonlySet<OfferedFeature>;
  readonly hardware?: Hardware | undefined;
  readonly sealingKey?: SealingKey | undefined;
  /** What runs here is to go elsewhere now. */
  readonly leaving?: "drain" | "maintenance" | undefined;
  /** Where other workers can connect now, for checkpoints. */
  readonly directAddresses?: readonly string[] | undefined;
}

export interface OfferKeeper {
  parts(): OfferParts;
  offer(): WorkerOffer;
  /** Replaces parts; the orchestrator hears of it when the offer is another one then. */
  update(patch: Partial<OfferParts>): void;
}

export function createOfferKeeper(initial: OfferParts, changed: (offer: WorkerOffer) => void): OfferKeeper {
  let parts = initial;
  let offer = offerOf(parts);
  return {
    parts: () => parts,
    offer: () => offer,
    update(patch) {
      parts = { ...parts, ...patch };
      const next = offerOf(parts);
      if (textOf(next) === textOf(offer)) return;
      offer = next;
      changed(offer);
    },
  };
}

/** Adds or takes away one reason for a pause; the others stay. */
export function setPause(keeper: OfferKeeper, reason: PauseReason, on: boolean): void {
  const pauses = new Set(keeper.parts().pauses);
  if (pauses.has(reason) === on) return;
  if (on) pauses.add(reason);
  else pauses.delete(reason);
  keeper.update({ pauses });
}

/** The offer for the market. Pure. GPUs are offered only at a price. */
export function offerOf({ machine, terms, ...parts }: OfferParts): WorkerOffer {
  const memoryReserve = Math.max(MEMORY_RESERVE_MIB_MIN, Math.ceil(machine.memoryMiB * MEMORY_RESERVE_SHARE));
  const features = [...parts.features].toSorted();
  return {
    gpus:
      terms.pricePerGpuHour === undefined || parts.gpusUnsafe === true
        ? []
        : offeredGpus(parts.detection, parts.withheldGpus),
    cpus: terms.cpus ?? machine.cpus,
    memoryMiB: terms.memoryMiB ?? Math.max(1, machine.memoryMiB - memoryReserve),
    diskMiB: terms.diskMiB ?? Math.floor(machine.diskMiBFree * (1 - DISK_RESERVE_SHARE)),
    region: terms.region,
    ...(terms.pricePerGpuHour === undefined ? {} : { pricePerGpuHour: terms.pricePerGpuHour }),
    pricePerCpuHour: terms.pricePerCpuHour,
    ...pricesApart(terms),
    standbyPercent: terms.standbyPercent,
    localImages: [...terms.localImages],
    draining: parts.pauses.size > 0,
    ...(parts.leaving === undefined ? {} : { leaving: parts.leaving }),
    ...(features.length === 0 ? {} : { features }),
    ...(parts.hardware === undefined ? {} : { hardware: parts.hardware }),
    ...(parts.sealingKey === undefined ? {} : { sealingKey: parts.sealingKey }),
    ...(parts.directAddresses === undefined || parts.directAddresses.length === 0
      ? {}
      : { directAddresses: [...parts.directAddresses] }),
  };
}

/** Left out where there is none: older orchestrators know none of them. */
function pricesApart(terms: OwnerTerms): Partial<Pick<WorkerOffer, ApartName>> {
  return Object.fromEntries(
    APART.flatMap((name) => {
      const price = terms[name];
      return price === undefined ? [] : [[name, price]];
    }),
  );
}

const APART = ["pricePerGpuJobCpuHour", "pricePerMemoryGiBHour", "pricePerDiskGiBHour", "pricePerEgressGiB"] as const;
type ApartName = (typeof APART)[number];

function offeredGpus(detection: GpuDetection, withheld: ReadonlySet<string>): Gpu[] {
  if (detection.kind !== "gpus") return [];
  return detection.gpus.filter(({ uuid }) => !withheld.has(uuid)).map((gpu) => ({ ...gpu }));
}

function textOf(offer: WorkerOffer): string {
  return JSON.stringify(offer, (_key, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}
