// What agent and guard say to each other: two small files in a folder in memory. The guard depends on nothing else of the agent, which may be stopped or dead.
// Each is written by one of the two and replaced whole, so that a reader sees the old content or the new.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../runner/slot-notes.ts";

/** The agent's word. */
export interface Leases {
  /** Of the guard that is in charge: one with a lower number ends. */
  readonly generation: number;
  /** The guard stays though there is no container: one is about to come. */
  readonly stay: boolean;
  readonly agentPid: number;
  readonly entries: readonly LeaseEntry[];
}

export interface LeaseEntry {
  readonly slotId: string;
  /** The Engine's name for the container. */
  readonly containerId: string;
  /** Milliseconds of the boot-time clock: from then on the container may not run. */
  readonly untilMs: number;
}

/** How a container is kept from running. `removed`: it was never started. `gone`: there is none, or it has ended. */
export type Hold = "paused" | "frozen" | "killed" | "removed" | "gone";

/** The guard's word. */
export interface GuardStatus {
  readonly pid: number;
  readonly generation: number;
  /** When it last looked. */
  readonly beatMs: number;
  /** By container. */
  readonly wards: Readonly<Record<string, WardStatus>>;
}

export interface WardStatus {
  readonly hold: Hold | null;
  /** Since when it is held. */
  readonly sinceMs: number;
  /** How long it was held before that, in all. */
  readonly heldMs: number;
}

const LEASES = "leases.json";
const STATUS = "guard.json";

export function writeLeases(folder: string, leases: Leases): void {
  replaceFile(join(folder, LEASES), JSON.stringify(leases));
}

/** Undefined where there is none. */
export function readLeases(folder: string): Leases | undefined {
  return readJson(join(folder, LEASES)) as Leases | undefined;
}

/** Another text for another content; empty where there is none. Cheaper than reading. */
export function leasesVersion(folder: string): string {
  try {
    const { ino, mtimeNs, size } = statSync(join(folder, LEASES), { bigint: true });
    return `${ino} ${mtimeNs} ${size}`;
  } catch {
    return "";
  }
}

export function writeStatus(folder: string, status: GuardStatus): void {
  replaceFile(join(folder, STATUS), JSON.stringify(status));
}

export function readStatus(folder: string): GuardStatus | undefined {
  return readJson(join(folder, STATUS)) as GuardStatus | undefined;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as unknown;
  } catch {
    return undefined;
  }
}
