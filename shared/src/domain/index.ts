export * from "./ids.ts";
export * from "./money.ts";
export * from "./states/index.ts";
