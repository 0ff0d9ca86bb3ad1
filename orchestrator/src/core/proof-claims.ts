// What a worker claims to have against what it has proven: which of it the market counts, and when each piece is to be proven (again). Pure functions of its row.
import type { ProofTarget, WorkerOffer } from "@qubix/shared/protocol";
import type { CoreConfig } from "./config.ts";
import type { ProofFailure, ProofRecord, ProofTargetKey, WorkerRecord } from "./model.ts";

/** Proves by a program of its own; older workers do not know the question. */
const FEATURE = "proofs";

/** One piece of hardware as the offer has it now. */
export interface Claim {
  readonly key: ProofTargetKey;
  readonly target: ProofTarget;
  readonly model: string;
  readonly cpus: number;
  readonly memoryMiB: number;
}

/** How the market counts a worker: fields of {@link Machine}. */
export interface Listing {
  readonly coresListed: boolean;
  readonly listedGpus: ReadonlySet<string> | null;
  readonly proofDueMs: number;
}

/** What has to be proven before it counts. */
export function claimsOf(config: CoreConfig, offer: WorkerOffer | null): readonly Claim[] {
  if (offer === null || config.workerProofs === "off") return [];
  const gpus = offer.gpus.map((gpu): Claim => {
    const { uuid, model, memoryMiB } = gpu;
    return { key: `gpu:${uuid}`, target: { kind: "gpu", uuid }, model, cpus: 0, memoryMiB };
  });
  if (config.workerProofs === "gpus") return gpus;
  const { cpus, memoryMiB } = offer;
  return [{ key: "cpu", target: { kind: "cpu" }, model: "", cpus, memoryMiB }, ...gpus];
}

export function listingOf(config: CoreConfig, worker: WorkerRecord): Listing {
  const claims = claimsOf(config, worker.offer);
  const proven = claims.filter((claim) => proofOf(worker, claim) !== undefined);
  const gpus = proven.flatMap(({ target }) => (target.kind === "gpu" ? [target.uuid] : []));
  return {
    coresListed: config.workerProofs !== "required" || proven.some(({ key }) => key === "cpu"),
    listedGpus: config.workerProofs === "off" ? null : new Set(gpus),
    proofDueMs: canProve(worker.offer) ? Math.min(...claims.map((claim) => dueMs(worker, claim))) : Infinity,
  };
}

export function canProve(offer: WorkerOffer | null): boolean {
  return offer?.features?.includes(FEATURE) === true;
}

/** The proof that holds for what is claimed now. */
export function proofOf(worker: WorkerRecord, claim: Claim): ProofRecord | undefined {
  const proof = worker.proofs.find(({ target }) => target === claim.key);
  if (proof === undefined || proof.model !== claim.model) return undefined;
  return proof.cpus >= claim.cpus && proof.memoryMiB >= claim.memoryMiB ? proof : undefined;
}

export function failureOf(worker: WorkerRecord, { key }: Claim): ProofFailure | undefined {
  return worker.proofFailures.find(({ target }) => target === key);
}

/** When the claim is to be proven; at once where it never was. */
export function dueMs(worker: WorkerRecord, claim: Claim): number {
  const retryAtMs = failureOf(worker, claim)?.retryAtMs ?? 0;
  return Math.max(retryAtMs, proofOf(worker, claim)?.recheckAtMs ?? 0);
}
