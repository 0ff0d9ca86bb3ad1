// Transfers that a caller names, one or several linked: all of them are posted or none, and the one that was refused is told. The same id with the
// same body again is the same transfer, for ever: what the store has under the ids that an event names comes with the event, what was posted
// since the store was asked is kept here for a moment; so nothing in memory grows with the transfers there ever were.
import type { TransferId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import { fits64Bits } from "./ledger-accounts.ts";
import {
  endOf,
  type LedgerEntry,
  type LedgerRefusal,
  LINKED_ENTRIES_MAX,
  type LinkedOutcome,
} from "./ledger-entries.ts";
import { balanceAt, balanceKey, transfer, type TransferInput } from "./ledger.ts";
import type { LedgerAccount, Posting, ReservationRecord, TransferRecord } from "./model.ts";
import { addPending } from "./pending-pay.ts";
import type { CoreState } from "./state.ts";
import { put } from "./tables.ts";

/** Names of callers: no `/`, which ids derived from others have, and not as those begin that the ledger makes itself. */
const NAMED_ID = /^(?!trf-)[A-Za-z0-9][A-Za-z0-9._:-]{0,119}$/;
/** The rest belongs to state machines that know what else has to change with it. */
const OPEN_ACCOUNT = /^((customer|provider|stake|external):.+|fee|slashed)$/;
const PAYEE_ACCOUNT = /^((customer|provider|pending|stake|external):.+|fee|slashed)$/;

interface Refused {
  readonly code: LedgerRefusal;
  readonly message: string;
}

/** A transfer that is to be posted, and what becomes of its reservation. */
interface Draft extends TransferInput {
  readonly id: TransferId;
  readonly opens?: ReservationRecord;
  readonly ends?: TransferId;
}

interface Plan {
  readonly state: CoreState;
  readonly drafts: Map<TransferId, Draft>;
  readonly balances: Map<string, bigint>;
  /** Null for one that ends in this plan. */
  readonly reservations: Map<TransferId, ReservationRecord | null>;
}

/** Posts all entries, each seeing what those before it did, or none. Expected refusals are values; nothing is thrown for them. */
export function applyLinked(state: CoreState, entries: readonly LedgerEntry[]): LinkedOutcome {
  if (entries.length === 0 || entries.length > LINKED_ENTRIES_MAX) {
    const message = `Linked transfers are 1 to ${LINKED_ENTRIES_MAX}, got ${entries.length}.`;
    return { kind: "refused", at: 0, code: "linked_size", message };
  }
  const plan: Plan = { state, drafts: new Map(), balances: new Map(), reservations: new Map() };
  const transfers: { id: TransferId; repeated: boolean }[] = [];
  for (const [at, entry] of entries.entries()) {
    const draft = draftOf(plan, entry);
    if ("code" in draft) return { kind: "refused", at, ...draft };
    const seen = plan.drafts.get(draft.id) ?? knownTransfer(state, draft.id);
    const refused = seen === undefined ? take(plan, draft) : compare(draft, seen);
    if (refused !== undefined) return { kind: "refused", at, ...refused };
    transfers.push({ id: draft.id, repeated: seen !== undefined });
  }
  for (const draft of plan.drafts.values()) carryOut(state, draft);
  return { kind: "posted", transfers };
}

// ── What an entry comes to ──

function draftOf(plan: Plan, entry: LedgerEntry): Draft | Refused {
  switch (entry.do) {
    case "transfer":
      return transferDraft(entry);
    case "reserve":
      return reserveDraft(plan, entry);
    case "post":
      return endDraft(plan, entry, entry.to);
    case "void":
      return endDraft(plan, entry, []);
    default:
      return unreachable(entry);
  }
}

function transferDraft(entry: Extract<LedgerEntry, { do: "transfer" }>): Draft | Refused {
  const { id, kind, jobId, currency, memo } = entry;
  const postings = merged(entry.postings);
  if (!NAMED_ID.test(id)) return idInvalid(id);
  const strange = postings.find(({ account }) => !OPEN_ACCOUNT.test(account));
  if (strange !== undefined) return notAllowed(strange.account);
  const sum = postings.reduce((all, { amount }) => all + amount, 0n);
  if (sum === 0n && postings.length >= 2) return { id, kind, jobId, currency, postings, memo };
  return { code: "transfer_unbalanced", message: `The postings of ${id} must move something and sum to zero: ${sum}.` };
}

function reserveDraft(plan: Plan, entry: Extract<LedgerEntry, { do: "reserve" }>): Draft | Refused {
  const { id, kind, jobId, currency, from, amount, memo } = entry;
  if (!NAMED_ID.test(id)) return idInvalid(id);
  if (!OPEN_ACCOUNT.test(from)) return notAllowed(from);
  if (amount <= 0n) return notPositive(amount);
  return {
    id,
    kind,
    step: "reserve",
    jobId,
    currency,
    postings: [
      { account: from, amount: -amount },
      { account: `reserved:${id}`, amount },
    ],
    memo,
    opens: { id, kind, jobId, currency, amount, from, atMs: plan.state.nowMs },
  };
}

function endDraft(
  plan: Plan,
  { do: step, reservation: id, memo }: Extract<LedgerEntry, { do: "post" | "void" }>,
  to: readonly Posting[],
): Draft | Refused {
  const found = reservationOf(plan, id);
  if (found === undefined) return { code: "reservation_unknown", message: `There is no reservation ${id}.` };
  const strange = to.find(({ account }) => !PAYEE_ACCOUNT.test(account));
  if (strange !== undefined) return notAllowed(strange.account);
  const negative = to.find(({ amount }) => amount <= 0n);
  if (negative !== undefined) return notPositive(negative.amount);
  const { kind, jobId, currency, amount, from } = found;
  const used = to.reduce((sum, part) => sum + part.amount, 0n);
  if (used > amount) {
    return {
      code: "reservation_exceeded",
      message: `Reservation ${id} holds ${amount}, and ${used} are to be posted.`,
    };
  }
  const postings = merged([
    { account: `reserved:${id}`, amount: -amount },
    ...to,
    { account: from, amount: amount - used },
  ]);
  return { id: endOf(id), kind, step, jobId, currency, postings, memo, ends: id };
}

/** Open, or ended and read from its transfer: then its end is known too, and can only be repeated. */
function reservationOf(plan: Plan, id: TransferId): Omit<ReservationRecord, "atMs"> | undefined {
  const open = plan.reservations.get(id) ?? plan.state.rows.reservations.get(id);
  if (open !== undefined && open !== null) return open;
  const made = plan.drafts.get(id)?.opens;
  if (made !== undefined) return made;
  const known = knownTransfer(plan.state, id);
  if (known?.step !== "reserve") return undefined;
  const source = known.postings.find(({ amount }) => amount < 0n);
  if (source === undefined || knownTransfer(plan.state, endOf(id)) === undefined) return undefined;
  const { kind, jobId, currency } = known;
  return { id, kind, jobId, currency, amount: -source.amount, from: source.account };
}

// ── Whether it may happen ──

/** Takes a draft into the plan, or says why not. */
function take(plan: Plan, draft: Draft): Refused | undefined {
  for (const { account, amount } of draft.postings) {
    const key = balanceKey(account, draft.currency);
    const after = (plan.balances.get(key) ?? balanceAt(plan.state, key)) + amount;
    if (!fits64Bits(amount) || !fits64Bits(after)) {
      return { code: "amount_out_of_range", message: `${account} would hold ${after}, beyond 64 bits.` };
    }
    if (after < 0n && !account.startsWith("external:")) {
      const message = `${account} lacks ${-after} ${draft.currency} for ${draft.id}.`;
      return { code: "insufficient_funds", message };
    }
    plan.balances.set(key, after);
  }
  plan.drafts.set(draft.id, draft);
  if (draft.opens !== undefined) plan.reservations.set(draft.id, draft.opens);
  if (draft.ends !== undefined) plan.reservations.set(draft.ends, null);
  return undefined;
}

/** The same id: it has to be the same transfer. */
function compare(draft: Draft, seen: Draft | TransferRecord): Refused | undefined {
  const same =
    draft.kind === seen.kind &&
    draft.step === seen.step &&
    draft.jobId === seen.jobId &&
    draft.currency === seen.currency &&
    draft.memo === seen.memo &&
    samePostings(draft.postings, seen.postings);
  if (same) return undefined;
  return { code: "transfer_differs", message: `${draft.id} was posted before with another body. Use a new id.` };
}

function samePostings(some: readonly Posting[], others: readonly Posting[]): boolean {
  const left = new Map(some.map(({ account, amount }) => [account, amount]));
  return some.length === others.length && others.every(({ account, amount }) => left.get(account) === amount);
}

// ── Carrying it out ──

function carryOut(state: CoreState, { opens, ends, ...input }: Draft): void {
  transfer(state, input);
  const record = state.step.transfers.at(-1);
  if (record !== undefined) rememberNamed(state, record);
  if (opens !== undefined) put(state, "reservations", opens.id, opens);
  if (ends !== undefined) put(state, "reservations", ends, null);
  for (const { account, amount } of input.postings) {
    if (account.startsWith("pending:")) addPending(state, account.slice("pending:".length), input.currency, amount);
  }
}

/** Under this id, of those that came with the event or were posted a moment ago. */
export function knownTransfer(state: CoreState, id: TransferId): TransferRecord | undefined {
  return state.volatile.named.get(id) ?? state.step.known.get(id);
}

function rememberNamed(state: CoreState, record: TransferRecord): void {
  const { named } = state.volatile;
  named.add(record.id, record);
  state.step.undo.push(() => named.delete(record.id));
}

/** One posting an account, none of zero: the body of a transfer in one form. */
function merged(postings: readonly Posting[]): readonly Posting[] {
  const byAccount = new Map<LedgerAccount, bigint>();
  for (const { account, amount } of postings) byAccount.set(account, (byAccount.get(account) ?? 0n) + amount);
  return [...byAccount].flatMap(([account, amount]) => (amount === 0n ? [] : [{ account, amount }]));
}

function idInvalid(id: string): Refused {
  return {
    code: "transfer_id_invalid",
    message: `${JSON.stringify(id)} is no id for a transfer: up to 120 letters, digits and ._:-, not beginning with trf-.`,
  };
}

function notAllowed(account: string): Refused {
  return { code: "account_not_allowed", message: `A named transfer may not touch ${account}.` };
}

function notPositive(amount: bigint): Refused {
  return { code: "amount_not_positive", message: `An amount above zero is needed, not ${amount}.` };
}
