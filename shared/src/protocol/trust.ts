// What the HTTP API takes and gives of reputation, ratings, stakes, slashes and disputes.
import { z } from "zod";
import { BASIS_POINTS_PER_WHOLE } from "../domain/index.ts";
import { moneySchema, workerIdSchema } from "./common.ts";
import { pageQuerySchema, wireMoneySchema as money } from "./http-common.ts";

const text = z.string();
const count = z.number().int();
const nullableText = z.string().nullable();

const REASON_LENGTH_MAX = 2_000;
/** Characters of JSON: two signed statements, or two results told by their sums, take a few KiB. */
export const EVIDENCE_LENGTH_MAX = 64 * 1024;
/** All of a thing. */
export const BASIS_POINTS_MAX = Number(BASIS_POINTS_PER_WHOLE);

/** How its work went, over weeks: each part halves every 30 days. */
export const reputationSchema = z.object({
  /** 0 to 1; a half where nothing is known. Of a worker no more than of its provider. */
  score: z.number().min(0).max(1),
  /** Mean of consumers' ratings, 1 to 5, weighed by what they paid; null without any that counts. */
  stars: z.number().nullable(),
  ratings: count,
});
export const reputationDetailsSchema = reputationSchema.extend({
  completed: z.number(),
  verified: z.number(),
  failed: z.number(),
  disputed: z.number(),
  wrong: z.number(),
});

// ── Ratings ──
const STARS_MAX = 5;
export const ratingRequestSchema = z.strictObject({
  stars: z.number().int().min(1).max(STARS_MAX),
  comment: z.string().max(REASON_LENGTH_MAX).default(""),
});
export const ratingSchema = z.object({ jobId: text, stars: count, comment: text, ratedAt: text });

// ── Disputes ──
export const disputeRequestSchema = z.strictObject({ reason: z.string().min(1).max(REASON_LENGTH_MAX) });
export const disputeResolutionSchema = z.strictObject({
  /** Basis points of what was frozen that go back to the consumer; the rest goes to the providers, less the fee. */
  consumerBps: z.number().int().min(0).max(BASIS_POINTS_MAX),
  note: z.string().max(REASON_LENGTH_MAX).default(""),
});
export const disputeSchema = z.object({
  id: text,
  phase: z.enum(["open", "resolved", "lapsed"]),
  jobId: text,
  accountId: text,
  reason: text,
  /** Shares and fee of the job: what lies frozen, or lay. */
  gross: money,
  shares: z.array(z.object({ workerId: text, providerId: text, amount: money })),
  openedAt: text,
  /** Without a decision it falls to the providers then. */
  decideBy: text,
  endedAt: nullableText,
  decision: z.object({ consumerBps: count, refund: money, note: text }).nullable(),
});
export const caseListQuerySchema = pageQuerySchema.extend({
  /** Only those that are not decided yet. */
  open: z.stringbool().default(false),
});

// ── Stakes ──
export const stakeRequestSchema = z.strictObject({
  amount: moneySchema,
  /** payable: from what was earned. spendable: from what was deposited. */
  from: z.enum(["payable", "spendable"]).default("payable"),
});
export const unstakeRequestSchema = z.strictObject({ amount: moneySchema });
export const unstakeSchema = z.object({
  id: text,
  phase: z.enum(["waiting", "paid", "recalled"]),
  amount: money,
  askedAt: text,
  dueAt: text,
});
export const stakesSchema = z.object({
  accountId: text,
  /** What is at risk, by currency: staked; asked back and still waiting; held by slashes that are not decided. */
  balances: z.array(z.object({ currency: text, staked: text, waiting: text, slashing: text })),
  /** Asked back and not paid yet, newest first. */
  unstakes: z.array(unstakeSchema),
  /** From asking to being paid, seconds. */
  unstakeDelayS: count,
});

// ── Slashes ──
export const offenceSchema = z.enum(["contradiction", "failed_proof", "wrong_result"]);
export const slashRequestSchema = z.strictObject({
  offence: offenceSchema,
  workerId: workerIdSchema,
  jobId: z.string().max(100),
  evidence: z
    .record(z.string(), z.unknown())
    .refine((evidence) => Object.keys(evidence).length > 0, "say what shows it")
    .refine((evidence) => JSON.stringify(evidence).length <= EVIDENCE_LENGTH_MAX, "longer than can be kept"),
});
export const appealRequestSchema = z.strictObject({ text: z.string().min(1).max(REASON_LENGTH_MAX) });
export const slashResolutionSchema = z.strictObject({
  decision: z.enum(["uphold", "dismiss"]),
  note: z.string().max(REASON_LENGTH_MAX).default(""),
});
export const slashSchema = z.object({
  id: text,
  phase: z.enum(["noted", "proposed", "appealed", "applied", "voided"]),
  offence: offenceSchema,
  workerId: text,
  providerId: text,
  jobId: nullableText,
  /** Of the worker, raw Ed25519, base64url: signatures in the evidence are checked with it. */
  publicKey: text,
  evidence: z.record(z.string(), z.unknown()),
  /** What cheating could gain; that divided by the share of jobs that is checked; and what of that there was to take. */
  gain: money,
  due: money,
  amount: money,
  proposedAt: text,
  /** Until when it may be appealed, or decided; null once it is over. */
  until: nullableText,
  endedAt: nullableText,
  appeal: z.object({ text: text, at: text }).nullable(),
  decision: z.object({ by: z.enum(["window", "admin", "nobody"]), note: text }).nullable(),
});
