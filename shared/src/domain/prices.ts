// What a worker's prices come to for what a job takes of it: a rate an hour that is the sum of its parts, and the same charge shown in its parts.
import { type Currency, type Money, splitByLargestRemainder } from "./money.ts";

/** What of a machine has a price of its own. */
export type PricePart = "cpu" | "disk" | "gpu" | "memory";

/** Micro-units an hour for all that the job takes of it. */
export interface RatePart {
  readonly name: PricePart;
  readonly ratePerHour: bigint;
}

/** As an offer names them, the fee included. GPU jobs pay per GPU, others per core; everything else is free unless it has a price. */
export interface Prices {
  readonly pricePerCpuHour: Money;
  readonly pricePerGpuHour?: Money | undefined;
  /** Of a core, for jobs with GPUs: without it their cores are in the price of the GPU. */
  readonly pricePerGpuJobCpuHour?: Money | undefined;
  readonly pricePerMemoryGiBHour?: Money | undefined;
  readonly pricePerDiskGiBHour?: Money | undefined;
}

export interface Taken {
  readonly gpus: number;
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

const MILLI = 1000n;
const MIB_PER_GIB = 1024n;

/** Each part rounded up to a whole unit, so that they sum to the rate. `null` where something that it takes has no price in this currency. */
export function ratePartsFor(prices: Prices, taken: Taken, currency: Currency): readonly RatePart[] | null {
  const parts: RatePart[] = [];
  const isPriced = eachPart(prices, taken, currency, (name, ratePerHour) => parts.push({ name, ratePerHour }));
  return isPriced ? parts : null;
}

/** The sum of {@link ratePartsFor}. */
export function rateFor(prices: Prices, taken: Taken, currency: Currency): bigint | null {
  let rate = 0n;
  const isPriced = eachPart(prices, taken, currency, (_, ratePerHour) => {
    rate += ratePerHour;
  });
  return isPriced ? rate : null;
}

/** False where one part has no price in this currency. */
function eachPart(
  prices: Prices,
  taken: Taken,
  currency: Currency,
  take: (name: PricePart, ratePerHour: bigint) => void,
): boolean {
  const add = (name: PricePart, price: Money | undefined, amount: number, per: bigint): boolean => {
    if (price === undefined) return true;
    if (price.currency !== currency) return false;
    take(name, (BigInt(amount) * price.amount + per - 1n) / per);
    return true;
  };
  const { gpus, cpuMilli, memoryMiB, diskMiB } = taken;
  if (gpus > 0 && prices.pricePerGpuHour === undefined) return false;
  return (
    (gpus === 0 || add("gpu", prices.pricePerGpuHour, gpus, 1n)) &&
    add("cpu", gpus > 0 ? prices.pricePerGpuJobCpuHour : prices.pricePerCpuHour, cpuMilli, MILLI) &&
    add("memory", prices.pricePerMemoryGiBHour, memoryMiB, MIB_PER_GIB) &&
    add("disk", prices.pricePerDiskGiBHour, diskMiB, MIB_PER_GIB)
  );
}

/** An amount (a charge, a standby's rate) in the proportions of the parts of a rate; they sum to it. Largest remainder, ties by name. */
export function inParts(amount: bigint, parts: readonly RatePart[]): ReadonlyMap<PricePart, bigint> {
  const claims = parts.map(({ name, ratePerHour }) => ({ id: name, weight: ratePerHour }));
  // Of a rate of nothing nothing is due.
  return splitByLargestRemainder(amount, claims) as ReadonlyMap<PricePart, bigint>;
}
