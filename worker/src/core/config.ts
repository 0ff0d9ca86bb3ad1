// Every time and bound of the worker's core, named.
import { HEARTBEAT_BUSY_MS, HEARTBEAT_IDLE_MS, HEARTBEAT_JITTER } from "@qubix/shared/protocol";

export interface WorkerConfig {
  /** Time between heartbeats with an attempt or a standby. */
  readonly heartbeatBusyMs: number;
  /** Time between heartbeats without. */
  readonly heartbeatIdleMs: number;
  /** 0 to 1, chosen at random by the shell: how much of the jitter this worker's heartbeats come early, so that a fleet does not speak at once. */
  readonly heartbeatSpread: number;
  /** How long work goes on without a session until the first one says otherwise. */
  readonly contactLossS: number;
  /** Pause before an entry whose shipping failed is tried again. */
  readonly shipRetryMs: number;
  /** How often the newest entry is tried once its container has ended; then the attempt ends without it. */
  readonly shipTriesAtEndMax: number;
  /** How long an owner who takes his GPU back waits for the job to save on it. */
  readonly ownerWaitsMs: number;
  /** How long after SIGKILL a container on a lost GPU is waited for. */
  readonly unkillableMs: number;
}

export const DEFAULT_WORKER_CONFIG: WorkerConfig = {
  heartbeatBusyMs: HEARTBEAT_BUSY_MS,
  heartbeatIdleMs: HEARTBEAT_IDLE_MS,
  heartbeatSpread: 0,
  // One hour: as long as a home line is commonly away. The orchestrator's word replaces it at the first session.
  contactLossS: 3_600,
  // A cut line needs about this long to come back; sooner would only fail again.
  shipRetryMs: 1_000,
  // A store that refuses three times in a row will not take the fourth; the job resumes from an older checkpoint.
  shipTriesAtEndMax: 3,
  // He sat down to use it now; most states are on disk within some seconds.
  ownerWaitsMs: 15_000,
  // SIGKILL works within a second where it works at all; a busy Engine needs some more.
  unkillableMs: 5_000,
};

/** The share of {@link HEARTBEAT_JITTER} that makes an interval shorter; never longer, so that silence is never our own doing. */
export function heartbeatEveryMs(config: WorkerConfig, busy: boolean): number {
  const everyMs = busy ? config.heartbeatBusyMs : config.heartbeatIdleMs;
  return Math.floor(everyMs * (1 - HEARTBEAT_JITTER * config.heartbeatSpread));
}
