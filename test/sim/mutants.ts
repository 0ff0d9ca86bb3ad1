// Shows that the simulator bites: patches a copy of the sources in a scratch folder, one promise of the product broken at a time, and runs the
// simulator there. A mutant that survives its seeds means that the simulator checks less than it says.
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Patch {
  readonly file: string;
  /** Must be in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
}

export interface Verdict {
  readonly exitCode: number | null;
  readonly output: string;
}

export const MUTANT_SEEDS = 300;

export const MUTANTS: readonly Mutant[] = [
  {
    name: "the epoch check is removed",
    patches: [
      {
        file: "orchestrator/src/core/attempts.ts",
        find: "return attempt.epoch === epochOf(job, attempt.replica) && isActiveAttempt(attempt);",
        replace: "return attempt.epoch <= epochOf(job, attempt.replica);",
      },
    ],
  },
  {
    name: "effects are sent before the commit",
    patches: [
      {
        file: "test/sim/orchestrator.ts",
        find: "    const outcome = commit(steps);\n",
        replace: "    carryOut(of, waiting, steps);\n    const outcome = commit(steps);\n",
      },
      {
        file: "test/sim/orchestrator.ts",
        find: "    carryOut(of, waiting, steps);\n    if (life === of) armTimer(of);\n",
        replace: "    if (life === of) armTimer(of);\n",
      },
    ],
  },
  {
    name: "settlement is not idempotent",
    patches: [
      // An end that is told again settles again…
      {
        file: "orchestrator/src/core/attempts.ts",
        find: "if (endedBefore(state, machine, message.attempt)) return ack(state, machine, message);",
        replace: `if (endedBefore(state, machine, message.attempt)) {
      const ended = state.rows.jobs.get(message.attempt.jobId);
      if (ended !== undefined && ended.endedAtMs !== null) settle(state, ended);
      return ack(state, machine, message);
    }`,
      },
      {
        file: "orchestrator/src/core/attempts.ts",
        find: 'import { credit } from "./metering.ts";',
        replace: 'import { credit, settle } from "./metering.ts";',
      },
      // …because nothing remembers that it was done…
      {
        file: "orchestrator/src/core/metering.ts",
        find: "if (phase === undefined) return job;",
        replace: "",
      },
      {
        file: "orchestrator/src/core/metering.ts",
        find: "settlement: { phase, hold, gross, lines }",
        replace: 'settlement: { phase: "settled", hold, gross, lines }',
      },
      // …and the job is still at hand.
      {
        file: "orchestrator/src/core/job-end.ts",
        find: "  state.step.ended.push(job.id);\n",
        replace: "",
      },
    ],
  },
  {
    name: "GPUs are listed before they are proven",
    patches: [
      {
        file: "orchestrator/src/core/proof-claims.ts",
        find: "const gpus = proven.flatMap(",
        replace: "const gpus = claims.flatMap(",
      },
    ],
  },
  {
    name: "a mirror job's first result is accepted alone",
    patches: [
      {
        file: "orchestrator/src/core/mirror-results.ts",
        find: "if (agreeing.length > 1)",
        replace: "if (!hasActiveReplica(noted) || agreeing.length > 1)",
      },
    ],
  },
  {
    name: "two runs of a mirror job may come to one provider",
    patches: [
      {
        file: "orchestrator/src/core/mirror.ts",
        find: "if (others.has(machine.worker.providerId)) return true;",
        replace: "",
      },
    ],
  },
  {
    name: "an outvoted run is paid",
    patches: [
      {
        file: "orchestrator/src/core/mirror-results.ts",
        find: "{ ...attempt, creditedMs: 0, isRefused: true }",
        replace: "{ ...attempt, isRefused: true }",
      },
    ],
  },
];

const PACKAGES = ["shared", "contracts-bridge", "orchestrator", "worker"];
const OUTPUT_LENGTH_MAX = 20_000;
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Runs the simulator on a mutant. The scratch folder is removed again. */
export async function runMutant(mutant: Mutant, seeds = MUTANT_SEEDS): Promise<Verdict> {
  const scratch = mkdtempSync(join(tmpdir(), "qubix-mutant-"));
  try {
    copySources(scratch);
    for (const patch of mutant.patches) applyPatch(scratch, patch);
    return await simulate(scratch, seeds);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The sources the simulator needs, with links to the installed packages but not to our own. */
function copySources(scratch: string): void {
  const isSource = (path: string) => !["node_modules", "dist"].includes(basename(path));
  for (const name of PACKAGES) cpSync(join(ROOT, name), join(scratch, name), { recursive: true, filter: isSource });
  cpSync(join(ROOT, "test/sim"), join(scratch, "test/sim"), { recursive: true });
  cpSync(join(ROOT, "package.json"), join(scratch, "package.json"));
  mkdirSync(join(scratch, "node_modules/@qubix"), { recursive: true });
  for (const name of readdirSync(join(ROOT, "node_modules"))) {
    if (name === "@qubix" || name.startsWith(".")) continue;
    symlinkSync(join(ROOT, "node_modules", name), join(scratch, "node_modules", name));
  }
  for (const name of PACKAGES) symlinkSync(join(scratch, name), join(scratch, "node_modules/@qubix", name));
}

function applyPatch(scratch: string, { file, find, replace }: Patch): void {
  const path = join(scratch, file);
  const text = readFileSync(path, "utf8");
  const count = text.split(find).length - 1;
  if (count !== 1) throw new Error(`${file} has the text to be patched ${count} times, not once: ${find}`);
  writeFileSync(
    path,
    text.replace(find, () => replace),
  );
}

function simulate(scratch: string, seeds: number): Promise<Verdict> {
  const args = ["--conditions=qubix-source", join(scratch, "test/sim/main.ts"), "--seeds", String(seeds)];
  const child = spawn(process.execPath, args, { cwd: scratch, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const gather = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-OUTPUT_LENGTH_MAX);
  };
  child.stdout.on("data", gather);
  child.stderr.on("data", gather);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, output }));
  });
}
