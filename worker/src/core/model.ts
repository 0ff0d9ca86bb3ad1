// The worker's pure core: what it knows, what can happen to it, what it wants done. The shell journals the changes, then carries the effects out.
// Times are milliseconds on the machine's boot-time clock, which counts suspended time and never jumps.
import type { AttemptRef, Epoch, JobId, SessionId, StandbyId } from "@qubix/shared/domain";
import type {
  CheckpointRef,
  EndOutcome,
  OrchestratorMessage,
  RunSpec,
  Tick,
  TickHead,
  TreeRef,
  WorkerMessage,
  WorkerOffer,
} from "@qubix/shared/protocol";
import type { Look } from "./signs.ts";

/** Names one local container with its folders, from its making to its removal. It was made for an attempt or a standby, and keeps its name when epochs change. */
export type SlotId = string;

/**
 * preparing: image, container, checkpoint are being brought in place. ready: a standby that could start at once. starting: start was asked for.
 * running: the container runs. collecting: it ended, its checkpoint or outputs are being shipped. ended: the end waits to be acknowledged. removing: nobody needs it.
 */
export type SlotPhase = "preparing" | "ready" | "starting" | "running" | "collecting" | "ended" | "removing";

type HeartbeatAttempt = NonNullable<Extract<WorkerMessage, { kind: "heartbeat" }>["attempts"]>[number];
/** What a container uses, for people to see. */
export type Measures = NonNullable<HeartbeatAttempt["measures"]>;

/**
 * Names one whole entry of a checkpoint folder in one version. The runner makes it (the entry's name and what tells a replaced file from its predecessor);
 * the core only compares it, so the same entry must have the same key after a restart of the agent.
 */
export type EntryKey = string;

/** A whole entry that stands in a checkpoint folder. */
export interface FolderEntry {
  readonly entry: EntryKey;
  /** Container time at which it was seen. */
  readonly ranMs: number;
  readonly progress: number | null;
  /** Bytes that the container had sent by then; missing where it has no network, or they cannot be told. */
  readonly sentBytes?: number;
}

/** What the engine says of a slot's container when the agent starts. */
export interface ContainerFound {
  readonly state: "absent" | "created" | "running" | "exited";
  readonly exitCode: number | null;
  readonly oomKilled: boolean;
  readonly diskExceeded: boolean;
  /** Container time: up to now while it runs, else up to its end. */
  readonly ranMs: number;
  /** The newest whole entry of its checkpoint folder; null for none. */
  readonly newest: FolderEntry | null;
  /** Bytes that it sent over its network; missing where it has none, or they cannot be told. */
  readonly sentBytes?: number;
}

/** A checkpoint whose upload is complete and whose commit is not yet answered. */
export interface PendingCheckpoint {
  readonly seq: number;
  readonly parentSeq: number;
  readonly tree: TreeRef;
  readonly ranMs: number;
  readonly progress: number | null;
  readonly entry: EntryKey;
  /** How long it took to ship. Missing in rows of older versions. */
  readonly shipMs?: number;
  /** Seconds between checkpoints from here on, where that is longer than asked for. */
  readonly intervalS?: number;
}

/** The job was asked to save because it is to go elsewhere; see `moving.ts`. */
export interface SaveAsked {
  /** Counts the times. */
  readonly n: number;
  /** Until when an answer is waited for; null once that was given up. */
  readonly untilMs: number | null;
  /** Stopped then all the same. */
  readonly force: boolean;
  /** The newest entry of the checkpoint folder when it was asked: only another one is an answer. */
  readonly before: EntryKey | null;
  /** A new checkpoint stood there since. */
  readonly saved: boolean;
}

/** The chain of metering ticks of one container; see `ticks.ts`. */
export interface TickChain {
  /** The newest that was made: its number, its hash, its container time. */
  readonly head: TickHead;
  readonly ranMs: number;
  /** Bytes that the container sent, by the newest that told; missing where none did. */
  readonly egressBytes?: number;
  /** Made and not answered yet, oldest first. */
  readonly waiting: readonly Tick[];
}

export type StopReason = "cancelled" | "deadline" | "drain" | "contact_loss" | "reclaimed";

/** A fault of the worker, not of the job. */
export type WorkerFailure = Extract<EndOutcome, { kind: "worker_failed" }>;

/** One row of the journal: enough to carry on after a crash of the agent. */
export interface Slot {
  readonly id: SlotId;
  readonly jobId: JobId;
  readonly phase: SlotPhase;
  readonly run: RunSpec;
  /** What its image's reference resolved to, once it is prepared and where a registry named it. Missing in rows of older versions. */
  readonly imageDigest?: string | undefined;
  /** What it is leased for; null while it only stands by. */
  readonly attempt: AttemptRef | null;
  readonly standbyId: StandbyId | null;
  /** The checkpoint it is to begin from, or began from. */
  readonly checkpoint: CheckpointRef | null;
  /** The checkpoint that is unpacked on disk for its start; 0 for none. */
  readonly unpackedSeq: number;
  /** The newest checkpoint known to be committed; 0 for none. */
  readonly committedSeq: number;
  /** The folder entry that checkpoint is; null for none. Not shipped again. */
  readonly committedEntry: EntryKey | null;
  readonly pending: PendingCheckpoint | null;
  /** Stop was asked for: the container's end is not the job's own. */
  readonly stopping: StopReason | null;
  /** Of an exclusive slot: its container has ended, or was never started, and will not be. */
  readonly over?: true;
  /** Why the worker itself takes the slot back; there while `stopping` is `reclaimed`, or about to be. */
  readonly reclaim?: WorkerFailure;
  readonly asked?: SaveAsked;
  /** Missing before the first tick, and for runs without them. */
  readonly ticks?: TickChain;
  /** How it ends. Set in phase `collecting` once that is certain and only the newest checkpoint is still on its way; null there while outputs are collected. */
  readonly end: { readonly ranMs: number; readonly outcome: EndOutcome } | null;
  readonly ranMs: number;
}

export type WorkerCoreEvent =
  /** First event after loading the journal: what the engine says of each slot's container. A slot without an entry counts as `absent`. */
  | { readonly kind: "boot"; readonly containers: ReadonlyMap<SlotId, ContainerFound> }
  | { readonly kind: "opened"; readonly sessionId: SessionId; readonly contactLossS: number }
  | { readonly kind: "closed" }
  /** Any message of the orchestrator but `ack` and `refused`, which the link turns into the two events below. */
  | { readonly kind: "message"; readonly message: OrchestratorMessage }
  /** The orchestrator has made this message of ours durable. */
  | { readonly kind: "acknowledged"; readonly message: WorkerMessageBody }
  /** A heartbeat that listed these was answered; `sentAtMs`: the clock's time before it was sent. */
  | { readonly kind: "answered"; readonly attempts: readonly AttemptRef[]; readonly sentAtMs: number }
  /** The orchestrator does not accept this message of ours and never will. */
  | {
      readonly kind: "refused";
      readonly message: WorkerMessageBody;
      readonly code: string;
      readonly reason: string;
      /** Of a tick: from where its chain goes on. */
      readonly head?: TickHead;
    }
  /** The owner's settings or the hardware changed. */
  | { readonly kind: "offer"; readonly offer: WorkerOffer }
  | { readonly kind: "timer" }
  // Answers of the runner to the effects below.
  /** Container made, checkpoint `checkpointSeq` (0 for none) unpacked as `entry`. Answers `prepare` and `restore`. */
  | {
      readonly kind: "prepared";
      readonly slotId: SlotId;
      readonly checkpointSeq: number;
      readonly entry: EntryKey | null;
      /** What the image's reference resolved to, where a registry named it and the image was just looked at. */
      readonly imageDigest?: string;
    }
  | { readonly kind: "started"; readonly slotId: SlotId }
  /** The container ended. A last `entry`, where there is one, comes before it. */
  | {
      readonly kind: "exited";
      readonly slotId: SlotId;
      readonly exitCode: number | null;
      readonly oomKilled: boolean;
      readonly diskExceeded: boolean;
      readonly ranMs: number;
      /** See {@link ContainerFound.sentBytes}. */
      readonly sentBytes?: number;
    }
  /** Preparing, starting, restoring or shipping did not work; `outcome` says whose fault it is. */
  | { readonly kind: "failed"; readonly slotId: SlotId; readonly outcome: EndOutcome }
  /** The worker takes back what the slot runs on (a GPU of its owner, or one that is lost): stop in good order, ship the newest checkpoint, end with `outcome`. */
  | { readonly kind: "reclaim"; readonly slotId: SlotId; readonly outcome: WorkerFailure }
  /** The worker wants the slot empty by then: the job saves, is stopped, and goes elsewhere. */
  | { readonly kind: "leave"; readonly slotId: SlotId; readonly answerMs: number }
  | { readonly kind: "removed"; readonly slotId: SlotId }
  /** A newer whole entry stands in the checkpoint folder. */
  | {
      readonly kind: "entry";
      readonly slotId: SlotId;
      readonly entry: EntryKey;
      readonly ranMs: number;
      readonly progress: number | null;
      readonly sentBytes?: number;
    }
  | {
      readonly kind: "shipped";
      readonly slotId: SlotId;
      readonly entry: EntryKey;
      readonly tree: TreeRef;
      readonly ranMs: number;
      readonly progress: number | null;
    }
  /** Shipping this entry did not work (line cut, entry vanished); another is tried when it comes, or this one again later. */
  | { readonly kind: "shipFailed"; readonly slotId: SlotId; readonly entry: EntryKey }
  | { readonly kind: "outputs"; readonly slotId: SlotId; readonly tree: TreeRef | null }
  /** For the next heartbeats; nothing is journaled. `activity`: a word on what goes on, e.g. `pulling 40%`. */
  | {
      readonly kind: "measured";
      readonly slotId: SlotId;
      readonly ranMs: number;
      readonly progress: number | null;
      readonly measures?: Measures;
      readonly activity?: string;
      readonly sentBytes?: number;
      /** What a look at the running container found. */
      readonly look?: Look;
    };

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
  /** The container of an exclusive slot may run until then. */
  | { readonly kind: "lease"; readonly slotId: SlotId; readonly untilMs: number }
  /** The container goes on under another epoch: rewrite the epoch file, label logs with it from here. */
  | { readonly kind: "relabel"; readonly slotId: SlotId; readonly epoch: Epoch }
  /** After a crash of the agent: follow logs, folders and the end of a container that still runs. */
  | { readonly kind: "follow"; readonly slotId: SlotId; readonly attempt: AttemptRef }
  /** SIGTERM, SIGKILL after `graceS`; answers `exited`. */
  | { readonly kind: "stop"; readonly slotId: SlotId; readonly graceS: number }
  /** Write the number into the request file and signal the job; null: the wish is withdrawn. */
  | { readonly kind: "request"; readonly slotId: SlotId; readonly number: number | null }
  /** Upload this entry of the checkpoint folder; answer `shipped` or `shipFailed`. */
  | {
      readonly kind: "ship";
      readonly slotId: SlotId;
      readonly jobId: JobId;
      readonly entry: EntryKey;
      readonly ranMs: number;
      readonly progress: number | null;
    }
  /** This entry is committed: older ones can go. */
  | { readonly kind: "committed"; readonly slotId: SlotId; readonly entry: EntryKey }
  /** A line of the agent's own in the job's log. */
  | { readonly kind: "note"; readonly slotId: SlotId; readonly text: string }
  /** Upload what matches the output patterns; answer `outputs` or `failed`. */
  | { readonly kind: "collect"; readonly slotId: SlotId; readonly jobId: JobId }
  /** Kill and delete the container and its folders; answer `removed`. */
  | { readonly kind: "remove"; readonly slotId: SlotId };

type Unnumbered<M> = M extends unknown ? Omit<M, "msg"> : never;
type Unsigned<M> = M extends { readonly kind: "checkpoint" | "stopped" | "tick" } ? Omit<M, "signature"> : M;
/** A message before the link signs it and gives it its number. The link keeps which number belongs to which message and answers `acknowledged` or `refused`. */
export type WorkerMessageBody = Unsigned<Unnumbered<WorkerMessage>>;

/** A journal row to be written before the effects are carried out, or its removal. */
export interface SlotPut {
  readonly id: SlotId;
  readonly slot: Slot | null;
}

/** What one step changed and wants done. The shell journals `puts` in one transaction, then carries out `effects` in order. */
export interface WorkerStep {
  readonly puts: readonly SlotPut[];
  readonly effects: readonly WorkerEffect[];
}
