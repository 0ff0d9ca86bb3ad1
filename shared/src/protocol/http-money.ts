// What the HTTP API takes and gives of money: the wallet, payouts, deposits from chains, chains, budgets. Requests are strict; answers may gain fields.
import { z } from "zod";
import { accountIdSchema, currencySchema, moneySchema } from "./common.ts";
import { wireMoneySchema } from "./http-common.ts";
import { backingSchema } from "./http.ts";

const text = z.string();
const count = z.number().int();
const nullableText = z.string().nullable();

// ── Wallet ──
export const walletSchema = z.object({
  accountId: text,
  balances: z.array(
    z.object({
      currency: text,
      available: text,
      held: text,
      /** Pending and payable together. */
      earned: text,
      /** Earned, and can still be disputed. */
      pending: text,
      payable: text,
      staked: text,
      settledBy: backingSchema,
    }),
  ),
});
export const walletEntrySchema = z.object({
  id: text,
  time: text,
  kind: text,
  /** Which of the account's balances moved. */
  balance: z.enum(["available", "pending", "payable", "staked"]),
  jobId: nullableText,
  amount: wireMoneySchema,
  balanceAfter: nullableText,
  memo: text,
});
export const depositRequestSchema = z.strictObject({
  accountId: accountIdSchema,
  amount: moneySchema,
  reference: z.string().max(200).default(""),
  /** Of the payment, say: a deposit with the same id, whenever it comes again, is made once. */
  id: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, "up to 100 letters, digits and ._:-")
    .optional(),
});

// ── Payouts: a provider's money that leaves ──
/** `PUT /v1/payout-addresses/{driver}`. */
export const payoutAddressRequestSchema = z.strictObject({ address: z.string().min(1).max(200) });
export const payoutAddressSchema = z.object({ driver: text, address: text, setAt: text });
/** One of the two. `amount`: of what is payable, sent by the operator to `destination`. `withdraw`: what a chain's contract owes you in this currency. */
export const payoutRequestSchema = z
  .strictObject({
    amount: moneySchema.optional(),
    withdraw: currencySchema.optional(),
    /** Where to, in words that the operator understands. */
    destination: z.string().max(200).default(""),
  })
  .refine(({ amount, withdraw }) => (amount === undefined) !== (withdraw === undefined), {
    error: "name either an amount, which the operator sends, or a currency to withdraw from its contract",
  });
export const payoutSchema = z.object({
  id: text,
  accountId: text,
  phase: z.enum(["requested", "completed", "rejected"]),
  /** hand: the operator sends it. contract: it is withdrawn from a chain's contract. */
  by: z.enum(["hand", "contract"]),
  driver: text,
  amount: wireMoneySchema,
  destination: text,
  /** Of the completion, or why it was rejected. */
  reference: text,
  requestedAt: text,
  endedAt: nullableText,
});
export const payoutCompleteSchema = z.strictObject({ reference: z.string().min(1).max(200) });
export const payoutRejectSchema = z.strictObject({ reason: z.string().min(1).max(200) });

// ── Deposits from chains ──
/** `PUT /v1/deposit-addresses/{driver}`. `signature`: of the text that GET gives, with your address in it, by the address's key. */
export const depositAddressRequestSchema = z.strictObject({
  address: z.string().min(1).max(200),
  signature: z.string().min(1).max(500),
});
export const depositAddressSchema = z.object({
  driver: text,
  currency: text,
  /** Send the currency's token here, from your own address. */
  sendTo: text,
  /** From where yours come; null where you have not said so. */
  address: nullableText,
  /** What is to be signed, `ADDRESS` replaced by yours. */
  text,
});

// ── Chains, for admins ──
export const chainReportSchema = z.object({
  /** The block or tick that was read. */
  place: count,
  jobs: count,
  underWay: count,
  differences: z.array(z.object({ jobId: nullableText, what: text, ledger: text, chain: text })),
  /** In the token's smallest units. */
  sum: z.object({ owed: text, there: text }),
});
export const chainStatusSchema = z.object({
  ...backingSchema.shape,
  currency: text,
  /** Who signs and pays. */
  signer: text,
  payeesMax: count,
  /** Why nothing goes on; null while it does. */
  halted: nullableText,
  underWay: count,
  /** What the chain ever refused, and the jobs of which a refusal waits for an admin. */
  refused: count,
  refusedJobs: z.array(text),
  /** Null before the first since the start. */
  report: chainReportSchema.nullable(),
});
export const chainsSchema = z.object({ items: z.array(chainStatusSchema) });
export const chainReleaseSchema = z.strictObject({ jobId: z.string().min(1).max(100) });

// ── Budgets ──
/** total: all that the account's jobs cost since it was set. month: what is settled within one calendar month (UTC). */
export const budgetPeriodSchema = z.enum(["total", "month"]);
export const budgetSchema = z.object({
  period: budgetPeriodSchema,
  /** The account's own, or one that an admin set for it; both hold. */
  owner: z.enum(["account", "admin"]),
  amount: wireMoneySchema,
  /** Settled, as this budget counts. */
  spent: wireMoneySchema,
  /** What the jobs that are not settled may come to in all. */
  reserved: wireMoneySchema,
  left: wireMoneySchema,
  setAt: text,
});
export const budgetListSchema = z.object({ accountId: text, budgets: z.array(budgetSchema) });
export const setBudgetSchema = z.strictObject({
  /** Only an admin may name another than himself: that budget is then beside the account's own, which cannot raise it. */
  accountId: accountIdSchema.optional(),
  period: budgetPeriodSchema.default("total"),
  amount: moneySchema,
});
export const clearBudgetQuerySchema = z.strictObject({
  accountId: accountIdSchema.optional(),
  period: budgetPeriodSchema.default("total"),
  currency: currencySchema.default("USD"),
});
