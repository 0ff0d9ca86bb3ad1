// What a job would cost at most, and at the cheapest offer that matches it now; with the reason why each other offer does not.
import type { AccountId } from "@qubix/shared/domain";
import { holdFor } from "@qubix/shared/domain";
import { toWireMoney, type JobSpec, type quoteSchema } from "@qubix/shared/protocol";
import type { z } from "zod";
import { explainPlacement, type CoreState } from "../core/index.ts";

export type Quote = z.output<typeof quoteSchema>;

export function quoteOf(state: CoreState, spec: JobSpec, accountId: AccountId): Quote {
  const found = explainPlacement(state, spec, { accountId });
  const { amount, currency } = spec.priceMaxPerHour;
  return {
    hold: toWireMoney(holdFor(amount, spec.durationMaxS), currency),
    ratePerHour: found.ratePerHour === null ? null : toWireMoney(found.ratePerHour, currency),
    costMax: found.ratePerHour === null ? null : toWireMoney(holdFor(found.ratePerHour, spec.durationMaxS), currency),
    offers: { total: found.total, matching: found.matching, standbys: found.standbys },
    filters: found.filters.map(({ filter, removed, hint }) => ({ filter, removed, hint })),
  };
}
