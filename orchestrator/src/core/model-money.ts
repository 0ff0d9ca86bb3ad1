// The records of money: budgets, how a job is settled, chains, payouts, the ledger. Part of `model.ts`, which hands them on.
// Amounts are minor units of their currency.
import type {
  AccountId,
  ChainPayPhase,
  CapPhase,
  Currency,
  JobId,
  PayoutPhase,
  SettlementPhase,
  TransferId,
  WorkerId,
} from "@qubix/shared/domain";

/** Whose limit a budget is. An account's own and an admin's stand beside each other: both hold. */
export type BudgetOwner = "account" | "admin";
/** total: all that its jobs cost since it was set. month: what is settled within one calendar month (UTC). */
export type BudgetPeriod = "total" | "month";

/** A hard limit over all jobs of an account, in one currency. */
export interface BudgetRecord {
  /** `ACCOUNT CURRENCY PERIOD OWNER`. */
  readonly id: string;
  readonly accountId: AccountId;
  readonly currency: Currency;
  readonly period: BudgetPeriod;
  readonly owner: BudgetOwner;
  readonly amount: bigint;
  /** {@link SpendingRecord.total} when it was first set: a `total` counts from there. */
  readonly spentBefore: bigint;
  readonly setAtMs: number;
}

/** What the settled jobs of an account have cost. */
export interface SpendingRecord {
  /** `ACCOUNT CURRENCY`. */
  readonly id: string;
  readonly accountId: AccountId;
  readonly currency: Currency;
  readonly total: bigint;
  /** `2026-11`: the newest month in which a job was settled, as far as the core was told; empty before it ever was. */
  readonly month: string;
  readonly monthTotal: bigint;
}

/** What decided how much a job may cost: its own `budgetMax`, or a budget of its account. */
export type CapSource = "job" | BudgetPeriod | `admin_${BudgetPeriod}`;

/** The most that a job may cost in all where that is less than its price cap over the whole of `durationMaxS`. It only ever falls. */
export interface JobCap {
  readonly amount: bigint;
  readonly source: CapSource;
  readonly phase: CapPhase;
  /** While it is `saving`: until then it may use up the rest. */
  readonly savingUntilMs?: number;
}

export interface SettlementLine {
  readonly account: string;
  readonly role: "primary" | "standby" | "fee" | "refund";
  readonly amount: bigint;
  readonly ms?: number;
  readonly workerId?: WorkerId;
}

export interface Settlement {
  readonly phase: SettlementPhase;
  readonly hold: bigint;
  readonly gross: bigint | null;
  readonly lines: readonly SettlementLine[];
}

/** A job's hold on its way into a chain's contract. */
export interface ChainDeposit {
  readonly driver: string;
  /** sent: not final yet. */
  readonly deposit: "sent" | "final" | "refused";
  /** How often it was begun. */
  readonly tries: number;
}

/** Of `amount`, `payable` lies on `provider:ACC` (a dispute was decided, or there is no window), the rest is pending in its bucket. */
export interface ChainShareRecord {
  readonly accountId: AccountId;
  readonly amount: bigint;
  readonly payable: bigint;
}

/** What is to become of an ended job's escrow in a chain's contract; the row goes when that is final. */
export interface ChainPayRecord {
  readonly id: JobId;
  readonly accountId: AccountId;
  readonly currency: Currency;
  readonly chain: ChainDeposit;
  readonly phase: ChainPayPhase;
  readonly hold: bigint;
  /** One a provider, none of zero. What is in none of them goes back to the operator, who owes it to the consumer. */
  readonly shares: readonly ChainShareRecord[];
  /** The network's, where it has an account of its own on the chain; else 0. */
  readonly fee: bigint;
  /** When it was settled here: that says in which bucket of pending pay its shares are, and until when it can be disputed. */
  readonly settledAtMs: number;
  /** While it waits: just before its shares would be released from their bucket. */
  readonly dueAtMs: number;
  /** What `paying` is about: how often it was begun, and whom the contract pays. Of other shares an admin takes care. */
  readonly tries: number;
  readonly payees: readonly { readonly accountId: AccountId; readonly address: string; readonly amount: bigint }[];
}

/** Where a provider wants to be paid on a chain. Key `DRIVER ACCOUNT`. */
export interface PayoutAddressRecord {
  readonly id: string;
  readonly accountId: AccountId;
  readonly driver: string;
  /** In the chain's own spelling. */
  readonly address: string;
  readonly setAtMs: number;
}

/** From where on a chain a consumer's tokens come: what it sends to the operator is credited to him. Key `DRIVER ADDRESS`. */
export interface DepositAddressRecord {
  readonly id: string;
  readonly accountId: AccountId;
  readonly driver: string;
  /** In the chain's own spelling. */
  readonly address: string;
  readonly setAtMs: number;
}

/** A provider's money that leaves. Those that have ended live on in the store only. */
export interface PayoutRecord {
  readonly id: string;
  readonly accountId: AccountId;
  readonly phase: PayoutPhase;
  /** hand: an admin sends it, from what is payable. contract: what a chain's contract owes him already is withdrawn for him. */
  readonly by: "hand" | "contract";
  readonly driver: string;
  readonly currency: Currency;
  readonly amount: bigint;
  /** Where to: an address on the chain, or what the provider wrote. */
  readonly destination: string;
  /** Of the completion, for the books; or why it was rejected. */
  readonly reference: string;
  readonly requestedAtMs: number;
  readonly endedAtMs: number | null;
}

/**
 * `customer:ACC` (spendable), `escrow:JOB` (held), `pending:ACC` (earned, in its dispute window), `provider:ACC` (earned, payable), `stake:ACC`,
 * `disputed:JOB` (frozen), `reserved:ID` (any other transfer in two phases), `slashed`, `fee`, `external:DRIVER` (the outside world; may go below zero).
 */
export type LedgerAccount =
  | `customer:${string}`
  | `escrow:${string}`
  | `pending:${string}`
  | `provider:${string}`
  | `stake:${string}`
  | `disputed:${string}`
  | `reserved:${string}`
  | "slashed"
  | "fee"
  | `external:${string}`;

export interface BalanceRecord {
  readonly account: LedgerAccount;
  readonly currency: Currency;
  readonly amount: bigint;
}

/** Money that a transfer in two phases has set aside on `reserved:ID`, until it is posted or voided. A job's hold is its own record: the job's. */
export interface ReservationRecord {
  /** Of the transfer that reserved it. */
  readonly id: TransferId;
  readonly kind: TransferKind;
  readonly jobId: JobId | null;
  readonly currency: Currency;
  readonly amount: bigint;
  /** Where it came from, and what is left goes back to. */
  readonly from: LedgerAccount;
  readonly atMs: number;
}

/** A provider's pay of one hour that is in its dispute window: together what `pending:ACC` holds. */
export interface ReleaseRecord {
  /** `ACC CURRENCY ENDS_AT_MS`. */
  readonly id: string;
  readonly providerId: AccountId;
  readonly currency: Currency;
  /** Of the hour, on the orchestrator's clock: the dispute window of all of it begins then. */
  readonly endsAtMs: number;
  readonly amount: bigint;
}

export interface Posting {
  readonly account: LedgerAccount;
  readonly amount: bigint;
}

/** Why money moved. release: pay whose dispute window is over becomes payable. check: pay of verification runs. */
export type TransferKind =
  | "deposit"
  | "hold"
  | "settlement"
  | "release"
  | "freeze"
  | "resolution"
  | "stake"
  | "unstake"
  | "slash"
  | "payout"
  | "check"
  | "adjustment";

/** post: some or all of what was reserved goes where it was meant for, the rest back. void: all goes back. */
export type TransferStep = "reserve" | "post" | "void";

/** Money moved, in one currency; its postings sum to zero, none of them is zero. */
export interface TransferRecord {
  readonly id: TransferId;
  readonly kind: TransferKind;
  /** Of a transfer in two phases: it sets money aside, or ends that. Missing for one that happens at once. */
  readonly step?: TransferStep;
  readonly jobId: JobId | null;
  readonly currency: Currency;
  readonly postings: readonly Posting[];
  readonly memo: string;
  readonly atMs: number;
}

/** How a job was settled, for statements and earnings. Append-only, one for each job. */
export interface SettledRecord {
  readonly jobId: JobId;
  /** Whose the hold was, and who got the refund. */
  readonly payer: LedgerAccount;
  readonly currency: Currency;
  readonly hold: bigint;
  readonly gross: bigint;
  readonly fee: bigint;
  readonly refund: bigint;
  readonly shares: readonly {
    readonly providerId: AccountId;
    readonly workerId: WorkerId;
    readonly role: "primary" | "standby";
    readonly amount: bigint;
    readonly ms: number;
  }[];
  readonly atMs: number;
}
