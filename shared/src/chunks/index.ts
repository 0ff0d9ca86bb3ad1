export * from "./codec.ts";
export * from "./entropy.ts";
export * from "./names.ts";
export * from "./planes.ts";
export * from "./steps.ts";
export * from "./sums.ts";
