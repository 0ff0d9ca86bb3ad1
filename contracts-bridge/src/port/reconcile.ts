// What the ledger says beside what a chain shows: the same comparison for every chain.
import type { EscrowState, Expectation, ExpectedJob, Difference, ReconcileReport } from "./intents.ts";

/** What was read of the chain; amounts in the token's smallest units. */
export interface ChainReading {
  readonly place: number;
  /** In the order of the jobs that were asked for. */
  readonly escrows: readonly (EscrowState | null)[];
  /** The signer's own tokens, and what the contract owes him. */
  readonly own: bigint;
  /** All of it was read of one state of the chain: sums can be compared while something is under way, too. */
  readonly isOneState: boolean;
  /** The signer in the spelling in which escrows have their payer. */
  readonly signer: string;
}

export function compare(expected: Expectation, reading: ChainReading): ReconcileReport {
  const differences: Difference[] = [];
  let there = reading.own;
  let underWay = 0;
  for (const [n, job] of expected.jobs.entries()) {
    const escrow = reading.escrows[n] ?? null;
    // What is settled there and not posted here yet was still owed by our books.
    if (escrow !== null)
      there += escrow.status === "settled" ? escrow.paid : escrow.status === "refunded" ? 0n : escrow.amount;
    if (job.expects === "underWay") underWay += 1;
    else differences.push(...differencesOf(job, escrow, reading.signer));
  }
  const isComparable = reading.isOneState || underWay === 0;
  if (isComparable && there < expected.owed) {
    const what = "less is there than is owed";
    differences.push({ jobId: null, what, ledger: `${expected.owed}`, chain: `${there}` });
  }
  const sum = { owed: expected.owed, there };
  return { place: reading.place, jobs: expected.jobs.length, underWay, differences, sum };
}

function differencesOf(job: ExpectedJob, escrow: EscrowState | null, signer: string): readonly Difference[] {
  const { jobId, amount } = job;
  if (escrow === null) return [{ jobId, what: "nothing is held", ledger: `${amount}`, chain: "0" }];
  const found: Difference[] = [];
  if (escrow.status !== "held") found.push({ jobId, what: "status", ledger: "held", chain: escrow.status });
  if (escrow.amount !== amount) found.push({ jobId, what: "amount", ledger: `${amount}`, chain: `${escrow.amount}` });
  if (escrow.payer !== signer) found.push({ jobId, what: "payer", ledger: signer, chain: escrow.payer });
  return found;
}
