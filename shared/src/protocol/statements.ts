// Statements of consumers and earnings of providers, by UTC days. Amounts are micro-units as decimal strings; on CSV, decimal numbers of whole units.
import { z } from "zod";
import { accountIdSchema } from "./common.ts";
import { pageQuerySchema } from "./http-common.ts";

/** The longest range of one statement. */
export const STATEMENT_DAYS_MAX = 366;
/** Without `from`: so many days, the last of them `to`. */
export const STATEMENT_DAYS_DEFAULT = 30;

const text = z.string();
const count = z.number().int();
/** A day of UTC, e.g. `2026-11-27`. */
export const daySchema = z.iso.date();

const rangeQuery = {
  /** Days of UTC, both inclusive. */
  from: daySchema.optional(),
  to: daySchema.optional(),
  format: z.enum(["json", "csv"]).default("json"),
  /** Only an admin may name another than his own. */
  accountId: accountIdSchema.optional(),
};
export const statementQuerySchema = pageQuerySchema.extend({
  ...rangeQuery,
  by: z.enum(["day", "job"]).default("day"),
});
export const earningsQuerySchema = pageQuerySchema.extend({
  ...rangeQuery,
  by: z.enum(["day", "worker", "job"]).default("day"),
});

const range = { accountId: text, timeZone: z.literal("UTC"), from: text, to: text, nextCursor: text.nullable() };

/** What moved on an account. `opening + deposits + held + returned + other = closing`. */
const moved = {
  currency: text,
  opening: text,
  deposits: text,
  /** Locked for new jobs; at most 0. */
  held: text,
  /** What settled jobs did not need. */
  returned: text,
  other: text,
  closing: text,
  /** Jobs that were settled meanwhile, and what they cost; no movement of its own: it is what was held for them less what was returned. */
  jobsSettled: count,
  charged: text,
};
export const statementDaySchema = z.object({ day: text, ...moved });
/** The whole range, whatever page it is of. */
export const statementTotalSchema = z.object(moved);
export const statementJobSchema = z.object({
  jobId: text,
  name: text.nullable(),
  settledAt: text,
  currency: text,
  held: text,
  charged: text,
  /** Of what was charged. */
  fee: text,
  returned: text,
});
export const statementSchema = z.discriminatedUnion("by", [
  z.object({
    by: z.literal("day"),
    ...range,
    totals: z.array(statementTotalSchema),
    items: z.array(statementDaySchema),
  }),
  z.object({
    by: z.literal("job"),
    ...range,
    totals: z.array(statementTotalSchema),
    items: z.array(statementJobSchema),
  }),
]);
export type Statement = z.output<typeof statementSchema>;

/** Of all time: `earned + other = pending + payable + paidOut`. */
export const earningsTotalSchema = z.object({
  currency: text,
  /** Shares of settled jobs. */
  earned: text,
  /** In its dispute window. */
  pending: text,
  payable: text,
  /** Withdrawn, or on its way. */
  paidOut: text,
  /** Everything else: stakes, disputes, adjustments, spending. */
  other: text,
  /** Of the range that was asked for. */
  earnedInRange: text,
});
const earned = { currency: text, jobs: count, ms: count, amount: text };
export const earningsDaySchema = z.object({ day: text, ...earned });
export const earningsWorkerSchema = z.object({ workerId: text, name: text.nullable(), ...earned });
export const earningsJobSchema = z.object({
  jobId: text,
  workerId: text,
  role: z.enum(["primary", "standby"]),
  settledAt: text,
  currency: text,
  ms: count,
  amount: text,
});
export const earningsSchema = z.discriminatedUnion("by", [
  z.object({ by: z.literal("day"), ...range, totals: z.array(earningsTotalSchema), items: z.array(earningsDaySchema) }),
  z.object({
    by: z.literal("worker"),
    ...range,
    totals: z.array(earningsTotalSchema),
    items: z.array(earningsWorkerSchema),
  }),
  z.object({ by: z.literal("job"), ...range, totals: z.array(earningsTotalSchema), items: z.array(earningsJobSchema) }),
]);
export type Earnings = z.output<typeof earningsSchema>;
