// Egress with a price of its own in the virtual world: workers that price it, jobs that pay for it, containers that send, and workers that tell of more than
// they carried; what must hold of the bytes that are paid. What they cost is reckoned with all other money.
import type { AttemptRecord, JobRecord } from "@qubix/orchestrator/core";
import type { WorkerCoreEvent } from "@qubix/worker/core";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import { createRng } from "./random.ts";
import type { Intent } from "./workload.ts";

/** Apart from the world's, so that jobs and faults of the other seeds are as they were. */
const APART = 0xe6e55;
const SEEDS_EVERY = 5;
const SHARE = 0.5;
const PRICE_MAX = 60_000;
/** From what is sent within a second to what nobody sends here. */
const GIB_MAX = 0.4;
const GIB_MIN = 0.002;
/** Bytes a millisecond: a line of 16 Mbit/s at the most, where one of four is measured. */
const BYTES_PER_MS_MAX = 4_000;
const UPLINK_MBPS = 8;
/** What a liar tells of for each byte. */
const LIE = 50;

const BYTES_PER_GIB = 1n << 30n;

export function hasEgress(seed: number): boolean {
  return seed % SEEDS_EVERY === 3;
}

/** Jobs with a network, which all say how much they pay for: every worker has a place for them. */
export function withEgress(seed: number, intents: readonly Intent[]): readonly Intent[] {
  if (!hasEgress(seed)) return intents;
  const rng = createRng(seed ^ APART);
  return intents.map((intent) => {
    const [isSender, gib] = [rng.chance(SHARE), GIB_MIN + rng.next() * (rng.chance(0.5) ? 0.02 : GIB_MAX)];
    const { spec, kind } = intent;
    if (!isSender || kind === "poor" || spec.standby === "mirror" || spec.verification.mode !== "none") return intent;
    const egressPriceMaxPerGiB = { amount: BigInt(PRICE_MAX), currency: "USD" };
    return { ...intent, spec: { ...spec, network: "egress", egressGiBMax: gib, egressPriceMaxPerGiB } };
  });
}

/** What a worker's version knows of it; traffic is told in ticks. */
export function egressFeatures(seed: number, at: number, features: readonly string[]): readonly string[] {
  if (!hasEgress(seed)) return features;
  const tells = features.includes("ticks") && at % 4 !== 3;
  return [...features, "egress", ...(tells ? ["usage"] : [])];
}

export function withEgressOffer(seed: number, at: number, offer: WorkerOffer): WorkerOffer {
  if (!hasEgress(seed)) return offer;
  const rng = createRng(seed ^ APART ^ (at << 16));
  const price = rng.chance(0.7)
    ? { pricePerEgressGiB: { amount: BigInt(rng.int(0, PRICE_MAX)), currency: "USD" } }
    : {};
  const line = rng.chance(0.25)
    ? { hardware: { uplinkMbps: UPLINK_MBPS } as NonNullable<WorkerOffer["hardware"]> }
    : {};
  return { ...offer, ...price, ...line, features: [...egressFeatures(seed, at, offer.features ?? [])] };
}

/** What a container of the job of that index has sent after so long. */
export function sentAfter(index: number, ranMs: number): number {
  return Math.floor(ranMs) * ((index * 977) % BYTES_PER_MS_MAX);
}

/** What the agent sees of a container's traffic goes with what it tells of it. */
export function withSent(event: WorkerCoreEvent, index: number | undefined, lies: boolean): WorkerCoreEvent {
  if (index === undefined || (event.kind !== "exited" && event.kind !== "entry")) return event;
  return { ...event, sentBytes: sentAfter(index, event.ranMs) * (lies ? LIE : 1) };
}

/** Invariant: no byte is paid beyond what the job pays for, what the worker's line carries in the time that is paid, and what an honest worker's container sent. */
export function reckonEgress(
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  liars: ReadonlySet<string>,
  ranMsOf: (id: AttemptRecord["id"]) => number,
): void {
  const paid = attempts.reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
  const most = Math.floor((job.spec.egressGiBMax ?? 0) * Number(BYTES_PER_GIB));
  check(paid <= most, () => `invariant 5: ${job.id} is charged for ${paid} bytes sent, it pays for ${most}`);
  const priceMax = job.spec.egressPriceMaxPerGiB?.amount ?? 0n;
  for (const { id, replica, adoptedEpoch, workerId, egress, baseRanMs, creditedMs } of attempts) {
    if (egress === undefined) continue;
    const before = attempts.find((one) => one.replica === replica && one.epoch === adoptedEpoch)?.egress;
    const base = before === undefined ? 0 : before.baseBytes + before.bytes;
    check(
      egress.baseBytes === base,
      () => `invariant 5: ${id} counts from ${egress.baseBytes}, ${base} bytes were paid`,
    );
    const { bytes, baseBytes, mbpsMax, pricePerGiB } = egress;
    check(
      pricePerGiB <= priceMax,
      () => `invariant 5: ${id} costs ${pricePerGiB} a GiB, at most ${priceMax} was agreed`,
    );
    check(creditedMs > 0 || bytes === 0, () => `invariant 6: ${id} is paid ${bytes} bytes and no time`);
    const ranMs = baseRanMs + creditedMs;
    const total = baseBytes + bytes;
    check(bytes === 0 || total <= mbpsMax * 125 * ranMs, () => {
      return `invariant 6: ${id} is paid ${total} bytes in ${ranMs} ms, over a line of ${mbpsMax} Mbit/s`;
    });
    if (liars.has(workerId)) continue;
    const sent = sentAfter(Number(job.spec.command[0]), ranMsOf(id));
    check(bytes === 0 || total <= sent, () => `invariant 6: ${id} is paid ${total} bytes, its container sent ${sent}`);
  }
}

/** All that the bytes of an attempt cost. */
export function egressCost({ egress }: AttemptRecord): bigint {
  if (egress === undefined) return 0n;
  const of = (bytes: number) => (egress.pricePerGiB * BigInt(bytes)) / BYTES_PER_GIB;
  return of(egress.baseBytes + egress.bytes) - of(egress.baseBytes);
}

/** All that is held for it. */
export function egressHold({ spec }: JobRecord): bigint {
  const bytes = BigInt(Math.floor((spec.egressGiBMax ?? 0) * Number(BYTES_PER_GIB)));
  return ((spec.egressPriceMaxPerGiB?.amount ?? 0n) * bytes + BYTES_PER_GIB - 1n) / BYTES_PER_GIB;
}
