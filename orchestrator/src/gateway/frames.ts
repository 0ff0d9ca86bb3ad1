// Reads control frames: JSON, then the schema. Heartbeats are most of them, so their few shapes are checked by hand first.
import type { z } from "zod";
import type { RawData } from "ws";
import { workerMessageSchema, type WorkerMessage } from "@qubix/shared/protocol";

export type Frame<T> =
  | { readonly kind: "ok"; readonly value: T }
  /** What is wrong with it, beginning with the first wrong field's path. */
  | { readonly kind: "malformed"; readonly why: string };

/** A text frame as JSON; undefined when it is none. */
export function parseJson(data: RawData, isBinary: boolean): unknown {
  if (isBinary) return undefined;
  try {
    return JSON.parse((data as Buffer).toString("utf8")) as unknown;
  } catch {
    return undefined;
  }
}

export function readFrame<S extends z.ZodType>(schema: S, value: unknown): Frame<z.output<S>> {
  if (value === undefined) return { kind: "malformed", why: "not a text frame with JSON" };
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: "ok", value: parsed.data };
  const issue = parsed.error.issues[0];
  return { kind: "malformed", why: `${issue?.path.join(".") || "message"}: ${issue?.message ?? "invalid"}` };
}

export function readWorkerMessage(value: unknown): Frame<WorkerMessage> {
  return isPlainHeartbeat(value) ? { kind: "ok", value } : readFrame(workerMessageSchema, value);
}

/** A heartbeat without attempts, exactly as the schema has it. Others go through the schema. */
function isPlainHeartbeat(value: unknown): value is WorkerMessage & { readonly kind: "heartbeat" } {
  if (typeof value !== "object" || value === null) return false;
  const { kind, msg } = value as { readonly kind?: unknown; readonly msg?: unknown };
  if (kind !== "heartbeat" || !Number.isSafeInteger(msg) || (msg as number) < 0) return false;
  let keys = 0;
  for (const _ in value) keys += 1;
  return keys === 2;
}
