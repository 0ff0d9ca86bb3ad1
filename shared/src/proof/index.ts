export * from "./chase.ts";
export * from "./claims.ts";
export * from "./matrices.ts";
export * from "./memory.ts";
export * from "./parameters.ts";
export * from "./prove.ts";
export * from "./scramble.ts";
export * from "./seeds.ts";
