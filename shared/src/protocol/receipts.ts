// A job's whole account, as `GET /v1/jobs/{id}/receipt` gives it. It holds all that is needed to recompute it; see `@qubix/shared/receipts`.
// Amounts are micro-units of the receipt's currency, as decimal strings. Unknown fields are kept: they count for the digest.
import { z } from "zod";
import { jobPhaseSchema, settlementLineSchema } from "./http.ts";
import { TICK_MOMENTS } from "./ticks.ts";

const text = z.string();
const count = z.number().int().min(0);
/** What is paid for: two of them together are a safe number still. What workers say of themselves may be any. */
const paid = count.max(2 ** 52 - 1);
const amount = z.string().regex(/^(0|[1-9][0-9]{0,18})$/, "not an amount in micro-units");
const signedAmount = z.string().regex(/^(0|-?[1-9][0-9]{0,18})$/, "not an amount in micro-units");

/** One line of a worker's own account, with its Ed25519 signature over `tickText`. */
export const receiptTickSchema = z.looseObject({
  n: count,
  epoch: count,
  moment: z.enum(TICK_MOMENTS),
  ranMs: count,
  prev: text.nullable(),
  usage: z.record(text, z.number()).optional(),
  signature: text,
  /** In no chain: the worker signed it under a number that it had used before. */
  contradicts: z.boolean().optional(),
});
/** Where several resources have prices of their own: the rates sum to the rate; the charge is split by them, largest remainder, ties by name. */
const receiptPartSchema = z.looseObject({
  part: z.enum(["cpu", "disk", "gpu", "memory"]),
  ratePerHour: amount,
  charge: amount,
});
/** What it sent, where that has a price of its own. */
const receiptEgressSchema = z.looseObject({
  pricePerGiB: amount,
  /** What older epochs of the same container were paid for. */
  baseBytes: paid,
  /** Paid for; no more than its worker has signed for. */
  bytes: paid,
  /** floor(pricePerGiB × (baseBytes + bytes) / 2^30) − floor(pricePerGiB × baseBytes / 2^30). */
  charge: amount,
});
export const receiptAttemptSchema = z.looseObject({
  id: text,
  replica: count,
  epoch: count,
  workerId: text,
  providerId: text,
  /** The worker's raw Ed25519 public key, base64url. */
  publicKey: text,
  phase: text,
  /** An hour, fee included. */
  ratePerHour: amount,
  /** The older attempt whose running container it took over; 0 for none. */
  adoptedEpoch: count,
  /** Container time that older epochs of the same container were credited for. */
  baseRanMs: paid,
  creditedMs: paid,
  /** floor(ratePerHour × (baseRanMs + creditedMs) / 3,600,000) − floor(ratePerHour × baseRanMs / 3,600,000), and the charge of its egress. */
  charge: amount,
  /** Of the charge without egress. */
  parts: z.array(receiptPartSchema).optional(),
  egress: receiptEgressSchema.optional(),
  /** Its result was outvoted: it is not paid. */
  refused: z.boolean().optional(),
  /** Signed under its epoch, in order. */
  ticks: z.array(receiptTickSchema),
  /** Checked when they came, and not kept. */
  ticksLeftOut: count,
});
export const receiptStandbySchema = z.looseObject({
  id: text,
  workerId: text,
  providerId: text,
  phase: text,
  ratePerHour: amount,
  creditedMs: paid,
  charge: amount,
  parts: z.array(receiptPartSchema).optional(),
});
export const receiptTransferSchema = z.looseObject({
  id: text,
  kind: text,
  time: text,
  postings: z.array(z.looseObject({ account: text, amount: signedAmount })),
});
export const receiptSchema = z.looseObject({
  version: z.literal(1),
  orchestratorId: text,
  jobId: text,
  /** `provider`: only what concerns the provider who asks; the consumer's side and other providers are left out. */
  view: z.enum(["consumer", "provider"]),
  phase: jobPhaseSchema,
  /** Settled: nothing will change. Else the account so far. */
  final: z.boolean(),
  currency: text,
  createdAt: text,
  startedAt: text.nullable(),
  endedAt: text.nullable(),
  feeBasisPoints: count,
  /** More was due than was held, which only a third run of a mirror job can bring about: the hold is shared by what each is due. */
  heldShort: z.boolean(),
  /** Null for a provider. */
  agreed: z
    .looseObject({
      accountId: text,
      priceMaxPerHour: amount,
      durationMaxS: count,
      hold: amount,
      /** What of its egress it pays for at most; missing where it takes no offer that prices egress apart. The hold has all of it. */
      egress: z.looseObject({ bytesMax: count, priceMaxPerGiB: amount }).optional(),
      /** The most that it might cost by a budget, or as one run of a majority, where that is less; the hold is no more than the price cap over all of its time, then. */
      cap: amount.optional(),
      /** Two replicas, and a third run where they differed: each is paid. */
      mirror: z.boolean(),
    })
    .nullable(),
  attempts: z.array(receiptAttemptSchema),
  standbys: z.array(receiptStandbySchema),
  /** Null for a provider; so far, where it is not final. `fee` and `refund` are null until then. */
  totals: z.looseObject({ gross: amount, fee: amount.nullable(), refund: amount.nullable() }).nullable(),
  /** In the order of attempts and standbys that were paid, then fee and refund; empty until it is final. */
  lines: z.array(settlementLineSchema.extend({ amount })),
  /** In the order in which they were posted. */
  transfers: z.array(receiptTransferSchema),
  /** SHA-256 (hexadecimal) of everything else in it; see `receiptDigest`. */
  digest: text,
});
export type Receipt = z.output<typeof receiptSchema>;
export type ReceiptTick = z.output<typeof receiptTickSchema>;
export type ReceiptAttempt = z.output<typeof receiptAttemptSchema>;
export type ReceiptStandby = z.output<typeof receiptStandbySchema>;
