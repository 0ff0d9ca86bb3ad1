// Secrets on their way to a worker: sealed to its key just before an order leaves, for that order alone. Sent again, they are sealed again.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, Sealed, SealedContent } from "@qubix/shared/protocol";
import { type Logger, QubixError, seal, type SealingContext } from "@qubix/shared/runtime";
import { type CoreState, findWorker, liveJob } from "../core/index.ts";
import type { Vault } from "./vault.ts";

export interface DeliveryPorts {
  readonly vault: Vault;
  readonly orchestratorId: string;
  readonly logger: Logger;
  /** The committed state. */
  readonly state: () => CoreState;
}

type Carrier = Extract<OrchestratorMessage, { kind: "assign" | "prepare" | "promote" }>;

/**
 * The message as it is to be sent: with its box, where its job has secrets. What cannot be read or sealed is left out and logged: the worker
 * then gives the attempt back as `secrets_lost`, and never runs the job without.
 */
export type Delivery = (workerId: WorkerId, message: OrchestratorMessage) => OrchestratorMessage;

export function createDelivery({ vault, orchestratorId, logger, state }: DeliveryPorts): Delivery {
  return (workerId, message) => {
    if (message.kind !== "assign" && message.kind !== "prepare" && message.kind !== "promote") return message;
    const jobId = jobOf(message);
    const vaultId = liveJob(state(), jobId)?.job.vaultId ?? null;
    if (vaultId === null) return message;
    try {
      const content = contentFor(message, vault.get(vaultId));
      if (content === null) return message;
      const sealed = sealTo(keyOf(state(), workerId), content, contextOf(message, jobId, workerId, orchestratorId));
      return { ...message, sealed };
    } catch (error) {
      const code = error instanceof QubixError ? error.code : "internal_error";
      logger.error(
        { event: "secrets_not_sent", code, jobId, workerId, kind: message.kind },
        "sent without its secrets",
      );
      return message;
    }
  };
}

function jobOf(message: Carrier): JobId {
  return message.kind === "prepare" ? message.jobId : message.attempt.jobId;
}

/** A standby gets no secrets before it is to run, and needs no registry afterwards. */
function contentFor({ kind }: Carrier, { secrets, registryAuth }: SealedContent): SealedContent | null {
  const content = {
    ...(secrets === undefined || kind === "prepare" ? {} : { secrets }),
    ...(registryAuth === undefined || kind === "promote" ? {} : { registryAuth }),
  };
  return Object.keys(content).length === 0 ? null : content;
}

function contextOf(message: Carrier, jobId: JobId, workerId: WorkerId, orchestratorId: string): SealingContext {
  const of = message.kind === "prepare" ? { standbyId: message.standbyId } : message.attempt;
  return { orchestratorId, workerId, purpose: message.kind, jobId, of };
}

/** Its signature was checked when the offer came. */
function keyOf(state: CoreState, workerId: WorkerId): string {
  const key = findWorker(state, workerId)?.offer?.sealingKey?.publicKey;
  if (key !== undefined) return key;
  throw new QubixError("sealing_key_missing", `The worker ${workerId} has no key that secrets could be sealed to.`, {
    category: "provider",
  });
}

function sealTo(publicKey: string, content: SealedContent, context: SealingContext): Sealed {
  return seal(publicKey, Buffer.from(JSON.stringify(content)), context);
}
