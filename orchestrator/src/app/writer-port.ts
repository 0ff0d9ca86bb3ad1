// The single writer as the rest of the orchestrator sees it: events go in, committed state comes out, effects are carried out after the commit.
import type { AccountId, ApiKeyId, JobId, SessionId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, TreeRef } from "@qubix/shared/protocol";
import type { CoreEvent, CoreState, Effect, Reply } from "../core/index.ts";
import type { Store, StoredEvent } from "../store/port.ts";

export type { CoreState } from "../core/index.ts";

/** Carries effects out. Each call is quick and never throws; slow work is queued behind it. */
export interface EffectSink {
  send(workerId: WorkerId, sessionId: SessionId, message: OrchestratorMessage): void;
  disconnect(workerId: WorkerId, sessionId: SessionId, reason: string): void;
  challenge(effect: Extract<Effect, { kind: "challenge" }>): void;
  /** Something may be to be done on a chain for this job or payout. */
  chain(id: string): void;
  collect(accountId: AccountId, jobId: JobId, trees: readonly TreeRef[]): void;
  /** A job has ended: this entry of the vault goes. */
  shred(vaultId: string): void;
  /** All effects of a batch were handed over: frames that were held back can leave. */
  flush(): void;
  /** A commit failed and memory was rebuilt as after a restart: every worker socket is to be closed, so that both sides reconcile. */
  reset(): void;
}

/** Counters since the start, for /metrics and readiness. */
export interface WriterMetrics {
  readonly commits: number;
  readonly commitFailures: number;
  /** Events stepped, without volatile ones that changed nothing. */
  readonly events: number;
  readonly volatileEvents: number;
  readonly stepErrors: number;
  readonly overloads: number;
  readonly queued: number;
  readonly commitMsLast: number;
  readonly commitMsTotal: number;
  readonly batchEventsLast: number;
}

export interface Writer {
  /**
   * Loads the store, steps `boot` and commits it before it returns; then takes events. `admin` is used on the first start of all.
   * Throws when the store cannot be read or written. Called again: does nothing.
   */
  start(admin?: { readonly keyId: ApiKeyId; readonly keyHash: string }): { readonly firstStart: boolean };
  /** Steps and commits what is queued, then takes no more events (503 `stopping`). Does not close the store. */
  stop(): Promise<void>;
  /**
   * Resolves with the core's answer once everything of its tick is durable. An expected "no" is a reply of kind `refused`.
   * Rejects with a QubixError: 503 `commit_failed`, 503 `overloaded` (details.retryAfterS), 503 `stopping`, 500 `internal_error` for a step that threw.
   */
  submit(event: CoreEvent): Promise<Reply>;
  /** For heartbeats and signs of life: no promise, no answer; dropped and counted when the queue is full. */
  submitVolatile(event: CoreEvent): void;
  /** The committed state. Read it synchronously, never across an await. */
  state(): CoreState;
  /** The orchestrator's clock. */
  nowMs(): number;
  /** Called after each commit that wrote events, before the submitters' promises resolve. Returns how to stop listening. */
  onEvents(listener: (events: readonly StoredEvent[]) => void): () => void;
  /** Called after each commit that wrote log lines, with the jobs that got some; read them from the store. */
  onLogs(listener: (jobIds: ReadonlySet<JobId>) => void): () => void;
  /** Where effects go. Set once by the composition root, before `start`. */
  setSink(sink: EffectSink): void;
  /** False while the last commit failed and memory could not be rebuilt yet. */
  healthy(): boolean;
  metrics(): WriterMetrics;
  readonly store: Store;
}
