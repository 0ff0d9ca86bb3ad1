export * from "./attempt.ts";
export * from "./job.ts";
export * from "./lease.ts";
export * from "./move.ts";
export * from "./settlement.ts";
export * from "./standby.ts";
export * from "./table.ts";
export * from "./worker-session.ts";
