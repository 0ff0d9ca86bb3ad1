// What others may read of the state: synchronous, and after a commit equal to what is committed.
import type { AccountId, AttemptId, Currency, JobId, StandbyId, WorkerId } from "@qubix/shared/domain";
import { isLiveStandby } from "./indexes.ts";
import type { AccountRecord, ApiKeyRecord, AttemptRecord, JobRecord, StandbyRecord, WorkerRecord } from "./model.ts";
import type { Counters, CoreState, LiveAttempt } from "./state.ts";
import { type ProofState, proofStates } from "./proofs.ts";
import { gpuIsFree } from "./resources.ts";
import { attemptsOf, standbysOf } from "./tables.ts";
import type { LedgerAccount } from "./model.ts";
import { balanceOf as balance } from "./ledger.ts";

/** The key with this SHA-256 and its account. */
export function findApiKey(
  state: CoreState,
  keyHash: string,
): { readonly apiKey: ApiKeyRecord; readonly account: AccountRecord } | undefined {
  const id = state.ix.apiKeyByHash.get(keyHash);
  const apiKey = id === undefined ? undefined : state.rows.apiKeys.get(id);
  const account = apiKey === undefined ? undefined : state.rows.accounts.get(apiKey.accountId);
  return apiKey === undefined || account === undefined ? undefined : { apiKey, account };
}

export function findAccount(state: CoreState, id: AccountId): AccountRecord | undefined {
  return state.rows.accounts.get(id);
}

export function listAccounts(state: CoreState): Iterable<AccountRecord> {
  return state.rows.accounts.values();
}

export function findWorker(state: CoreState, id: WorkerId): WorkerRecord | undefined {
  return state.rows.workers.get(id);
}

export function listWorkers(state: CoreState): Iterable<WorkerRecord> {
  return state.rows.workers.values();
}

export interface LiveJob {
  readonly job: JobRecord;
  readonly attempts: readonly AttemptRecord[];
  readonly standbys: readonly StandbyRecord[];
}

/** A job that has not ended; ended ones are in the store. */
export function liveJob(state: CoreState, id: JobId): LiveJob | undefined {
  const job = state.rows.jobs.get(id);
  if (job === undefined) return undefined;
  return { job, attempts: attemptsOf(state, id), standbys: standbysOf(state, id) };
}

/** The entries of the vault that living jobs name. */
export function vaultIds(state: CoreState): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { vaultId } of state.rows.jobs.values()) if (vaultId !== null) ids.add(vaultId);
  return ids;
}

/** What is active on a worker. */
export function liveJobIdsOf(
  state: CoreState,
  workerId: WorkerId,
): { readonly attempts: readonly AttemptId[]; readonly standbys: readonly StandbyId[] } {
  const machine = state.ix.machines.get(workerId);
  return { attempts: [...(machine?.attempts ?? [])], standbys: [...(machine?.standbys ?? [])] };
}

/** What the last heartbeat said; `undefined` before the first, and after a restart. */
export function attemptLive(state: CoreState, id: AttemptId): Readonly<LiveAttempt> | undefined {
  return state.volatile.live.get(id);
}

/** Last sign of life on the orchestrator's clock. */
export function lastHeardMs(state: CoreState, workerId: WorkerId): number | undefined {
  return state.ix.machines.get(workerId)?.heardMs;
}

export interface FreeCapacity {
  readonly gpuUuids: readonly string[];
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** What of the worker's offer is not taken; `undefined` before its first hello. */
export function freeCapacity(state: CoreState, workerId: WorkerId): FreeCapacity | undefined {
  const machine = state.ix.machines.get(workerId);
  const offer = machine?.worker.offer;
  if (machine === undefined || offer === undefined || offer === null) return undefined;
  return {
    gpuUuids: offer.gpus.filter((gpu) => gpuIsFree(machine, gpu.uuid)).map((gpu) => gpu.uuid),
    cpuMilli: Math.max(0, machine.cpuMilli - machine.usedCpuMilli),
    memoryMiB: Math.max(0, offer.memoryMiB - machine.usedMemoryMiB),
    diskMiB: Math.max(0, offer.diskMiB - machine.usedDiskMiB),
  };
}

/** How it stands with what the worker has to prove; empty where nothing has to be proven. */
export function workerProofs(state: CoreState, workerId: WorkerId): readonly ProofState[] {
  const machine = state.ix.machines.get(workerId);
  return machine === undefined ? [] : proofStates(state, machine);
}

/** What of the worker counts in the market; `gpuUuids` is `null` for all that it claims. */
export function listedHardware(
  state: CoreState,
  workerId: WorkerId,
): { readonly cores: boolean; readonly gpuUuids: ReadonlySet<string> | null } {
  const machine = state.ix.machines.get(workerId);
  return { cores: machine?.coresListed ?? false, gpuUuids: machine === undefined ? new Set() : machine.listedGpus };
}

/** Whether the worker has an active attempt or a live standby of the job: what lets it read and write the job's chunks. */
export function holdsJob(state: CoreState, workerId: WorkerId, jobId: JobId): boolean {
  const machine = state.ix.machines.get(workerId);
  const links = state.ix.links.get(jobId);
  if (machine === undefined || links === undefined) return false;
  for (const id of links.attempts) if (machine.attempts.has(id)) return true;
  for (const id of links.standbys) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined && standby.workerId === workerId && isLiveStandby(standby)) return true;
  }
  return false;
}

/** Micro-units on a ledger account. */
export function balanceOf(state: CoreState, account: LedgerAccount, currency: Currency): bigint {
  return balance(state, account, currency);
}

export interface Counts {
  readonly jobs: Readonly<Record<string, number>>;
  readonly workers: Readonly<Record<string, number>>;
  /** Jobs that wait for a place. */
  readonly queued: number;
  /** Of the signatures of waiting jobs: those for which there is no offer. */
  readonly blockedSignatures: number;
  readonly standbysWanted: number;
  readonly deadlines: number;
  readonly massSilence: {
    /** Under way; each is the fleet or one network. */
    readonly holds: number;
    /** Workers whose loss waits for its end. */
    readonly held: number;
  };
  readonly proofs: {
    readonly underWay: number;
    readonly waiting: number;
    /** Since this process started, by code. */
    readonly failed: Readonly<Record<string, number>>;
  };
  /** Since this process started. */
  readonly counters: Readonly<Counters>;
}

/** Plain numbers for metrics. */
export function counts(state: CoreState): Counts {
  const { ix } = state;
  return {
    jobs: Object.fromEntries([...ix.jobsByPhase].filter(([, count]) => count > 0)),
    workers: Object.fromEntries(ix.workersByPhase),
    queued: ix.queue.size,
    blockedSignatures: [...ix.queue.narrowed].filter(({ candidates }) => candidates?.size === 0).length,
    standbysWanted: ix.wantedStandbys.size,
    deadlines: state.deadlines.size,
    massSilence: {
      holds: state.volatile.mass.holds.size,
      held: [...state.volatile.mass.holds.values()].reduce((sum, { held }) => sum + held.size, 0),
    },
    proofs: {
      underWay: state.volatile.proving.size,
      waiting: state.volatile.proofsWaiting.first.size + state.volatile.proofsWaiting.again.size,
      failed: Object.fromEntries(state.volatile.proofFailures),
    },
    counters: { ...state.volatile.counters },
  };
}
