// What the gateway proves before the core hears of a tree: that the worker signed it and that all of it is durable here.
import type { AccountId, WorkerId } from "@qubix/shared/domain";
import { checkpointText, OUTPUT_BYTES_PER_JOB_MAX, type TreeRef, type WorkerMessage } from "@qubix/shared/protocol";
import type { TreeVerdict } from "../checkpoints/index.ts";
import type { TreeContent } from "../core/index.ts";
import type { SessionPorts } from "./port.ts";
import { contentOf } from "./tree-content.ts";
import { verifySignature } from "./signatures.ts";

/** A message with its tree proven, to be passed on; `settle` is called when the core has answered. */
export type Proof =
  | {
      readonly kind: "pass";
      readonly message: WorkerMessage;
      readonly settle: (accepted: boolean) => void;
      readonly content?: TreeContent | undefined;
    }
  | { readonly kind: "refused"; readonly code: string; readonly message: string };

/** The tree a message brings, if any. */
export function treeOf(message: WorkerMessage): TreeRef | null {
  if (message.kind === "checkpoint") return message.tree;
  if (message.kind === "ended" && message.outcome.kind === "succeeded") return message.outcome.outputs;
  return null;
}

/**
 * Proves a message that brings a tree. What the worker does not hold (any more) passes unproven: the core refuses it as stale.
 * Outputs that are not whole become a failure of the worker, so that the job goes on elsewhere; a checkpoint that is not is refused.
 */
export async function proveTree(
  { fleet, chunks }: Pick<SessionPorts, "fleet" | "chunks">,
  workerId: WorkerId,
  message: WorkerMessage & { readonly kind: "checkpoint" | "ended" },
  tree: TreeRef,
): Promise<Proof> {
  const { jobId } = message.attempt;
  const owner = fleet.ownerOf(workerId, jobId);
  if (owner === undefined) return { kind: "pass", message, settle: () => {} };
  if (message.kind === "checkpoint") {
    const publicKey = fleet.worker(workerId)?.publicKey ?? "";
    if (!verifySignature(publicKey, checkpointText(message), message.signature)) {
      return {
        kind: "refused",
        code: "signature_invalid",
        message: "The checkpoint's signature is not by this worker.",
      };
    }
  }
  const settle = (accepted: boolean) => chunks.settleTree(owner, jobId, tree.manifestCid, accepted, workerId);
  const verdict = await admit(chunks, owner, message, tree);
  if (verdict.kind === "ok") {
    const content = fleet.comparesTrees(jobId) ? contentOf(verdict.manifest) : undefined;
    return { kind: "pass", message, settle, content };
  }
  settle(false);
  if (message.kind === "checkpoint") return verdict;
  return { kind: "pass", message: withoutOutputs(message, verdict), settle: () => {} };
}

function admit(
  chunks: SessionPorts["chunks"],
  owner: AccountId,
  message: WorkerMessage & { readonly kind: "checkpoint" | "ended" },
  tree: TreeRef,
): Promise<TreeVerdict> {
  const bytesMax = message.kind === "ended" ? OUTPUT_BYTES_PER_JOB_MAX : undefined;
  return chunks.admitTree(owner, message.attempt.jobId, tree, bytesMax);
}

function withoutOutputs(
  message: WorkerMessage & { readonly kind: "ended" },
  verdict: TreeVerdict & { readonly kind: "refused" },
): WorkerMessage {
  if (verdict.code === "output_exceeded") {
    return {
      ...message,
      outcome: { kind: "failed", code: "output_exceeded", exitCode: null, message: verdict.message },
    };
  }
  return { ...message, outcome: { kind: "worker_failed", code: "upload_failed", message: verdict.message } };
}
