export { createMemoryStore } from "./memory.ts";
export type * from "./port.ts";
export { lockDataDir } from "./sqlite/data-dir.ts";
export { openSqliteStore } from "./sqlite/index.ts";
