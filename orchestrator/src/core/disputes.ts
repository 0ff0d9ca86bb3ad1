// Disputes: a consumer says, while the pay of a job is still pending, that he did not get what he paid for. Everything that was paid is frozen until an admin
// decides. Where nobody does in time it falls to the providers: their work was accepted, and a dispute must not be a way to keep what is due to somebody else.
import {
  type AccountId,
  disputeTable,
  feeOf,
  type DisputeEvent,
  formatUnits,
  splitByLargestRemainder,
} from "@qubix/shared/domain";
import { BASIS_POINTS_MAX } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { REFUSED, remember, seenBefore } from "./accounts.ts";
import type { DisputeCase, DisputedShare } from "./case-records.ts";
import { caseIdOf, endingId, openCase, openCases, putCase, reservingId } from "./case-rows.ts";
import { checkRunText } from "./check-state.ts";
import { takeBackEarnings } from "./earnings.ts";
import type { CoreEvent } from "./events.ts";
import { balanceOf, transfer } from "./ledger.ts";
import type { JobRecord, LedgerAccount, Posting } from "./model.ts";
import { disputableUntilMs, isPending, takePending } from "./pending-pay.ts";
import { recordDisputed } from "./reputation.ts";
import { notePayDecided, wasDecidedSince } from "./pay-decided.ts";
import type { CoreState } from "./state.ts";
import { emit, fire, refuse } from "./tables.ts";

/** Open ones of one account: each is a decision that somebody has to make. */
export const DISPUTES_OPEN_MAX = 100;

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

export function openDispute(state: CoreState, event: Event<"job.dispute">): void {
  const { actor, jobId, reason, ended } = event;
  const repeated = seenBefore(state, actor, event.idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    state.step.reply = { kind: "case", caseId: repeated };
    return;
  }
  const obstacle = obstacleOf(state, event);
  if (obstacle !== undefined) return refuse(state, obstacle.status, obstacle.code, obstacle.message);
  assert(ended !== null, `${jobId} is disputed and has not ended`);
  const { currency } = ended;
  const fee = feeIn(ended);
  const shares = sharesOf(ended);
  const gross = fee + shares.reduce((sum, { amount }) => sum + amount, 0n);
  const frozen: LedgerAccount = `disputed:${jobId}`;
  const id = caseIdOf("dispute", jobId);
  const settledAtMs = ended.endedAtMs ?? 0;
  const taken = [...byProvider(shares)].map(([providerId, amount]) => {
    const isThere = takePending(state, { providerId, currency, amount, settledAtMs });
    assert(isThere, `the pay of ${jobId} for ${providerId} is not pending`);
    return { account: `pending:${providerId}` as const, amount: -amount };
  });
  transfer(state, {
    id: reservingId(id),
    kind: "freeze",
    step: "reserve",
    jobId,
    currency,
    postings: [...taken, { account: "fee", amount: -fee }, { account: frozen, amount: gross }],
    memo: `${id}: frozen`,
  });
  const dispute = putCase(state, {
    kind: "dispute",
    id,
    phase: disputeTable.initial,
    parties: [...new Set([actor.accountId, ended.accountId, ...shares.map(({ providerId }) => providerId)])],
    createdAtMs: state.nowMs,
    endedAtMs: null,
    jobId,
    accountId: ended.accountId,
    reason,
    currency,
    gross,
    fee,
    shares,
    decideByMs: state.nowMs + state.config.decisionMs,
    decision: null,
  });
  report(state, dispute, "disputed", { disputeId: dispute.id, reason, currency, frozen: gross.toString() });
  remember(state, actor, event.idempotency, dispute.id);
  state.step.reply = { kind: "case", caseId: dispute.id };
}

interface Obstacle {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

function obstacleOf(
  state: CoreState,
  { actor, jobId, ended, previous, returned, asOf }: Event<"job.dispute">,
): Obstacle | undefined {
  if (ended === null || ended.endedAtMs === null) {
    const message = `Job ${jobId} has not ended: nothing is paid yet. Cancel it, or dispute it when it has ended.`;
    return { status: 409, code: "job_not_ended", message };
  }
  if (actor.accountId !== ended.accountId) {
    const message = `Job ${jobId} is another account's: its consumer alone may dispute it.`;
    return { status: 403, code: "forbidden", message };
  }
  if (ended.check !== undefined) return { status: 409, code: "check_run", message: checkRunText(ended) };
  if (asOf !== undefined && wasDecidedSince(state, jobId, asOf)) {
    const message = `It was just decided of the pay of job ${jobId}. Look at the job, and dispute it if it still has to be.`;
    return { status: 409, code: "pay_just_decided", message };
  }
  const open = state.rows.cases.get(caseIdOf("dispute", jobId));
  if (previous !== null || open !== undefined) {
    const message = `Job ${jobId} is or was disputed already, and a job is disputed once. See the dispute for what came of it.`;
    return { status: 409, code: "dispute_exists", message };
  }
  const pay = state.rows.chainPays.get(jobId);
  // What a chain was asked to pay cannot be called back.
  const isSent = pay !== undefined && pay.phase !== "waiting";
  if (isSent || state.nowMs >= disputableUntilMs(state, ended.endedAtMs)) {
    const hours = Math.round(state.config.disputeWindowMs / 3_600_000);
    const message = `The pay of job ${jobId} is paid out: it could be disputed for ${hours} h after its end. Rate it, or ask the operator.`;
    return { status: 409, code: "dispute_window_over", message };
  }
  if ((ended.settlement.gross ?? 0n) === 0n) {
    const message = `Job ${jobId} cost nothing: there is nothing to give back.`;
    return { status: 409, code: "nothing_to_dispute", message };
  }
  if (returned === true) {
    const message = `The pay of job ${jobId} went back to you already: see \`qubix wallet entries\`.`;
    return { status: 409, code: "nothing_to_dispute", message };
  }
  if (balanceOf(state, `disputed:${jobId}`, ended.currency) > 0n) {
    const message = `The pay of job ${jobId} is frozen already, because its result is being checked. Dispute it when that is decided, if it still has to be.`;
    return { status: 409, code: "pay_frozen", message };
  }
  if (isReleased(state, ended, ended.endedAtMs)) {
    const message = `The pay of job ${jobId} is paid out: when it was settled it was payable sooner than pay is now. Rate it, or ask the operator.`;
    return { status: 409, code: "dispute_window_over", message };
  }
  const own = openCases(state, "dispute").filter(({ accountId }) => accountId === ended.accountId);
  if (own.length < DISPUTES_OPEN_MAX) return undefined;
  const message = `You have ${own.length} open disputes, as many as an account may have. Wait until some are decided.`;
  return { status: 409, code: "disputes_too_many", message };
}

function sharesOf({ settlement, id }: JobRecord): readonly DisputedShare[] {
  return settlement.lines.flatMap(({ role, account, workerId, amount }, n) => {
    if ((role !== "primary" && role !== "standby") || amount === 0n) return [];
    assert(workerId !== undefined, `a share of ${id} has no worker`);
    const providerId = account.slice(account.indexOf(":") + 1) as AccountId;
    return [{ workerId, providerId, id: String(n).padStart(4, "0"), amount }];
  });
}

/** The operator has made the window longer since: what was payable by the one before is taken back from nobody. */
function isReleased(state: CoreState, ended: JobRecord, settledAtMs: number): boolean {
  const { currency } = ended;
  return [...byProvider(sharesOf(ended))].some(
    ([providerId, amount]) => !isPending(state, { providerId, currency, amount, settledAtMs }),
  );
}

function feeIn({ settlement }: JobRecord): bigint {
  return settlement.lines.reduce((sum, { role, amount }) => (role === "fee" ? sum + amount : sum), 0n);
}

function byProvider(shares: readonly DisputedShare[]): ReadonlyMap<AccountId, bigint> {
  const sums = new Map<AccountId, bigint>();
  for (const { providerId, amount } of shares) sums.set(providerId, (sums.get(providerId) ?? 0n) + amount);
  return sums;
}

// ── The end of it ──

export function resolveDispute(state: CoreState, event: Event<"dispute.resolve">): void {
  const { actor, disputeId, consumerBps, note } = event;
  if (actor.role !== "admin") {
    return refuse(state, 403, "forbidden", "Only an admin decides disputes. Ask the operator.");
  }
  const dispute = openCase(state, "dispute", disputeId);
  if (dispute === undefined) return;
  decide(state, dispute, "resolve", consumerBps, note);
  state.step.reply = { kind: "case", caseId: disputeId };
}

/** Nobody decided. */
export function onDisputeDue(state: CoreState, dispute: DisputeCase): void {
  decide(state, dispute, "lapse", 0, "nobody decided in time");
}

function decide(state: CoreState, dispute: DisputeCase, event: DisputeEvent, consumerBps: number, note: string): void {
  const phase = fire(state, disputeTable, dispute.phase, event);
  assert(phase !== undefined, `${dispute.id} was decided twice`);
  const { jobId, currency, gross, accountId } = dispute;
  const split = splitDispute(dispute, consumerBps);
  const postings: Posting[] = [
    { account: `disputed:${jobId}`, amount: -gross },
    { account: `customer:${accountId}`, amount: split.refund },
    { account: "fee", amount: split.fee },
  ];
  for (const [providerId, amount] of byProvider(split.shares)) {
    // Its time of waiting is over: it is payable at once.
    postings.push({ account: `provider:${providerId}`, amount });
  }
  const memo = `${dispute.id}: ${phase}`;
  transfer(state, { id: endingId(dispute.id), kind: "resolution", step: "post", jobId, currency, postings, memo });
  notePayDecided(state, jobId);
  const { refund } = split;
  putCase(state, { ...dispute, phase, endedAtMs: state.nowMs, decision: { consumerBps, refund, note } });
  if (consumerBps > 0) {
    const lost = dispute.shares.map((share, n) => ({
      ...share,
      amount: share.amount - (split.shares[n]?.amount ?? 0n),
    }));
    takeBackEarnings(state, currency, lost);
    recordDisputed(state, new Set(dispute.shares.map(({ workerId }) => workerId)), consumerBps / BASIS_POINTS_MAX);
  }
  const data = { disputeId: dispute.id, currency, consumerBps, refund: refund.toString(), note };
  report(state, dispute, phase === "resolved" ? "dispute_resolved" : "dispute_lapsed", data);
}

/** refund + fee + shares = gross, exactly: the fee is taken of what was not given back, shares keep their proportions. */
export function splitDispute(
  { gross, shares }: Pick<DisputeCase, "gross" | "shares">,
  consumerBps: number,
): { readonly refund: bigint; readonly fee: bigint; readonly shares: readonly DisputedShare[] } {
  assert(
    Number.isInteger(consumerBps) && consumerBps >= 0 && consumerBps <= BASIS_POINTS_MAX,
    `${consumerBps} basis points`,
  );
  const refund = (gross * BigInt(consumerBps)) / BigInt(BASIS_POINTS_MAX);
  const fee = feeOf(gross - refund);
  const claims = shares.map(({ id, amount }) => ({ id, weight: amount }));
  const parts = splitByLargestRemainder(gross - refund - fee, claims);
  return { refund, fee, shares: shares.map((share) => ({ ...share, amount: parts.get(share.id) ?? 0n })) };
}

/** In the job's timeline for its consumer, and once for each provider whose pay it is about. */
function report(
  state: CoreState,
  { accountId, jobId, shares, currency }: DisputeCase,
  kind: string,
  data: Readonly<Record<string, unknown>>,
): void {
  emit(state, { channel: "jobs", kind, accountId, jobId, data });
  for (const [providerId, amount] of byProvider(shares)) {
    const own = { ...data, share: `${formatUnits(amount)} ${currency}` };
    emit(state, { channel: "wallet", kind, providerId, jobId, data: own });
  }
}
