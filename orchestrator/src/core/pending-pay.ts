// Pay in its dispute window. What a provider earns in one hour is one bucket: it becomes payable, in one transfer, when the window of the hour's last
// moment is over. So neither memory nor the number of releases grows with the number of jobs. The buckets of a provider are what `pending:ACC` holds.
import type { AccountId, Currency } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { transfer } from "./ledger.ts";
import type { LedgerAccount, ReleaseRecord } from "./model.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { emit, put } from "./tables.ts";

/** A provider's share of a job, and when it was settled: that says in which bucket it is. */
export interface Share {
  readonly providerId: AccountId;
  readonly currency: Currency;
  readonly amount: bigint;
  /** On the orchestrator's clock; the job's `endedAtMs`. */
  readonly settledAtMs: number;
}

/** Where a share that is settled now is posted to; {@link addPending} follows the posting. */
export function payAccount(state: CoreState, providerId: string): LedgerAccount {
  return state.config.disputeWindowMs === 0 ? `provider:${providerId}` : `pending:${providerId}`;
}

/** Counts what was posted to `pending:ACC` now into the bucket of this hour. */
export function addPending(state: CoreState, providerId: string, currency: Currency, amount: bigint): void {
  changeBucket(state, { providerId: providerId as AccountId, currency, settledAtMs: state.nowMs }, amount);
}

/** Whether a share waits in its bucket: not where it was released, or was payable at once when it was settled. */
export function isPending(state: CoreState, share: Share): boolean {
  const bucket = state.rows.releases.get(bucketId(state, share));
  return bucket !== undefined && bucket.amount >= share.amount;
}

/**
 * Takes a share out of its bucket, so that it is not released. The caller posts it off `pending:ACC` in the same step. False, and nothing is
 * changed, when it has been released, or never was pending: what is payable is taken back from nobody.
 */
export function takePending(state: CoreState, share: Share): boolean {
  if (!isPending(state, share)) return false;
  changeBucket(state, share, -share.amount);
  return true;
}

/**
 * Puts a share back that was taken, and says to which account the caller posts it in the same step: pending while the window of its hour is open,
 * payable after that.
 */
export function returnPending(state: CoreState, share: Share): LedgerAccount {
  if (state.config.disputeWindowMs === 0 || dueMs(state, endOfPeriod(state, share.settledAtMs)) <= state.nowMs) {
    return `provider:${share.providerId}`;
  }
  changeBucket(state, share, share.amount);
  return `pending:${share.providerId}`;
}

/** Until when a share that was settled at this time can be disputed: its bucket is released then. */
export function disputableUntilMs(state: CoreState, settledAtMs: number): number {
  return state.config.disputeWindowMs === 0 ? settledAtMs : dueMs(state, endOfPeriod(state, settledAtMs));
}

export function armRelease(state: CoreState, { id, endsAtMs }: ReleaseRecord): void {
  state.deadlines.set(deadlineKey.release(id), dueMs(state, endsAtMs));
}

/** The window of a bucket is over: all that is left in it becomes payable. */
export function onReleaseDue(state: CoreState, id: string): void {
  const bucket = state.rows.releases.get(id);
  if (bucket === undefined) return;
  if (dueMs(state, bucket.endsAtMs) > state.nowMs) return armRelease(state, bucket);
  const { providerId, currency, amount } = bucket;
  put(state, "releases", id, null);
  const transferId = transfer(state, {
    kind: "release",
    jobId: null,
    currency,
    postings: [
      { account: `pending:${providerId}`, amount: -amount },
      { account: `provider:${providerId}`, amount },
    ],
    memo: "its dispute window is over",
  });
  const data = { currency, amount: amount.toString(), transferId };
  emit(state, { channel: "wallet", kind: "released", providerId, data });
}

function changeBucket(state: CoreState, of: Omit<Share, "amount">, by: bigint): void {
  const { providerId, currency } = of;
  const endsAtMs = endOfPeriod(state, of.settledAtMs);
  const id = bucketId(state, of);
  const before = state.rows.releases.get(id);
  const amount = (before?.amount ?? 0n) + by;
  assert(amount >= 0n, () => `the pay of ${id} would be ${amount}`);
  const record: ReleaseRecord = { id, providerId, currency, endsAtMs, amount };
  put(state, "releases", id, amount === 0n ? null : record);
  if (amount === 0n) state.deadlines.clear(deadlineKey.release(id));
  else if (before === undefined) armRelease(state, record);
}

function dueMs(state: CoreState, endsAtMs: number): number {
  return endsAtMs + state.config.disputeWindowMs;
}

/** The first moment that is no longer in the period of this one. */
function endOfPeriod({ config: { payPeriodMs } }: CoreState, atMs: number): number {
  return (Math.floor(atMs / payPeriodMs) + 1) * payPeriodMs;
}

function bucketId(state: CoreState, { providerId, currency, settledAtMs }: Omit<Share, "amount">): string {
  return `${providerId} ${currency} ${endOfPeriod(state, settledAtMs)}`;
}
