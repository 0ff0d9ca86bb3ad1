export { DEFAULT_WORKER_CONFIG, heartbeatEveryMs, type WorkerConfig } from "./config.ts";
export type * from "./model.ts";
export type { Look } from "./signs.ts";
export { attemptSlotId, standbySlotId } from "./slot-ids.ts";
export { createWorkerState, ranMsOf, type WorkerState } from "./state.ts";
export { nextDeadlineMs, step } from "./step.ts";
export { isExclusive } from "./exclusive.ts";
