// The record of a settlement from which statements and earnings are made.
import type { AccountId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { JobRecord, LedgerAccount, SettledRecord, SettlementLine } from "./model.ts";
import type { CoreState } from "./state.ts";

/** Appends it, in the step that settles the job. */
export function recordSettled(state: CoreState, job: JobRecord, gross: bigint, lines: readonly SettlementLine[]): void {
  const { hold } = job.settlement;
  const refund = lines.find(({ role }) => role === "refund");
  const sumOf = (role: SettlementLine["role"]) =>
    lines.reduce((sum, line) => (line.role === role ? sum + line.amount : sum), 0n);
  state.step.settled.push({
    jobId: job.id,
    payer: (refund?.account ?? `customer:${job.accountId}`) as LedgerAccount,
    currency: job.currency,
    hold,
    gross,
    fee: sumOf("fee"),
    refund: sumOf("refund"),
    shares: lines.flatMap(shareOf),
    atMs: state.nowMs,
  });
}

function shareOf({ account, role, amount, ms = 0, workerId }: SettlementLine): SettledRecord["shares"] {
  if (role !== "primary" && role !== "standby") return [];
  assert(workerId !== undefined, `a share of ${account} names no worker`);
  return [{ providerId: account.slice(account.indexOf(":") + 1) as AccountId, workerId, role, amount, ms }];
}
