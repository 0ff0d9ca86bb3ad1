// Stake: money that a provider puts at risk. It is added at once and comes back after an appeal window, so that it is still there when something is found.
import { formatUnits, unstakeTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { AccountId, Currency } from "@qubix/shared/domain";
import { REFUSED, remember, seenBefore } from "./accounts.ts";
import type { UnstakeCase } from "./case-records.ts";
import { endingId, newCaseId, openCases, putCase, reservingId } from "./case-rows.ts";
import type { Actor, CoreEvent } from "./events.ts";
import { balanceOf, transfer } from "./ledger.ts";
import type { LedgerAccount } from "./model.ts";
import type { CoreState } from "./state.ts";
import { emit, fire, refuse } from "./tables.ts";

/** Of one provider, waiting at a time. */
export const UNSTAKES_OPEN_MAX = 20;

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

export function addStake(state: CoreState, event: Event<"stake.add">): void {
  const { actor, amount, currency, from } = event;
  if (!isProvider(state, actor) || !isPositive(state, amount)) return;
  const repeated = seenBefore(state, actor, event.idempotency);
  if (repeated === REFUSED) return;
  const { accountId } = actor;
  if (repeated === undefined) {
    const source: LedgerAccount = from === "payable" ? `provider:${accountId}` : `customer:${accountId}`;
    const available = balanceOf(state, source, currency);
    if (available < amount) return short(state, `${from}, ${formatUnits(available)} ${currency},`, amount, currency);
    const transferId = transfer(state, {
      kind: "stake",
      jobId: null,
      currency,
      postings: [
        { account: source, amount: -amount },
        { account: `stake:${accountId}`, amount },
      ],
      memo: `stake from ${from}`,
    });
    assert(transferId !== null, "a stake moved nothing");
    remember(state, actor, event.idempotency, transferId);
    const data = { amount: amount.toString(), currency, from };
    emit(state, { channel: "wallet", kind: "staked", providerId: accountId, data });
  }
  state.step.reply = { kind: "done" };
}

/** Asks for stake back. */
export function removeStake(state: CoreState, event: Event<"stake.remove">): void {
  const { actor, amount, currency } = event;
  if (!isProvider(state, actor) || !isPositive(state, amount)) return;
  const repeated = seenBefore(state, actor, event.idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    state.step.reply = { kind: "case", caseId: repeated };
    return;
  }
  const { accountId: providerId } = actor;
  const staked = stakeOf(state, providerId, currency);
  if (staked < amount) return short(state, `stake, ${formatUnits(staked)} ${currency},`, amount, currency);
  if (unstakesOf(state, providerId).length >= UNSTAKES_OPEN_MAX) {
    const message = `${UNSTAKES_OPEN_MAX} of your requests wait already, as many as may. Wait until one is paid.`;
    return refuse(state, 409, "unstakes_too_many", message);
  }
  const id = newCaseId(state, "unstake");
  transfer(state, {
    id: reservingId(id),
    kind: "unstake",
    step: "reserve",
    jobId: null,
    currency,
    postings: [
      { account: `stake:${providerId}`, amount: -amount },
      { account: `reserved:${id}`, amount },
    ],
    memo: `${id}: asked back`,
  });
  const dueAtMs = state.nowMs + state.config.appealWindowMs;
  report(state, "unstake_asked", { id, providerId, amount, currency });
  putCase(state, {
    kind: "unstake",
    id,
    phase: unstakeTable.initial,
    parties: [providerId],
    createdAtMs: state.nowMs,
    endedAtMs: null,
    providerId,
    currency,
    amount,
    dueAtMs,
  });
  remember(state, actor, event.idempotency, id);
  state.step.reply = { kind: "case", caseId: id };
}

export function onUnstakeDue(state: CoreState, unstake: UnstakeCase): void {
  end(state, unstake, "due", `provider:${unstake.providerId}`);
  report(state, "unstaked", unstake);
}

/** Takes what was asked back into the stake again, the newest first, until `wanted` is there or nothing is left to take. Gives what there is. */
export function gatherStake(state: CoreState, providerId: AccountId, currency: Currency, wanted: bigint): bigint {
  const waiting = unstakesOf(state, providerId).filter((each) => each.currency === currency);
  for (const unstake of waiting.toSorted((a, b) => (a.id < b.id ? 1 : -1))) {
    if (stakeOf(state, providerId, currency) >= wanted) break;
    end(state, unstake, "recall", `stake:${providerId}`);
    report(state, "unstake_recalled", unstake);
  }
  return stakeOf(state, providerId, currency);
}

export function stakeOf(state: CoreState, providerId: AccountId, currency: Currency): bigint {
  return balanceOf(state, `stake:${providerId}`, currency);
}

export function unstakesOf(state: CoreState, providerId: AccountId): readonly UnstakeCase[] {
  // One that ended in this very step leaves when it is done.
  return openCases(state, "unstake").filter((each) => each.providerId === providerId && each.endedAtMs === null);
}

function end(state: CoreState, unstake: UnstakeCase, event: "due" | "recall", to: LedgerAccount): void {
  const phase = fire(state, unstakeTable, unstake.phase, event);
  assert(phase !== undefined, `${unstake.id} ended twice`);
  const { id, amount, currency } = unstake;
  transfer(state, {
    id: endingId(id),
    kind: "unstake",
    step: event === "due" ? "post" : "void",
    jobId: null,
    currency,
    postings: [
      { account: `reserved:${id}`, amount: -amount },
      { account: to, amount },
    ],
    memo: `${id}: ${phase}`,
  });
  putCase(state, { ...unstake, phase, endedAtMs: state.nowMs });
}

function report(
  state: CoreState,
  kind: string,
  { id, providerId, amount, currency }: Pick<UnstakeCase, "id" | "providerId" | "amount" | "currency">,
): void {
  const data = { unstakeId: id, amount: amount.toString(), currency };
  emit(state, { channel: "wallet", kind, providerId, data });
}

function isProvider(state: CoreState, actor: Actor): boolean {
  if (actor.role !== "consumer") return true;
  refuse(state, 403, "forbidden", "Stake is a provider's: use a provider's API key.");
  return false;
}

function isPositive(state: CoreState, amount: bigint): boolean {
  if (amount > 0n) return true;
  refuse(state, 422, "amount_not_positive", "A stake needs an amount above zero, in micro-units.");
  return false;
}

function short(state: CoreState, what: string, amount: bigint, currency: Currency): void {
  const message = `Your ${what} is less than ${formatUnits(amount)} ${currency}. Name less.`;
  refuse(state, 402, "insufficient_funds", message);
}
