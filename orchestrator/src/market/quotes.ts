// What a job would cost at most, and at the cheapest offer that matches it now; with the reason why each other offer does not.
import { toWireMoney, type JobSpec, type quoteSchema } from "@qubix/shared/protocol";
import type { z } from "zod";
import { explainPlacement, type CoreState } from "../core/index.ts";
import type { Backing } from "../settlement/chains.ts";

export type Quote = z.output<typeof quoteSchema>;

export function quoteOf(state: CoreState, spec: JobSpec, backing: (currency: string) => Backing): Quote {
  const found = explainPlacement(state, spec);
  const { currency } = found;
  return {
    hold: toWireMoney(found.hold, currency),
    ratePerHour: found.ratePerHour === null ? null : toWireMoney(found.ratePerHour, currency),
    costMax: found.costMax === null ? null : toWireMoney(found.costMax, currency),
    offers: { total: found.total, matching: found.matching, standbys: found.standbys },
    settledBy: backing(currency),
    filters: found.filters.map(({ filter, removed, hint }) => ({ filter, removed, hint })),
  };
}
