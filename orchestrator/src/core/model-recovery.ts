// The records of what is under way with a job beside its attempt: a planned move, a recovery, a wait for a lease. Part of `model.ts`, which hands them on.
// Times are milliseconds on the orchestrator's clock.
import type { Epoch, MovePhase, WorkerId } from "@qubix/shared/domain";

/** Why a job moves: its owner asked for it; its machine is drained, goes into maintenance, is taken back or stops it. */
export type MoveReason = "asked" | "drain" | "maintenance" | "owner_reclaimed" | "stopped";

/** A planned move under way. */
export interface MoveRecord {
  readonly phase: MovePhase;
  readonly why: MoveReason;
  /** The worker that was asked for; null for any. */
  readonly to: WorkerId | null;
  /** It goes on also where the job does not save when it is asked to. */
  readonly force: boolean;
  readonly fromWorkerId: WorkerId;
  readonly requestedAtMs: number;
  /** Targets that were tried. */
  readonly targets: number;
  /** When its container ended, as far as we know, and what was lost with it. */
  readonly stoppedAtMs?: number;
  readonly workLostMs?: number;
}

/** A recovery under way: the job's attempt is gone, and no new step was seen yet. Times on the orchestrator's clock. */
export interface RecoveryRecord {
  /** failover: its worker's fault. retry: the job's own. move: it was planned. */
  readonly cause: "failover" | "retry" | "move";
  readonly why: string;
  readonly fromWorkerId: WorkerId;
  /** The last sign of life of the attempt that is gone. */
  readonly faultAtMs: number;
  /** When its worker was suspect, or told of the end itself. */
  readonly detectedAtMs: number;
  /** hot: its standby took over. cold: another place was found. undo: the old container came back. Null while none of it happened. */
  readonly how: "hot" | "cold" | "undo" | null;
  readonly placedAtMs: number | null;
  readonly startedAtMs: number | null;
  readonly workLostMs: number;
  /** Attempts that were lost in it. */
  readonly interruptions: number;
}

/** What an `exclusive` job waits for before anybody else may run it. */
export interface LeaseWait {
  /** Of the attempt that may still be running, and where. */
  readonly epoch: Epoch;
  readonly workerId: WorkerId;
  /** Its lease is over then at the latest; later after a start of ours. */
  readonly untilMs: number;
  /** Why the attempt was given up. */
  readonly why: string;
}
