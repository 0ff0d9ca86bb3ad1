// What was worked and what it costs. Time is credited only by accepted checkpoints and ends of the current epoch; money is settled once, at the job's end.
import { chargeFor, type Claim, divideHold, settlementTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { queueChainPay } from "./chain.ts";
import { affordableMs, affordableStandbyMs, chargeOf } from "./charges.ts";
import { walletOwner } from "./check-money.ts";
import { addEarnings } from "./earnings.ts";
import { creditEgress } from "./egress.ts";
import { capOf } from "./job-cap.ts";
import { transfer } from "./ledger.ts";
import { settlementId } from "./ledger-accounts.ts";
import type { Machine } from "./machine.ts";
import { creditedBesideMs } from "./mirror.ts";
import type { AttemptRecord, JobRecord, LedgerAccount, Posting, SettlementLine, StandbyRecord } from "./model.ts";
import { addPending, payAccount } from "./pending-pay.ts";
import { recordSettled } from "./settled.ts";
import { signedMs } from "./signed-time.ts";
import { noteSpent } from "./spending.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, emit, emitJob, fire, put, standbysOf } from "./tables.ts";

export const MS_PER_S = 1_000;

export function durationMaxMs(job: JobRecord): number {
  return job.spec.durationMaxS * MS_PER_S;
}

/**
 * Credits an attempt up to a durable moment. `ranMs` is the worker's word on its container's time; it is believed no further than our own clock
 * since the assignment, no further than it has signed for in its ticks, and no further than `durationMaxS` over all attempts (of the same run, for a mirror job). Never falls.
 * What its container sent by then goes with it.
 */
export function credit(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  ranMs: number,
): { readonly job: JobRecord; readonly attempt: AttemptRecord } {
  const elapsedMs = Math.max(0, state.nowMs - attempt.assignedAtMs);
  const claimedMs = Math.min(signedMs(state, attempt, ranMs), elapsedMs) - attempt.baseRanMs;
  const roomMs = durationMaxMs(job) - creditedBesideMs(state, job, attempt);
  const paidMs = Math.min(claimedMs, roomMs);
  const creditedMs = Math.max(attempt.creditedMs, Math.min(paidMs, affordableMs(state, job, attempt, paidMs)));
  if (creditedMs === attempt.creditedMs) return { job, attempt: creditEgress(state, job, attempt) };
  const nextAttempt = { ...attempt, creditedMs };
  const nextJob = { ...job, creditedMs: job.creditedMs + creditedMs - attempt.creditedMs };
  const runs = job.mirror === undefined ? 1 : job.mirror.rateMax.length;
  assert(nextJob.creditedMs <= durationMaxMs(job) * runs, () => `job ${job.id} credited beyond its duration`);
  put(state, "attempts", attempt.id, nextAttempt);
  put(state, "jobs", job.id, nextJob);
  return { job: nextJob, attempt: creditEgress(state, nextJob, nextAttempt) };
}

/** What a standby that ends now is paid for: from ready until `endMs`, and all standbys of a job together no longer than `durationMaxS`. */
export function standbyCreditMs(state: CoreState, job: JobRecord, standby: StandbyRecord, endMs: number): number {
  if (standby.readyAtMs === null) return 0;
  const others = standbysOf(state, job.id).reduce(
    (sum, other) => (other.id === standby.id ? sum : sum + other.creditedMs),
    0,
  );
  const stoodMs = Math.max(0, Math.min(endMs - standby.readyAtMs, durationMaxMs(job) - others));
  return Math.min(stoodMs, affordableStandbyMs(state, job, standby, stoodMs));
}

/** Until when a worker's presence is proven: now while it is online, else its last sign of life. */
export function presentUntilMs(state: CoreState, machine: Machine): number {
  return machine.worker.phase === "online" ? state.nowMs : Math.min(state.nowMs, machine.heardMs);
}

/** Splits the hold into shares, fee and refund and posts it, once. The job must have reached its end in this step. */
export function settle(state: CoreState, job: JobRecord): JobRecord {
  const phase = fire(state, settlementTable, job.settlement.phase, "settle");
  if (phase === undefined) return job;
  const { hold } = job.settlement;
  const { gross, lines } = settlementOf(state, job);
  const escrow: LedgerAccount = `escrow:${job.id}`;
  const sum = lines.reduce((total, line) => total + line.amount, 0n);
  assert(sum === hold, () => `job ${job.id}: hold ${hold} is not shares + fee + refund ${sum}`);
  transfer(state, {
    id: settlementId(job.id),
    kind: "settlement",
    step: gross === 0n ? "void" : "post",
    jobId: job.id,
    currency: job.currency,
    postings: [{ account: escrow, amount: -hold }, ...postingsOf(state, job, lines)],
    memo: `settlement of ${job.id}`,
  });
  const settled = { ...job, settlement: { phase, hold, gross, lines } };
  put(state, "jobs", job.id, settled);
  queueChainPay(state, settled, lines);
  addEarnings(state, job.currency, lines);
  recordSettled(state, settled, gross, lines);
  noteSpent(state, job, gross);
  reportSettlement(state, settled, gross, lines);
  return settled;
}

function settlementOf(
  state: CoreState,
  job: JobRecord,
): { readonly gross: bigint; readonly lines: readonly SettlementLine[] } {
  const { hold } = job.settlement;
  const attempts = attemptsOf(state, job.id).filter((attempt) => attempt.creditedMs > 0);
  const standbys = standbysOf(state, job.id).filter((standby) => standby.creditedMs > 0);
  const claims: Claim[] = [
    ...attempts.map((attempt) => ({ id: attempt.id, weight: chargeOf(attempt) })),
    ...standbys.map(({ id, ratePerHour, creditedMs }) => ({ id, weight: chargeFor(ratePerHour, creditedMs) })),
  ];
  const sum = claims.reduce((all, claim) => all + claim.weight, 0n);
  const cap = capOf(job);
  assert(cap <= hold, () => `job ${job.id} may cost ${cap}, more than its hold ${hold}`);
  // Two runs always keep within the hold; where a third is due too, because nobody could be shown to be wrong, or a budget stopped them late, they share what there is.
  const isShared = job.mirror !== undefined && (job.mirror.thirdAfter !== null || job.cap !== undefined) && sum > cap;
  assert(isShared || sum <= cap, () => `job ${job.id}: charges of ${sum} exceed what it may cost, ${cap}`);
  const { gross, fee, shares } = divideHold(cap, claims);
  const line = (payee: AttemptRecord | StandbyRecord, role: "primary" | "standby"): SettlementLine => ({
    account: `provider:${payee.providerId}`,
    role,
    amount: shares.get(payee.id) ?? 0n,
    ms: payee.creditedMs,
    workerId: payee.workerId,
  });
  return {
    gross,
    lines: [
      ...attempts.map((attempt) => line(attempt, "primary")),
      ...standbys.map((standby) => line(standby, "standby")),
      { account: "fee", role: "fee", amount: fee },
      { account: job.check?.payer ?? `customer:${job.accountId}`, role: "refund", amount: hold - gross },
    ],
  };
}

/** Lines say who gets what; a provider's shares are posted to where they wait for their dispute window to be over. */
function postingsOf(state: CoreState, job: JobRecord, lines: readonly SettlementLine[]): readonly Posting[] {
  const byAccount = new Map<LedgerAccount, bigint>();
  for (const { account, amount } of lines) {
    const to = account.startsWith("provider:") ? payAccount(state, account.slice("provider:".length)) : account;
    byAccount.set(to as LedgerAccount, (byAccount.get(to as LedgerAccount) ?? 0n) + amount);
  }
  for (const [account, amount] of byAccount) {
    if (amount > 0n && account.startsWith("pending:")) {
      addPending(state, account.slice("pending:".length), job.currency, amount);
    }
  }
  return [...byAccount].map(([account, amount]) => ({ account, amount }));
}

function reportSettlement(state: CoreState, job: JobRecord, gross: bigint, lines: readonly SettlementLine[]): void {
  const wireLines = lines.map((line) => ({ ...line, amount: line.amount.toString() }));
  const { currency } = job;
  const hold = job.settlement.hold.toString();
  emitJob(state, job, "settled", { currency, hold, gross: gross.toString(), lines: wireLines });
  const refund = (job.settlement.hold - gross).toString();
  emit(state, {
    channel: "wallet",
    kind: "settlement",
    accountId: walletOwner(job),
    jobId: job.id,
    data: { currency, hold, gross: gross.toString(), refund },
  });
  for (const { account, role, amount } of lines) {
    if (amount === 0n || (role !== "primary" && role !== "standby")) continue;
    const providerId = account.slice("provider:".length) as AttemptRecord["providerId"];
    emit(state, {
      channel: "wallet",
      kind: "earned",
      providerId,
      jobId: job.id,
      data: { currency, role, amount: amount.toString() },
    });
  }
}
