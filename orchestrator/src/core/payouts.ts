// Accounts on chains that people have here. And money that leaves: what is payable to a provider, sent by an admin's hand in two phases; and what a chain's contract owes him already, withdrawn for him.
import { payoutTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { isAdmin, REFUSED, remember, seenBefore } from "./accounts.ts";
import { chainOf, externalOf } from "./chain-of.ts";
import type { CoreEvent } from "./events.ts";
import { balanceOf, transfer } from "./ledger.ts";
import type { LedgerAccount, PayoutRecord, TransferStep } from "./model.ts";
import { newTransferId } from "./random.ts";
import type { CoreState } from "./state.ts";
import { effect, emit, fire, put, refuse } from "./tables.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

/** Of one provider under way: each waits for a person. */
const PAYOUTS_OPEN_MAX = 20;

export function setPayoutAddress(state: CoreState, { actor, driver, address }: Event<"payout.address">): void {
  if (!isProvider(state, actor.role)) return;
  const { accountId } = actor;
  const id = `${driver} ${accountId}`;
  const known = state.rows.payoutAddresses.get(id);
  const record = known?.address === address ? known : { id, accountId, driver, address, setAtMs: state.nowMs };
  if (record !== known) {
    put(state, "payoutAddresses", id, record);
    emit(state, { channel: "wallet", kind: "payout_address", providerId: accountId, data: { driver, address } });
  }
  state.step.reply = { kind: "payoutAddress", record };
}

/** One account on each chain for each consumer: a new one takes the old one's place. */
export function setDepositAddress(state: CoreState, { actor, driver, address }: Event<"deposit.address">): void {
  const { accountId, role } = actor;
  if (role === "provider") return refuse(state, 403, "forbidden", "Only consumers deposit. Use a consumer's API key.");
  const id = `${driver} ${address}`;
  const known = state.rows.depositAddresses.get(id);
  if (known !== undefined && known.accountId !== accountId) {
    const message = "This account on the chain is another's here already. Use another one, or his account.";
    return refuse(state, 409, "address_taken", message);
  }
  const record = known ?? { id, accountId, driver, address, setAtMs: state.nowMs };
  if (known === undefined) {
    for (const other of state.rows.depositAddresses.values()) {
      if (other.accountId === accountId && other.driver === driver) put(state, "depositAddresses", other.id, null);
    }
    put(state, "depositAddresses", id, record);
    emit(state, { channel: "wallet", kind: "deposit_address", accountId, data: { driver, address } });
  }
  state.step.reply = { kind: "depositAddress", record };
}

/** By hand: payable → reserved, until an admin completes or rejects it. From a contract: nothing moves here, it is his already. */
export function requestPayout(state: CoreState, event: Event<"payout.request">): void {
  const { actor, by, amount, currency, destination } = event;
  if (!isProvider(state, actor.role)) return;
  const repeated = seenBefore(state, actor, event.idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    state.step.reply = { kind: "payout", payoutId: repeated, payout: state.rows.payouts.get(repeated) ?? null };
    return;
  }
  if (!mayRequest(state, event)) return;
  // Numbers of transfers sort by time; a withdrawal takes one without moving anything.
  const id = newTransferId(state.meta).replace("trf-", "pay-");
  const driver = chainOf(state, currency)?.driver ?? "ledger";
  const payout: PayoutRecord = {
    id,
    accountId: actor.accountId,
    phase: payoutTable.initial,
    by,
    driver,
    currency,
    amount,
    destination,
    reference: "",
    requestedAtMs: state.nowMs,
    endedAtMs: null,
  };
  put(state, "payouts", id, payout);
  remember(state, actor, event.idempotency, id);
  if (by === "contract") effect(state, { kind: "chain", id });
  else post(state, payout, `provider:${actor.accountId}`, `reserved:${id}`, "reserve");
  tell(state, payout, "payout_requested");
  state.step.reply = { kind: "payout", payoutId: id, payout };
}

function mayRequest(state: CoreState, { actor, by, amount, currency }: Event<"payout.request">): boolean {
  const open = [...state.rows.payouts.values()].filter(({ accountId }) => accountId === actor.accountId);
  if (
    open.length >= PAYOUTS_OPEN_MAX ||
    (by === "contract" && open.some((one) => one.by === by && one.currency === currency))
  ) {
    const message =
      "You have asked for payouts that are still under way. Wait for them (GET /v1/payouts), then ask again.";
    refuse(state, 409, "payout_under_way", message);
    return false;
  }
  if (amount <= 0n) {
    refuse(
      state,
      422,
      "amount_not_positive",
      "There is nothing to pay out: a payout needs an amount above zero, in micro-units.",
    );
    return false;
  }
  const payable = balanceOf(state, `provider:${actor.accountId}`, currency);
  if (by === "contract" || amount <= payable) return true;
  const message =
    "This is more than is payable to you. Ask for less, or wait: pay is payable when its dispute window is over (GET /v1/wallet).";
  refuse(state, 402, "insufficient_funds", message, {
    needed: amount.toString(),
    available: payable.toString(),
    currency,
  });
  return false;
}

export function endPayout(state: CoreState, { actor, payoutId, outcome, reference }: Event<"payout.end">): void {
  if (!isAdmin(state, actor)) return;
  const payout = state.rows.payouts.get(payoutId);
  if (payout === undefined) {
    return refuse(
      state,
      404,
      "payout_not_found",
      `There is no payout ${payoutId} that waits. GET /v1/payouts lists them.`,
    );
  }
  if (payout.by === "contract") {
    const message = `Payout ${payoutId} is a withdrawal from a contract: it ends when the chain shows it.`;
    return refuse(state, 409, "payout_by_contract", message);
  }
  const ended = end(state, payout, outcome, reference);
  const to: LedgerAccount =
    outcome === "complete" ? externalOf(state, payout.currency) : `provider:${payout.accountId}`;
  post(state, payout, `reserved:${payoutId}`, to, outcome === "complete" ? "post" : "void");
  state.step.reply = { kind: "payout", payoutId, payout: ended };
}

/** The chain shows that the contract owes him nothing more, or it refused: then it still does. */
export function onPayoutFinal(state: CoreState, { payoutId, applied }: Event<"payout.final">): void {
  const payout = state.rows.payouts.get(payoutId);
  if (payout === undefined) return;
  const why = applied ? "" : "The chain refused it: there was nothing to withdraw any more.";
  end(state, payout, applied ? "complete" : "reject", why);
}

function end(state: CoreState, payout: PayoutRecord, outcome: "complete" | "reject", reference: string): PayoutRecord {
  const phase = fire(state, payoutTable, payout.phase, outcome);
  assert(phase !== undefined, `payout ${payout.id} ended twice`);
  const ended = { ...payout, phase, reference, endedAtMs: state.nowMs };
  put(state, "payouts", payout.id, ended);
  state.step.payoutsEnded.push(payout.id);
  tell(state, ended, `payout_${phase}`);
  return ended;
}

function post(
  state: CoreState,
  { id, currency, amount }: PayoutRecord,
  from: LedgerAccount,
  to: LedgerAccount,
  step: TransferStep,
): void {
  const postings = [
    { account: from, amount: -amount },
    { account: to, amount },
  ];
  transfer(state, { kind: "payout", step, jobId: null, currency, postings, memo: `payout ${id}` });
}

function tell(state: CoreState, payout: PayoutRecord, kind: string): void {
  const { id, accountId: providerId, by, driver, currency, amount, reference } = payout;
  const data = { payoutId: id, by, driver, currency, amount: amount.toString(), reference };
  emit(state, { channel: "wallet", kind, providerId, data });
}

function isProvider(state: CoreState, role: string): boolean {
  if (role === "provider") return true;
  refuse(state, 403, "forbidden", "Only a provider is paid out. Use a provider's API key.");
  return false;
}
