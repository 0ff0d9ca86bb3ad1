export { ADMIN_ACCOUNT } from "./accounts.ts";
export { allowanceOf, budgetStandings } from "./budgets.ts";
export { canaryStandings } from "./canaries.ts";
export { walletOwner } from "./check-money.ts";
export * from "./config.ts";
export type * from "./case-records.ts";
export { caseIdOf } from "./case-rows.ts";
export type * from "./events.ts";
export { areIntroduced, isIntroduced } from "./direct.ts";
export { type Explanation, explainPlacement, type FilterResult } from "./explain.ts";
export {
  endOf,
  idsOf,
  type LedgerEntry,
  type LedgerRefusal,
  LINKED_ENTRIES_MAX,
  type LinkedOutcome,
  NAMED_RECENT_MAX,
} from "./ledger-entries.ts";
export { depositId } from "./accounts.ts";
export { createState, type CreateStateInput, type StateSnapshot } from "./load.ts";
export { checkpointsOf, epochOf, runOf } from "./mirror-state.ts";
export type * from "./model.ts";
export type { ProofState } from "./proofs.ts";
export * from "./reads.ts";
export { reputationOf } from "./reputation.ts";
export type { Reputation } from "./reputation-score.ts";
export { findSource } from "./sources.ts";
export { standingOf } from "./standing.ts";
export type { CoreState } from "./state.ts";
export { nextDeadlineMs, step } from "./step.ts";
export { type JobRows, jobView } from "./views.ts";
