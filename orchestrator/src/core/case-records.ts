// What somebody brought up about work or money, beside the job itself: a rating, a dispute, an accusation that may cost stake, stake that was asked back.
// Open ones are in memory; those that have ended are in the store alone, like jobs.
import type {
  AccountId,
  Currency,
  DisputePhase,
  JobId,
  SlashPhase,
  UnstakePhase,
  WorkerId,
} from "@qubix/shared/domain";

interface CaseBase {
  /** Begins with the kind: `rtg-`, `dsp-`, `slh-`, `ust-`. */
  readonly id: string;
  /** Who may see it, beside admins. */
  readonly parties: readonly AccountId[];
  readonly createdAtMs: number;
  /** Null while it is open. */
  readonly endedAtMs: number | null;
}

/** What a consumer thinks of an ended job; over as soon as it is given. */
export interface RatingCase extends CaseBase {
  readonly kind: "rating";
  readonly jobId: JobId;
  readonly accountId: AccountId;
  readonly stars: number;
  readonly comment: string;
  /** What it weighs for whom, as of `ratedAtMs`. */
  readonly counted: readonly { readonly workerId: WorkerId; readonly weight: number }[];
  readonly ratedAtMs: number;
}

/** A worker's part in what a dispute froze. */
export interface DisputedShare {
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  /** Tells the shares apart; breaks ties. */
  readonly id: string;
  readonly amount: bigint;
}

export interface DisputeCase extends CaseBase {
  readonly kind: "dispute";
  readonly phase: DisputePhase;
  readonly jobId: JobId;
  readonly accountId: AccountId;
  readonly reason: string;
  readonly currency: Currency;
  /** All of it is frozen: shares and fee. */
  readonly gross: bigint;
  readonly fee: bigint;
  readonly shares: readonly DisputedShare[];
  /** Falls to the providers then, if nobody decides. */
  readonly decideByMs: number;
  /** Basis points of the gross that went back to the consumer, what they came to, and why; null while it is open. */
  readonly decision: { readonly consumerBps: number; readonly refund: bigint; readonly note: string } | null;
}

/** contradiction: two statements that the worker signed. failed_proof: of its hardware. wrong_result: a check came to another result. */
export type Offence = "contradiction" | "failed_proof" | "wrong_result";

export interface SlashCase extends CaseBase {
  readonly kind: "slash";
  readonly phase: SlashPhase;
  readonly offence: Offence;
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  readonly jobId: JobId | null;
  /** Of the worker, raw Ed25519, base64url: what its signatures in the evidence are checked with. */
  readonly publicKey: string;
  /** JSON, exactly as it was handed over: it holds what strangers verify. */
  readonly evidence: string;
  readonly currency: Currency;
  /** What cheating on this job could have gained, and what the rule makes of that. */
  readonly gain: bigint;
  readonly due: bigint;
  /** What there was to take of it. Zero before it is proposed. */
  readonly amount: bigint;
  /** When the phase's time is over. */
  readonly untilMs: number;
  readonly appeal: { readonly text: string; readonly atMs: number } | null;
  readonly decision: { readonly by: "window" | "admin" | "nobody"; readonly note: string } | null;
}

export interface UnstakeCase extends CaseBase {
  readonly kind: "unstake";
  readonly phase: UnstakePhase;
  readonly providerId: AccountId;
  readonly currency: Currency;
  readonly amount: bigint;
  readonly dueAtMs: number;
}

export type CaseRecord = RatingCase | DisputeCase | SlashCase | UnstakeCase;
export type CaseKind = CaseRecord["kind"];
export type CaseOf<Kind extends CaseKind> = Extract<CaseRecord, { kind: Kind }>;
