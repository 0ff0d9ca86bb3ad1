export * from "./outbox.ts";
export * from "./store.ts";
