// Proofs of hardware in the virtual world: workers that answer challenges after a while, some that cannot because their hardware is made up, and the
// orchestrator's verifier, which sees the difference. The decisions in between are the real core's.
import type { CoreConfig, CoreEvent, ProofVerdict } from "@qubix/orchestrator/core";
import type { WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, WorkerMessage, WorkerOffer } from "@qubix/shared/protocol";
import type { WorkerMessageBody } from "@qubix/worker/core";
import { createRng, type Rng } from "./random.ts";
import type { World } from "./world.ts";

type Order = Extract<OrchestratorMessage, { kind: "prove" }>;
type Word = Extract<WorkerMessage, { kind: "proof.commit" | "proof.failed" }>;

/** A day in minutes: the faulty time of a seed sees many re-checks, failures, cuts and time-outs. */
export const PROOF_CONFIG: Partial<CoreConfig> = {
  workerProofs: "required",
  proofsUnderWayMax: 2,
  proofCommitMsMax: 3_000,
  proofAnswerMsMax: 3_000,
  proofRetryMs: 1_500,
  proofRetryMsMax: 6_000,
  proofCutMs: 500,
  proofCutMsMax: 3_000,
  proofRecheckMs: 5_000,
  proofAgeMsMax: 20_000,
  proofTimeParts: 5,
};

/** `GPU_UUID`, or `WORKER_ID cpu`: what is claimed and not there. */
export type Fakes = Set<string>;

export function fakeKey(workerId: WorkerId, gpuUuid: string | null): string {
  return gpuUuid ?? `${workerId} cpu`;
}

const PROOF_MS_MAX = 1_200;
const VERDICT_MS_MAX = 200;
/** The commitment tells the simulated verifier whether the work was done. */
const TRUE_WORK = "1".repeat(64);
const FALSE_WORK = "0".repeat(64);

/** Its own generator, so that seeds without proofs run as they always did. */
export function proofRng(seed: number): Rng {
  return createRng(seed + 0x70_72_6f_66);
}

/** So many machines of a fleet can do work: one alone may not come to every job within its queueS. */
const USABLE_MIN = 2;

/**
 * Makes up some hardware, of no more than one machine; and one machine's agent may be too old to be asked. `others`: how many machines there are beside
 * this one, and not too old.
 */
export function drawClaims(
  rng: Rng,
  {
    at,
    workerId,
    others,
    fakes,
  }: { readonly at: number; readonly workerId: WorkerId; readonly others: number; readonly fakes: Fakes },
  offer: WorkerOffer,
): WorkerOffer {
  if (at === 1 && rng.chance(0.3)) return offer;
  if (at === 2 && rng.chance(0.3) && others >= USABLE_MIN) fakes.add(fakeKey(workerId, null));
  for (const { uuid } of offer.gpus) if (rng.chance(0.3)) fakes.add(fakeKey(workerId, uuid));
  return { ...offer, features: [...(offer.features ?? []), "proofs"] };
}

export interface ProverPorts {
  readonly workerId: WorkerId;
  readonly fakes: Fakes;
  readonly rng: Rng;
  isAlive(): boolean;
  send(body: WorkerMessageBody): void;
  cut(): void;
}

/** What a worker does with an order: answers, says that it is busy, says nothing, or loses its line. In calm times all that is there is shown. */
export function prove(world: World, ports: ProverPorts, { challengeId, target }: Order): void {
  const { rng, fakes, workerId } = ports;
  const isFake = fakes.has(fakeKey(workerId, target.kind === "gpu" ? target.uuid : null));
  const fate = world.calm && !isFake ? 1 : rng.next();
  world.after(rng.int(10, PROOF_MS_MAX), () => {
    if (!ports.isAlive() || fate < 0.05) return;
    if (fate < 0.15) return ports.cut();
    if (fate < 0.25) return ports.send({ kind: "proof.failed", challengeId, code: "busy", message: "in use" });
    const commitment = isFake ? FALSE_WORK : TRUE_WORK;
    const times = { memoryMiB: 1, fillMs: 1, chaseMs: 1, multiplyMs: 1 };
    return ports.send({ kind: "proof.commit", challengeId, commitment, ...times });
  });
}

/** The verifier's answer to a worker's word, after a while. */
export function verdictOn(
  world: World,
  rng: Rng,
  workerId: WorkerId,
  word: Word,
  submit: (event: CoreEvent) => void,
): void {
  const verdict: ProofVerdict =
    word.kind === "proof.failed"
      ? { ok: false, code: word.code, message: word.message }
      : word.commitment === TRUE_WORK
        ? { ok: true, figures: { fillMBps: 1 } }
        : { ok: false, code: "product_wrong", message: "wrong" };
  world.after(rng.int(0, VERDICT_MS_MAX), () =>
    submit({ kind: "worker.proof", workerId, challengeId: word.challengeId, verdict }),
  );
}

/** The order on the wire; the numbers mean nothing here. */
export function orderOf(challengeId: string, target: Order["target"]): Order {
  const sizes = { memoryMiB: 1, chaseSteps: 1, matrixSize: 16, matrixSteps: 1, timeoutMs: 1 };
  return { kind: "prove", challengeId, target, nonce: "AAAA", ...sizes };
}
