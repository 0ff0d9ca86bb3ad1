// bench/liars: fleets of which a tenth lies, on the real core: how soon they are caught, who else is accused, and what the checks cost.
import { type FleetOptions, type FleetResult, runFleet } from "../../test/liars/fleet.ts";
import type { Report } from "../harness/report.ts";

const FLEET: Omit<FleetOptions, "seed"> = {
  workers: 100,
  liars: 10,
  jobs: 4_000,
  checkShare: 0.05,
  lieShare: 1,
  lieAfter: 0,
  lies: "own",
  unlikeShare: 0,
};
/** The bar: within so many jobs of the liar… */
const JOBS_MAX = 30;
/** …with this probability. */
const CAUGHT_MIN = 0.95;
/** Long after the start: what is checked when everybody is known. */
const LONG_JOBS = 20_000;

/** Kinds of fleets. Only the first has the bar. */
const WORLDS: readonly { readonly name: string; readonly part: number; readonly options: Partial<FleetOptions> }[] = [
  { name: "10% liars", part: 1, options: {} },
  { name: "10% liars who tell the same lie", part: 1, options: { lies: "same" } },
  { name: "10% liars who lie in every second job", part: 1, options: { lieShare: 0.5 } },
  { name: "10% liars who lie after 50 honest jobs", part: 0.2, options: { lieAfter: 50, jobs: 12_000 } },
  { name: "10% liars, 20% of jobs not deterministic", part: 0.2, options: { unlikeShare: 0.2 } },
  { name: "no liars, 20,000 jobs", part: 0.05, options: { liars: 0, jobs: LONG_JOBS } },
];

export function runLiars(report: Report, options: { readonly seeds: number }): void {
  for (const { name, part, options: world } of WORLDS) {
    const seeds = Math.max(1, Math.round(options.seeds * part));
    const results = Array.from({ length: seeds }, (_, n) => runFleet({ ...FLEET, ...world, seed: n + 1 }));
    report.progress(`${name}: ${seeds} seeds`);
    tell(report, name, results, name === WORLDS[0]?.name);
  }
}

function tell(report: Report, name: string, results: readonly FleetResult[], hasBar: boolean): void {
  const sum = (of: (result: FleetResult) => number) => results.reduce((all, one) => all + of(one), 0);
  const row = (metric: string, value: number, unit: string, n: number, bar?: Parameters<Report["row"]>[1]) =>
    report.row({ system: "qubix", metric: `${name}: ${metric}`, value, unit, n }, bar);
  const jobs = sum((one) => one.jobs);
  // Who had fewer jobs and was not caught says nothing of 30.
  const liars = results
    .flatMap((one) => one.liars)
    .filter(({ caughtAfter, done }) => caughtAfter !== null || done >= JOBS_MAX);
  if (liars.length > 0) {
    const caught = liars.filter(({ caughtAfter }) => caughtAfter !== null && caughtAfter <= JOBS_MAX).length;
    const share = caught / liars.length;
    row("liars caught within 30 jobs", share, "share", liars.length, hasBar ? { atLeast: CAUGHT_MIN } : undefined);
    if (hasBar) report.check(`liars are caught within ${JOBS_MAX} jobs with p ≥ ${CAUGHT_MIN}`, share >= CAUGHT_MIN);
    const sorted = liars.map(({ caughtAfter }) => caughtAfter ?? Infinity).toSorted((a, b) => a - b);
    row("jobs until caught, median", sorted[Math.floor(sorted.length / 2)] ?? 0, "jobs", liars.length);
  }
  const honest = sum((one) => one.honestAccused);
  row("honest workers accused", honest, "workers", results.length, { atMost: 0 });
  report.check(`${name}: nobody honest is accused`, honest === 0, String(honest));
  row("jobs checked", sum((one) => one.jobsChecked) / jobs, "share", jobs);
  row("runs for it, for each job", sum((one) => one.runs) / jobs, "share", jobs);
  row(
    "cost of checks, of what all jobs cost",
    sum((one) => Number(one.checksPaid)) / sum((one) => Number(one.paid)),
    "share",
    jobs,
  );
  row("wrong results that were paid", sum((one) => one.liesPaid) / jobs, "share", jobs);
  row(
    "checks that came to nothing",
    sum((one) => one.inconclusive) /
      Math.max(
        1,
        sum((one) => one.jobsChecked),
      ),
    "share",
    jobs,
  );
}
