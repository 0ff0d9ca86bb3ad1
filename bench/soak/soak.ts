// bench/soak: the simulator over as many seeds as there is time for. What was run is kept, so that the next run goes on where this one ended; with
// other sources it begins anew, since seeds then mean something else.
import { availableParallelism } from "node:os";
import { add, createTotals, missingRows, type Totals } from "../../test/sim/report.ts";
import { runSeeds } from "../../test/sim/seeds.ts";
import { monotonicMs } from "../harness/clock.ts";
import type { Cleanup } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { loadSoak, saveSoak, sourcesHash } from "./state.ts";

export interface SoakOptions {
  /** Of this run; the other one is null. */
  readonly seeds: number | null;
  readonly seconds: number | null;
}

/** Seeds that no test runs. */
const FIRST_SEED = 1_000_001;
const THREADS_MAX = 2;
const BROKEN_MAX = 20;
/** What is lost when the machine dies, and how often it is told how far it is. */
const SAVE_MS = 10_000;
const PROGRESS_MS = 60_000;
const MS_PER_S = 1_000;

/** The promises about money and order that no seed may break, by what the simulator says when one is broken. */
const PROMISES: readonly { readonly name: string; readonly broken: RegExp }[] = [
  { name: "double credit", broken: /credited|invariant 6/ },
  { name: "double payment", broken: /invariant 5|overdrawn|settle/ },
  { name: "accepted stale write", broken: /invariant [24]|stale/ },
];

export async function runSoak(report: Report, cleanup: Cleanup, options: SoakOptions): Promise<void> {
  const sources = sourcesHash();
  const before = loadSoak(sources);
  const totals = before ?? createTotals();
  const first = FIRST_SEED + totals.seeds;
  const seedsBefore = totals.seeds;
  report.progress(before === null ? `begins with seed ${first}` : `goes on with seed ${first}`);
  const startedMs = monotonicMs();
  const end = options.seeds === null ? Number.MAX_SAFE_INTEGER : first + options.seeds;
  const untilMs = options.seconds === null ? Number.POSITIVE_INFINITY : startedMs + options.seconds * MS_PER_S;
  let savedMs = startedMs;
  let toldMs = startedMs;
  cleanup.add(() => saveSoak(sources, totals));
  await runSeeds({ first, end, threads: Math.min(THREADS_MAX, availableParallelism()) }, (result) => {
    add(totals, result);
    const nowMs = monotonicMs();
    if (nowMs - savedMs > SAVE_MS) {
      savedMs = nowMs;
      saveSoak(sources, totals);
    }
    if (nowMs - toldMs > PROGRESS_MS) {
      toldMs = nowMs;
      report.progress(`${totals.seeds} seeds, ${totals.broken.length} broken`);
    }
    return nowMs < untilMs && totals.broken.length < BROKEN_MAX;
  });
  saveSoak(sources, totals);
  const seconds = (monotonicMs() - startedMs) / MS_PER_S;
  tell(report, totals, (totals.seeds - seedsBefore) / seconds);
}

function tell(report: Report, totals: Totals, seedsPerS: number): void {
  const n = totals.seeds;
  const row = (metric: string, value: number, unit: string) => report.row({ system: "qubix", metric, value, unit, n });
  row("seeds in all runs", n, "seeds");
  row("speed of this run", seedsPerS, "seeds/s");
  row("jobs", totals.counts.jobs, "jobs");
  row("steps of the orchestrator's core", totals.counts.steps, "steps");
  row("invariants checked", totals.counts.checks, "checks");
  for (const [kind, count] of Object.entries(totals.struck)) row(`fault: ${kind}`, count, "faults");
  row("slowest end after the last fault", totals.slowestMs / MS_PER_S, "s");
  const messages = totals.broken.map(({ message }) => message);
  for (const { name, broken } of PROMISES) {
    const value = messages.filter((message) => broken.test(message)).length;
    report.row({ system: "qubix", metric: name, value, unit: "seeds", n }, { atMost: 0 });
    report.check(`${name}: 0 in all seeds`, value === 0);
  }
  report.row({ system: "qubix", metric: "broken seeds", value: messages.length, unit: "seeds", n }, { atMost: 0 });
  report.check("no invariant was broken", messages.length === 0);
  report.check("every row of the state tables fired", missingRows(totals).length === 0 || n < ROWS_FROM_SEEDS);
  for (const { seed, message } of totals.broken) report.progress(`seed ${seed}: ${message}`);
  const broken = totals.broken[0];
  if (broken !== undefined)
    report.progress(`broken: seed ${broken.seed} (npm run -s sim -- --seed ${broken.seed} --trace)`);
}

const ROWS_FROM_SEEDS = 2_000;
