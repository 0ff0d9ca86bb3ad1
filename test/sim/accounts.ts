// What people are shown of their money after a whole life of faults: every receipt verifies by itself, statements and earnings come to what the ledger says.
import {
  daysBetween,
  earningsBy,
  earningsTotals,
  receiptOf,
  statementDays,
  statementJobs,
} from "@qubix/orchestrator/accounts";
import type { Store, StoredJob } from "@qubix/orchestrator/store";
import type { AccountId } from "@qubix/shared/domain";
import { verifyReceipt } from "@qubix/shared/receipts";
import { check } from "./counts.ts";

/** The wall clock of the simulator begins at no particular day, and is set to any other. */
const EVER = daysBetween("1000-01-01", "2200-12-31");
/** Links put this in place of a signature. */
const SIGNATURE = "sig";
const JOBS_MAX = 100_000;

/** Four seeds in a row of thirty-two, so that they meet every other kind of draw: receipts cost as much as the rest of the reckoning several times over. */
export function hasAudit(seed: number): boolean {
  return Math.floor(seed / 4) % 8 === 0;
}

export function reckonReceipt(store: Store, stored: StoredJob): void {
  const ports = {
    store,
    orchestratorId: "orc-sim",
    wallOf: (clockMs: number) => new Date(clockMs).toISOString(),
    publicKeyOf: () => "key",
  };
  const providers = new Set([...stored.attempts, ...stored.standbys].map(({ providerId }) => providerId));
  const views = [
    { kind: "consumer" as const },
    ...[...providers].map((accountId) => ({ kind: "provider" as const, accountId })),
  ];
  for (const view of views) {
    const receipt: unknown = JSON.parse(JSON.stringify(receiptOf(ports, stored, view)));
    const { verified, problems, figures } = verifyReceipt(receipt, (_key, _text, signature) => signature === SIGNATURE);
    check(verified, () => {
      const [first] = problems;
      return `invariant 5: the receipt of ${stored.job.id} for its ${view.kind}: ${first?.at} ${first?.message} (${first?.code})`;
    });
    check(figures.contradictions === 0, () => `${stored.job.id}: an honest worker contradicts itself`);
  }
}

/** `accounts`: all that there are. */
export function reckonAccounts(store: Store, accounts: readonly AccountId[]): void {
  for (const accountId of accounts) {
    const { totals } = statementDays(store, accountId, EVER);
    const jobs = statementJobs(store, accountId, EVER, { after: null, limit: JOBS_MAX }).items;
    for (const { currency, amount } of store.balances([`customer:${accountId}`])) {
      const total = totals.find((one) => one.currency === currency);
      check((total?.opening ?? "0") === "0", () => `the statement of ${accountId} begins with ${total?.opening}`);
      check((total?.closing ?? "0") === amount.toString(), () => {
        return `invariant 5: the statement of ${accountId} ends with ${total?.closing}, the ledger with ${amount}`;
      });
      const charged = sum(jobs.filter((job) => job.currency === currency).map((job) => job.charged));
      check((total?.charged ?? "0") === charged.toString(), () => {
        return `invariant 5: ${accountId} was charged ${total?.charged} by day and ${charged} by job`;
      });
      // Nothing is held any more: what went out for jobs is what they cost.
      const spent = BigInt(total?.held ?? "0") + BigInt(total?.returned ?? "0");
      check(-spent === charged, () => `invariant 5: ${accountId} spent ${-spent} and was charged ${charged}`);
    }
    for (const row of earningsTotals(store, accountId, EVER)) {
      const there = BigInt(row.pending) + BigInt(row.payable) + BigInt(row.paidOut);
      check(BigInt(row.earned) + BigInt(row.other) === there, () => {
        return `invariant 5: ${accountId} earned ${row.earned}, other ${row.other}, and has ${there}`;
      });
      for (const by of ["day", "worker"] as const) {
        const shares = earningsBy(store, accountId, EVER, by).filter(({ currency }) => currency === row.currency);
        const earned = sum(shares.map(({ amount }) => amount.toString()));
        check(row.earned === earned.toString(), () => {
          return `invariant 5: ${accountId} earned ${row.earned} by the ledger and ${earned} by ${by}`;
        });
      }
    }
  }
}

function sum(amounts: readonly string[]): bigint {
  return amounts.reduce((total, amount) => total + BigInt(amount), 0n);
}
