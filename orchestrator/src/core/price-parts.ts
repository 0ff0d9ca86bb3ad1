// The parts of what is due: which resource each unit of a charge is for. A charge is reckoned once, on the whole rate; its parts are only how it is shown.
import { chargeFor, inParts, type PricePart, type RatePart, splitByLargestRemainder } from "@qubix/shared/domain";
import { timeChargeOf } from "./charges.ts";
import { egressChargeOf } from "./egress-offers.ts";
import type { AttemptRecord, JobRecord, StandbyRecord } from "./model.ts";

export type Payee = AttemptRecord | StandbyRecord;

export interface ChargedPart extends RatePart {
  readonly charge: bigint;
}

/** Of an attempt's time, or of a standby while it stood by: rates and charges each sum to the whole. Egress is beside it. */
export function chargedParts(job: JobRecord, payee: Payee): readonly ChargedPart[] {
  const { ratePerHour, parts } = payee;
  const agreed = parts ?? [{ name: onlyPart(job), ratePerHour }];
  // A standby pays a share of what its parts sum to.
  const rates = inParts(ratePerHour, agreed);
  const rated = agreed.map(({ name }) => ({ name, ratePerHour: rates.get(name) ?? 0n }));
  // By the rates that are shown, so that whoever reads them can split the charge again.
  const charges = inParts("epoch" in payee ? timeChargeOf(payee) : chargeFor(ratePerHour, payee.creditedMs), rated);
  return rated.map((part) => ({ ...part, charge: charges.get(part.name) ?? 0n }));
}

/** Where nothing else has a price, jobs with GPUs pay those, all others their cores. */
function onlyPart({ spec }: JobRecord): PricePart {
  return spec.resources.gpus.count > 0 ? "gpu" : "cpu";
}

/** Of the whole job, by name. They sum to `gross`, which may be less than all charges where those who worked share a cap. */
export function grossParts(
  job: JobRecord,
  payees: readonly Payee[],
  gross: bigint,
): readonly { readonly name: PricePart | "egress"; readonly amount: bigint }[] {
  const sums = new Map<PricePart | "egress", bigint>();
  for (const payee of payees) {
    for (const { name, charge } of chargedParts(job, payee)) sums.set(name, (sums.get(name) ?? 0n) + charge);
    if ("epoch" in payee && payee.egress !== undefined) {
      sums.set("egress", (sums.get("egress") ?? 0n) + egressChargeOf(payee));
    }
  }
  const claims = [...sums].map(([id, weight]) => ({ id, weight }));
  if (claims.every(({ weight }) => weight === 0n)) return [];
  const amounts = splitByLargestRemainder(gross, claims);
  return claims.map(({ id }) => ({ name: id, amount: amounts.get(id) ?? 0n }));
}
