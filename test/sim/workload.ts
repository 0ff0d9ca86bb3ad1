// The jobs of a seed: most succeed, some fail by themselves, never fit, run into their deadline or are cancelled.
import type { AccountId } from "@qubix/shared/domain";
import { type JobSpec, jobSpecSchema } from "@qubix/shared/protocol";
import type { Program } from "./programs.ts";
import type { Rng } from "./random.ts";

/** What a consumer wants of one job, and what may become of it. */
export interface Intent {
  readonly index: number;
  readonly accountId: AccountId;
  readonly atMs: number;
  readonly spec: JobSpec;
  readonly program: Program;
  readonly kind: "plain" | "flaky" | "failing" | "unfit" | "endless" | "poor";
  /** Asked to be cancelled at this time. */
  readonly cancelAtMs: number | null;
}

const JOBS_MIN = 50;
const JOBS_MAX = 58;
/** Jobs come over this time, most of it faulty. */
const SUBMIT_FROM_MS = 800;
const SUBMIT_UNTIL_MS = 24_000;
/** Every so many jobs one is exclusive. */
const EXCLUSIVE_EVERY = 6;
/** More than any worker has. */
const UNFIT_MEMORY_MIB = 1_000_000;

export function drawWorkload(
  rng: Rng,
  accounts: { readonly rich: readonly AccountId[]; readonly poor: AccountId },
): readonly Intent[] {
  const count = rng.int(JOBS_MIN, JOBS_MAX);
  const intents: Intent[] = [];
  for (let index = 0; index < count; index += 1) intents.push(drawIntent(rng, index, rng.pick(accounts.rich)));
  // One that cannot pay, beyond the counted ones.
  intents.push({ ...drawIntent(rng, count, accounts.poor), kind: "poor" });
  return intents;
}

function drawIntent(rng: Rng, index: number, accountId: AccountId): Intent {
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
    atMs: rng.int(SUBMIT_FROM_MS, SUBMIT_UNTIL_MS),
    spec: drawSpec(rng, drawn.kind, drawn.program, isHot),
    program: drawn.program,
    kind: drawn.kind,
    cancelAtMs: rng.chance(0.06) ? rng.int(SUBMIT_FROM_MS, SUBMIT_UNTIL_MS + 10_000) : null,
  };
}

function drawProgram(rng: Rng, index: number): Program {
  const steps = rng.int(3, 40);
  const stepMs = rng.int(20, 250);
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
    failover: program.index % EXCLUSIVE_EVERY === 0 ? "exclusive" : "speculative",
    stopGraceS: rng.int(0, 2),
    priceMaxPerHour: { amount: String(rng.int(4_000_000, 9_000_000)), currency: "USD" },
    durationMaxS: kind === "endless" ? rng.int(2, 8) : 60,
    queueS: kind === "unfit" ? rng.int(2, 20) : rng.int(60, 180),
    retries: rng.int(2, 3),
    failoversMax: rng.int(1, 10),
  });
}
