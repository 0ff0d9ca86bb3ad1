// `qubix payout`: where a provider is paid, what he asks for, and what the operator does with it.
import { EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import { formatMoney } from "../format/units.ts";
import { type ListOptions, printPage, readList } from "../list.ts";
import { parseMoneyIn } from "../parse/values.ts";
import type { Handler, Session } from "../session.ts";
import type { Payout } from "../../sdk/types.ts";

export interface PayoutOptions {
  readonly currency?: string;
  readonly to?: string;
  readonly idempotencyKey?: string;
}

export const requestPayout: Handler<PayoutOptions> = async (session, [text = ""], options) => {
  const { currency, to: destination = "", idempotencyKey } = options;
  const amount = parseMoneyIn(text, currency, "the amount");
  const made = await session.client.payouts.create({ amount, destination }, { idempotencyKey });
  show(session, made, "The operator sends it; `qubix payout ls` shows when that is done.");
  return EXIT_OK;
};

export const withdraw: Handler<{ readonly idempotencyKey?: string }> = async (session, [currency = ""], options) => {
  const made = await session.client.payouts.withdraw(currency, { idempotencyKey: options.idempotencyKey });
  show(session, made, `It goes to ${made.destination}; \`qubix payout ls\` shows when the chain has it.`);
  return EXIT_OK;
};

export const listPayouts: Handler<ListOptions> = async (session, _args, options) => {
  const page = await readList(options, (query) => session.client.payouts.list(query));
  const none = "There are no payouts yet. `qubix payout request AMOUNT` asks for one.";
  printPage(session, page, none, (items) => payoutsText(items, session));
  return EXIT_OK;
};

export const completePayout: Handler<{ readonly reference: string }> = async (session, [id = ""], { reference }) => {
  show(session, await session.client.payouts.complete(id, reference));
  return EXIT_OK;
};

export const rejectPayout: Handler<{ readonly reason: string }> = async (session, [id = ""], { reason }) => {
  show(session, await session.client.payouts.reject(id, reason), "The money is payable again.");
  return EXIT_OK;
};

/** Without a driver: shows them; with one: sets its address. */
export const payoutAddress: Handler<object> = async (session, [driver, address]) => {
  if (driver === undefined || address === undefined) {
    const found = await session.client.payouts.addresses();
    if (session.json) session.printJson(found);
    else if (found.items.length === 0)
      session.note("You have no address on any chain. `qubix payout address DRIVER ADDRESS` sets one.");
    else {
      const columns = [
        { title: "DRIVER", value: (row: (typeof found.items)[number]) => row.driver },
        { title: "ADDRESS", value: (row: (typeof found.items)[number]) => row.address },
        { title: "SET", value: (row: (typeof found.items)[number]) => row.setAt },
      ];
      session.print(formatTable(columns, found.items, session.colors));
    }
    return EXIT_OK;
  }
  const set = await session.client.payouts.setAddress(driver, address);
  if (session.json) session.printJson(set);
  else session.print(`You are paid on ${set.driver} to ${set.address} from now on.`);
  return EXIT_OK;
};

function show(session: Session, payout: Payout, then?: string): void {
  if (session.json) return session.printJson(payout);
  session.print(`Payout ${payout.id} of ${formatMoney(payout.amount)} is ${payout.phase}.`);
  if (then !== undefined) session.note(then);
}

function payoutsText(items: readonly Payout[], session: Session): string {
  return formatTable(
    [
      { title: "PAYOUT", value: (payout) => payout.id },
      { title: "ACCOUNT", value: (payout) => payout.accountId },
      { title: "AMOUNT", value: (payout) => formatMoney(payout.amount), align: "right" },
      { title: "PHASE", value: (payout) => payout.phase },
      { title: "BY", value: ({ by, driver }) => (by === "hand" ? "operator" : `contract (${driver})`) },
      { title: "TO", value: (payout) => payout.destination || "-" },
      { title: "REFERENCE", value: (payout) => payout.reference || "-" },
      { title: "REQUESTED", value: (payout) => payout.requestedAt },
    ],
    items,
    session.colors,
  );
}
