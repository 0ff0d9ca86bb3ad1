// Jobs in a currency whose money lies on a chain. The ledger says who is owed what, as for any other; beside it a row says what is to become of the job's
// escrow there. Pay waits as `pending`, is `reserved` while the chain is asked for it, and is `external` once the chain shows it: one settlement there, one
// transfer here. What the shell must do follows from the rows alone, so that nothing has to be remembered over a crash.
import { type AccountId, chainPayTable, type JobId, type TransferId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { isAdmin } from "./accounts.ts";
import { chainOf, externalOf } from "./chain-of.ts";
import type { CoreEvent } from "./events.ts";
import { balanceOf, transfer, type TransferInput } from "./ledger.ts";
import type {
  ChainDeposit,
  ChainPayRecord,
  JobRecord,
  LedgerAccount,
  Posting,
  SettlementLine,
  TransferRecord,
} from "./model.ts";
import { disputableUntilMs, isPending, payAccount, takePending } from "./pending-pay.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { effect, emit, fire, patchJob, put, refuse } from "./tables.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;
type Share = ChainPayRecord["shares"][number];

/** By these a job's pay is moved after its settlement. */
const MOVES_PAY: ReadonlySet<TransferRecord["kind"]> = new Set(["freeze", "resolution", "adjustment"]);

/** A new job's hold is on its way to the contract. */
export function newDeposit(state: CoreState, currency: string): ChainDeposit | undefined {
  const setting = chainOf(state, currency);
  return setting === undefined ? undefined : { driver: setting.driver, deposit: "sent", tries: 1 };
}

export function sendDeposit(state: CoreState, job: JobRecord): void {
  if (job.chain !== undefined) effect(state, { kind: "chain", id: job.id });
}

// ── The end of a job ──

/** What was posted is owed; from when on the chain is asked for it, the row says. */
export function queueChainPay(state: CoreState, job: JobRecord, lines: readonly SettlementLine[]): void {
  if (job.chain === undefined) return;
  const shares = moved([], postedOf(state, lines));
  const fee = lines.find(({ role }) => role === "fee")?.amount ?? 0n;
  // Where nobody earned anything there is nothing to dispute. Else before its bucket is released: deadlines are handled in their order.
  const untilMs = shares.length === 0 ? state.nowMs : disputableUntilMs(state, state.nowMs);
  const pay: ChainPayRecord = {
    id: job.id,
    accountId: job.accountId,
    currency: job.currency,
    chain: job.chain,
    phase: chainPayTable.initial,
    hold: job.settlement.hold,
    shares,
    fee: feeOnChain(state, job.currency, fee),
    settledAtMs: state.nowMs,
    dueAtMs: Math.max(state.nowMs, untilMs - 1),
    tries: 0,
    payees: [],
  };
  put(state, "chainPays", pay.id, pay);
  // What is due already is asked for when the step is done: something in it may freeze the pay.
  armChainPay(state, pay);
}

export function armChainPay(state: CoreState, pay: ChainPayRecord): void {
  if (pay.phase === "waiting") state.deadlines.set(deadlineKey.chainPay(pay.id), pay.dueAtMs);
}

export function onChainPayDue(state: CoreState, id: JobId): void {
  const pay = state.rows.chainPays.get(id);
  if (pay?.phase === "waiting" && pay.dueAtMs <= state.nowMs) startPay(state, pay);
}

/**
 * Until the chain is asked, what happens to a job's pay here is what it will be asked for: shares that are frozen or given back are taken off, those that come
 * back are added. All is read of the transfers of the step, whoever made them.
 */
export function noteDisputes(state: CoreState): void {
  if (state.rows.chainPays.size === 0) return;
  for (const { kind, jobId, postings } of state.step.transfers) {
    const pay = jobId === null || !MOVES_PAY.has(kind) ? undefined : state.rows.chainPays.get(jobId);
    if (pay === undefined || (pay.phase !== "waiting" && pay.phase !== "frozen")) continue;
    const fee = postings.reduce((sum, { account, amount }) => (account === "fee" ? sum + amount : sum), 0n);
    const next = { ...pay, shares: moved(pay.shares, postings), fee: pay.fee + feeOnChain(state, pay.currency, fee) };
    put(state, "chainPays", pay.id, next);
    const isFrozen = balanceOf(state, `disputed:${pay.id}`, pay.currency) > 0n;
    if (isFrozen) move(state, next, "freeze", {});
    else if (pay.phase === "frozen") thaw(state, next);
  }
  for (const { table, record } of state.step.touched.values()) {
    if (table === "chainPays" && record?.phase === "waiting" && record.dueAtMs <= state.nowMs) startPay(state, record);
  }
}

/** What was decided to be payable has waited enough; what went back to its bucket waits with it. */
function thaw(state: CoreState, pay: ChainPayRecord): void {
  const isPayable = pay.shares.every(({ amount, payable }) => amount === payable);
  const resolved = move(state, pay, "resolve", isPayable ? { dueAtMs: state.nowMs } : {});
  if (resolved !== undefined) armChainPay(state, resolved);
}

/**
 * Its window is over: the pay is set aside under the job's name, and the chain is asked to settle, or to give all of it back. Of providers without an
 * address, and beyond what one settlement may name, the pay is released like any other, to be paid out by hand.
 */
function startPay(state: CoreState, pay: ChainPayRecord): void {
  const { driver } = pay.chain;
  const room = (chainOf(state, pay.currency)?.payeesMax ?? 0) - (pay.fee > 0n ? 1 : 0);
  const largestFirst = pay.shares.toSorted((a, b) =>
    a.amount === b.amount ? (a.accountId < b.accountId ? -1 : 1) : a.amount > b.amount ? -1 : 1,
  );
  const payees = largestFirst
    .filter((share) => isHere(state, pay, share))
    .flatMap((share) => {
      const address = state.rows.payoutAddresses.get(`${driver} ${share.accountId}`)?.address;
      return address === undefined ? [] : [{ ...share, address }];
    })
    .slice(0, Math.max(0, room));
  const from = payees.flatMap((payee) => payFrom(state, pay, payee));
  const naming = { id: `${pay.id}/pay` as TransferId, step: "reserve" } as const;
  post(state, pay, "payout", [...from, { account: "fee", amount: -pay.fee }], `reserved:${pay.id}`, naming);
  move(state, pay, "due", {
    payees: payees.map(({ accountId, address, amount }) => ({ accountId, address, amount })),
    tries: 1,
  });
  effect(state, { kind: "chain", id: pay.id });
}

// ── What the chain shows ──

export function onChainFinal(state: CoreState, event: Event<"chain.final">): void {
  if (event.what === "deposit") return onDepositFinal(state, event);
  const pay = state.rows.chainPays.get(event.jobId);
  if (pay === undefined || pay.tries !== event.tries) return;
  const next = move(state, pay, event.applied ? "final" : "refuse", {});
  if (next === undefined) return;
  if (!event.applied) return tell(state, next, "pay_refused");
  postReserved(state, next, externalOf(state, pay.currency));
  put(state, "chainPays", pay.id, null);
  tell(state, next, "paid");
}

function onDepositFinal(state: CoreState, { jobId, tries, applied }: Event<"chain.final">): void {
  const row = state.rows.jobs.get(jobId) ?? state.rows.chainPays.get(jobId);
  if (row?.chain === undefined || row.chain.tries !== tries || row.chain.deposit !== "sent") return;
  const chain = { ...row.chain, deposit: applied ? "final" : "refused" } as const;
  setDeposit(state, jobId, chain);
  const kind = applied ? "deposited" : "deposit_refused";
  emit(state, { channel: "jobs", kind, accountId: row.accountId, jobId, data: { driver: chain.driver } });
  if (!applied)
    emit(state, { channel: "system", kind: "chain_refused", data: { driver: chain.driver, jobId, what: "deposit" } });
}

function setDeposit(state: CoreState, jobId: JobId, chain: ChainDeposit): void {
  const [job, pay] = [state.rows.jobs.get(jobId), state.rows.chainPays.get(jobId)];
  if (job !== undefined) patchJob(state, job, { chain });
  if (pay !== undefined) put(state, "chainPays", jobId, { ...pay, chain });
}

// ── Admins ──

/** What the chain refused is tried again: an admin has removed the cause, e.g. the operator had too few tokens. */
export function retryChain(state: CoreState, { actor, driver }: Event<"chain.retry">): void {
  if (!isAdmin(state, actor)) return;
  for (const { id, chain } of [...state.rows.jobs.values(), ...state.rows.chainPays.values()]) {
    if (chain?.driver !== driver || chain.deposit !== "refused") continue;
    setDeposit(state, id, { ...chain, deposit: "sent", tries: chain.tries + 1 });
    effect(state, { kind: "chain", id });
  }
  for (const pay of state.rows.chainPays.values()) {
    if (pay.chain.driver !== driver || pay.phase !== "refused") continue;
    move(state, pay, "retry", { tries: pay.tries + 1 });
    effect(state, { kind: "chain", id: pay.id });
  }
}

/** What the chain will never pay becomes payable here, and is paid out by hand. */
export function releaseChainPay(state: CoreState, { actor, jobId }: Event<"chain.release">): void {
  if (!isAdmin(state, actor)) return;
  const pay = state.rows.chainPays.get(jobId);
  if (pay?.phase !== "refused") {
    const message = `The chain has refused nothing for ${jobId}. \`qubix chain status\` lists what it refused.`;
    return refuse(state, 409, "chain_not_refused", message);
  }
  move(state, pay, "release", {});
  const amount = reservedOf(pay);
  const back = pay.payees.map((payee) => ({ account: `provider:${payee.accountId}` as const, amount: payee.amount }));
  transfer(state, {
    id: `${pay.id}/paid` as TransferId,
    kind: "payout",
    step: "void",
    jobId: pay.id,
    currency: pay.currency,
    postings: [{ account: `reserved:${pay.id}`, amount: -amount }, ...back, { account: "fee", amount: pay.fee }],
    memo: `pay of ${pay.id} that the chain refused`,
  });
  put(state, "chainPays", pay.id, null);
  tell(state, pay, "pay_released");
}

export function noteChain(state: CoreState, { note, data }: Event<"chain.note">): void {
  emit(state, { channel: "system", kind: note, data });
}

// ── Helpers ──

function move(
  state: CoreState,
  pay: ChainPayRecord,
  event: Parameters<
    typeof fire<ChainPayRecord["phase"], "due" | "freeze" | "resolve" | "final" | "refuse" | "retry" | "release">
  >[3],
  patch: Partial<ChainPayRecord>,
): ChainPayRecord | undefined {
  const phase = fire(state, chainPayTable, pay.phase, event);
  if (phase === undefined) return undefined;
  const next = { ...pay, ...patch, phase };
  put(state, "chainPays", pay.id, next);
  return next;
}

/** Posts what moves from the accounts of `postings` to one other; under a name that the store takes once. */
function post(
  state: CoreState,
  pay: ChainPayRecord,
  kind: TransferRecord["kind"],
  postings: readonly Posting[],
  to: LedgerAccount,
  naming: Required<Pick<TransferInput, "id" | "step">>,
): void {
  const amount = postings.reduce((sum, posting) => sum - posting.amount, 0n);
  const memo = `${kind} of ${pay.id}`;
  transfer(state, {
    ...naming,
    kind,
    jobId: pay.id,
    currency: pay.currency,
    postings: [...postings, { account: to, amount }],
    memo,
  });
}

function postReserved(state: CoreState, pay: ChainPayRecord, to: LedgerAccount): void {
  const from = [{ account: `reserved:${pay.id}`, amount: -reservedOf(pay) }] as const;
  post(state, pay, "payout", from, to, { id: `${pay.id}/paid` as TransferId, step: "post" });
}

function reservedOf({ payees, fee }: ChainPayRecord): bigint {
  return payees.reduce((sum, { amount }) => sum + amount, fee);
}

/** The operator may have made the window shorter since: then it was released sooner, and its provider may have withdrawn it by hand. */
function isHere(state: CoreState, { currency, settledAtMs }: ChainPayRecord, share: Share): boolean {
  const { accountId: providerId, amount, payable } = share;
  const waits = isPending(state, { providerId, currency, amount: amount - payable, settledAtMs });
  return balanceOf(state, `provider:${providerId}`, currency) >= (waits ? payable : amount);
}

/** Out of its bucket, and of what is payable already. */
function payFrom(state: CoreState, { currency, settledAtMs }: ChainPayRecord, share: Share): readonly Posting[] {
  const { accountId: providerId, amount, payable } = share;
  const pending = amount - payable;
  const isPending = pending > 0n && takePending(state, { providerId, currency, amount: pending, settledAtMs });
  const [waiting, free] = isPending ? [pending, payable] : [0n, amount];
  return [
    { account: `pending:${providerId}`, amount: -waiting },
    { account: `provider:${providerId}`, amount: -free },
  ];
}

/** What a settlement posted to providers: each line to where its pay waits. */
function postedOf(state: CoreState, lines: readonly SettlementLine[]): readonly Posting[] {
  return lines.flatMap(({ account, amount }) => {
    if (!account.startsWith("provider:")) return [];
    return [{ account: payAccount(state, account.slice("provider:".length)), amount }];
  });
}

/** The shares after these postings, one a provider, none of zero. */
function moved(shares: readonly Share[], postings: readonly Posting[]): readonly Share[] {
  const after = new Map(shares.map((share) => [share.accountId, share]));
  for (const { account, amount } of postings) {
    const [, kind, id] = /^(provider|pending):(.+)$/.exec(account) ?? [];
    if (id === undefined) continue;
    const accountId = id as AccountId;
    const before = after.get(accountId) ?? { accountId, amount: 0n, payable: 0n };
    const payable = before.payable + (kind === "provider" ? amount : 0n);
    after.set(accountId, { accountId, amount: before.amount + amount, payable });
  }
  const found = [...after.values()];
  assert(
    found.every(({ amount, payable }) => amount >= payable && payable >= 0n),
    "more of a job's pay moved than there was",
  );
  return found.filter(({ amount }) => amount > 0n);
}

function feeOnChain(state: CoreState, currency: string, fee: bigint): bigint {
  return chainOf(state, currency)?.feeApart === true ? fee : 0n;
}

/** To the consumer and each provider, and what was refused to admins. */
function tell(state: CoreState, pay: ChainPayRecord, kind: "paid" | "pay_refused" | "pay_released"): void {
  const { driver } = pay.chain;
  const sum = pay.payees.reduce((all, { amount }) => all + amount, 0n);
  const data = { driver, currency: pay.currency, amount: sum.toString() };
  emit(state, { channel: "jobs", kind, accountId: pay.accountId, jobId: pay.id, data });
  for (const { accountId: providerId, amount, address } of pay.payees) {
    const own = { driver, currency: pay.currency, amount: amount.toString(), address };
    emit(state, { channel: "wallet", kind, providerId, jobId: pay.id, data: own });
  }
  if (kind === "pay_refused")
    emit(state, { channel: "system", kind: "chain_refused", data: { driver, jobId: pay.id, what: "pay" } });
}
