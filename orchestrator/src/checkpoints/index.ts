export { createChunkStore, PIN_MS, type ChunkStorePorts } from "./chunk-store.ts";
export { cidOf } from "./cid.ts";
export { sizeOf } from "./manifest.ts";
export * from "./port.ts";
export { createTreeOwners } from "./tree-owners.ts";
