// Money: integer micro-units (one millionth of the currency's unit) as `bigint`; decimal strings on the wire. No floats anywhere.

export type Currency = string;

/** An amount of money in micro-units. */
export interface Money {
  readonly amount: bigint;
  readonly currency: Currency;
}

/** What the network keeps of every gross charge, in basis points (5%). An offer's price includes it. */
export const FEE_BASIS_POINTS = 500n;
export const BASIS_POINTS_PER_WHOLE = 10_000n;
export const BASIS_POINTS_PER_PERCENT = 100;
const MS_PER_HOUR = 3_600_000n;
const S_PER_HOUR = 3_600n;

/** Amounts fit a signed 64-bit column; the largest amount a request may name. */
export const AMOUNT_MAX = 9_000_000_000_000_000n;

/** What `ms` milliseconds cost at `ratePerHour` micro-units an hour: floor(rate × ms / 3,600,000). Cumulative, so that billing windows do not change the total. */
export function chargeFor(ratePerHour: bigint, ms: number): bigint {
  if (ratePerHour < 0n || ms < 0 || !Number.isSafeInteger(ms)) {
    throw new RangeError(`charge needs a rate and whole milliseconds of at least 0, got ${ratePerHour} and ${ms}`);
  }
  return (ratePerHour * BigInt(ms)) / MS_PER_HOUR;
}

/** The most whole milliseconds that cost no more than `amount`: chargeFor(rate, ms) ≤ amount < chargeFor(rate, ms + 1). Without a rate, or beyond all times, the largest whole number. */
export function msWithin(ratePerHour: bigint, amount: bigint): number {
  if (ratePerHour < 0n || amount < 0n) {
    throw new RangeError(
      `time for an amount needs a rate and an amount of at least 0, got ${ratePerHour} and ${amount}`,
    );
  }
  if (ratePerHour === 0n) return Number.MAX_SAFE_INTEGER;
  const ms = ((amount + 1n) * MS_PER_HOUR - 1n) / ratePerHour;
  return ms > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(ms);
}

/** The first whole millisecond at which `amount` is charged: chargeFor(rate, ms - 1) < amount ≤ chargeFor(rate, ms). Without a rate, or beyond all times, the largest whole number. */
export function msUntil(ratePerHour: bigint, amount: bigint): number {
  return amount <= 0n ? 0 : Math.min(Number.MAX_SAFE_INTEGER, msWithin(ratePerHour, amount - 1n) + 1);
}

/**
 * What the time from `fromMs` to `toMs` of one container adds to what it cost before. However its life is cut into windows, they add up to
 * {@link chargeFor} of the whole.
 */
export function chargeBetween(ratePerHour: bigint, fromMs: number, toMs: number): bigint {
  if (fromMs > toMs) throw new RangeError(`a window ends after it begins, got ${fromMs} to ${toMs}`);
  return chargeFor(ratePerHour, toMs) - chargeFor(ratePerHour, fromMs);
}

/** What is locked for a job: ceil(priceMaxPerHour × durationMaxS / 3600) micro-units. */
export function holdFor(priceMaxPerHour: bigint, durationMaxS: number): bigint {
  return (priceMaxPerHour * BigInt(durationMaxS) + S_PER_HOUR - 1n) / S_PER_HOUR;
}

/** The network's fee on a gross charge: floor(gross × 500 / 10,000), once per job. */
export function feeOf(gross: bigint): bigint {
  return (gross * FEE_BASIS_POINTS) / BASIS_POINTS_PER_WHOLE;
}

/** One payee's weight in {@link splitByLargestRemainder}; `id` breaks ties. */
export interface Claim {
  readonly id: string;
  readonly weight: bigint;
}

/**
 * Splits `total` in proportion to the claims' weights. The sum is exact and each share is within one unit of its exact proportion.
 * Largest remainder method (Hamilton), ties by id. With no weight at all every share is zero, and `total` must be zero.
 */
export function splitByLargestRemainder(total: bigint, claims: readonly Claim[]): ReadonlyMap<string, bigint> {
  const weightSum = claims.reduce((sum, claim) => sum + claim.weight, 0n);
  if (weightSum === 0n) {
    if (total !== 0n) throw new RangeError(`cannot split ${total} among claims without weight`);
    return new Map(claims.map((claim) => [claim.id, 0n]));
  }
  const parts = claims.map((claim) => ({
    id: claim.id,
    share: (total * claim.weight) / weightSum,
    remainder: (total * claim.weight) % weightSum,
  }));
  let left = total - parts.reduce((sum, part) => sum + part.share, 0n);
  parts.sort((a, b) => (a.remainder === b.remainder ? (a.id < b.id ? -1 : 1) : a.remainder > b.remainder ? -1 : 1));
  const shares = new Map<string, bigint>();
  for (const part of parts) {
    const extra = left > 0n ? 1n : 0n;
    left -= extra;
    shares.set(part.id, part.share + extra);
  }
  return shares;
}

/** Where a job's hold goes; everything together is the hold. */
export interface Division {
  /** What the work cost, the fee included. */
  readonly gross: bigint;
  readonly fee: bigint;
  /** By the claims' ids; together gross − fee. */
  readonly shares: ReadonlyMap<string, bigint>;
  readonly refund: bigint;
}

/** Divides a hold: each claim weighs what its work cost, the fee is taken once of all, the rest goes back. Claims beyond the hold share what there is. */
export function divideHold(hold: bigint, claims: readonly Claim[]): Division {
  const due = claims.reduce((sum, { weight }) => sum + weight, 0n);
  const gross = due < hold ? due : hold;
  const fee = feeOf(gross);
  return { gross, fee, shares: splitByLargestRemainder(gross - fee, claims), refund: hold - gross };
}

/** `1250000n` → `"1.25"`: micro-units as a decimal number of units, for people. Trailing zeros beyond two places are dropped. */
export function formatUnits(amount: bigint): string {
  const sign = amount < 0n ? "-" : "";
  const absolute = amount < 0n ? -amount : amount;
  const fraction = (absolute % 1_000_000n)
    .toString()
    .padStart(6, "0")
    .replace(/0{1,4}$/, "");
  return `${sign}${absolute / 1_000_000n}.${fraction}`;
}
