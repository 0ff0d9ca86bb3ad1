import { z } from "zod";
import {
  AMOUNT_MAX,
  type AccountId,
  type ChunkCid,
  type Epoch,
  type JobId,
  type Money,
  type SessionId,
  type StandbyId,
  type WorkerId,
} from "../domain/index.ts";

const id = (pattern: RegExp, what: string) => z.string().max(128).regex(pattern, `not a valid ${what}`);

export const jobIdSchema = id(/^job-[a-z0-9-]{1,64}$/, "job id").transform((value) => value as JobId);
export const accountIdSchema = id(/^acc-[a-z0-9-]{1,64}$/, "account id").transform((value) => value as AccountId);
export const workerIdSchema = id(/^wrk-[a-z0-9-]{1,64}$/, "worker id").transform((value) => value as WorkerId);
export const sessionIdSchema = id(/^ses-[a-zA-Z0-9_-]{1,64}$/, "session id").transform((value) => value as SessionId);
export const standbyIdSchema = id(/^job-[a-z0-9-]{1,64}\/s[0-9]{1,9}$/, "standby id").transform(
  (value) => value as StandbyId,
);
export const challengeIdSchema = id(/^prf-[a-z0-9]{1,64}$/, "challenge id");
export const epochSchema = z
  .number()
  .int()
  .min(1)
  .transform((value) => value as Epoch);
/** CIDv1, base32, raw codec, sha2-256: always 59 characters that begin with `bafkrei`. */
export const chunkCidSchema = id(/^bafkrei[a-z2-7]{52}$/, "chunk id (CIDv1 raw sha2-256)").transform(
  (value) => value as ChunkCid,
);
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, "not a SHA-256 in hexadecimal");
export const base64urlSchema = z
  .string()
  .max(4096)
  .regex(/^[A-Za-z0-9_-]+$/, "not base64url");

export const currencySchema = z.string().regex(/^[A-Z]{3,5}$/, "a currency is 3 to 5 capital letters, e.g. USD");

/** `{"amount": "1250000", "currency": "USD"}`: micro-units as a decimal string; parsed to `bigint`. */
export const moneySchema = z
  .strictObject({
    amount: z
      .string()
      .regex(/^(0|[1-9][0-9]{0,15})$/, "an amount is a whole number of micro-units as a decimal string, at least 0")
      .refine((text) => !/^[0-9]+$/.test(text) || BigInt(text) <= AMOUNT_MAX, `at most ${AMOUNT_MAX}`),
    currency: currencySchema,
  })
  .transform((money): Money => ({ amount: BigInt(money.amount), currency: money.currency }));

/** Money as it stands on the wire. */
export interface WireMoney {
  readonly amount: string;
  readonly currency: string;
}

export function toWireMoney(amount: bigint, currency: string): WireMoney {
  return { amount: amount.toString(), currency };
}

/** Names people give: 1 to 100 characters on one line, none that control a terminal or turn the writing direction of what stands around them. */
export const nameSchema = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]*$/u, "a name has no control characters");

/** A region as the worker's owner names it, e.g. `eu-west`. */
export const regionSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,39}$/, "a region is lower-case letters, digits and dashes, e.g. eu-west");

export const attemptRefSchema = z.strictObject({
  jobId: jobIdSchema,
  replica: z.number().int().min(0).max(1),
  epoch: epochSchema,
});
