// The seeds that were last seen to find the mutants, for the tests to begin with: found there it is found, without all the seeds before it. They are noted in
// mutant-seeds.json by `npm run -s sim -- --mutants --note`; what changed since may need others, which the tests look for and name.
import { readFileSync, writeFileSync } from "node:fs";
import { MUTANTS } from "./mutant-table.ts";
import { SEEDS_FOR_COVERAGE } from "./report.ts";

const FILE = new URL("mutant-seeds.json", import.meta.url);

/** By the mutant's name. */
export function readSeeds(): Readonly<Record<string, number>> {
  return JSON.parse(readFileSync(FILE, "utf8")) as Record<string, number>;
}

/** Notes these, and keeps what was noted of other mutants. Only seeds that the tests run on the product itself, where nothing may break. */
export function noteSeeds(found: ReadonlyMap<string, number>): void {
  const before = readSeeds();
  const entries = MUTANTS.flatMap(({ name }) => {
    const seed = found.get(name) ?? before[name];
    return seed === undefined || seed > SEEDS_FOR_COVERAGE ? [] : [[name, seed] as const];
  });
  writeFileSync(FILE, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
}
