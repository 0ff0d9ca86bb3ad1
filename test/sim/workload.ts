// The jobs of a seed: most succeed, some fail by themselves, never fit, run into their deadline or are cancelled.
import type { AccountId } from "@qubix/shared/domain";
import { type JobSpec, jobSpecSchema } from "@qubix/shared/protocol";
import type { Program } from "./programs.ts";
import type { Rng } from "./random.ts";
import type { Scale } from "./scale.ts";

/** What a consumer wants of one job, and what may become of it. */
export interface Intent {
  readonly index: number;
  readonly accountId: AccountId;
  readonly atMs: number;
  readonly spec: JobSpec;
  readonly program: Program;
  readonly kind: "plain" | "flaky" | "failing" | "unfit" | "endless" | "poor";
  /** Begins from the newest checkpoint of the job of that index, where it has one by then, and computes the same. */
  readonly fork: number | null;
  /** Asked to be cancelled at this time. */
  readonly cancelAtMs: number | null;
}

/** A job that begins from another's checkpoint comes at most so much later. */
const FORK_MS_MAX = 6_000;
/** Every so many jobs one is exclusive. */
const EXCLUSIVE_EVERY = 3;
/** More than any worker has. */
const UNFIT_MEMORY_MIB = 1_000_000;

export function drawWorkload(
  rng: Rng,
  scale: Scale,
  accounts: { readonly rich: readonly AccountId[]; readonly poor: AccountId },
): readonly Intent[] {
  const intents: Intent[] = [];
  for (let index = 0; index < scale.jobs; index += 1) {
    const drawn = drawIntent(rng, scale, index, rng.pick(accounts.rich));
    intents.push(rng.chance(0.1) && index > 0 ? forkOf(rng, drawn, rng.pick(intents)) : drawn);
  }
  // One that cannot pay, beyond the counted ones.
  if (rng.chance(0.3)) intents.push({ ...drawIntent(rng, scale, scale.jobs, accounts.poor), kind: "poor" });
  return intents;
}

/** The same computation by the same consumer, from where the other one is. */
function forkOf(rng: Rng, drawn: Intent, source: Intent): Intent {
  if (source.kind !== "plain" && source.kind !== "flaky") return drawn;
  const program = { ...source.program, failure: null, runs: 0 };
  const spec = { ...source.spec, command: [String(drawn.index)] };
  const atMs = source.atMs + rng.int(500, FORK_MS_MAX);
  return { ...source, index: drawn.index, kind: "plain", program, spec, atMs, fork: source.index, cancelAtMs: null };
}

function drawIntent(rng: Rng, scale: Scale, index: number, accountId: AccountId): Intent {
  const { submitFromMs, submitUntilMs } = scale;
  const kind = rng.next();
  const isHot = rng.chance(0.35);
  const program = drawProgram(rng, index);
  const drawn: { kind: Intent["kind"]; program: Program } =
    kind < 0.78
      ? { kind: "plain", program }
      : kind < 0.86
        ? { kind: "flaky", program: failing(rng, program, rng.int(1, 2)) }
        : kind < 0.9
          ? { kind: "failing", program: failing(rng, program, Number.POSITIVE_INFINITY) }
          : kind < 0.94
            ? { kind: "unfit", program }
            : { kind: "endless", program: { ...program, steps: program.steps * 100 } };
  return {
    index,
    accountId,
    atMs: rng.int(submitFromMs, submitUntilMs),
    spec: drawSpec(rng, drawn.kind, drawn.program, isHot),
    program: drawn.program,
    kind: drawn.kind,
    fork: null,
    cancelAtMs: rng.chance(0.06) ? rng.int(submitFromMs, submitUntilMs + 10_000) : null,
  };
}

function drawProgram(rng: Rng, index: number): Program {
  const steps = rng.int(3, 40);
  // An exclusive one often outlasts its lease.
  const stepMs = isExclusive(index) ? rng.int(300, 1_200) : rng.int(20, 250);
  return { index, steps, stepMs, stepsPerEntry: rng.int(2, 12), failure: null, runs: 0 };
}

function failing(rng: Rng, program: Program, runs: number): Program {
  const kind = rng.chance(0.3) ? "oom" : "exit_code";
  return { ...program, failure: { atStep: rng.int(1, program.steps - 1), runs, kind } };
}

function drawSpec(rng: Rng, kind: Intent["kind"], program: Program, isHot: boolean): JobSpec {
  return jobSpecSchema.parse({
    image: "docker.io/library/tiny:1",
    command: [String(program.index)],
    resources: {
      cpus: rng.pick([0.5, 1, 1, 2]),
      memoryMiB: kind === "unfit" ? UNFIT_MEMORY_MIB : rng.int(64, 512),
      diskMiB: rng.int(64, 1_024),
      gpus: { count: rng.chance(0.15) ? 1 : 0 },
    },
    checkpoint: { intervalS: rng.int(1, 3), keep: rng.int(1, 3) },
    standby: isHot ? "hot" : "cold",
    // By its number: a job more or less of this kind leaves every draw as it was.
    failover: isExclusive(program.index) ? "exclusive" : "speculative",
    stopGraceS: rng.int(0, 2),
    priceMaxPerHour: { amount: String(rng.int(4_000_000, 9_000_000)), currency: "USD" },
    durationMaxS: kind === "endless" ? rng.int(2, 8) : isExclusive(program.index) ? 120 : 60,
    queueS: kind === "unfit" ? rng.int(2, 20) : rng.int(90, isExclusive(program.index) ? 110 : 180),
    retries: rng.int(2, 3),
    failoversMax: rng.int(1, 10),
  });
}

function isExclusive(index: number): boolean {
  return index % EXCLUSIVE_EVERY === 0;
}
