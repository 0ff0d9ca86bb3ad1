// What goes into a step and what comes out of it.
import type { WrongClaim } from "@qubix/shared/proof";
import type {
  AccountId,
  ApiKeyId,
  AttemptRef,
  Currency,
  EnrolmentId,
  JobId,
  SessionId,
  TransferId,
  WorkerId,
} from "@qubix/shared/domain";
import type { ErrorCategory } from "@qubix/shared/runtime";
import type { LedgerEntry, LinkedOutcome } from "./ledger-entries.ts";
import type {
  JobSpec,
  OrchestratorMessage,
  ProofTarget,
  Role,
  Tolerance,
  TreeRef,
  WorkerMessage,
  WorkerOffer,
} from "@qubix/shared/protocol";
import type { CaseOf, Offence } from "./case-records.ts";
import type {
  AccountRecord,
  ApiKeyRecord,
  BudgetPeriod,
  Changes,
  CheckpointRecord,
  DepositAddressRecord,
  Comparison,
  EnrolmentRecord,
  JobRecord,
  PayoutAddressRecord,
  PayoutRecord,
  TickFacts,
  TransferRecord,
  TreeContent,
  UploadRecord,
  WorkerRecord,
} from "./model.ts";

/** Who asks; the core decides what he may. */
export interface Actor {
  readonly accountId: AccountId;
  readonly role: Role;
}

/** From the `Idempotency-Key` header. */
export interface Idempotency {
  readonly route: string;
  readonly key: string;
  readonly bodyHash: string;
}

/** Where stake is paid from. */
export type StakeSource = "payable" | "spendable";

export type CoreEvent =
  // Life of the orchestrator.
  /** First event after loading: sessions of the earlier life are gone, leases are given a whole new term. `admin` only on the first start of all. */
  | { readonly kind: "boot"; readonly admin?: { readonly keyId: ApiKeyId; readonly keyHash: string } }
  /** Something in {@link CoreEvent} may be due: the state knows what. */
  | { readonly kind: "timer" }
  /** The event loop did nothing for so long: nobody was listened to, so it is nobody's silence. Told before what arrived meanwhile. */
  | { readonly kind: "lagged"; readonly ms: number }
  /** The calendar month (UTC), `2026-11`: what is settled from here on counts in it. Told at each start and whenever it changes. */
  | { readonly kind: "month"; readonly month: string }
  /** Place one waiting job or one wanted standby. Stepped after the events of a tick until it changes nothing. */
  | { readonly kind: "dispatch" }
  // Requests of people and programs.
  | {
      readonly kind: "account.create";
      readonly actor: Actor;
      readonly name: string;
      readonly role: Role;
      readonly idempotency?: Idempotency;
    }
  | {
      readonly kind: "apiKey.create";
      readonly actor: Actor;
      readonly accountId: AccountId;
      readonly name: string;
      readonly keyId: ApiKeyId;
      readonly keyHash: string;
    }
  | {
      readonly kind: "enrolment.create";
      readonly actor: Actor;
      readonly accountId: AccountId;
      readonly enrolmentId: EnrolmentId;
      readonly tokenHash: string;
      readonly ttlMs: number;
    }
  | { readonly kind: "enrolment.redeem"; readonly tokenHash: string; readonly name: string; readonly publicKey: string }
  | {
      readonly kind: "deposit";
      readonly actor: Actor;
      readonly accountId: AccountId;
      readonly amount: bigint;
      readonly currency: Currency;
      readonly reference: string;
      /** Named by the caller: the same deposit again, whenever, is made once. */
      readonly id?: TransferId;
      readonly known?: KnownTransfers;
      readonly idempotency?: Idempotency;
    }
  /** From the shell, which has looked whether the chain knows such an address. */
  | { readonly kind: "payout.address"; readonly actor: Actor; readonly driver: string; readonly address: string }
  /** The shell has looked whether whoever asks has this account on the chain. */
  | { readonly kind: "deposit.address"; readonly actor: Actor; readonly driver: string; readonly address: string }
  /** `by`: see {@link PayoutRecord}; `amount` of a withdrawal from a contract is what it owed when it was asked. */
  | {
      readonly kind: "payout.request";
      readonly actor: Actor;
      readonly by: PayoutRecord["by"];
      readonly amount: bigint;
      readonly currency: Currency;
      readonly destination: string;
      readonly idempotency?: Idempotency;
    }
  | {
      readonly kind: "payout.end";
      readonly actor: Actor;
      readonly payoutId: string;
      readonly outcome: "complete" | "reject";
      readonly reference: string;
    }
  // Chains. What is said of them is final there.
  /** A withdrawal from a contract is final. */
  | { readonly kind: "payout.final"; readonly payoutId: string; readonly applied: boolean }
  /** What was intended for a job is so, or was refused. Said at least once. `tries`: of the intent, so that an old word changes nothing. */
  | {
      readonly kind: "chain.final";
      readonly jobId: JobId;
      readonly what: "deposit" | "pay";
      readonly tries: number;
      readonly applied: boolean;
    }
  /** An admin has looked: what a chain refused is tried again; or for one job, paid by hand instead. */
  | { readonly kind: "chain.retry"; readonly actor: Actor; readonly driver: string }
  | { readonly kind: "chain.release"; readonly actor: Actor; readonly jobId: JobId }
  /** For admins: what the shell has seen of a chain. */
  | {
      readonly kind: "chain.note";
      readonly note: "chain_halted" | "chain_resumed" | "chain_differences" | "chain_deposit_refused";
      readonly data: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: "budget.set";
      readonly actor: Actor;
      readonly accountId: AccountId;
      readonly period: BudgetPeriod;
      readonly amount: bigint;
      readonly currency: Currency;
    }
  | {
      readonly kind: "budget.clear";
      readonly actor: Actor;
      readonly accountId: AccountId;
      readonly period: BudgetPeriod;
      readonly currency: Currency;
    }
  /** Linked transfers of the operator's programs: what an escrow driver saw, payment runs. */
  | {
      readonly kind: "ledger.apply";
      readonly actor: Actor;
      readonly entries: readonly LedgerEntry[];
      readonly known?: KnownTransfers;
    }
  | { readonly kind: "upload.create"; readonly actor: Actor; readonly uploadId: string; readonly tree: TreeRef }
  | {
      readonly kind: "job.create";
      readonly actor: Actor;
      /** Without the content of its secrets: that is in the vault's entry of this name, durably. */
      readonly spec: JobSpec;
      readonly vaultId?: string;
      /** What `spec.fromCheckpoint` names, found by {@link findSource} and held in the chunk store, or why it is not to be had. */
      readonly source?: SourceFound;
      readonly idempotency?: Idempotency;
    }
  | { readonly kind: "job.cancel"; readonly actor: Actor; readonly jobId: JobId }
  /** `to`: null for any other worker. `force`: also where it does not save when it is asked to. */
  | {
      readonly kind: "job.move";
      readonly actor: Actor;
      readonly jobId: JobId;
      readonly to: WorkerId | null;
      readonly force: boolean;
    }
  | {
      readonly kind: "checkpoint.remove";
      readonly actor: Actor;
      readonly jobId: JobId;
      readonly seq: number;
      /** The record of a job that has ended, as the store has it: it is not in memory. Nothing else changes it meanwhile. */
      readonly ended: JobRecord | null;
    }
  /** `move`: what runs there goes elsewhere, too. */
  | {
      readonly kind: "worker.drain";
      readonly actor: Actor;
      readonly workerId: WorkerId;
      readonly draining: boolean;
      readonly move?: boolean;
    }
  /** `ended`: the record of the job, as the store has it; null while it has not ended. `previous`: what was said before. */
  | {
      readonly kind: "job.rate";
      readonly actor: Actor;
      readonly jobId: JobId;
      readonly stars: number;
      readonly comment: string;
      readonly ended: JobRecord | null;
      readonly previous: CaseOf<"rating"> | null;
    }
  | {
      readonly kind: "job.dispute";
      readonly actor: Actor;
      readonly jobId: JobId;
      readonly reason: string;
      readonly ended: JobRecord | null;
      readonly previous: CaseOf<"dispute"> | null;
      /** Its pay, or a part of it, went back to the consumer already, for another reason. */
      readonly returned?: boolean;
      /** The newest event there was when all this was read: what was decided of the job's pay since then is not in it. */
      readonly asOf?: number;
      readonly idempotency?: Idempotency;
    }
  /** `consumerBps`: basis points of the gross that go back to the consumer. */
  | {
      readonly kind: "dispute.resolve";
      readonly actor: Actor;
      readonly disputeId: string;
      readonly consumerBps: number;
      readonly note: string;
    }
  | {
      readonly kind: "stake.add";
      readonly actor: Actor;
      readonly amount: bigint;
      readonly currency: Currency;
      /** payable: from what was earned. spendable: from what was deposited. */
      readonly from: StakeSource;
      readonly idempotency?: Idempotency;
    }
  | {
      readonly kind: "stake.remove";
      readonly actor: Actor;
      readonly amount: bigint;
      readonly currency: Currency;
      readonly idempotency?: Idempotency;
    }
  /** The shell has verified what can be verified of the evidence. `ended`: of the job that it is about, where that is in the store. */
  | {
      readonly kind: "slash.propose";
      readonly actor: Actor;
      readonly offence: Offence;
      readonly workerId: WorkerId;
      readonly jobId: JobId;
      readonly evidence: Readonly<Record<string, unknown>>;
      readonly ended: JobRecord | null;
    }
  | { readonly kind: "slash.appeal"; readonly actor: Actor; readonly slashId: string; readonly text: string }
  | {
      readonly kind: "slash.resolve";
      readonly actor: Actor;
      readonly slashId: string;
      readonly decision: "uphold" | "dismiss";
      readonly note: string;
    }
  // Workers. The gateway has verified signatures and, for trees, that all chunks are durable.
  /** Authenticated; what it has comes with its `hello`. */
  | {
      readonly kind: "worker.opened";
      readonly workerId: WorkerId;
      readonly sessionId: SessionId;
      /** Where it comes from: what fails together. Missing where that is not known. */
      readonly network?: string;
    }
  | { readonly kind: "worker.closed"; readonly workerId: WorkerId; readonly sessionId: SessionId }
  /** Any frame that is not a message of its own (bulk, pong): a sign of life. */
  | { readonly kind: "worker.heard"; readonly workerId: WorkerId; readonly sessionId: SessionId }
  | {
      readonly kind: "worker.message";
      readonly workerId: WorkerId;
      readonly sessionId: SessionId;
      readonly message: WorkerMessage;
      /** Of the tree that it brings, where the gateway read it. */
      readonly content?: TreeContent;
      /** Of a tick: missing where it is signed and nothing is stored under its number. */
      readonly tick?: TickFacts;
    }
  /** Something of this job was not stored, as its worker is told too: the account's bytes or the disk are used up. */
  | {
      readonly kind: "storage.refused";
      readonly workerId: WorkerId;
      readonly jobId: JobId;
      readonly code: string;
      readonly message: string;
    }
  /** Files of two runs that check a job were compared; see the effect `compare`. */
  | { readonly kind: "check.compared"; readonly jobId: JobId; readonly comparison: Comparison }
  /** A challenge was judged, or came to nothing; see the effect `challenge`. */
  | {
      readonly kind: "worker.proof";
      readonly workerId: WorkerId;
      readonly challengeId: string;
      /** `null`: it could not be judged, by no fault of the worker's. */
      readonly verdict: ProofVerdict | null;
    };

/** What the store has under the ids that the event names; looked up when it is stepped (`knownIdsOf`). */
export type KnownTransfers = ReadonlyMap<TransferId, TransferRecord>;

/** The checkpoint of another job that a new one is to begin from. */
export type SourceFound =
  | { readonly kind: "found"; readonly checkpoint: CheckpointRecord }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export type ProofVerdict =
  | { readonly ok: true; readonly figures: Readonly<Record<string, number>> }
  | {
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      /** Where a signed claim is shown to be wrong; never for what is late, missing or given up. */
      readonly wrongClaim?: WrongClaim;
    };

/** Carried out only after the changes are durable. All can be derived again from the state after a crash. */
export type Effect =
  | {
      readonly kind: "send";
      readonly workerId: WorkerId;
      readonly sessionId: SessionId;
      readonly message: OrchestratorMessage;
    }
  /** Have it prove the target, claimed as in `offer`; answered by an event `worker.proof`. After a crash it is asked for again. */
  | {
      readonly kind: "challenge";
      readonly workerId: WorkerId;
      readonly sessionId: SessionId;
      readonly challengeId: string;
      readonly target: ProofTarget;
      readonly offer: WorkerOffer;
    }
  /** Close this session's sockets. */
  | { readonly kind: "disconnect"; readonly workerId: WorkerId; readonly sessionId: SessionId; readonly reason: string }
  /** Something is to happen on a chain for this job or payout: the rows say what. */
  | { readonly kind: "chain"; readonly id: string }
  /** These trees of this job's owner are no longer referred to. */
  | {
      readonly kind: "collect";
      readonly accountId: AccountId;
      readonly jobId: JobId;
      readonly trees: readonly TreeRef[];
    }
  /** Read the files of two results and tell whether they are the same within the tolerance; answered by an event `check.compared`. After a crash it is asked for again. */
  | {
      readonly kind: "compare";
      readonly jobId: JobId;
      readonly accountId: AccountId;
      /** Runs of the job's verification, and their outputs. */
      readonly runs: readonly [number, number];
      readonly trees: readonly [TreeRef, TreeRef];
      readonly tolerance: Tolerance;
    }
  /** A job has ended: nobody needs this entry of the vault any more. */
  | { readonly kind: "shred"; readonly vaultId: string };

/** An expected "no", shown to the caller as a problem document or to a worker as `refused`. */
export interface Refusal {
  readonly code: string;
  readonly category: ErrorCategory;
  readonly status: number;
  /** What happened, why, and what to do next. */
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export type Reply =
  | { readonly kind: "none" }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "account"; readonly account: AccountRecord }
  | { readonly kind: "apiKey"; readonly apiKey: ApiKeyRecord }
  | { readonly kind: "enrolment"; readonly enrolment: EnrolmentRecord }
  | { readonly kind: "worker"; readonly worker: WorkerRecord }
  | { readonly kind: "transfer"; readonly transferId: TransferId }
  | { readonly kind: "budgets"; readonly accountId: AccountId }
  | { readonly kind: "case"; readonly caseId: string }
  | { readonly kind: "done" }
  | { readonly kind: "ledger"; readonly outcome: LinkedOutcome }
  | { readonly kind: "upload"; readonly upload: UploadRecord }
  /** One that has ended may be asked for again by its idempotency key: then only its id is here. */
  | { readonly kind: "payout"; readonly payoutId: string; readonly payout: PayoutRecord | null }
  | { readonly kind: "payoutAddress"; readonly record: PayoutAddressRecord }
  | { readonly kind: "depositAddress"; readonly record: DepositAddressRecord }
  | { readonly kind: "checkpoint"; readonly jobId: JobId; readonly seq: number }
  /** `repeated`: an idempotency key was seen before, this is its first result. The job may have ended meanwhile: then only its id is here. */
  | { readonly kind: "job"; readonly jobId: JobId; readonly job: JobRecord | null; readonly repeated: boolean };

export interface StepResult {
  readonly changes: Changes;
  readonly effects: readonly Effect[];
  readonly reply: Reply;
  /** Names of the state-table rows that fired, for coverage (see `rowName`). */
  readonly fired: readonly string[];
  readonly incidents: readonly Incident[];
  /** False when nothing durable changed: no transaction is needed. */
  readonly changed: boolean;
}

/** What the simulator and metrics count: things that should happen and be rare, or never be zero in a test. */
export type Incident = {
  readonly kind:
    | "promotion"
    | "failover"
    | "undo"
    | "stale_refused"
    | "disagreement"
    | "tick_refused"
    | "contradiction"
    | "egress_cut";
  readonly attempt: AttemptRef;
};
