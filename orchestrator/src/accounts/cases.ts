// Ratings, disputes, stakes and slashes as those see them whom they are about.
import type { AccountId, Currency } from "@qubix/shared/domain";
import {
  type disputeSchema,
  type ratingSchema,
  type slashSchema,
  type stakesSchema,
  toWireMoney,
  type unstakeSchema,
} from "@qubix/shared/protocol";
import type { z } from "zod";
import type { Actor, CaseOf, CoreState } from "../core/index.ts";
import type { Store } from "../store/port.ts";

type WallOf = (clockMs: number) => string;

export type RatingView = z.output<typeof ratingSchema>;
export type DisputeView = z.output<typeof disputeSchema>;
export type SlashView = z.output<typeof slashSchema>;
export type StakesView = z.output<typeof stakesSchema>;

export function viewRating({ jobId, stars, comment, ratedAtMs }: CaseOf<"rating">, wallOf: WallOf): RatingView {
  return { jobId, stars, comment, ratedAt: wallOf(ratedAtMs) };
}

/** A provider sees his own shares alone, as in receipts: what others earned is their business. */
export function viewDispute(dispute: CaseOf<"dispute">, wallOf: WallOf, asker: Actor): DisputeView {
  const { id, phase, jobId, accountId, reason, currency, gross, decision, endedAtMs } = dispute;
  const seesAll = asker.role === "admin" || asker.accountId === accountId;
  const shares = dispute.shares.filter(({ providerId }) => seesAll || providerId === asker.accountId);
  return {
    id,
    phase,
    jobId,
    accountId,
    reason,
    gross: toWireMoney(gross, currency),
    shares: shares.map(({ workerId, providerId, amount }) => ({
      workerId,
      providerId,
      amount: toWireMoney(amount, currency),
    })),
    openedAt: wallOf(dispute.createdAtMs),
    decideBy: wallOf(dispute.decideByMs),
    endedAt: endedAtMs === null ? null : wallOf(endedAtMs),
    decision: decision && { ...decision, refund: toWireMoney(decision.refund, currency) },
  };
}

export function viewSlash(slash: CaseOf<"slash">, wallOf: WallOf): SlashView {
  const { id, phase, offence, workerId, providerId, jobId, publicKey, currency, appeal, decision, endedAtMs } = slash;
  return {
    id,
    phase,
    offence,
    workerId,
    providerId,
    jobId,
    publicKey,
    evidence: JSON.parse(slash.evidence) as Record<string, unknown>,
    gain: toWireMoney(slash.gain, currency),
    due: toWireMoney(slash.due, currency),
    amount: toWireMoney(slash.amount, currency),
    proposedAt: wallOf(slash.createdAtMs),
    until: endedAtMs === null ? wallOf(slash.untilMs) : null,
    endedAt: endedAtMs === null ? null : wallOf(endedAtMs),
    appeal: appeal && { text: appeal.text, at: wallOf(appeal.atMs) },
    decision,
  };
}

/** What a provider has at risk. Open cases are in memory: all of them, whatever their number. */
export function stakesOf(state: CoreState, store: Store, accountId: AccountId, wallOf: WallOf): StakesView {
  const rows = new Map<Currency, { staked: bigint; waiting: bigint; slashing: bigint }>();
  const row = (currency: Currency) => {
    const found = rows.get(currency) ?? { staked: 0n, waiting: 0n, slashing: 0n };
    rows.set(currency, found);
    return found;
  };
  for (const { currency, amount } of store.balances([`stake:${accountId}`])) row(currency).staked += amount;
  const unstakes: z.output<typeof unstakeSchema>[] = [];
  for (const each of state.rows.cases.values()) {
    if (!("providerId" in each) || each.providerId !== accountId) continue;
    const money = row(each.currency);
    if (each.kind === "slash") money.slashing += each.amount;
    else {
      money.waiting += each.amount;
      unstakes.push(viewUnstake(each, wallOf));
    }
  }
  return {
    accountId,
    balances: [...rows]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([currency, { staked, waiting, slashing }]) => ({
        currency,
        staked: staked.toString(),
        waiting: waiting.toString(),
        slashing: slashing.toString(),
      })),
    unstakes: unstakes.toSorted((a, b) => (a.id < b.id ? 1 : -1)),
    unstakeDelayS: Math.ceil(state.config.appealWindowMs / 1000),
  };
}

function viewUnstake(unstake: CaseOf<"unstake">, wallOf: WallOf): z.output<typeof unstakeSchema> {
  const { id, phase, amount, currency, createdAtMs, dueAtMs } = unstake;
  return { id, phase, amount: toWireMoney(amount, currency), askedAt: wallOf(createdAtMs), dueAt: wallOf(dueAtMs) };
}
