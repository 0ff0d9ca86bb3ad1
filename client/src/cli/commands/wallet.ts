// `qubix wallet`, `wallet entries`, `wallet deposit`.
import { EXIT_OK } from "../exit-codes.ts";
import { formatFields, formatTable } from "../format/table.ts";
import { formatAmount, formatBacking, formatMoney } from "../format/units.ts";
import { type ListOptions, printPage, readList } from "../list.ts";
import { parseMoneyIn } from "../parse/values.ts";
import type { Handler } from "../session.ts";

export const wallet: Handler<object> = async (session, [account]) => {
  const view = await session.client.wallet.get({ accountId: account });
  if (session.json) session.printJson(view);
  else if (view.balances.length === 0) {
    session.note(
      `Account ${view.accountId} has no money. An admin adds credit with \`qubix wallet deposit --account ${view.accountId} --amount AMOUNT\`.`,
    );
  } else {
    session.print(
      formatTable(
        [
          { title: "CURRENCY", value: (balance) => balance.currency },
          { title: "AVAILABLE", value: (balance) => formatAmount(balance.available), align: "right" },
          { title: "HELD", value: (balance) => formatAmount(balance.held), align: "right" },
          { title: "EARNED", value: (balance) => formatAmount(balance.earned), align: "right" },
          { title: "PENDING", value: (balance) => formatAmount(balance.pending), align: "right" },
          { title: "PAYABLE", value: (balance) => formatAmount(balance.payable), align: "right" },
          { title: "STAKED", value: (balance) => formatAmount(balance.staked), align: "right" },
          { title: "BEHIND IT", value: (balance) => formatBacking(balance.settledBy) },
        ],
        view.balances,
        session.colors,
      ),
    );
  }
  return EXIT_OK;
};

export const entries: Handler<ListOptions & { readonly account?: string }> = async (session, _args, options) => {
  const page = await readList(options, (query) =>
    session.client.wallet.entries({ ...query, accountId: options.account }),
  );
  printPage(session, page, "No money has moved yet.", (items) =>
    formatTable(
      [
        { title: "TIME", value: (entry) => entry.time },
        { title: "KIND", value: (entry) => entry.kind },
        { title: "BALANCE", value: (entry) => entry.balance },
        { title: "AMOUNT", value: (entry) => formatMoney(entry.amount), align: "right" },
        {
          title: "LEFT",
          value: (entry) => (entry.balanceAfter === null ? "-" : formatAmount(entry.balanceAfter)),
          align: "right",
        },
        { title: "JOB", value: (entry) => entry.jobId ?? "-" },
        { title: "MEMO", value: (entry) => entry.memo },
      ],
      items,
      session.colors,
    ),
  );
  return EXIT_OK;
};

export interface DepositOptions {
  readonly account: string;
  readonly amount: string;
  readonly currency?: string;
  readonly reference?: string;
  readonly id?: string;
  readonly idempotencyKey?: string;
}

export const deposit: Handler<DepositOptions> = async (session, _args, options) => {
  const { account: accountId, currency, reference = "", id, idempotencyKey } = options;
  const amount = parseMoneyIn(options.amount, currency, "--amount");
  const answer = await session.client.wallet.deposit(
    { accountId, amount, reference, ...(id === undefined ? {} : { id }) },
    { idempotencyKey },
  );
  if (session.json) session.printJson(answer);
  else session.print(`Granted ${formatMoney(amount)} to ${accountId}.`);
  return EXIT_OK;
};

export const depositAddress: Handler<{ readonly signature?: string }> = async (session, [driver, address], options) => {
  if (driver !== undefined && address !== undefined && options.signature !== undefined) {
    const set = await session.client.wallet.setAddress(driver, address, options.signature);
    if (session.json) session.printJson(set);
    else session.print(`What ${set.address} sends to ${set.sendTo} is credited to you from now on.`);
    return EXIT_OK;
  }
  const { items } = await session.client.wallet.addresses();
  if (session.json) session.printJson({ items });
  else if (items.length === 0) session.note("No currency takes deposits from a chain here: an admin grants credit.");
  for (const item of session.json ? [] : items) {
    const text = item.text.replace("ADDRESS", address ?? "ADDRESS");
    const fields = formatFields(
      [
        ["Currency", `${item.currency} on ${item.driver}`],
        ["Send to", item.sendTo],
        ["From", item.address ?? "not said yet"],
        ["To sign", text],
      ],
      session.colors,
    );
    session.print(fields);
  }
  return EXIT_OK;
};
