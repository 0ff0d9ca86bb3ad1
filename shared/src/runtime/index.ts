export * from "./config.ts";
export * from "./errors.ts";
export * from "./logging.ts";
export * from "./node-version.ts";
export * from "./ports.ts";
export * from "./prometheus.ts";
export * from "./sealing.ts";
