// Statements of consumers and earnings of providers, as JSON in pages or as one CSV. Days are UTC.
import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { z } from "zod";
import type { AccountId, WorkerId } from "@qubix/shared/domain";
import {
  type Earnings,
  earningsQuerySchema,
  earningsSchema,
  type Statement,
  STATEMENT_DAYS_DEFAULT,
  STATEMENT_DAYS_MAX,
  statementQuerySchema,
  statementSchema,
} from "@qubix/shared/protocol";
import { dayBefore, type Days, daysBetween } from "../../accounts/days.ts";
import { earningsBy, earningsJobs, earningsTotals } from "../../accounts/earnings.ts";
import { statementDays, statementJobs } from "../../accounts/statements.ts";
import type { WallPage } from "../../accounts/wall-pages.ts";
import { type Actor, findWorker } from "../../core/index.ts";
import type { WallCursor } from "../../store/accounts-port.ts";
import { accountFor } from "../accounts.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { csvRow, csvUnits } from "../csv.ts";
import { invalidField } from "../problems.ts";
import { problems } from "../schemas.ts";

/** Rows of a CSV that are read at a time: others have their turn in between. */
const CSV_PAGE = 500;

export function statementRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "GET",
    url: "/v1/statements",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary:
        "What moved on an account by UTC day, or what each job cost; JSON, or with format=csv text/csv in whole units",
      querystring: statementQuerySchema.strict(),
      response: { 200: jsonOrCsv(statementSchema), ...problems(400, 401, 403, 404) },
    },
    handler: async (request, reply): Promise<Statement> => {
      const { by, format, cursor, limit } = request.query;
      const { id, days, head } = askedFor(ctx, actorOf(request), request.query);
      if (format === "csv") return sendCsv(reply, "statement", head, statementCsv(ctx, id, days, by));
      const { store } = ctx.writer;
      const { items, totals } = statementDays(store, id, days);
      const common = { ...head, totals: [...totals] };
      if (by === "day") return { by, ...common, nextCursor: null, items: [...items] };
      const page = statementJobs(store, id, days, { after: readCursor(cursor), limit });
      return { by, ...common, nextCursor: writeCursor(page.next), items: [...page.items] };
    },
  });

  app.route({
    method: "GET",
    url: "/v1/earnings",
    config: { access: "any" },
    schema: {
      tags: ["wallet"],
      summary:
        "What a provider earned by UTC day, worker or job, and what of it is pending, payable, paid out; JSON or CSV",
      querystring: earningsQuerySchema.strict(),
      response: { 200: jsonOrCsv(earningsSchema), ...problems(400, 401, 403, 404) },
    },
    handler: async (request, reply): Promise<Earnings> => {
      const { by, format, cursor, limit } = request.query;
      const { id, days, head } = askedFor(ctx, actorOf(request), request.query);
      if (format === "csv") return sendCsv(reply, "earnings", head, earningsCsv(ctx, id, days, by));
      const { store } = ctx.writer;
      const common = { ...head, totals: [...earningsTotals(store, id, days)] };
      if (by === "job") {
        const page = earningsJobs(store, id, days, { after: readCursor(cursor), limit });
        return { by, ...common, nextCursor: writeCursor(page.next), items: [...page.items] };
      }
      const sums = earningsBy(store, id, days, by).map(({ key, amount, ...sum }) => ({
        key,
        rest: { ...sum, amount: amount.toString() },
      }));
      if (by === "day") {
        return { by, ...common, nextCursor: null, items: sums.map(({ key, rest }) => ({ day: key, ...rest })) };
      }
      const items = sums.map(({ key, rest }) => ({ workerId: key, name: nameOf(ctx, key), ...rest }));
      return { by, ...common, nextCursor: null, items };
    },
  });
}

function jsonOrCsv<Schema extends z.ZodType>(schema: Schema) {
  return {
    description: "JSON, or the whole of it as CSV (RFC 4180)",
    content: { "application/json": { schema }, "text/csv": { schema: z.string() } },
  };
}

// ── CSV ──

async function* statementCsv(
  ctx: ApiContext,
  accountId: AccountId,
  days: Days,
  by: Statement["by"],
): AsyncGenerator<string> {
  const { store } = ctx.writer;
  if (by === "day") {
    yield csvRow([
      "day_utc",
      "currency",
      "opening",
      "deposits",
      "held",
      "returned",
      "other",
      "closing",
      "jobs_settled",
      "charged",
    ]);
    for (const row of statementDays(store, accountId, days).items) {
      const moved = [row.opening, row.deposits, row.held, row.returned, row.other, row.closing].map(csvUnits);
      yield csvRow([row.day, row.currency, ...moved, row.jobsSettled, csvUnits(row.charged)]);
    }
    return;
  }
  yield csvRow(["settled_at_utc", "job", "name", "currency", "held", "charged", "fee", "returned"]);
  const read = (after: WallCursor | null) => statementJobs(store, accountId, days, { after, limit: CSV_PAGE });
  for await (const row of allRows(read)) {
    const amounts = [row.held, row.charged, row.fee, row.returned].map(csvUnits);
    yield csvRow([row.settledAt, row.jobId, { said: row.name ?? "" }, row.currency, ...amounts]);
  }
}

async function* earningsCsv(
  ctx: ApiContext,
  accountId: AccountId,
  days: Days,
  by: Earnings["by"],
): AsyncGenerator<string> {
  const { store } = ctx.writer;
  if (by === "job") {
    yield csvRow(["settled_at_utc", "job", "worker", "worker_name", "role", "currency", "ms", "amount"]);
    const read = (after: WallCursor | null) => earningsJobs(store, accountId, days, { after, limit: CSV_PAGE });
    for await (const row of allRows(read)) {
      const name = { said: nameOf(ctx, row.workerId) ?? "" };
      yield csvRow([
        row.settledAt,
        row.jobId,
        row.workerId,
        name,
        row.role,
        row.currency,
        row.ms,
        csvUnits(row.amount),
      ]);
    }
    return;
  }
  yield csvRow([...(by === "day" ? ["day_utc"] : ["worker", "worker_name"]), "currency", "jobs", "ms", "amount"]);
  for (const { key, currency, jobs, ms, amount } of earningsBy(store, accountId, days, by)) {
    const of = by === "day" ? [key] : [key, { said: nameOf(ctx, key) ?? "" }];
    yield csvRow([...of, currency, jobs, ms, csvUnits(amount.toString())]);
  }
}

async function* allRows<Row>(read: (after: WallCursor | null) => WallPage<Row>): AsyncGenerator<Row> {
  for (let after: WallCursor | null = null; ; ) {
    const page = read(after);
    yield* page.items;
    if (page.next === null) return;
    after = page.next;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The type says what the route answers as JSON; what is sent is a stream. */
function sendCsv(
  reply: FastifyReply,
  what: string,
  { accountId, from, to }: ReturnType<typeof askedFor>["head"],
  rows: AsyncGenerator<string>,
): never {
  return reply
    .type("text/csv; charset=utf-8; header=present")
    .header("content-disposition", `attachment; filename="${what}-${accountId}-${from}-${to}.csv"`)
    .header("x-content-type-options", "nosniff")
    .send(Readable.from(rows)) as never;
}

// ── Ranges and pages ──

/** Whose account over which days, and what every answer says of that. */
function askedFor(
  ctx: ApiContext,
  actor: Actor,
  query: z.output<typeof statementQuerySchema | typeof earningsQuerySchema>,
) {
  const { id } = accountFor(ctx, actor, query.accountId);
  const days = rangeOf(query);
  const head = { accountId: id, timeZone: "UTC" as const, from: days.from, to: days.to };
  return { id, days, head };
}

function rangeOf(query: { readonly from?: string | undefined; readonly to?: string | undefined }): Days {
  const to = query.to ?? new Date().toISOString().slice(0, 10);
  const days = daysBetween(query.from ?? dayBefore(to, STATEMENT_DAYS_DEFAULT - 1), to);
  if (days.count < 1) throw invalidField("query.from", "is after `to`");
  if (days.count > STATEMENT_DAYS_MAX)
    throw invalidField("query.from", `a range has at most ${STATEMENT_DAYS_MAX} days`);
  return days;
}

function nameOf(ctx: ApiContext, workerId: string): string | null {
  return findWorker(ctx.writer.state(), workerId as WorkerId)?.name ?? null;
}

function writeCursor(cursor: WallCursor | null): string | null {
  return cursor === null ? null : `${cursor.wallMs}.${cursor.seq}`;
}

function readCursor(text: string | undefined): WallCursor | null {
  if (text === undefined) return null;
  const [, wallMs, seq] = /^([0-9]{1,15})\.([0-9]{1,15})$/.exec(text) ?? [];
  if (wallMs === undefined || seq === undefined) {
    throw invalidField("query.cursor", "not a cursor that a page before this one gave");
  }
  return { wallMs: Number(wallMs), seq: Number(seq) };
}
