// What a job would cost at most, and at the cheapest offer that matches it now; with the reason why each other offer does not.
import { fullHoldOf, toWireMoney, type JobSpec, type quoteSchema } from "@qubix/shared/protocol";
import type { z } from "zod";
import type { AccountId } from "@qubix/shared/domain";
import { allowanceOf, explainPlacement, type CoreState } from "../core/index.ts";
import type { Backing } from "../settlement/chains.ts";

export type Quote = z.output<typeof quoteSchema>;

export function quoteOf(
  state: CoreState,
  spec: JobSpec,
  asker: { readonly accountId: AccountId },
  backing: (currency: string) => Backing,
): Quote {
  const found = explainPlacement(state, spec);
  const { currency } = found;
  return {
    ...budgetOf(state, spec, asker),
    ratePerHour: found.ratePerHour === null ? null : toWireMoney(found.ratePerHour, currency),
    parts: found.parts.map(({ part, ratePerHour }) => ({ part, ratePerHour: toWireMoney(ratePerHour, currency) })),
    ...(found.egress === undefined
      ? {}
      : {
          egress: {
            pricePerGiB: toWireMoney(found.egress.pricePerGiB, currency),
            costMax: toWireMoney(found.egress.costMax, currency),
          },
        }),
    costMax: found.costMax === null ? null : toWireMoney(found.costMax, currency),
    offers: { total: found.total, matching: found.matching, standbys: found.standbys },
    settledBy: backing(currency),
    filters: found.filters.map(({ filter, removed, hint }) => ({ filter, removed, hint })),
  };
}

function budgetOf(
  state: CoreState,
  spec: JobSpec,
  asker: { readonly accountId: AccountId },
): Pick<Quote, "hold" | "budget"> {
  const { currency } = spec.priceMaxPerHour;
  const { hold, tightest, refusal } = allowanceOf(state, asker, spec);
  const money = (units: bigint) => toWireMoney(units, currency);
  if (refusal !== undefined && tightest !== undefined) {
    const budget = { source: tightest.source, left: money(tightest.left), suffices: false };
    return { hold: money(fullHoldOf(spec)), budget };
  }
  const budget =
    tightest === undefined ? null : { source: tightest.source, left: money(tightest.left), suffices: true };
  return { hold: money(hold), budget };
}
