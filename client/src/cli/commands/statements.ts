// `qubix statement` and `qubix earnings`: accounts over time, by UTC days. With --csv what a spreadsheet reads, all of it.
import type { Earnings, EarningsOptions, Statement, StatementOptions } from "../../sdk/types.ts";
import type { OutputDownload } from "../../sdk/jobs.ts";
import { EXIT_OK, usageError } from "../exit-codes.ts";
import { type Column, formatTable } from "../format/table.ts";
import { formatAmount, formatDuration } from "../format/units.ts";
import { type ListOptions, noteMore, readList } from "../list.ts";
import type { Handler, Session } from "../session.ts";

interface RangeOptions extends ListOptions {
  readonly from?: string;
  readonly to?: string;
  readonly by?: string;
  readonly csv?: boolean;
  readonly account?: string;
}

export const statement: Handler<RangeOptions> = async (session, _args, options) => {
  const by = (options.by ?? "day") as Statement["by"];
  const query: StatementOptions = { ...rangeOf(options), by };
  if (options.csv === true) return printCsv(session, options, await session.client.statements.csv(query));
  const view = await readAll(options, (page) => session.client.statements.get({ ...query, ...page }));
  if (session.json) session.printJson(view);
  else session.print(statementText(view, session));
  return EXIT_OK;
};

export const earnings: Handler<RangeOptions> = async (session, _args, options) => {
  const by = (options.by ?? "day") as Earnings["by"];
  const query: EarningsOptions = { ...rangeOf(options), by };
  if (options.csv === true) return printCsv(session, options, await session.client.earnings.csv(query));
  const view = await readAll(options, (page) => session.client.earnings.get({ ...query, ...page }));
  if (session.json) session.printJson(view);
  else session.print(earningsText(view, session));
  return EXIT_OK;
};

function rangeOf({ from, to, account }: RangeOptions) {
  return { from, to, accountId: account };
}

/** One answer with as many items as were asked for; its totals are of the whole range in any case. */
async function readAll<View extends Statement | Earnings>(
  options: ListOptions,
  fetchPage: (page: { readonly cursor: string | undefined; readonly limit: number }) => Promise<View>,
): Promise<View> {
  let first: View | undefined;
  const { items, nextCursor } = await readList<View["items"][number]>(options, async (page) => {
    const view = await fetchPage(page);
    first ??= view;
    return view;
  });
  return { ...(first as View), items, nextCursor };
}

async function printCsv(session: Session, options: RangeOptions, { body }: OutputDownload): Promise<number> {
  if (session.json) throw usageError("--csv and --json exclude each other.");
  if (options.limit !== undefined || options.cursor !== undefined) throw usageError("--csv is always the whole range.");
  const decoder = new TextDecoder();
  for await (const bytes of body) session.io.stdout.write(decoder.decode(bytes, { stream: true }));
  return EXIT_OK;
}

function statementText(view: Statement, session: Session): string {
  const table =
    view.by === "day"
      ? formatTable(
          [
            { title: "DAY (UTC)", value: (row) => row.day },
            amount("OPENING", "opening"),
            amount("DEPOSITS", "deposits"),
            amount("HELD", "held"),
            amount("RETURNED", "returned"),
            amount("OTHER", "other"),
            amount("CLOSING", "closing"),
            { title: "JOBS", value: (row) => String(row.jobsSettled), align: "right" },
            amount("CHARGED", "charged"),
            { title: "", value: ({ currency }) => currency },
          ],
          view.items,
          session.colors,
        )
      : formatTable(
          [
            { title: "SETTLED (UTC)", value: ({ settledAt }) => settledAt },
            { title: "JOB", value: ({ jobId }) => jobId },
            { title: "NAME", value: ({ name }) => name ?? "-" },
            amount("HELD", "held"),
            amount("CHARGED", "charged"),
            amount("OF IT FEE", "fee"),
            amount("RETURNED", "returned"),
            { title: "", value: ({ currency }) => currency },
          ],
          view.items,
          session.colors,
        );
  const totals = view.totals.map(
    ({ currency, opening, closing, charged, jobsSettled }) =>
      `${formatAmount(opening)} ${currency} at the beginning, ${formatAmount(closing)} at the end; ${jobsSettled} jobs cost ${formatAmount(charged)}`,
  );
  return endOf(view, table, totals, session);
}

function earningsText(view: Earnings, session: Session): string {
  const totals = formatTable(
    [
      { title: "CURRENCY", value: ({ currency }) => currency },
      amount("EARNED", "earned"),
      amount("PENDING", "pending"),
      amount("PAYABLE", "payable"),
      amount("PAID OUT", "paidOut"),
      amount("OTHER", "other"),
      amount("IN THESE DAYS", "earnedInRange"),
    ],
    view.totals,
    session.colors,
  );
  return endOf(view, earningsTable(view, session), [totals], session);
}

function earningsTable(view: Earnings, { colors }: Session): string {
  const time: Column<{ readonly ms: number }> = {
    title: "PAID TIME",
    value: ({ ms }) => formatDuration(ms),
    align: "right",
  };
  if (view.by === "job") {
    return formatTable(
      [
        { title: "SETTLED (UTC)", value: ({ settledAt }) => settledAt },
        { title: "JOB", value: ({ jobId }) => jobId },
        { title: "WORKER", value: ({ workerId }) => workerId },
        { title: "AS", value: ({ role }) => role },
        time,
        amount("EARNED", "amount"),
        { title: "", value: ({ currency }) => currency },
      ],
      view.items,
      colors,
    );
  }
  const jobs = { title: "JOBS", value: (row: { readonly jobs: number }) => String(row.jobs), align: "right" as const };
  const rest = [jobs, time, amount("EARNED", "amount")];
  const currency = { title: "", value: (row: { readonly currency: string }) => row.currency };
  if (view.by === "day") {
    return formatTable([{ title: "DAY (UTC)", value: ({ day }) => day }, ...rest, currency], view.items, colors);
  }
  return formatTable(
    [
      { title: "WORKER", value: ({ workerId }) => workerId },
      { title: "NAME", value: ({ name }) => name ?? "-" },
      ...rest,
      currency,
    ],
    view.items,
    colors,
  );
}

function endOf(view: Statement | Earnings, table: string, totals: readonly string[], session: Session): string {
  const { from, to, items } = view;
  noteMore(session, view);
  const head = `${from} to ${to}, days of UTC`;
  return [head, ...(items.length === 0 ? ["Nothing in these days."] : [table]), ...totals].join("\n\n");
}

function amount<Key extends string>(title: string, key: Key): Column<Readonly<Record<Key, string>>> {
  return { title, value: (row) => formatAmount(row[key]), align: "right" };
}
