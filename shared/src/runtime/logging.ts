import { destination, pino, type Logger } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Structured events on standard error: a stable `event` name and ids as fields, never strings glued together. Secrets are redacted by name. */
export function createLogger(name: string, level: LogLevel): Logger {
  return pino(
    { name, level, base: { name }, redact: ["apiKey", "token", "*.apiKey", "*.token", "headers.authorization"] },
    destination({ dest: 2, sync: false }),
  );
}
