// What this machine can offer: detected, less what it needs for itself, or what its owner says.
import { statfs } from "node:fs/promises";
import { cpu, mem } from "systeminformation";
import type { Gpu, WorkerOffer } from "@qubix/shared/protocol";
import type { Money } from "@qubix/shared/domain";
import { type GpuDetection } from "./nvidia-smi.ts";

/** What the machine keeps for itself of its memory and of the disk that is free. */
const MEMORY_RESERVE_SHARE = 0.1;
const MEMORY_RESERVE_MIB_MIN = 512;
const DISK_RESERVE_SHARE = 0.1;
const MIB = 1024 * 1024;

export interface Machine {
  readonly cpus: number;
  readonly memoryMiB: number;
  /** Free now in the file system of the data directory. */
  readonly diskMiBFree: number;
}

/** What the owner asks and allows. Sizes left out are taken from the machine. */
export interface OwnerTerms {
  readonly cpus?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly diskMiB?: number | undefined;
  readonly region: string;
  readonly pricePerCpuHour: Money;
  readonly pricePerGpuHour?: Money | undefined;
  readonly standbyPercent: number;
  readonly localImages: readonly string[];
}

export async function detectMachine(dataDir: string): Promise<Machine> {
  const [processor, memory, disk] = await Promise.all([cpu(), mem(), statfs(dataDir)]);
  return {
    cpus: Math.max(1, processor.cores),
    memoryMiB: Math.floor(memory.total / MIB),
    diskMiBFree: Math.floor((disk.bavail * disk.bsize) / MIB),
  };
}

/** The offer for the market. Pure. GPUs are offered only at a price. */
export function offerOf(machine: Machine, detection: GpuDetection, terms: OwnerTerms, draining: boolean): WorkerOffer {
  const memoryReserve = Math.max(MEMORY_RESERVE_MIB_MIN, Math.ceil(machine.memoryMiB * MEMORY_RESERVE_SHARE));
  const gpus: Gpu[] =
    detection.kind === "gpus" && terms.pricePerGpuHour !== undefined ? detection.gpus.map((gpu) => ({ ...gpu })) : [];
  return {
    gpus,
    cpus: terms.cpus ?? machine.cpus,
    memoryMiB: terms.memoryMiB ?? Math.max(1, machine.memoryMiB - memoryReserve),
    diskMiB: terms.diskMiB ?? Math.floor(machine.diskMiBFree * (1 - DISK_RESERVE_SHARE)),
    region: terms.region,
    ...(terms.pricePerGpuHour === undefined ? {} : { pricePerGpuHour: terms.pricePerGpuHour }),
    pricePerCpuHour: terms.pricePerCpuHour,
    standbyPercent: terms.standbyPercent,
    localImages: [...terms.localImages],
    draining,
  };
}
