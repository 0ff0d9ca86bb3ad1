// What the network of a job with `egress` is called: in the Engine, as an interface of the machine, and in its firewall. Several agents may share
// one machine, so every name says whose it is, and can be derived again after a crash.
import { createHash } from "node:crypto";
import type { SlotId } from "../../core/index.ts";
import { slotFileName } from "../slot-folders.ts";

/** Interfaces of all agents' job networks begin with this. */
export const BRIDGE_PREFIX = "qx";
/** Chains of all agents begin with this. */
export const CHAIN_PREFIX = "QUBIX-";
/** An interface's name has at most 15 characters: prefix, worker and slot take 14. */
const WORKER_DIGITS = 6;
const SLOT_DIGITS = 6;

/** Matches every bridge of this worker in a rule, now and later. */
export function bridgePattern(workerId: string): string {
  return `${BRIDGE_PREFIX}${digits(workerId, WORKER_DIGITS)}+`;
}

export function bridgeName(workerId: string, slotId: SlotId): string {
  return `${BRIDGE_PREFIX}${digits(workerId, WORKER_DIGITS)}${digits(`${workerId}\n${slotId}`, SLOT_DIGITS)}`;
}

export function networkName(workerId: string, slotId: SlotId): string {
  return `qubix-${workerId}-${slotFileName(slotId)}`;
}

/** At most 28 characters. `out`: from a job; `destination`: where to; `into`: towards a job; `raw`: before everything else. */
export interface ChainNames {
  readonly out: string;
  readonly destination: string;
  readonly into: string;
  readonly raw: string;
}

export function chainNames(workerId: string): ChainNames {
  const stem = `${CHAIN_PREFIX}${digits(workerId, WORKER_DIGITS)}`;
  return { out: `${stem}-OUT`, destination: `${stem}-DST`, into: `${stem}-IN`, raw: `${stem}-RAW` };
}

function digits(text: string, count: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, count);
}
