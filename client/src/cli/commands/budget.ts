// `qubix budget show`, `set`, `clear`.
import type { BudgetList } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { CURRENCY_DEFAULT } from "../defaults.ts";
import { formatTable } from "../format/table.ts";
import { formatMoney } from "../format/units.ts";
import { parseMoneyIn } from "../parse/values.ts";
import type { Handler, Session } from "../session.ts";

export interface BudgetOptions {
  readonly account?: string;
  readonly month?: boolean;
  readonly currency?: string;
}

export const showBudgets: Handler<BudgetOptions> = async (session, _args, { account: accountId }) => {
  return print(session, await session.client.budgets.get({ accountId }));
};

export const setBudget: Handler<BudgetOptions> = async (session, [text = ""], options) => {
  const { account: accountId, currency } = options;
  const amount = parseMoneyIn(text, currency, "AMOUNT");
  return print(session, await session.client.budgets.set({ accountId, period: periodOf(options), amount }));
};

export const clearBudget: Handler<BudgetOptions> = async (session, _args, options) => {
  const { account: accountId, currency = CURRENCY_DEFAULT } = options;
  return print(session, await session.client.budgets.clear({ accountId, period: periodOf(options), currency }));
};

function periodOf({ month }: BudgetOptions): "total" | "month" {
  return month === true ? "month" : "total";
}

function print(session: Session, list: BudgetList): number {
  if (session.json) session.printJson(list);
  else if (list.budgets.length === 0) {
    session.note(
      `Account ${list.accountId} has no budget: its jobs may cost what it has. Set one with \`qubix budget set AMOUNT\`.`,
    );
  } else session.print(budgetsText(list, session));
  return EXIT_OK;
}

function budgetsText({ budgets }: BudgetList, session: Session): string {
  return formatTable(
    [
      { title: "BUDGET", value: ({ period }) => (period === "month" ? "this month" : "in all") },
      { title: "SET BY", value: ({ owner }) => (owner === "admin" ? "admin" : "account") },
      { title: "AMOUNT", value: ({ amount }) => formatMoney(amount), align: "right" },
      { title: "SPENT", value: ({ spent }) => formatMoney(spent), align: "right" },
      { title: "JOBS MAY STILL COST", value: ({ reserved }) => formatMoney(reserved), align: "right" },
      { title: "LEFT", value: ({ left }) => formatMoney(left), align: "right" },
    ],
    budgets,
    session.colors,
  );
}
