// Cases for tests of the stores, with amounts beyond what a number holds and evidence that looks like an encoded amount.
import type { AccountId, WorkerId } from "@qubix/shared/domain";
import type { DisputeCase, RatingCase, SlashCase, UnstakeCase } from "../../core/case-records.ts";
import { ACCOUNT, jobIdOf, PROVIDER } from "./records.ts";

const AMOUNT = 9_007_199_254_740_993n;

export function aRating(n: number, stars = 4): RatingCase {
  return {
    kind: "rating",
    id: `rtg-${n}`,
    parties: [ACCOUNT, PROVIDER],
    createdAtMs: n,
    endedAtMs: n,
    jobId: jobIdOf(n),
    accountId: ACCOUNT,
    stars,
    comment: "so \u2028 lala",
    counted: [{ workerId: "wrk-1" as WorkerId, weight: 0.25 }],
    ratedAtMs: n + 0.5,
  };
}

export function aDispute(n: number, parties: readonly AccountId[] = [ACCOUNT, PROVIDER]): DisputeCase {
  return {
    kind: "dispute",
    id: `dsp-${n}`,
    phase: "open",
    parties,
    createdAtMs: n,
    endedAtMs: null,
    jobId: jobIdOf(n),
    accountId: ACCOUNT,
    reason: "wrong",
    currency: "USD",
    gross: AMOUNT,
    fee: 1n,
    shares: [{ workerId: "wrk-1" as WorkerId, providerId: PROVIDER, id: "0000", amount: AMOUNT - 1n }],
    decideByMs: 1_000,
    decision: null,
  };
}

export function resolved(dispute: DisputeCase): DisputeCase {
  return {
    ...dispute,
    phase: "resolved",
    endedAtMs: 900,
    decision: { consumerBps: 5_000, refund: AMOUNT / 2n, note: "" },
  };
}

export function aSlash(n: number): SlashCase {
  return {
    kind: "slash",
    id: `slh-${n}`,
    phase: "appealed",
    parties: [PROVIDER],
    createdAtMs: n,
    endedAtMs: null,
    offence: "contradiction",
    workerId: "wrk-1" as WorkerId,
    providerId: PROVIDER,
    jobId: null,
    publicKey: "key",
    evidence: '{"units":"no amount","statements":["\\u0000"]}',
    currency: "USD",
    gain: 1n,
    due: 20n,
    amount: AMOUNT,
    untilMs: 7,
    appeal: { text: "no", atMs: 3 },
    decision: null,
  };
}

export function anUnstake(n: number): UnstakeCase {
  return {
    kind: "unstake",
    id: `ust-${n}`,
    phase: "waiting",
    parties: [PROVIDER],
    createdAtMs: n,
    endedAtMs: null,
    providerId: PROVIDER,
    currency: "USD",
    amount: AMOUNT,
    dueAtMs: 9,
  };
}
