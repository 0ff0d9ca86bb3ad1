export * from "./digest.ts";
export * from "./hash.ts";
export * from "./verify.ts";
