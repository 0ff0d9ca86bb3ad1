export * from "./config.ts";
export type * from "./events.ts";
export { type Explanation, explainPlacement, type FilterResult } from "./explain.ts";
export { createState, type CreateStateInput, type StateSnapshot } from "./load.ts";
export type * from "./model.ts";
export * from "./reads.ts";
export type { CoreState } from "./state.ts";
export { nextDeadlineMs, step } from "./step.ts";
export { type JobRows, jobView } from "./views.ts";
