export { createMemoryStore } from "./memory.ts";
export type * from "./port.ts";
export { openSqliteStore } from "./sqlite/index.ts";
