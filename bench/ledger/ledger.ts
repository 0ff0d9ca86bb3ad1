// bench/ledger: how many linked settlements a second the books take, durable one by one and many to a commit, beside bare commits of SQLite in the
// same run; and how long after a job's end its refund is durable. The real core and store (SQLite, WAL, synchronous=FULL), in one process.
import { endOf } from "@qubix/orchestrator/core";
import { percentile } from "../harness/statistics.ts";
import { monotonicMs } from "../harness/clock.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { measureSqlite } from "../dispatch/sqlite-limit.ts";
import { measurePages, pagesWritten } from "./pages-limit.ts";
import { type Books, connectWorker, hold, openBooks, settlement, submitJob } from "./books.ts";

export interface LedgerOptions {
  readonly runs: number;
}

/** As many events as the orchestrator takes into one tick at most. */
const BATCHES_PER_COMMIT = 256;
const WARM_UP_BATCHES = 2_048;
/** Of one run: a second or two each, on a machine that has nothing else to do. */
const SINGLES = 3_000;
const BATCHED = 40 * BATCHES_PER_COMMIT;
const JOBS = 200;
const HOLD = 1_000_000n;
const GROSS = 700_001n;
const BARS = { singleOfLimit: 0.5, batchedPerS: 5_000, refundS: 60 };

export async function runLedger(report: Report, cleanup: Cleanup, { runs }: LedgerOptions): Promise<void> {
  const folder = await scratchFolder(cleanup, "ledger");
  const books = openBooks(folder);
  cleanup.add(() => books.store.close());
  const settle = createSettler(books);
  // The compiler's warming up belongs to nobody's figure.
  measure(settle, WARM_UP_BATCHES, BATCHES_PER_COMMIT);
  measure(settle, WARM_UP_BATCHES, 1);
  const limits: number[] = [];
  const pageLimits: number[] = [];
  const pages: number[] = [];
  const singles: number[] = [];
  const batched: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    report.progress(`run ${run + 1} of ${runs}`);
    // Beside one another, so that what else the machine does strikes all alike.
    limits.push(measureSqlite(await scratchFolder(cleanup, "ledger-limit"), 1).rowsPerS);
    settle.hold(SINGLES);
    const writtenBefore = pagesWritten();
    singles.push(measureHeld(settle, SINGLES, 1));
    pages.push((pagesWritten() - writtenBefore) / SINGLES);
    pageLimits.push(measurePages(await scratchFolder(cleanup, "ledger-pages"), Math.round(pages.at(-1) ?? 1)));
    batched.push(measure(settle, BATCHED, BATCHES_PER_COMMIT));
  }
  const limit = percentile(limits, 50);
  const row = (system: string, metric: string, value: number, n: number, unit: string, atLeast?: number) =>
    report.row({ system, metric, value, unit, n }, atLeast === undefined ? undefined : { atLeast });
  row("limit", "SQLite commits, 1 row, FULL", limit, runs, "commits/s");
  row("qubix", "single", percentile(singles, 50), runs, "batches/s", Math.round(limit * BARS.singleOfLimit));
  row("qubix", "batched", percentile(batched, 50), runs, "batches/s", BARS.batchedPerS);
  // What the figures above are made of; no bar stands on them.
  row("qubix", "pages written, single", percentile(pages, 50), runs, "pages/batch");
  row("limit", "SQLite commits of as many pages, FULL", percentile(pageLimits, 50), runs, "commits/s");
  const ratios = singles.map((perS, run) => perS / (limits[run] ?? Number.NaN));
  row("qubix", "single, of bare commits", 100 * percentile(ratios, 50), runs, "%", 100 * BARS.singleOfLimit);
  measureRefunds(report, books);
  audit(report, books, settle.settled());
}

interface Settler {
  /** Takes holds that can be settled; durable when it returns. */
  hold(count: number): void;
  /** Settles the next one: all legs (primary, standby, fee, refund) or none. `durable`: committed when it returns. */
  settle(durable: boolean): void;
  settled(): number;
}

function createSettler(books: Books): Settler {
  const consumer = books.account("consumer");
  const providers = [books.account("provider"), books.account("provider")] as const;
  books.deposit(consumer.accountId);
  let held = 0;
  let settled = 0;
  return {
    hold(count) {
      for (let n = 1; n <= count; n += 1) {
        books.apply([hold(held, consumer, HOLD)]);
        held += 1;
        if (n % BATCHES_PER_COMMIT === 0) books.commit();
      }
      books.commit();
    },
    settle(durable) {
      books.apply([settlement(settled, providers, GROSS)]);
      settled += 1;
      if (durable) books.commit();
    },
    settled: () => settled,
  };
}

/** Settlements a second. */
function measure(settler: Settler, count: number, perCommit: number): number {
  settler.hold(count);
  return measureHeld(settler, count, perCommit);
}

function measureHeld(settler: Settler, count: number, perCommit: number): number {
  const begunMs = monotonicMs();
  for (let n = 1; n <= count; n += 1) settler.settle(n % perCommit === 0);
  return (count * 1000) / (monotonicMs() - begunMs);
}

/** From the moment a worker's word on a job's end is here until the consumer's refund is in the books, durably. */
function measureRefunds(report: Report, books: Books): void {
  report.progress(`${JOBS} jobs to their refund`);
  const consumer = books.account("consumer");
  books.deposit(consumer.accountId);
  const worker = connectWorker(books, books.account("provider"));
  const refundsS: number[] = [];
  for (let job = 0; job < JOBS; job += 1) {
    const id = submitJob(books, consumer);
    const attempt = { jobId: id, replica: 0, epoch: 1 as never };
    worker.say({ kind: "started", attempt, fromSeq: 0 });
    const endedMs = monotonicMs();
    worker.say({ kind: "ended", attempt, ranMs: 1, outcome: { kind: "succeeded", outputs: null } });
    const afterS = (monotonicMs() - endedMs) / 1000;
    const refund = books.store
      .transfers({ jobId: id, limit: 9 })
      .flatMap(({ kind, postings }) => (kind === "settlement" ? postings : []))
      .find(({ account }) => account === `customer:${consumer.accountId}`);
    if (refund !== undefined && refund.amount > 0n) refundsS.push(afterS);
  }
  const n = refundsS.length;
  report.check("every job's refund is in the books when its end is acknowledged", n === JOBS, `${n} of ${JOBS}`);
  const value = Math.max(...refundsS);
  report.row({ system: "qubix", metric: "refund posted", value, unit: "s", n }, { atMost: BARS.refundS });
}

function audit(report: Report, { store }: Books, settled: number): void {
  for (const [currency, { postings, balances, mismatches }] of store.audit()) {
    const holds = postings === 0n && balances === 0n && mismatches === 0;
    report.check(`books sum to zero in ${currency}`, holds, `${postings}, ${balances}, ${mismatches} accounts differ`);
  }
  let found = 0;
  for (let n = 0; n < settled; n += 1) {
    const end = store.transfer(endOf(`hold-${n}`));
    if (end?.step === "post" && end.postings.length === 5) found += 1;
  }
  report.check("every settlement is in the books, whole", found === settled, `${found} of ${settled}`);
}
