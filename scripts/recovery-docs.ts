// Writes docs/recovery.md from what `bench/failover` measured, or with --check says whether it is current. The benchmark's lines lie in
// bench/results/failover.jsonl, as `npm run -s bench -- failover --json` prints them, each run after a line that says when and where it was.
import { readFileSync, writeFileSync } from "node:fs";
import { type Measured, parseResults, pageOf } from "./lib/recovery-page.ts";

const RESULTS = new URL("../bench/results/failover.jsonl", import.meta.url);
const PAGE = new URL("../docs/recovery.md", import.meta.url);

const runs: readonly Measured[] = parseResults(readFileSync(RESULTS, "utf8"));
const text = pageOf(runs);

if (!process.argv.includes("--check")) {
  writeFileSync(PAGE, text);
} else if (readFileSync(PAGE, "utf8") !== text) {
  process.stderr.write("docs/recovery.md is not current: run npm run docs:recovery\n");
  process.exitCode = 1;
}
