// `npm run -s sim -- --seeds N [--seed S] [--json] [--trace] [--threads T] [--until-broken]`: runs seeds S to S+N-1 and exits 1 when an invariant broke
// or too little was met. `npm run -s sim -- --mutants [NAME] [--json] [--note]`: breaks the product in each of many ways and exits 1 when one is not found;
// with --note the seeds that found them are noted, for the tests to begin with.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { MUTANT_SEEDS, MUTANTS } from "./mutant-table.ts";
import { noteSeeds } from "./mutant-seeds.ts";
import { runMutants, stalePatches, type Verdict } from "./mutants.ts";
import { add, createTotals, missingRows, SEEDS_FOR_COVERAGE, shortfalls, type Totals } from "./report.ts";
import { runSeed } from "./run.ts";
import { runSeeds } from "./seeds.ts";

const SEEDS_DEFAULT = 100;
const THREADS_MAX = 2;
/** Enough to see a pattern; the first one is what is looked into. */
const BROKEN_SHOWN_MAX = 5;
/** A run in which this many seeds broke has nothing more to tell. */
const BROKEN_MAX = 20;
const FAULTS_PER_LINE = 5;
const MUTANT_NAME_WIDTH = 72;

interface Options {
  readonly first: number;
  readonly seeds: number;
  readonly threads: number;
  readonly isJson: boolean;
  readonly isTraced: boolean;
  readonly isUntilBroken: boolean;
  readonly isNoted: boolean;
  /** Words of the names of those to be run; null: seeds are. */
  readonly mutants: string | null;
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.mutants !== null) return tryMutants(options, options.mutants);
  const startedAt = performance.now();
  const totals = createTotals();
  if (options.isTraced || options.seeds === 1) {
    // A thread of its own would take longer to start than a seed takes.
    const trace = options.isTraced ? (line: string) => console.log(line) : undefined;
    for (let n = 0; n < options.seeds; n += 1) add(totals, runSeed(options.first + n, trace));
  } else {
    const { first, seeds, threads, isUntilBroken } = options;
    await runSeeds({ first, end: first + seeds, threads }, (result) => {
      add(totals, result);
      return totals.broken.length < (isUntilBroken ? 1 : BROKEN_MAX);
    });
  }
  return report(options, totals, (performance.now() - startedAt) / 1000);
}

function readOptions(): Options {
  const { values, positionals } = parse();
  const first = whole("seed", values.seed, 1);
  const seeds = whole("seeds", values.seeds, values.seed === undefined ? SEEDS_DEFAULT : 1);
  const threads = whole("threads", values.threads, Math.min(THREADS_MAX, availableParallelism()));
  const mutants = values.mutants ? positionals.join(" ") : null;
  const isUntilBroken = values["until-broken"];
  const { json: isJson, trace: isTraced, note: isNoted } = values;
  return { first, seeds, threads, isJson, isTraced, isUntilBroken, isNoted, mutants };
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: process.argv.includes("--mutants"),
      options: {
        mutants: { type: "boolean", default: false },
        "until-broken": { type: "boolean", default: false },
        note: { type: "boolean", default: false },
        seeds: { type: "string" },
        seed: { type: "string" },
        threads: { type: "string" },
        json: { type: "boolean", default: false },
        trace: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    console.error(`sim: ${error instanceof Error ? error.message : String(error)}`);
    console.error("usage: npm run -s sim -- [--seeds N] [--seed S] [--json] [--trace] [--threads T] [--until-broken]");
    console.error("       npm run -s sim -- --mutants [WORDS OF A NAME] [--json] [--note]");
    return process.exit(2);
  }
}

function whole(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    console.error(`sim: --${name} is a whole number of at least 1, not ${text}`);
    process.exit(2);
  }
  return value;
}

/** Each mutant must be found; a line for each as it ends. */
async function tryMutants({ isJson, isNoted, threads }: Options, words: string): Promise<number> {
  const mutants = MUTANTS.filter(({ name }) => name.includes(words));
  const survivors: string[] = [];
  const found = new Map<string, number>();
  const stale = stalePatches(mutants);
  if (stale.length > 0) {
    console.error(["patches whose text is not in the sources exactly once:", ...stale].join("\n"));
    return 1;
  }
  await runMutants(mutants, threads, ({ mutant, seeds, message, seconds }: Verdict) => {
    const { name } = mutant;
    if (seeds === null) survivors.push(name);
    else found.set(name, seeds);
    if (isJson)
      return console.log(JSON.stringify({ mutant: name, seeds, seconds: Number(seconds.toFixed(1)), message }));
    const fate = seeds === null ? `SURVIVED ${MUTANT_SEEDS} seeds` : `found in ${seeds} seeds`;
    console.log(`${name.padEnd(MUTANT_NAME_WIDTH)} ${fate.padEnd(22)} ${seconds.toFixed(1).padStart(5)} s  ${message}`);
  });
  if (isNoted) noteSeeds(found);
  if (!isJson) console.log(`${mutants.length - survivors.length} of ${mutants.length} mutants found`);
  return survivors.length === 0 ? 0 : 1;
}

function report(options: Options, totals: Totals, seconds: number): number {
  const short = totals.broken.length === 0 ? shortfalls(totals) : [];
  const isGood = totals.broken.length === 0 && short.length === 0;
  if (options.isJson) console.log(JSON.stringify(summary(totals, seconds, short)));
  else print(totals, seconds, short);
  const first = totals.broken[0];
  if (first !== undefined) {
    console.log(`broken: seed ${first.seed}`);
  } else if (!isGood) {
    console.log(`too little was met in ${totals.seeds} seeds from seed ${options.first}`);
  }
  return isGood ? 0 : 1;
}

function summary(totals: Totals, seconds: number, short: readonly string[]): Record<string, unknown> {
  const { seeds, counts, broken, jobsMin, workersMin } = totals;
  return {
    seeds,
    seconds: Number(seconds.toFixed(1)),
    hash: hashOf(totals),
    longSeeds: totals.longSeeds,
    jobsMin,
    workersMin,
    slowestMs: totals.slowestMs,
    slowestSeed: totals.slowestSeed,
    ...counts,
    faults: totals.struck,
    rowsMissing: missingRows(totals),
    broken: broken.slice(0, BROKEN_SHOWN_MAX),
    shortfalls: short,
  };
}

function hashOf(totals: Totals): string {
  return (totals.hash >>> 0).toString(16).padStart(8, "0");
}

function print(totals: Totals, seconds: number, short: readonly string[]): void {
  const { seeds, counts, broken, jobsMin, workersMin } = totals;
  console.log(`${seeds} seeds in ${seconds.toFixed(1)} s, hash ${hashOf(totals)}`);
  if (totals.longSeeds > 0) {
    console.log(`${totals.longSeeds} of them long, with at least ${jobsMin} jobs and ${workersMin} workers in each`);
  }
  console.log(
    `every job ended within ${(totals.slowestMs / 1000).toFixed(1)} s of the last fault (seed ${totals.slowestSeed})`,
  );
  for (const [name, count] of Object.entries(counts)) console.log(`  ${name.padEnd(22)}${count}`);
  console.log("faults injected:");
  const struck = Object.entries(totals.struck).map(([kind, count]) => `${kind} ${count}`);
  for (let at = 0; at < struck.length; at += FAULTS_PER_LINE) {
    console.log(`  ${struck.slice(at, at + FAULTS_PER_LINE).join(", ")}`);
  }
  console.log(`state table rows never fired: ${missingRows(totals).length}`);
  for (const { seed, message } of broken.slice(0, BROKEN_SHOWN_MAX)) console.log(`seed ${seed}: ${message}`);
  if (broken.length === 0) for (const text of short) console.log(text);
  if (seeds < SEEDS_FOR_COVERAGE && broken.length === 0) {
    console.log(`coverage is only demanded from ${SEEDS_FOR_COVERAGE} seeds on`);
  }
}

process.exitCode = await main();
