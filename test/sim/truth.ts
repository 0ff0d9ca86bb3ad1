// What is noted of a run, beside what the orchestrator says of it.
import type { AttemptId, WorkerId } from "@qubix/shared/domain";

/** One container's life, on the world's clock. */
export interface ContainerTruth {
  readonly workerId: WorkerId;
  startedAtMs: number | null;
  endedAtMs: number | null;
  /** The attempts it ran for. */
  readonly attempts: AttemptId[];
  /** The step at which its program saved and left, because it was asked to; null where it did not. */
  leftAtStep: number | null;
  /** Since when its program stands still for ever; null where it does not. */
  hungAtMs: number | null;
}

/** What was seen of an attempt or a standby: when its lease was committed, and when its end was. */
export interface Seen<Row> {
  row: Row;
  readonly fromMs: number;
  untilMs: number | null;
  /** When its credit last grew. */
  creditedAtMs: number;
  /** Of a standby: when it was first ready. */
  readyAtMs: number | null;
}
