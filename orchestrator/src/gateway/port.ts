// What the gateway needs of the rest of the orchestrator.
import type { AccountId, JobId, WorkerId } from "@qubix/shared/domain";
import type { Logger } from "@qubix/shared/runtime";
import type { ChunkStore } from "../checkpoints/index.ts";
import type { ProofGate } from "../proofs/service.ts";
import type { Store } from "../store/port.ts";
import type { CoreEvent, CoreState, Reply } from "../core/index.ts";

/** The writer, as far as workers are concerned. */
export interface EventWriter {
  submit(event: CoreEvent): Promise<Reply>;
  submitVolatile(event: CoreEvent): void;
  /** The committed state; throws while there is none. */
  state(): CoreState;
  readonly store: Pick<Store, "tick">;
}

/** What is committed about workers and what they hold. */
export interface Fleet {
  /** Undefined for a worker that was never enrolled. */
  worker(id: WorkerId): { readonly publicKey: string; readonly name: string } | undefined;
  /** The consumer of a job that this worker holds (an attempt or a standby); undefined when it does not. */
  ownerOf(workerId: WorkerId, jobId: JobId): AccountId | undefined;
  /** Whether what is in the job's trees is to be compared with another's. */
  comparesTrees(jobId: JobId): boolean;
}

export interface GatewayPorts {
  readonly writer: EventWriter;
  readonly chunks: ChunkStore;
  readonly proofs: ProofGate;
  readonly logger: Logger;
  readonly orchestratorId: string;
}

/** The ports with what is read of the writer's state, for the parts of the gateway. */
export interface SessionPorts extends GatewayPorts {
  readonly fleet: Fleet;
}

export interface GatewayConfig {
  /** How long a worker goes on without contact; told in `welcome`. */
  readonly contactLossS: number;
  /** Time a socket has to authenticate. */
  readonly authTimeoutMs: number;
}
