// What `nvidia-smi --query-gpu --format=csv,noheader,nounits` and `nvidia-smi -L` tell. Fields that a card cannot give read "[N/A]" or "[Not Supported]".
import type { Gpu } from "@qubix/shared/protocol";
import type { GpuDetection } from "./cards.ts";
import { knownValue, plainModel } from "./query-xml.ts";

/** What is asked where the XML does not serve. */
export const CARD_FIELDS = ["uuid", "name", "memory.total", "driver_version", "compute_cap"] as const;
export const CAPABILITY_FIELDS = ["uuid", "compute_cap"] as const;
/** What is asked again and again, because it costs little. The number and the bus address are there when the UUID no longer is. */
export const PULSE_FIELDS = [
  "index",
  "uuid",
  "pci.bus_id",
  "memory.used",
  "utilization.gpu",
  "temperature.gpu",
] as const;

export function queryArgs(fields: readonly string[]): readonly string[] {
  return [`--query-gpu=${fields.join(",")}`, "--format=csv,noheader,nounits"];
}

/** Reads the answer to {@link CARD_FIELDS}. A line without a usable UUID or name makes the whole answer `broken`: half a list would offer the wrong cards. */
export function parseGpus(csv: string): GpuDetection {
  const lines = csv
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (lines.some(saysNone)) return { kind: "gpus", gpus: [] };
  const gpus: Gpu[] = [];
  for (const line of lines) {
    const gpu = parseLine(line);
    if (gpu === undefined) return { kind: "broken", message: line.slice(0, 500) };
    gpus.push(gpu);
  }
  return { kind: "gpus", gpus };
}

function parseLine(line: string): Gpu | undefined {
  // Only a name could hold a comma, and none does; counted from both ends it would not matter.
  const parts = line.split(",").map((part) => part.trim());
  if (parts.length < CARD_FIELDS.length) return undefined;
  const [uuid = ""] = parts;
  const [memory, driver, capability] = parts.slice(-3).map(knownValue);
  const model = plainModel(knownValue(parts.slice(1, -3).join(", ")));
  if (!/^(GPU|MIG)-[0-9a-zA-Z-]+/.test(uuid) || model === undefined) return undefined;
  const memoryMiB = Number(memory ?? 0);
  if (!Number.isInteger(memoryMiB) || memoryMiB < 0) return undefined;
  return {
    uuid,
    model,
    memoryMiB,
    ...(driver === undefined ? {} : { driverVersion: driver }),
    ...(capability === undefined ? {} : { computeCapability: capability }),
  };
}

/** Reads the answer to {@link CAPABILITY_FIELDS}; drivers before 510 do not know the field, and answer with a complaint. */
export function parseCapabilities(csv: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of csv.split("\n")) {
    const [uuid = "", capability = ""] = line.split(",").map((part) => part.trim());
    if (uuid.startsWith("GPU-") && /^\d+\.\d+$/.test(capability)) found.set(uuid, capability);
  }
  return found;
}

/** One card's line of the pulse. `trouble`: the driver says that the card is of no use. */
export interface Pulse {
  readonly index?: number | undefined;
  readonly uuid?: string | undefined;
  readonly busId?: string | undefined;
  readonly memoryUsedMiB?: number | undefined;
  readonly gpuPercent?: number | undefined;
  readonly temperatureC?: number | undefined;
  readonly trouble?: string | undefined;
}

/** Reads one line of the answer to {@link PULSE_FIELDS}; undefined for one that is something else. */
export function parsePulse(line: string): Pulse | undefined {
  const parts = line.split(",").map((part) => part.trim());
  if (parts.length !== PULSE_FIELDS.length) return undefined;
  const [index, uuid, busId, memory, percent, temperature] = parts.map(knownValue);
  const trouble = parts.find((part) => /is lost|requires reset/i.test(part));
  if (index === undefined && uuid === undefined && busId === undefined && trouble === undefined) return undefined;
  return {
    index: toNumber(index),
    uuid,
    busId,
    memoryUsedMiB: toNumber(memory),
    gpuPercent: toNumber(percent),
    temperatureC: toNumber(temperature),
    trouble: trouble?.replace(/^\[|\]$/g, ""),
  };
}

function toNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

export interface ListedPartition {
  readonly parentUuid: string;
  readonly index: number;
  readonly profile: string;
  readonly uuid: string;
}

/** Reads `nvidia-smi -L` for the partitions of cards in MIG mode. Drivers before 470 name them by card and instances: `MIG-GPU-…/7/0`. */
export function parsePartitions(list: string): readonly ListedPartition[] {
  const found: ListedPartition[] = [];
  let parentUuid: string | undefined;
  for (const line of list.split("\n")) {
    const card = /^GPU \d+: .*\(UUID: (GPU-[0-9A-Za-z-]+)\)/.exec(line);
    if (card !== null) parentUuid = card[1];
    const part = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[0-9A-Za-z/-]+)\)/.exec(line);
    const [, profile, index, uuid] = part ?? [];
    if (parentUuid === undefined || profile === undefined || uuid === undefined) continue;
    found.push({ parentUuid, index: Number(index), profile, uuid });
  }
  return found;
}

export function saysNone(text: string): boolean {
  return /no devices were found/i.test(text);
}

/**
 * The cards that a complaint names: `Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU`.
 * With one such card most drivers say nothing of the others.
 */
export function lostCardsOf(text: string): readonly { readonly busId: string; readonly message: string }[] {
  // Long lines are wrapped by some versions.
  const flat = text.replace(/\s+/g, " ");
  const pattern =
    /unable to determine the device handle for gpu ?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])[:.] ?([^.]*)/gi;
  return [...flat.matchAll(pattern)].map(([, busId = "", why = ""]) => ({
    busId,
    message: why.trim() || "GPU is lost",
  }));
}
