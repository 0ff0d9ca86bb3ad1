// The worker's pure core: what it knows, what can happen to it, what it wants done. The shell journals the changes, then carries the effects out.
// Times are milliseconds on the machine's boot-time clock, which counts suspended time and never jumps.
import type { AttemptRef, Epoch, JobId, SessionId, StandbyId } from "@qubix/shared/domain";
import type {
  CheckpointRef,
  EndOutcome,
  OrchestratorMessage,
  RunSpec,
  TreeRef,
  WorkerMessage,
  WorkerOffer,
} from "@qubix/shared/protocol";

/** Names one local container with its folders, from its making to its removal. It was made for an attempt or a standby, and keeps its name when epochs change. */
export type SlotId = string;

/**
 * preparing: image, container, checkpoint are being brought in place. ready: a standby that could start at once. starting: start was asked for.
 * running: the container runs. collecting: it ended, its checkpoint or outputs are being shipped. ended: the end waits to be acknowledged. removing: nobody needs it.
 */
export type SlotPhase = "preparing" | "ready" | "starting" | "running" | "collecting" | "ended" | "removing";

/** A checkpoint whose upload is complete and whose commit is not yet answered. */
export interface PendingCheckpoint {
  readonly seq: number;
  readonly parentSeq: number;
  readonly tree: TreeRef;
  readonly ranMs: number;
  readonly progress: number | null;
  /** The entry's name in the checkpoint folder. */
  readonly entry: string;
}

/** One row of the journal: enough to carry on after a crash of the agent. */
export interface Slot {
  readonly id: SlotId;
  readonly jobId: JobId;
  readonly phase: SlotPhase;
  readonly run: RunSpec;
  /** What it is leased for; null while it only stands by. */
  readonly attempt: AttemptRef | null;
  readonly standbyId: StandbyId | null;
  /** The checkpoint it is to begin from, or began from. */
  readonly checkpoint: CheckpointRef | null;
  /** The newest checkpoint known to be committed; 0 for none. */
  readonly committedSeq: number;
  readonly pending: PendingCheckpoint | null;
  /** Stop was asked for: the container's end is not the job's own. */
  readonly stopping: "cancelled" | "deadline" | "drain" | "contact_loss" | null;
  readonly end: { readonly ranMs: number; readonly outcome: EndOutcome } | null;
  readonly ranMs: number;
}

export type WorkerCoreEvent =
  /** First event after loading the journal. `alive`: what Docker says of each slot's container. */
  | {
      readonly kind: "boot";
      readonly containers: ReadonlyMap<
        SlotId,
        {
          readonly state: "absent" | "created" | "running" | "exited";
          readonly exitCode: number | null;
          readonly oomKilled: boolean;
          readonly ranMs: number;
        }
      >;
    }
  | { readonly kind: "opened"; readonly sessionId: SessionId; readonly contactLossS: number }
  | { readonly kind: "closed" }
  | { readonly kind: "message"; readonly message: OrchestratorMessage }
  /** The owner's settings or the hardware changed. */
  | { readonly kind: "offer"; readonly offer: WorkerOffer }
  | { readonly kind: "timer" }
  // Answers of the runner to the effects below.
  | { readonly kind: "prepared"; readonly slotId: SlotId; readonly checkpointSeq: number }
  | { readonly kind: "started"; readonly slotId: SlotId }
  | {
      readonly kind: "exited";
      readonly slotId: SlotId;
      readonly exitCode: number | null;
      readonly oomKilled: boolean;
      readonly diskExceeded: boolean;
      readonly ranMs: number;
    }
  /** Preparing, starting, restoring or shipping did not work; `outcome` says whose fault it is. */
  | { readonly kind: "failed"; readonly slotId: SlotId; readonly outcome: EndOutcome }
  | { readonly kind: "removed"; readonly slotId: SlotId }
  /** A newer whole entry stands in the checkpoint folder. */
  | {
      readonly kind: "entry";
      readonly slotId: SlotId;
      readonly entry: string;
      readonly ranMs: number;
      readonly progress: number | null;
    }
  | {
      readonly kind: "shipped";
      readonly slotId: SlotId;
      readonly entry: string;
      readonly tree: TreeRef;
      readonly ranMs: number;
      readonly progress: number | null;
    }
  /** Shipping this entry did not work (line cut, entry vanished); another is tried when it comes, or this one again later. */
  | { readonly kind: "shipFailed"; readonly slotId: SlotId; readonly entry: string }
  | { readonly kind: "outputs"; readonly slotId: SlotId; readonly tree: TreeRef | null }
  | { readonly kind: "measured"; readonly slotId: SlotId; readonly ranMs: number; readonly progress: number | null };

export type WorkerEffect =
  | { readonly kind: "send"; readonly message: WorkerMessageBody }
  /** Pull, create the container, unpack the checkpoint; answer `prepared` or `failed`. Asked again for the same slot: finish what is missing. */
  | {
      readonly kind: "prepare";
      readonly slotId: SlotId;
      readonly jobId: JobId;
      readonly run: RunSpec;
      readonly checkpoint: CheckpointRef | null;
    }
  /** Unpack a newer checkpoint in a prepared slot; answer `prepared` or `failed`. */
  | { readonly kind: "restore"; readonly slotId: SlotId; readonly jobId: JobId; readonly checkpoint: CheckpointRef }
  /** Write the epoch file, start the container; answer `started` or `failed`, later `exited`. */
  | { readonly kind: "start"; readonly slotId: SlotId; readonly attempt: AttemptRef }
  /** The container goes on under another epoch: rewrite the epoch file, label logs with it from here. */
  | { readonly kind: "relabel"; readonly slotId: SlotId; readonly epoch: Epoch }
  /** After a crash of the agent: follow logs, folders and the end of a container that still runs. */
  | { readonly kind: "follow"; readonly slotId: SlotId; readonly attempt: AttemptRef }
  /** SIGTERM, SIGKILL after `graceS`; answers `exited`. */
  | { readonly kind: "stop"; readonly slotId: SlotId; readonly graceS: number }
  | { readonly kind: "kill"; readonly slotId: SlotId }
  /** Upload this entry of the checkpoint folder; answer `shipped` or `shipFailed`. */
  | {
      readonly kind: "ship";
      readonly slotId: SlotId;
      readonly jobId: JobId;
      readonly entry: string;
      readonly ranMs: number;
      readonly progress: number | null;
    }
  /** This entry is committed: older ones can go. */
  | { readonly kind: "committed"; readonly slotId: SlotId; readonly entry: string }
  /** Upload what matches the output patterns; answer `outputs` or `failed`. */
  | { readonly kind: "collect"; readonly slotId: SlotId; readonly jobId: JobId }
  /** Kill and delete the container and its folders; answer `removed`. */
  | { readonly kind: "remove"; readonly slotId: SlotId };

type Unnumbered<M> = M extends unknown ? Omit<M, "msg"> : never;
/** A message before the link gives it its number. The link keeps which number belongs to which message and answers `acknowledged`. */
export type WorkerMessageBody = Unnumbered<WorkerMessage>;

/** A journal row to be written before the effects are carried out, or its removal. */
export interface SlotPut {
  readonly id: SlotId;
  readonly slot: Slot | null;
}
