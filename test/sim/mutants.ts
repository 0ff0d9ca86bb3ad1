// Shows that the simulator bites: patches a copy of the sources in a scratch folder, one promise of the product broken at a time, and runs the
// simulator there until it breaks. A mutant that survives its seeds means that the simulator checks less than it says.
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MUTANT_SEEDS } from "./mutant-table.ts";
import type { Mutant, Patch } from "./mutant.ts";

export interface Verdict {
  readonly mutant: Mutant;
  /** The seed that found it, which is how many it took from seed 1; null when it survived all of them. */
  readonly seeds: number | null;
  /** What was broken, in the simulator's words. */
  readonly message: string;
  readonly seconds: number;
  /** Of the run, for when it is not what was expected. */
  readonly output: string;
}

const PACKAGES = ["shared", "orchestrator", "worker"];
const COPIED = [
  "package.json",
  ...PACKAGES.map((name) => `${name}/package.json`),
  "shared/src",
  "orchestrator/src/accounts",
  "orchestrator/src/core",
  "orchestrator/src/store",
  "worker/src/core",
  "test/sim",
];
const OUTPUT_LENGTH_MAX = 20_000;
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** A copy of the sources, in which one mutant after the other is made. */
export interface MutantBench {
  /** Runs the simulator on a mutant until it breaks: at the seed `known` if that finds it, else from seed 1. One at a time. */
  run(mutant: Mutant, known?: number): Promise<Verdict>;
  remove(): void;
}

/** Runs the simulator on each, `parallel` at a time; `found` is told as they end. */
export async function runMutants(
  mutants: readonly Mutant[],
  parallel: number,
  found: (verdict: Verdict) => void,
): Promise<void> {
  const left = [...mutants];
  const work = async (): Promise<void> => {
    const bench = createMutantBench();
    try {
      for (let mutant = left.shift(); mutant !== undefined; mutant = left.shift()) found(await bench.run(mutant));
    } finally {
      bench.remove();
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

export function createMutantBench(): MutantBench {
  const folder = mkdtempSync(join(tmpdir(), "qubix-mutant-"));
  const scratch = copySources(folder);
  return {
    run: async (mutant, known) => {
      const startedAt = performance.now();
      const undo: (() => void)[] = [];
      try {
        for (const patch of mutant.patches) undo.push(applyPatch(scratch, patch));
        let output = known === undefined ? "" : await simulate(scratch, known, 1);
        if (brokenSeed(output) === null) output = await simulate(scratch, 1, MUTANT_SEEDS);
        const seconds = (performance.now() - startedAt) / 1000;
        const message = /^seed \d+: (.*)$/m.exec(output)?.[1] ?? "";
        return { mutant, seeds: brokenSeed(output), message, seconds, output };
      } finally {
        // The last first: a file may have been patched twice.
        for (const back of undo.toReversed()) back();
      }
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function brokenSeed(output: string): number | null {
  const seed = /^broken: seed (\d+)$/m.exec(output)?.[1];
  return seed === undefined ? null : Number(seed);
}

/** The sources the simulator needs, below `folder`, where the installed packages are found, but our own before them. Gives their root. */
function copySources(folder: string): string {
  const scratch = join(folder, "copy");
  const isWanted = (path: string) => !path.endsWith(".test.ts");
  for (const path of COPIED) cpSync(join(ROOT, path), join(scratch, path), { recursive: true, filter: isWanted });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  mkdirSync(join(scratch, "node_modules/@qubix"), { recursive: true });
  for (const name of PACKAGES) symlinkSync(join(scratch, name), join(scratch, "node_modules/@qubix", name));
  return scratch;
}

/** The patches whose text is not in the sources exactly once: they would break nothing, or something else. */
export function stalePatches(mutants: readonly Mutant[]): readonly string[] {
  const count = ({ file, find }: Patch) => readFileSync(join(ROOT, file), "utf8").split(find).length - 1;
  return mutants.flatMap(({ name, patches }) =>
    patches.filter((patch) => count(patch) !== 1).map(({ file, find }) => `${name}: ${file}: ${find}`),
  );
}

/** Gives the way back. */
function applyPatch(scratch: string, { file, find, replace }: Patch): () => void {
  const path = join(scratch, file);
  const text = readFileSync(path, "utf8");
  const count = text.split(find).length - 1;
  if (count !== 1) throw new Error(`${file} has the text to be patched ${count} times, not once: ${find}`);
  writeFileSync(
    path,
    text.replace(find, () => replace),
  );
  return () => writeFileSync(path, text);
}

function simulate(scratch: string, first: number, seeds: number): Promise<string> {
  const main = join(scratch, "test/sim/main.ts");
  const range = ["--seed", String(first), "--seeds", String(seeds)];
  const args = ["--conditions=qubix-source", main, ...range, "--threads", "1", "--until-broken"];
  // Most of the sources are those of the mutant before.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(scratch, "compiled") };
  const child = spawn(process.execPath, args, { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const gather = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-OUTPUT_LENGTH_MAX);
  };
  child.stdout.on("data", gather);
  child.stderr.on("data", gather);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve(output));
  });
}
