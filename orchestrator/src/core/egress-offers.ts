// Egress with a price of its own: which offers a job takes, what is agreed with a place, and what bytes cost by it.
import { egressChargeBetween, formatUnits, type Money } from "@qubix/shared/domain";
import { type EgressLimit, egressLimitOf, type JobSpec } from "@qubix/shared/protocol";
import type { Machine } from "./machine.ts";
import type { AttemptRecord, EgressAccount, EgressTerms, JobRecord } from "./model.ts";

/** A line is measured with one connection to one place: to others it may carry twice as much. */
const LINE_SLACK = 2;
/** Where no line was measured, it is taken for a good one of a home. */
const LINE_MBPS_UNKNOWN = 100;

/** What of its egress a job pays for; null for one without a network, which no price of egress concerns. */
export interface EgressWish {
  readonly limit: EgressLimit | undefined;
}

export function egressWishOf(spec: JobSpec): EgressWish | null {
  return spec.network === "egress" ? { limit: egressLimitOf(spec) } : null;
}

/** The price of egress there; undefined where it is in the other prices: also of a worker whose ticks tell of no traffic. */
export function egressPriceOf(machine: Machine): Money | undefined {
  const price = machine.worker.offer?.pricePerEgressGiB;
  if (price === undefined || price.amount === 0n) return undefined;
  return machine.features.has("ticks") && machine.features.has("usage") ? price : undefined;
}

/** Whether a job takes what this worker asks for egress. */
export function egressSuits(
  machine: Machine,
  { egress, currency }: { readonly egress: EgressWish | null; readonly currency: string },
): boolean {
  const price = egress === null ? undefined : egressPriceOf(machine);
  if (price === undefined) return true;
  const limit = egress?.limit;
  return limit !== undefined && price.currency === currency && price.amount <= limit.priceMaxPerGiB;
}

/** Why offers were not taken, with what would help. */
export function egressHint({
  egress,
  currency,
}: {
  readonly egress: EgressWish | null;
  readonly currency: string;
}): string {
  const limit = egress?.limit;
  if (limit === undefined) {
    return "They price what a job sends by the GiB. Say how much you pay for, and at which price at most (egressGiBMax, egressPriceMaxPerGiB).";
  }
  return `They ask more than ${formatUnits(limit.priceMaxPerGiB)} ${currency} for each GiB that a job sends, or take another currency. Raise egressPriceMaxPerGiB.`;
}

/** What is agreed where a job takes a place on this machine; nothing where egress has no price there, or the job has no network. */
export function egressTermsAt(machine: Machine, { spec }: Pick<JobRecord, "spec">): { readonly egress?: EgressTerms } {
  const price = spec.network === "egress" ? egressPriceOf(machine) : undefined;
  if (price === undefined) return {};
  const mbps = machine.worker.offer?.hardware?.uplinkMbps ?? LINE_MBPS_UNKNOWN;
  return { egress: { pricePerGiB: price.amount, mbpsMax: mbps * LINE_SLACK } };
}

/** The account of a new attempt: it goes on where that of an adopted one ends. */
export function egressAccountFrom(
  terms: EgressTerms | undefined,
  adopts: AttemptRecord | undefined,
): { readonly egress?: EgressAccount } {
  const before = adopts?.egress;
  const agreed = adopts === undefined ? terms : before;
  if (agreed === undefined) return {};
  const { pricePerGiB, mbpsMax } = agreed;
  const baseBytes = before === undefined ? 0 : before.baseBytes + before.bytes;
  return { egress: { pricePerGiB, mbpsMax, baseBytes, bytes: 0 } };
}

/** What the bytes of an attempt cost. */
export function egressChargeOf({ egress }: Pick<AttemptRecord, "egress">): bigint {
  if (egress === undefined) return 0n;
  return egressChargeBetween(egress.pricePerGiB, egress.baseBytes, egress.baseBytes + egress.bytes);
}
