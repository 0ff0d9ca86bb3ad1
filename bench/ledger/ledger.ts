// bench/ledger: how many linked settlements a second the books take, durable one by one and many to a commit, beside bare commits of SQLite in the
// same run; and how long after a job's end its refund is durable. The real core and store (SQLite, WAL, synchronous=FULL), in one process.
import { percentile } from "../harness/statistics.ts";
import { monotonicMs } from "../harness/clock.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { measureSqlite } from "../dispatch/sqlite-limit.ts";
import { type Books, connectWorker, hold, openBooks, settlement, submitJob } from "./books.ts";

export interface LedgerOptions {
  readonly runs: number;
}

const MEASURE_MS = 1_500;
/** As many events as the orchestrator takes into one tick at most. */
const BATCHES_PER_COMMIT = 256;
const WARM_UP_BATCHES = 2_000;
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
  for (let n = 0; n < WARM_UP_BATCHES; n += 1) settle(n % 10 === 0);
  const limits: number[] = [];
  const singles: number[] = [];
  const batched: number[] = [];
  let posted = WARM_UP_BATCHES;
  for (let run = 0; run < runs; run += 1) {
    report.progress(`run ${run + 1} of ${runs}`);
    // Beside one another, so that what else the machine does strikes all alike.
    limits.push(measureSqlite(await scratchFolder(cleanup, "ledger-limit"), 1).rowsPerS);
    for (const [rates, perCommit] of [
      [singles, 1],
      [batched, BATCHES_PER_COMMIT],
    ] as const) {
      const { perS, count } = measure(settle, perCommit);
      rates.push(perS);
      posted += count;
    }
  }
  const limit = percentile(limits, 50);
  const row = (system: string, metric: string, value: number, n: number, unit: string, atLeast?: number) =>
    report.row({ system, metric, value, unit, n }, atLeast === undefined ? undefined : { atLeast });
  row("limit", "SQLite commits, 1 row, FULL", limit, runs, "commits/s");
  row("qubix", "single", percentile(singles, 50), runs, "batches/s", Math.round(limit * BARS.singleOfLimit));
  row("qubix", "batched", percentile(batched, 50), runs, "batches/s", BARS.batchedPerS);
  const ratios = singles.map((perS, run) => perS / (limits[run] ?? Number.NaN));
  row("qubix", "single, of bare commits", 100 * percentile(ratios, 50), runs, "%", 100 * BARS.singleOfLimit);
  measureRefunds(report, books);
  audit(report, books, posted);
}

/** Each call is one linked batch: the hold of one job is settled, the next one's is taken, both or neither. `durable`: committed when it returns. */
function createSettler(books: Books): (durable: boolean) => void {
  const consumer = books.account("consumer");
  const providers = [books.account("provider"), books.account("provider")] as const;
  books.deposit(consumer.accountId);
  let n = 0;
  books.apply([hold(n, consumer, HOLD)]);
  books.commit();
  return (durable) => {
    books.apply([settlement(n, providers, GROSS), hold(n + 1, consumer, HOLD)]);
    n += 1;
    if (durable) books.commit();
  };
}

function measure(settle: (durable: boolean) => void, perCommit: number): { perS: number; count: number } {
  const begunMs = monotonicMs();
  let count = 0;
  while (monotonicMs() - begunMs < MEASURE_MS) {
    for (let n = 1; n <= perCommit; n += 1) settle(n === perCommit);
    count += perCommit;
  }
  return { perS: (count * 1000) / (monotonicMs() - begunMs), count };
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

function audit(report: Report, { store }: Books, posted: number): void {
  for (const [currency, { postings, balances, mismatches }] of store.audit()) {
    const holds = postings === 0n && balances === 0n && mismatches === 0;
    report.check(`books sum to zero in ${currency}`, holds, `${postings}, ${balances}, ${mismatches} accounts differ`);
  }
  const last = store.transfer(`hold-${posted}` as never);
  const next = store.transfer(`hold-${posted}/end` as never);
  report.check("every linked batch is in the books, once", last !== undefined && next === undefined, `${posted}`);
}
