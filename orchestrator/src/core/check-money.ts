// Money of jobs under check: what the runs cost, and the job's own pay, which is frozen until it is known whether its result was right.
import { takeBackEarnings } from "./earnings.ts";
import type { AccountId, Currency } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { transfer } from "./ledger.ts";
import { holdId } from "./ledger-accounts.ts";
import { payAccount, returnPending, type Share, takePending } from "./pending-pay.ts";
import type { FrozenPay, JobRecord, LedgerAccount, Posting, VerificationRecord } from "./model.ts";
import { notePayDecided } from "./pay-decided.ts";
import type { CoreState } from "./state.ts";
import { emit } from "./tables.ts";

/** What the operator pays for spot checks. */
export const CHECKS_ACCOUNT: LedgerAccount = "external:checks";

/** Who is told of the money of this job: nobody, where the operator pays. */
export function walletOwner({ check, accountId }: JobRecord): JobRecord["accountId"] | null {
  return check?.payer === CHECKS_ACCOUNT ? null : accountId;
}

/** Locks what a run may cost at most. */
export function holdForCheck(state: CoreState, run: JobRecord, payer: LedgerAccount): void {
  const { id, currency, settlement } = run;
  const isOperator = payer === CHECKS_ACCOUNT;
  transfer(state, {
    id: holdId(id),
    kind: isOperator ? "check" : "hold",
    step: "reserve",
    jobId: id,
    currency,
    postings: [
      { account: payer, amount: -settlement.hold },
      { account: `escrow:${id}`, amount: settlement.hold },
    ],
    memo: `hold for ${id}, which checks ${run.check?.of}`,
  });
  if (isOperator) return;
  const data = { currency, amount: settlement.hold.toString() };
  emit(state, { channel: "wallet", kind: "hold", accountId: run.accountId, jobId: id, data });
}

/**
 * Takes the shares and the fee of a job that was settled in this step into `disputed:JOB`: nobody has them until the check is decided, however long that takes.
 * Its dispute window runs on meanwhile.
 */
export function freezePay(state: CoreState, job: JobRecord): readonly FrozenPay[] {
  const frozen: FrozenPay[] = [];
  for (const { account, role, amount, workerId } of job.settlement.lines) {
    // A standby that stood by has done what it was paid for, whatever the result is.
    if (role === "refund" || role === "standby" || amount === 0n) continue;
    frozen.push({ account: account as LedgerAccount, amount, ...(workerId === undefined ? {} : { workerId }) });
  }
  const from = frozen.map(({ account, amount }): Posting => {
    const providerId = providerOf(account);
    if (providerId === null) return { account, amount: -amount };
    const from = payAccount(state, providerId);
    const isTaken = from === account || takePending(state, shareOf(job, providerId, amount, state.nowMs));
    assert(isTaken, `the pay of ${job.id} is not where it was posted`);
    return { account: from, amount: -amount };
  });
  transfer(state, {
    kind: "freeze",
    jobId: job.id,
    currency: job.currency,
    postings: [...from, intoDispute(job.id, frozen)],
    memo: `${job.id} is being checked`,
  });
  return frozen;
}

function providerOf(account: LedgerAccount): AccountId | null {
  return account.startsWith(PROVIDER) ? (account.slice(PROVIDER.length) as AccountId) : null;
}
const PROVIDER = "provider:";

function shareOf(
  { currency }: { readonly currency: Currency },
  providerId: AccountId,
  amount: bigint,
  settledAtMs: number,
): Share {
  return { providerId, currency, amount, settledAtMs };
}

/** The work was right, or nobody can tell: everybody has what he was due. */
export function releasePay(state: CoreState, verification: VerificationRecord): void {
  const { startedAtMs, frozen } = verification;
  const to = frozen.map(({ account, amount }) => {
    const providerId = providerOf(account);
    if (providerId === null) return { account, amount };
    return { account: returnPending(state, shareOf(verification, providerId, amount, startedAtMs)), amount };
  });
  resolve(state, verification, to, "was checked");
}

/** The result is wrong: the consumer has back what was paid for it, and the fee. */
export function returnPay(state: CoreState, verification: VerificationRecord): void {
  const { id, accountId, currency, frozen } = verification;
  resolve(state, verification, [{ account: `customer:${accountId}`, amount: sumOf(frozen) }], "has a wrong result");
  takeBackEarnings(
    state,
    currency,
    frozen.flatMap(({ workerId, amount }) => (workerId === undefined ? [] : [{ workerId, amount }])),
  );
  const data = { currency, amount: sumOf(frozen).toString(), why: "wrong_result" };
  emit(state, { channel: "wallet", kind: "returned", accountId, jobId: id, data });
}

/** A canary's result is wrong: the operator keeps what it was to be paid. */
export function keepPay(state: CoreState, job: JobRecord, frozen: readonly FrozenPay[]): void {
  const { id, currency } = job;
  resolve(state, { id, currency, frozen }, [{ account: CHECKS_ACCOUNT, amount: sumOf(frozen) }], "has a wrong result");
  const shares = frozen.flatMap(({ workerId, amount }) => (workerId === undefined ? [] : [{ workerId, amount }]));
  takeBackEarnings(state, currency, shares);
}

function resolve(
  state: CoreState,
  { id, currency, frozen }: Pick<VerificationRecord, "id" | "currency" | "frozen">,
  to: readonly Posting[],
  why: string,
): void {
  notePayDecided(state, id);
  const { account, amount } = intoDispute(id, frozen);
  const postings = [
    { account, amount: -amount },
    ...to.map((posting) => ({ account: posting.account, amount: posting.amount })),
  ];
  transfer(state, { kind: "resolution", jobId: id, currency, postings, memo: `${id} ${why}` });
}

function intoDispute(id: JobRecord["id"], frozen: readonly FrozenPay[]): Posting {
  return { account: `disputed:${id}`, amount: sumOf(frozen) };
}

function sumOf(frozen: readonly FrozenPay[]): bigint {
  return frozen.reduce((sum, { amount }) => sum + amount, 0n);
}
