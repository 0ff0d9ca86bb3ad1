// What the offer says of the machine beside its size. Figures are coarse: the offer must not change with every look.
import type { Hardware } from "@qubix/shared/protocol";
import type { DiskSpeed } from "./disk-speed.ts";
import type { LineSpeed } from "./line-speed.ts";
import type { Machine } from "./machine.ts";

/** What was measured, as the journal keeps it. */
export interface Measured {
  readonly line?: LineSpeed | undefined;
  readonly disk?: DiskSpeed | undefined;
}

/** A figure that moves by less than this share is the same as before. */
const STEADY_SHARE = 0.2;

export function hardwareOf(machine: Machine, measured: Measured): Hardware {
  const hardware = {
    cpuModel: machine.cpuModel,
    cpuThreads: machine.cpus,
    cpuCores: machine.cpuCores,
    diskMiB: machine.diskMiB,
    diskWriteMBps: coarse(measured.disk?.writeMBps),
    diskReadMBps: coarse(measured.disk?.readMBps),
    uplinkMbps: coarse(measured.line?.uplinkMbps),
    downlinkMbps: coarse(measured.line?.downlinkMbps),
  };
  return Object.fromEntries(Object.entries(hardware).filter(([, value]) => value !== undefined)) as Hardware;
}

/** Two digits: 1,234 → 1,200. */
export function coarse(value: number | undefined): number | undefined {
  if (value === undefined || !Number.isFinite(value) || value <= 0) return undefined;
  return Number(value.toPrecision(2));
}

/** The new figures, but for those that are much like the old ones. */
export function steady<T extends object>(before: T | undefined, now: T): T {
  if (before === undefined) return now;
  const entries = Object.entries(now).map(([key, value]: [string, unknown]) => {
    const old = (before as Readonly<Record<string, unknown>>)[key];
    if (typeof old !== "number" || typeof value !== "number") return [key, value];
    return [key, Math.abs(value - old) <= STEADY_SHARE * old ? old : value];
  });
  return Object.fromEntries(entries) as T;
}
