// Accounts, API keys, enrolments, deposits, uploads: who may do what, and the requests that are seen twice.
import { type AccountId, AMOUNT_MAX, formatUnits, type TransferId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { externalOf } from "./chain-of.ts";
import type { Actor, CoreEvent, Idempotency } from "./events.ts";
import { fits64Bits } from "./ledger-accounts.ts";
import { balanceOf, transfer } from "./ledger.ts";
import { applyLinked, knownTransfer } from "./linked.ts";
import type { AccountRecord, EnrolmentRecord, WorkerRecord } from "./model.ts";
import { newAccountId, newTransferId, newWorkerId } from "./random.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { emit, put, refuse } from "./tables.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

/** Before the names that callers give deposits: theirs are apart from all other transfers'. */
const DEPOSIT_PREFIX = "dep-";

/** The id of a deposit that its caller named. */
export function depositId(name: string): TransferId {
  return `${DEPOSIT_PREFIX}${name}` as TransferId;
}

/** The account of the one who started the network. */
export const ADMIN_ACCOUNT = "acc-admin" as AccountId;

export function createAdmin(state: CoreState, admin: NonNullable<Event<"boot">["admin"]>): void {
  if (state.rows.accounts.has(ADMIN_ACCOUNT)) return;
  const createdAtMs = state.nowMs;
  put(state, "accounts", ADMIN_ACCOUNT, { id: ADMIN_ACCOUNT, name: "admin", role: "admin", createdAtMs });
  const { keyId: id, keyHash: hash } = admin;
  put(state, "apiKeys", id, { id, accountId: ADMIN_ACCOUNT, name: "first key", hash, createdAtMs });
}

export function createAccount(state: CoreState, event: Event<"account.create">): void {
  if (!isAdmin(state, event.actor)) return;
  const repeated = seenBefore(state, event.actor, event.idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    const account = state.rows.accounts.get(repeated);
    assert(account !== undefined, `account ${repeated} of a repeated request is gone`);
    state.step.reply = { kind: "account", account };
    return;
  }
  const id = newAccountId(state.meta);
  const account: AccountRecord = { id, name: event.name, role: event.role, createdAtMs: state.nowMs };
  put(state, "accounts", id, account);
  remember(state, event.actor, event.idempotency, id);
  state.step.reply = { kind: "account", account };
}

export function createApiKey(state: CoreState, event: Event<"apiKey.create">): void {
  if (!isAdmin(state, event.actor)) return;
  if (!accountExists(state, event.accountId)) return;
  const { keyId: id, keyHash: hash, accountId, name } = event;
  assert(!state.ix.apiKeyByHash.has(hash) && !state.rows.apiKeys.has(id), "an API key came twice");
  const apiKey = { id, accountId, name, hash, createdAtMs: state.nowMs };
  put(state, "apiKeys", id, apiKey);
  state.step.reply = { kind: "apiKey", apiKey };
}

export function createEnrolment(state: CoreState, event: Event<"enrolment.create">): void {
  const { actor, accountId } = event;
  const own = actor.accountId === accountId;
  if (actor.role !== "admin" && !(actor.role === "provider" && own)) {
    return refuse(
      state,
      403,
      "forbidden",
      "Only an admin, or a provider for himself, may enrol workers. Ask your admin.",
    );
  }
  if (!accountExists(state, accountId)) return;
  const enrolment: EnrolmentRecord = {
    id: event.enrolmentId,
    accountId,
    tokenHash: event.tokenHash,
    expiresAtMs: state.nowMs + event.ttlMs,
    usedBy: null,
  };
  assert(!state.rows.enrolments.has(enrolment.id), "an enrolment came twice");
  put(state, "enrolments", enrolment.id, enrolment);
  armEnrolment(state, enrolment);
  state.step.reply = { kind: "enrolment", enrolment };
}

export function armEnrolment(state: CoreState, enrolment: EnrolmentRecord): void {
  state.deadlines.set(deadlineKey.enrolment(enrolment.id), enrolment.expiresAtMs + state.config.enrolmentKeptMs);
}

export function redeemEnrolment(state: CoreState, event: Event<"enrolment.redeem">): void {
  const id = state.ix.enrolmentByTokenHash.get(event.tokenHash);
  const enrolment = id === undefined ? undefined : state.rows.enrolments.get(id);
  if (enrolment === undefined) {
    const message = "This enrolment token is not known here. Check that it was copied whole, or ask for a new one.";
    return refuse(state, 404, "enrolment_unknown", message);
  }
  if (enrolment.usedBy !== null) {
    const worker = state.rows.workers.get(enrolment.usedBy);
    // The same machine asks again: the first answer was lost.
    if (worker !== undefined && worker.publicKey === event.publicKey) {
      state.step.reply = { kind: "worker", worker };
      return;
    }
    return refuse(state, 409, "enrolment_used", "This enrolment token was used already. Ask for a new one.");
  }
  if (state.nowMs >= enrolment.expiresAtMs) {
    return refuse(state, 410, "enrolment_expired", "This enrolment token has expired. Ask for a new one.");
  }
  if (state.ix.workerByPublicKey.has(event.publicKey)) {
    const message =
      "A worker with this key is enrolled already. Start it, or enrol with a new key (an empty data folder).";
    return refuse(state, 409, "worker_exists", message);
  }
  enrol(state, enrolment, event);
}

function enrol(state: CoreState, enrolment: EnrolmentRecord, event: Event<"enrolment.redeem">): void {
  const worker: WorkerRecord = {
    id: newWorkerId(state.meta),
    providerId: enrolment.accountId,
    name: event.name,
    publicKey: event.publicKey,
    phase: "offline",
    sessionId: null,
    offer: null,
    draining: false,
    earned: [],
    enrolledAtMs: state.nowMs,
    proofs: [],
    proofFailures: [],
  };
  put(state, "workers", worker.id, worker);
  put(state, "enrolments", enrolment.id, { ...enrolment, usedBy: worker.id });
  const { providerId, name } = worker;
  emit(state, { channel: "workers", kind: "worker_enrolled", providerId, workerId: worker.id, data: { name } });
  state.step.reply = { kind: "worker", worker };
}

/** Credit from outside, granted by an admin. */
export function deposit(state: CoreState, event: Event<"deposit">): void {
  if (!isAdmin(state, event.actor)) return;
  if (!accountExists(state, event.accountId)) return;
  if (event.amount <= 0n) {
    return refuse(state, 422, "amount_not_positive", "A deposit needs an amount above zero, in micro-units.");
  }
  const repeated = seenBefore(state, event.actor, event.idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    state.step.reply = { kind: "transfer", transferId: repeated as TransferId };
    return;
  }
  const { accountId, amount, currency, reference } = event;
  const isRepeat = event.id !== undefined && knownTransfer(state, event.id) !== undefined;
  const limit = isRepeat ? undefined : depositLimit(state, event);
  if (limit !== undefined) return refuse(state, 422, "amount_too_large", limit);
  const done = postDeposit(state, event);
  if (done === undefined) return;
  const { id: transferId } = done;
  if (!done.repeated)
    emit(state, {
      channel: "wallet",
      kind: "deposit",
      accountId,
      data: { amount: amount.toString(), currency, reference },
    });
  remember(state, event.actor, event.idempotency, transferId);
  state.step.reply = { kind: "transfer", transferId };
}

/** Why so much cannot be deposited; undefined when it can. */
function depositLimit(state: CoreState, { accountId, amount, currency }: Event<"deposit">): string | undefined {
  if (balanceOf(state, `customer:${accountId}`, currency) + amount > AMOUNT_MAX) {
    return `An account holds at most ${formatUnits(AMOUNT_MAX)} ${currency}. Deposit less.`;
  }
  if (!fits64Bits(balanceOf(state, "external:ledger", currency) - amount)) {
    return `All deposits of ${currency} together would be more than this ledger can count. Deposit less.`;
  }
  return undefined;
}

/** Once, where it is named. Undefined when it was refused, and the caller has been told. */
function postDeposit(
  state: CoreState,
  event: Event<"deposit">,
): { readonly id: TransferId; readonly repeated: boolean } | undefined {
  const { id = newTransferId(state.meta), accountId, amount, currency } = event;
  const input = {
    kind: "deposit",
    jobId: null,
    currency,
    postings: [
      { account: externalOf(state, currency), amount: -amount },
      { account: `customer:${accountId}`, amount },
    ],
    memo: event.reference,
  } as const;
  if (event.id === undefined) {
    transfer(state, { id, ...input });
    return { id, repeated: false };
  }
  const outcome = applyLinked(state, [{ do: "transfer", id, ...input }]);
  if (outcome.kind === "posted") return outcome.transfers[0];
  const message = `The deposit ${id.slice(DEPOSIT_PREFIX.length)} was made before, of another amount, to another account or with another reference. Use a new id for a new deposit.`;
  assert(outcome.code === "transfer_differs", outcome.message);
  refuse(state, 409, "transfer_differs", message);
  return undefined;
}

/** For programs of the operator. What is refused is told in the outcome, entry by entry. */
export function applyLedger(state: CoreState, event: Event<"ledger.apply">): void {
  if (!isAdmin(state, event.actor)) return;
  state.step.reply = { kind: "ledger", outcome: applyLinked(state, event.entries) };
}

/** The shell derives the id from the account and the content: the same tree again is the same upload. */
export function createUpload(state: CoreState, event: Event<"upload.create">): void {
  const upload = {
    id: event.uploadId,
    accountId: event.actor.accountId,
    tree: event.tree,
    createdAtMs: state.nowMs,
  };
  const known = state.rows.uploads.get(upload.id);
  assert(known === undefined || known.accountId === upload.accountId, "an upload is another account's");
  if (known === undefined) put(state, "uploads", upload.id, upload);
  state.step.reply = { kind: "upload", upload: known ?? upload };
}

// ── Idempotency keys ──

/** Instead of an id: the key was seen with another body, and the caller has been told. */
export const REFUSED = "refused";

/** The id that the first request with this key made; {@link REFUSED} when its body was another; `undefined` for a new key. */
export function seenBefore(state: CoreState, actor: Actor, idempotency: Idempotency | undefined): string | undefined {
  if (idempotency === undefined) return undefined;
  const record = state.rows.idempotency.get(idempotencyId(actor, idempotency));
  if (record === undefined || state.nowMs >= record.expiresAtMs) return undefined;
  if (record.bodyHash === idempotency.bodyHash) return record.resourceId;
  const message = "This Idempotency-Key was used within 24 hours with another body. Use a new key for a new request.";
  refuse(state, 409, "idempotency_key_reused", message);
  return REFUSED;
}

export function remember(
  state: CoreState,
  actor: Actor,
  idempotency: Idempotency | undefined,
  resourceId: string,
): void {
  if (idempotency === undefined) return;
  const id = idempotencyId(actor, idempotency);
  const expiresAtMs = state.nowMs + state.config.idempotencyTtlMs;
  put(state, "idempotency", id, { id, bodyHash: idempotency.bodyHash, resourceId, expiresAtMs });
  state.deadlines.set(deadlineKey.idempotency(id), expiresAtMs);
}

function idempotencyId(actor: Actor, { route, key }: Idempotency): string {
  return `${actor.accountId} ${route} ${key}`;
}

// ── Permission ──

export function isAdmin(state: CoreState, actor: Actor): boolean {
  if (actor.role === "admin") return true;
  refuse(state, 403, "forbidden", "Only an admin may do this. Use an admin's API key, or ask your admin.");
  return false;
}

function accountExists(state: CoreState, id: AccountId): boolean {
  if (state.rows.accounts.has(id)) return true;
  refuse(state, 404, "account_not_found", `There is no account ${id}. Check the id.`);
  return false;
}
