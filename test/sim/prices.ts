// Offers that price resources apart, in the virtual world; what comes of them is reckoned with all other money.
import type { AttemptRecord, StandbyRecord } from "@qubix/orchestrator/core";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import { createRng } from "./random.ts";

/** Apart from the world's, so that jobs and faults of a seed are the same with such prices and without. */
const APART = 0x9a47;
const SEEDS_EVERY = 2;
const SHARE = 0.6;

type Apart = Pick<WorkerOffer, "pricePerGpuJobCpuHour" | "pricePerMemoryGiBHour" | "pricePerDiskGiBHour">;

/** Small beside the others: jobs here have price caps that a few times the dearest core fits under. */
export function drawPricesApart(seed: number, at: number): Apart {
  if (seed % SEEDS_EVERY !== 0) return {};
  const rng = createRng(seed ^ APART ^ (at << 16));
  const price = (most: number) => ({ amount: BigInt(rng.int(0, most)), currency: "USD" });
  return {
    ...(rng.chance(SHARE) ? { pricePerMemoryGiBHour: price(99_999) } : {}),
    ...(rng.chance(SHARE) ? { pricePerDiskGiBHour: price(9_999) } : {}),
    ...(rng.chance(SHARE) ? { pricePerGpuJobCpuHour: price(99_999) } : {}),
  };
}

/** Invariant: a rate is the sum of its parts, and a promoted standby costs what was agreed when it was reserved. */
export function reckonParts(attempts: readonly AttemptRecord[], standbys: readonly StandbyRecord[]): void {
  for (const { id, ratePerHour, parts } of attempts) {
    const sum = parts?.reduce((all, part) => all + part.ratePerHour, 0n) ?? ratePerHour;
    check(sum === ratePerHour, () => `invariant 5: the rate of ${id} is ${ratePerHour}, its parts sum to ${sum}`);
  }
  for (const { id, fullRatePerHour, parts } of standbys) {
    const sum = parts?.reduce((all, part) => all + part.ratePerHour, 0n) ?? fullRatePerHour;
    check(sum === fullRatePerHour, () => `invariant 5: ${id} costs ${fullRatePerHour}, its parts sum to ${sum}`);
  }
}
