// Budgets of an account as the API shows them.
import type { AccountId } from "@qubix/shared/domain";
import { type budgetListSchema, toWireMoney } from "@qubix/shared/protocol";
import type { z } from "zod";
import { budgetStandings, type CoreState } from "../core/index.ts";

export function viewBudgets(
  state: CoreState,
  accountId: AccountId,
  wallOf: (clockMs: number) => string,
): z.output<typeof budgetListSchema> {
  const budgets = budgetStandings(state, accountId).map(({ budget, spent, reserved, left }) => {
    const { period, owner, currency, amount, setAtMs } = budget;
    const money = (units: bigint) => toWireMoney(units, currency);
    return {
      period,
      owner,
      amount: money(amount),
      spent: money(spent),
      reserved: money(reserved),
      left: money(left),
      setAt: wallOf(setAtMs),
    };
  });
  return { accountId, budgets };
}
