// The wire's shapes as the SDK gives them: taken from the schemas of `shared`, of which only the types are used here.
import type {
  accountSchema,
  apiKeySchema,
  backingSchema,
  batchResultSchema,
  chainReportSchema,
  chainStatusSchema,
  budgetListSchema,
  checkpointEntrySchema,
  checkpointViewSchema,
  depositAddressSchema,
  disputeSchema,
  enrolmentSchema,
  EventView,
  JobSpecInput,
  jobPhaseSchema,
  offerViewSchema,
  outputViewSchema,
  payoutAddressSchema,
  payoutSchema,
  problemSchema,
  quoteSchema,
  ratingSchema,
  settlementViewSchema,
  slashSchema,
  stakesSchema,
  storageSchema,
  uploadViewSchema,
  walletEntrySchema,
  walletSchema,
  workerViewSchema,
} from "@qubix/shared/protocol";

export type {
  Earnings,
  EventView,
  JobView,
  LogLine,
  Page,
  Receipt,
  CanaryList,
  RecoveryStats,
  Role,
  Statement,
  TreeManifest,
  WireMoney,
} from "@qubix/shared/protocol";

/** One frame of the live events; the first comes at once and may be empty. `seq` is where to resume from. */
export interface EventsFrame {
  readonly seq: number;
  readonly events: readonly EventView[];
}

type Output<Schema extends { readonly _zod: { readonly output: unknown } }> = Schema["_zod"]["output"];

export type Account = Output<typeof accountSchema>;
export type ApiKey = Output<typeof apiKeySchema>;
export type Enrolment = Output<typeof enrolmentSchema>;
export type BatchResult = Output<typeof batchResultSchema>;
export type BudgetList = Output<typeof budgetListSchema>;
export type BudgetPeriod = BudgetList["budgets"][number]["period"];
export type Checkpoint = Output<typeof checkpointViewSchema>;
export type CheckpointEntry = Output<typeof checkpointEntrySchema>;
export type JobPhase = Output<typeof jobPhaseSchema>;
/** What stands behind a currency. */
export type Backing = Output<typeof backingSchema>;
export type Chain = Output<typeof chainStatusSchema>;
export type ChainReport = Output<typeof chainReportSchema>;
export type DepositAddress = Output<typeof depositAddressSchema>;
export type Payout = Output<typeof payoutSchema>;
export type PayoutAddress = Output<typeof payoutAddressSchema>;
export type Offer = Output<typeof offerViewSchema>;
export type OutputFile = Output<typeof outputViewSchema>;
export type ProblemDocument = Output<typeof problemSchema>;
export type Quote = Output<typeof quoteSchema>;
export type Settlement = Output<typeof settlementViewSchema>;
export type StorageUse = Output<typeof storageSchema>;
export type Dispute = Output<typeof disputeSchema>;
export type Rating = Output<typeof ratingSchema>;
export type Slash = Output<typeof slashSchema>;
export type Stakes = Output<typeof stakesSchema>;
export type Upload = Output<typeof uploadViewSchema>;
export type Wallet = Output<typeof walletSchema>;
export type WalletEntry = Output<typeof walletEntrySchema>;
export type Worker = Output<typeof workerViewSchema>;

/** Days of UTC, both inclusive [the last 30]. */
interface RangeOptions {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Only an admin may name another account. */
  readonly accountId?: string | undefined;
}
export interface StatementOptions extends RangeOptions {
  readonly by?: "day" | "job" | undefined;
}
export interface EarningsOptions extends RangeOptions {
  readonly by?: "day" | "worker" | "job" | undefined;
}

/** A specification as a person or program writes it; the orchestrator fills in the defaults and judges it. */
export type JobSpec = JobSpecInput;

export type EventChannel = "jobs" | "offers" | "workers" | "wallet" | "system";

/** Phases in which a job has ended. */
export const ENDED_PHASES: readonly JobPhase[] = ["succeeded", "failed", "cancelled"];

/** Whether a job in this phase changes no more. */
export function hasEnded(phase: JobPhase): boolean {
  return ENDED_PHASES.includes(phase);
}
