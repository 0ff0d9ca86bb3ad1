// Mirror jobs in the virtual world: some workers forge what they compute, some jobs give something else on every machine; and what must hold of their ends.
import { type AttemptRecord, checkpointsOf, type JobRecord, runOf, type TreeContent } from "@qubix/orchestrator/core";
import type { WorkerId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import type { Program, ProgramState } from "./programs.ts";
import { createRng, mix, mixText, type Rng } from "./random.ts";
import type { Intent } from "./workload.ts";

/** Apart from the world's, so that jobs and faults of a seed are the same with mirrors and without. */
const APART = 0x3175;
/** Every second seed has mirror jobs, every fourth a forger. */
const MIRRORS_EVERY = 2;
const FORGER_EVERY = 4;
/** Not the one that lies about its time. */
const FORGER_AT = 1;
const MIRROR_SHARE = 0.35;
const UNLIKE_SHARE = 0.08;

export function isForger(seed: number, at: number): boolean {
  return seed % FORGER_EVERY === 0 && at === FORGER_AT;
}

/** Makes mirror jobs of some that ask for no hot standby. */
export function withMirrors(seed: number, intents: readonly Intent[]): readonly Intent[] {
  if (seed % MIRRORS_EVERY !== 0) return intents;
  const rng: Rng = createRng(seed ^ APART);
  return intents.map((intent) => {
    if (intent.spec.standby !== "cold" || intent.kind === "poor" || !rng.chance(MIRROR_SHARE)) return intent;
    // Neither twice at once, nor twice from a state that nobody vouches for.
    if (intent.spec.failover === "exclusive" || intent.fork !== null) return intent;
    const isUnlike = intent.kind === "plain" && rng.chance(UNLIKE_SHARE);
    intent.program.mirrored = isUnlike ? "unlike" : "alike";
    return { ...intent, spec: { ...intent.spec, standby: "mirror" as const } };
  });
}

/** What a worker hands over as the result of a run. */
export function handedOver(program: Program, truth: ProgramState, workerId: WorkerId, forges: boolean): ProgramState {
  if (program.mirrored === "unlike" || (forges && program.mirrored === "alike")) {
    return { ...truth, value: mix(truth.value, mixText(APART, workerId)) };
  }
  return truth;
}

/** Invariant: a result is accepted only when two runs of different providers came to it, and nobody is paid who was outvoted. */
export function reckonMirror(job: JobRecord, attempts: readonly AttemptRecord[]): void {
  const { mirror } = job;
  if (mirror === undefined) return;
  const results = mirror.results.length;
  if (job.phase === "succeeded") {
    const came = attempts.filter(
      ({ outcome }) => outcome?.kind === "succeeded" && outcome.outputs?.manifestCid === job.outputs?.manifestCid,
    );
    const runs = new Set(came.map((attempt) => runOf(job, attempt)));
    const providers = new Set(came.map(({ providerId }) => providerId));
    check(runs.size === 2 && providers.size === 2 && mirror.verified, () => {
      return `${job.id} was accepted with ${runs.size} runs of ${providers.size} providers that agree`;
    });
  }
  check(job.reason !== "mirror_disagreement" || results === 3, () => {
    return `${job.id} failed of a disagreement of ${results} results`;
  });
  for (const attempt of attempts) {
    check(attempt.isRefused !== true || (attempt.creditedMs === 0 && mirror.verified && results === 3), () => {
      return `${attempt.id} is refused with ${attempt.creditedMs} ms credited and ${results} results`;
    });
  }
  const refused = attempts.filter(({ isRefused }) => isRefused).map((attempt) => runOf(job, attempt));
  check(new Set(refused).size <= 1, () => `two runs of ${job.id} are refused`);
  // Equal progress is an equal state here, whoever computed it.
  check(mirror.compared.different === 0, () => `equal checkpoints of ${job.id} were found to differ`);
  check(checkpointsOf(job, 1).length === 0, () => `${job.id} has ended and keeps its second replica's checkpoints`);
}

/** What the gateway reads of a tree: here its name says all. */
export function contentIn(message: WorkerMessage): { readonly content?: TreeContent } {
  if (message.kind === "ended" && message.outcome.kind === "succeeded" && message.outcome.outputs !== null) {
    return { content: { shape: "whole", sum: message.outcome.outputs.manifestCid, isExact: true } };
  }
  if (message.kind !== "checkpoint") return {};
  return { content: { shape: "whole", sum: message.tree.manifestCid, isExact: true } };
}

/** Runs are metered side by side, each as if it were alone. */
export function runsOf(job: JobRecord, attempts: readonly AttemptRecord[]): readonly (readonly AttemptRecord[])[] {
  const runs = [0, 1, 2].map((run) => attempts.filter((attempt) => runOf(job, attempt) === run));
  return runs.filter((run) => run.length > 0);
}
