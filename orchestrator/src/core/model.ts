// The records of the core: plain, immutable data. Tables are the state; a step replaces records, it never mutates them.
// Times are milliseconds on the orchestrator's clock, which runs on through restarts and never reads the wall clock.
import type { CanariesKept } from "./canary-records.ts";
import type { WrongClaim } from "@qubix/shared/proof";
import type {
  AccountId,
  ApiKeyId,
  AttemptId,
  AttemptPhase,
  ChunkCid,
  Currency,
  EnrolmentId,
  Epoch,
  JobId,
  JobPhase,
  LeasePhase,
  Money,
  RatePart,
  SessionId,
  StandbyId,
  StandbyPhase,
  WorkerId,
  WorkerPhase,
} from "@qubix/shared/domain";
import type { EndOutcome, JobSpec, Role, TickMoment, TreeRef, WorkerOffer } from "@qubix/shared/protocol";
import type { CaseRecord } from "./case-records.ts";
import type {
  BalanceRecord,
  BudgetRecord,
  ChainDeposit,
  ChainPayRecord,
  DepositAddressRecord,
  JobCap,
  PayoutAddressRecord,
  PayoutRecord,
  ReleaseRecord,
  ReservationRecord,
  SettledRecord,
  Settlement,
  SpendingRecord,
  TransferRecord,
} from "./model-money.ts";
import type { CheckpointName, CheckpointRecord } from "./model-checkpoints.ts";
import type { CheckHistory, CheckOf, VerificationRecord } from "./model-checks.ts";
import type { LeaseWait, MoveRecord, RecoveryRecord } from "./model-recovery.ts";
import type { MirrorState } from "./model-mirror.ts";

export type * from "./model-checkpoints.ts";
export type * from "./model-checks.ts";
export type * from "./model-mirror.ts";
export type * from "./model-money.ts";
export type * from "./model-recovery.ts";

export interface AccountRecord {
  readonly id: AccountId;
  readonly name: string;
  readonly role: Role;
  readonly createdAtMs: number;
  /** Of a provider: over all of its workers, those that are gone too; missing where nothing is known. */
  readonly reputation?: ReputationTallies;
}

/** How much work went how, each halving every 30 days since `atMs`; see `reputation.ts`. */
export interface ReputationTallies {
  readonly completed: number;
  readonly verified: number;
  readonly failed: number;
  readonly disputed: number;
  readonly wrong: number;
  /** Units of money that ratings weigh, and of those, how much was praised: 1 star is none of it, 5 are all. */
  readonly rated: number;
  readonly stars: number;
  /** How many ratings there were; does not decay. */
  readonly ratings: number;
  readonly atMs: number;
}

export interface ApiKeyRecord {
  readonly id: ApiKeyId;
  readonly accountId: AccountId;
  readonly name: string;
  /** SHA-256 of the key, hexadecimal. The key itself is nowhere. */
  readonly hash: string;
  readonly createdAtMs: number;
}

export interface EnrolmentRecord {
  readonly id: EnrolmentId;
  readonly accountId: AccountId;
  /** SHA-256 of the token, hexadecimal. */
  readonly tokenHash: string;
  readonly expiresAtMs: number;
  readonly usedBy: WorkerId | null;
}

export interface WorkerRecord {
  readonly id: WorkerId;
  readonly providerId: AccountId;
  readonly name: string;
  /** Raw Ed25519 public key, base64url. */
  readonly publicKey: string;
  readonly phase: WorkerPhase;
  /** Of the newest connection; messages of older sessions are dropped. */
  readonly sessionId: SessionId | null;
  /** What it said last; null before its first hello. */
  readonly offer: WorkerOffer | null;
  /** Its owner or an admin asked for it over the API; beside the offer's own word. */
  readonly draining: boolean;
  /** …and what runs there is to go elsewhere; missing for no. */
  readonly leaving?: boolean;
  /** How often it let somebody down, decaying since `atMs`; missing for never. */
  readonly trouble?: { readonly score: number; readonly atMs: number };
  /** How its work went, over weeks; missing where nothing is known. */
  readonly reputation?: ReputationTallies;
  /** Its shares of settled jobs so far, one entry a currency, in the order in which they were first earned. */
  readonly earned: readonly Money[];
  readonly enrolledAtMs: number;
  /** What it has shown of its hardware; one entry a target. */
  readonly proofs: readonly ProofRecord[];
  /** Of targets whose newest challenge it did not pass. */
  readonly proofFailures: readonly ProofFailure[];
  /** What came of checks of its work; missing where none was checked. */
  readonly checks?: CheckHistory;
  /** Names of the canaries that it was given; missing for none. */
  readonly canaries?: readonly string[];
}

/** What of a machine is proven in one piece: `cpu` (cores and memory), or `gpu:UUID`. */
export type ProofTargetKey = "cpu" | `gpu:${string}`;

/** Hardware as it was claimed when it was proven. It holds for what is claimed now where that is the same model and no more of it. */
export interface ProofRecord {
  readonly target: ProofTargetKey;
  /** Of a GPU; empty for `cpu`. */
  readonly model: string;
  /** Cores; 0 for a GPU. */
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly provenAtMs: number;
  /** When it is to be shown again; told to nobody. */
  readonly recheckAtMs: number;
  /** Measured while proving, by name; bounded by {@link FIGURES_MAX}. */
  readonly figures: Readonly<Record<string, number>>;
}
/** Figures kept of one proof. */
export const FIGURES_MAX = 20;

export interface ProofFailure {
  readonly target: ProofTargetKey;
  readonly code: string;
  readonly message: string;
  readonly atMs: number;
  /** In a row. */
  readonly count: number;
  readonly retryAtMs: number;
  /** The newest of these whose signed claim was shown to be wrong. One alone accuses nobody; it goes with the next proof that holds. */
  readonly wrongClaim?: WrongClaim;
}

/** What an attempt or a standby takes of its worker. */
export interface Allocation {
  readonly gpuUuids: readonly string[];
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** Why a job is being stopped by us while it runs. */
export type StopIntent = "cancelled" | "deadline" | "budget";

export interface JobRecord {
  readonly id: JobId;
  readonly accountId: AccountId;
  readonly spec: JobSpec;
  readonly phase: JobPhase;
  readonly intent: StopIntent | null;
  readonly reason: string | null;
  readonly message: string | null;
  /** Of the newest attempt; 0 before the first. */
  readonly epoch: Epoch | 0;
  /** Counts the standbys that were reserved. */
  readonly standbysMade: number;
  /** The standby that is preparing or ready; null for none. */
  readonly standbyId: StandbyId | null;
  readonly retriesUsed: number;
  readonly failoversUsed: number;
  /** Missing for none. */
  readonly movesUsed?: number;
  readonly move?: MoveRecord;
  /** Workers on which an attempt of this job went wrong, newest last, bounded; chosen last. */
  readonly troubledWorkers: readonly WorkerId[];
  /** Paid container time over all attempts. */
  readonly creditedMs: number;
  /** Container time thrown away by failovers. */
  readonly workLostMs: number;
  /** From an attempt's loss to the first new step; null or missing otherwise. */
  readonly recovery?: RecoveryRecord | null;
  /** Set while an `exclusive` job waits, in phase `queued`, for the lease of its last attempt to be over. */
  readonly leaseWait?: LeaseWait | null;
  /** The committed ones that are kept, oldest first. */
  readonly checkpoints: readonly CheckpointRecord[];
  /** How many workers in a row could not restore the newest, because what came for it was not what was stored; missing for none. */
  readonly damage?: { readonly seq: number; readonly reports: number; readonly replica?: number };
  /** Which workers can restore its transparent checkpoints: the class of the first that ran it. Missing for other jobs, and before that. */
  readonly memoryClass?: string;
  /** Of `standby: mirror` alone. */
  readonly mirror?: MirrorState;
  /** Seconds between checkpoints while its worker's line does not keep up with those that were asked for; null where it does. */
  readonly checkpointIntervalS: number | null;
  /** The checkpoint of another job that its own first one is; null where it begins afresh. */
  readonly fromCheckpoint: CheckpointName | null;
  readonly outputs: TreeRef | null;
  /** {@link TreeContent.sum} of the outputs, of a job that may be checked; missing where it could not be told. */
  readonly outputsSum?: string;
  /** It is a run by which another job is checked: made by the core, for the consumer of that job, who did not ask for it by itself. */
  readonly check?: CheckOf;
  readonly inputs: readonly { readonly manifestCid: ChunkCid; readonly to: string }[];
  /** The archive of an image `upload:ID`; null for any other image. */
  readonly imageTree: ChunkCid | null;
  /** What the image's reference resolved to for the first attempt that started: every later one, and every standby, runs the same. */
  readonly imageDigest: string | null;
  /** Names the vault's entry with the content of its secrets, which is in no record; null where it has none. */
  readonly vaultId: string | null;
  readonly currency: Currency;
  /** Of a job in a chain's currency: how it stands with its escrow there. Missing for others. */
  readonly chain?: ChainDeposit;
  /** Highest rates (micro-units an hour) any attempt, any standby of this job had: what the price cap is checked against. */
  readonly rateMax: bigint;
  readonly standbyRateMax: bigint;
  /** Missing where the hold is all that bounds it. */
  readonly cap?: JobCap;
  readonly settlement: Settlement;
  readonly createdAtMs: number;
  /** Since when it waits for a place; queueS counts from here. */
  readonly queuedAtMs: number;
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
}

export interface AttemptRecord {
  readonly id: AttemptId;
  readonly jobId: JobId;
  readonly replica: number;
  readonly epoch: Epoch;
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  readonly phase: AttemptPhase;
  readonly lease: LeasePhase;
  readonly allocation: Allocation;
  /** Micro-units an hour, fee included. */
  readonly ratePerHour: bigint;
  /** What that rate is the sum of, as it was when it was agreed; missing where it is of one part alone. */
  readonly parts?: readonly RatePart[];
  /** What it sends has a price of its own; missing where it has none. */
  readonly egress?: EgressAccount;
  /** The checkpoint it began from; 0 for none. */
  readonly fromSeq: number;
  /** The older attempt whose running container it took over (undo); 0 for none. */
  readonly adoptedEpoch: Epoch | 0;
  /** Container time that older epochs of the same container were already credited for. */
  readonly baseRanMs: number;
  /** Paid container time of this attempt, up to the newest durable moment. */
  readonly creditedMs: number;
  /** A checkpoint or an end of it was accepted: there is no undoing it any more. */
  readonly committed: boolean;
  readonly outcome: EndOutcome | null;
  /** Its run of a mirror job came to another result than two others that agreed: it is not paid. */
  readonly isRefused?: true;
  /** It was given up because it no longer got on; missing for no. */
  readonly stalled?: true;
  /** The worker's signature under its word that the container is over; of `exclusive` jobs alone. */
  readonly stopped?: string;
  /** Where its worker's own account of it stands; missing where none was given. */
  readonly ticks?: TickChain;
  /** How long its container ran in all, by its worker's word, once it has ended with success; missing before. */
  readonly exitRanMs?: number;
  /** Container time that was thrown away with it: what ran after the checkpoint its successor began from. */
  readonly workLostMs: number;
  /** When its container was given to this worker: an adopting attempt keeps the time of the one it adopted. */
  readonly assignedAtMs: number;
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
}

/** What was agreed on egress when a place was taken. */
export interface EgressTerms {
  /** Micro-units, fee included. */
  readonly pricePerGiB: bigint;
  /** What the worker's line carries at the most, in megabits a second: more is not believed. */
  readonly mbpsMax: number;
}

/** What a container sent, in bytes; see `egress.ts`. */
export interface EgressAccount extends EgressTerms {
  /** What older epochs of the same container were already paid for. */
  readonly baseBytes: number;
  /** Paid for under this one, up to the newest durable moment. */
  readonly bytes: number;
  /** More was told than its worker's line could have carried; said once. */
  readonly cut?: true;
}

/** A chain of metering ticks; see `ticks.ts`. */
export interface TickChain {
  /** Of the newest that was taken: its number and hash; 0 and null before the first. */
  readonly n: number;
  readonly hash: string | null;
  /** Container time that its worker has signed for. */
  readonly ranMs: number;
  /** Bytes that its container sent, by what its worker has signed; missing where that was never told. */
  readonly egressBytes?: number;
  /** How many were kept of this attempt, and how many were checked and not kept. */
  readonly kept: number;
  readonly unkept: number;
  /** A tick was refused; said once. */
  readonly refused?: true;
  /** Its worker has signed two different ticks of one number; said once. */
  readonly contradicted?: true;
}

export interface StandbyRecord {
  readonly id: StandbyId;
  readonly jobId: JobId;
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  readonly phase: StandbyPhase;
  readonly lease: LeasePhase;
  readonly allocation: Allocation;
  /** While it stands by, micro-units an hour. */
  readonly ratePerHour: bigint;
  /** Once it is promoted, as agreed when it was reserved. */
  readonly fullRatePerHour: bigint;
  /** What that is the sum of; what it is paid while it stands by is in the same proportions. Missing where it is of one part alone. */
  readonly parts?: readonly RatePart[];
  /** Once it is promoted, as agreed when it was reserved; a standby itself sends nothing. */
  readonly egress?: EgressTerms;
  /** The newest checkpoint it has unpacked and verified; 0 for none. */
  readonly checkpointSeq: number;
  /** The checkpoint it went for when it was last heard of; missing where it had the newest. */
  readonly fetchingSeq?: number;
  readonly reservedAtMs: number;
  readonly readyAtMs: number | null;
  readonly endedAtMs: number | null;
  /** Paid reserved time, from ready to the end, within its lease. */
  readonly creditedMs: number;
}

export interface UploadRecord {
  readonly id: string;
  readonly accountId: AccountId;
  readonly tree: TreeRef;
  readonly createdAtMs: number;
}

export interface IdempotencyRecord {
  /** `ACCOUNT ROUTE KEY`. */
  readonly id: string;
  readonly bodyHash: string;
  readonly resourceId: string;
  readonly expiresAtMs: number;
}

// ── Append-only records ──

export type EventChannel = "jobs" | "offers" | "workers" | "wallet" | "system";

/** One line of the event log. `accountId` and `providerId` say whose it is: both may see it, nobody else but admins. */
export interface EventRecord {
  readonly seq: number;
  readonly atMs: number;
  readonly channel: EventChannel;
  readonly kind: string;
  readonly accountId: AccountId | null;
  readonly providerId: AccountId | null;
  readonly jobId: JobId | null;
  readonly workerId: WorkerId | null;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A metering tick as its worker signed it. Append-only. */
export interface TickRecord {
  readonly jobId: JobId;
  readonly replica: number;
  readonly epoch: Epoch;
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  readonly n: number;
  readonly moment: TickMoment;
  readonly ranMs: number;
  readonly prev: string | null;
  readonly usage?: Readonly<Record<string, number>>;
  readonly signature: string;
  readonly hash: string;
  /** In no chain: kept because it contradicts another of the same number. */
  readonly contradicts?: true;
  readonly atMs: number;
}

/** What the gateway found out about a tick. */
export interface TickFacts {
  /** By the worker's key. */
  readonly signed: boolean;
  /** The one that is stored under its number, if any. */
  readonly known?: TickRecord;
}

export interface LogRecord {
  readonly jobId: JobId;
  readonly replica: number;
  readonly epoch: Epoch;
  readonly stream: "stdout" | "stderr" | "marker";
  /** Bytes of this stream of this attempt before `text`. */
  readonly offset: number;
  readonly text: string;
  /** As the worker's Docker Engine stamped it (RFC 3339). */
  readonly time: string;
}

/** What survives a restart beside the tables. */
export interface MetaRecord {
  readonly orchestratorId: string;
  /** State of the seeded generator (32-bit). */
  readonly random: number;
  readonly jobCount: number;
  readonly workerCount: number;
  readonly accountCount: number;
  readonly transferCount: number;
  readonly eventSeq: number;
  /** The orchestrator's clock when this was written. */
  readonly clockMs: number;
  /** Spot checks made beyond their share of the jobs, in checks; missing for none. */
  readonly checkDebt?: number;
  /** Missing where none was given yet. */
  readonly canaries?: CanariesKept;
}

/** The tables whose rows can be replaced, with their records. The key is the record's id. */
export interface Tables {
  readonly accounts: AccountRecord;
  readonly apiKeys: ApiKeyRecord;
  readonly enrolments: EnrolmentRecord;
  readonly workers: WorkerRecord;
  readonly jobs: JobRecord;
  readonly attempts: AttemptRecord;
  readonly standbys: StandbyRecord;
  readonly uploads: UploadRecord;
  readonly idempotency: IdempotencyRecord;
  readonly chainPays: ChainPayRecord;
  readonly payoutAddresses: PayoutAddressRecord;
  readonly depositAddresses: DepositAddressRecord;
  readonly payouts: PayoutRecord;
  /** Of which those that are not decided are in memory. */
  readonly verifications: VerificationRecord;
  /** Key `ACCOUNT CURRENCY`. */
  readonly balances: BalanceRecord;
  readonly budgets: BudgetRecord;
  readonly spending: SpendingRecord;
  /** In memory: the open ones. */
  readonly cases: CaseRecord;
  readonly reservations: ReservationRecord;
  readonly releases: ReleaseRecord;
}
export type TableName = keyof Tables;

/** Tables of which each row stands by itself under the record's `id`, and is loaded whole at a start; of payouts, those that wait. Where providers are paid comes before their workers. */
export const KEYED_TABLES = [
  "accounts",
  "apiKeys",
  "enrolments",
  "payoutAddresses",
  "depositAddresses",
  "workers",
  "uploads",
  "idempotency",
  "budgets",
  "spending",
  "reservations",
  "releases",
  "chainPays",
  "payouts",
] as const;
export type KeyedTable = (typeof KEYED_TABLES)[number];

/** All tables; jobs before what refers to them. */
export const TABLES: readonly TableName[] = [
  ...KEYED_TABLES,
  "jobs",
  "attempts",
  "standbys",
  "verifications",
  "balances",
  "cases",
];

/** One of `make` for each table. */
export function forEachTable<R extends { readonly [T in TableName]: unknown }>(make: () => R[TableName]): R {
  return Object.fromEntries(TABLES.map((table) => [table, make()])) as R;
}

/** A row's new content, or its removal. */
export type Put = {
  readonly [T in TableName]: { readonly table: T; readonly key: string; readonly record: Tables[T] | null };
}[TableName];

/** All that one step changed. Written in one transaction, together with what the other steps of the tick changed. */
export interface Changes {
  readonly puts: readonly Put[];
  readonly events: readonly EventRecord[];
  readonly transfers: readonly TransferRecord[];
  readonly logs: readonly LogRecord[];
  readonly ticks: readonly TickRecord[];
  readonly settled: readonly SettledRecord[];
  readonly meta: MetaRecord;
}
