// What is to happen on a chain, and the interface of those who make it happen. An intent is something that shall come true once; how often it is signed,
// sent or seen does not matter.
import type { JobId } from "@qubix/shared/domain";

/** An account on the chain, in the chain's own spelling. */
export type ChainAccount = string;

export interface ChainShare {
  readonly to: ChainAccount;
  /** In the token's smallest units. */
  readonly amount: bigint;
}

/** `total` is what shall be there after `amount` was added, so that the chain's state alone tells whether that happened. Times: milliseconds since 1970. */
export type Intent =
  /** Lets the contract take so much of the signer's tokens; chains without tokens have it already. */
  | { readonly kind: "allow"; readonly total: bigint }
  | { readonly kind: "deposit"; readonly jobId: JobId; readonly amount: bigint; readonly deadlineMs: number }
  | {
      readonly kind: "topUp";
      readonly jobId: JobId;
      readonly amount: bigint;
      readonly total: bigint;
      readonly deadlineMs: number;
    }
  | { readonly kind: "settle"; readonly jobId: JobId; readonly shares: readonly ChainShare[] }
  | { readonly kind: "refund"; readonly jobId: JobId }
  | { readonly kind: "dispute"; readonly jobId: JobId }
  | { readonly kind: "resolve"; readonly jobId: JobId; readonly shares: readonly ChainShare[] }
  | { readonly kind: "stake"; readonly amount: bigint; readonly total: bigint }
  | { readonly kind: "unstake"; readonly amount: bigint; readonly total: bigint }
  | {
      readonly kind: "slash";
      readonly slashId: string;
      readonly provider: ChainAccount;
      readonly amount: bigint;
      /** Hash of what shows the fault, hex. */
      readonly evidence: string;
    }
  | { readonly kind: "payout"; readonly owner: ChainAccount };

/** Signed and ready to be sent, as often as need be: the same bytes take effect once at most. */
export interface Prepared {
  /** What is broadcast, in hex. */
  readonly raw: string;
  readonly hash: string;
  /** Its place among what this signer sends: a nonce, or the tick it is bound to. */
  readonly place: number;
  /** What it offers for its inclusion; 0 where a chain has no fees. */
  readonly fee: bigint;
}

export type Observation =
  /** Sent, or not seen yet; to be sent again where `isKnown` is false. */
  | { readonly kind: "pending"; readonly isKnown: boolean }
  /** In a block that could still be replaced. */
  | { readonly kind: "included"; readonly depth: number }
  /** Beyond replacement: it came true, or the chain refused it. */
  | { readonly kind: "final"; readonly applied: boolean }
  /** It can never be included any more, and had no effect: it may be prepared anew. */
  | { readonly kind: "void" }
  /** Something that we did not sign took its place: a person must look. */
  | { readonly kind: "conflict"; readonly message: string };

export interface EscrowState {
  readonly status: "held" | "disputed" | "settled" | "refunded";
  readonly payer: ChainAccount;
  readonly amount: bigint;
  readonly paid: bigint;
  readonly deadlineMs: number;
}

export interface StakeState {
  readonly amount: bigint;
  readonly locked: bigint;
  readonly leaving: bigint;
}

export interface ChainCapabilities {
  readonly name: string;
  /** What stands behind an escrow: a contract's rules. */
  readonly enforced: "contract";
  readonly payeesMax: number;
}

/** A job as the ledger has it: its whole hold should lie in the contract, or a transaction about it is under way and either side may be ahead. */
export interface ExpectedJob {
  readonly jobId: JobId;
  readonly expects: "held" | "underWay";
  /** The hold, in the token's smallest units. */
  readonly amount: bigint;
}

/** What the ledger says. Amounts in the token's smallest units. */
export interface Expectation {
  /** What there should be outside in all: for balances, holds, and pay that is not final on the chain yet. */
  readonly owed: bigint;
  readonly jobs: readonly ExpectedJob[];
}

/** Something that the ledger and the chain say differently; of all together where `jobId` is null. */
export interface Difference {
  readonly jobId: JobId | null;
  readonly what: string;
  readonly ledger: string;
  readonly chain: string;
}

export interface ReconcileReport {
  /** The block or tick that was read. */
  readonly place: number;
  readonly jobs: number;
  readonly underWay: number;
  readonly differences: readonly Difference[];
  /** In the token's smallest units. `there`: the signer's tokens, what the contract owes the signer, and the escrows of the jobs. */
  readonly sum: { readonly owed: bigint; readonly there: bigint };
}

/** Tokens that somebody sent to the signer. */
export interface Payment {
  /** Names it for ever: a transaction and its place in it. */
  readonly id: string;
  readonly from: ChainAccount;
  /** In the token's smallest units. */
  readonly amount: bigint;
}

/** Sees what is sent to the signer. Places are blocks that cannot be replaced any more. */
export interface PaymentWatch {
  place(): Promise<number>;
  /** Of the places after `after`, up to and with `upTo`. */
  between(after: number, upTo: number): Promise<readonly Payment[]>;
  /** Whether whoever has this account signed the text with it. */
  proves(account: ChainAccount, text: string, signature: string): Promise<boolean>;
}

/** Every call may fail because the chain's node does; then nothing is known, and it is asked again. */
export interface ChainDriver {
  caps(): ChainCapabilities;
  /** Who signs, and therefore pays: the operator's own account. */
  signer(): ChainAccount;
  /** An account in the chain's own spelling; `null` where a letter is wrong, or where it is the operator's or the contract's own. */
  account(text: string): ChainAccount | null;
  /** Why nothing may be signed with these settings; `null` where all is as it was said. */
  check(): Promise<string | null>;
  /**
   * Signs; sends nothing. `last`: what this signer prepared last; `null` for nothing yet. A conflict: somebody else signs with the same key.
   * `accepts`: a person knows of that; it goes on behind what the other one signed.
   */
  prepare(intent: Intent, last: Prepared | null, accepts?: boolean): Promise<Prepared | { readonly conflict: string }>;
  /** The same in the same place for a higher fee; `null` where the last one offers enough. */
  bump(intent: Intent, tries: readonly Prepared[]): Promise<Prepared | null>;
  /** Sends. That it was sent before is no error. */
  submit(prepared: Prepared): Promise<void>;
  /** What became of it, from the contract's state. Without tries: whether it is true already. */
  observe(intent: Intent, tries: readonly Prepared[]): Promise<Observation>;
  readEscrow(jobId: JobId): Promise<EscrowState | null>;
  readStake(owner: ChainAccount): Promise<StakeState>;
  /** What the contract owes an account that has not been withdrawn; 0 on chains that send it at once. */
  readCredit(owner: ChainAccount): Promise<bigint>;
  /** `null` where the driver cannot see payments. */
  readonly payments: PaymentWatch | null;
  /** Compares what the ledger says with what is there, for each job and in sum. */
  reconcile(expected: Expectation): Promise<ReconcileReport>;
}
