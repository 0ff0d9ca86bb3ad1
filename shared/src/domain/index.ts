export * from "./egress.ts";
export * from "./ids.ts";
export * from "./money.ts";
export * from "./prices.ts";
export * from "./states/index.ts";
