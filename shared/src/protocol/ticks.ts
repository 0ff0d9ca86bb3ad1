// Metering ticks: the worker's own account of a container's time, line by line. Each is signed, and names the one before it by its hash, so that
// none can be changed, left out or put in later by anybody. A chain belongs to one container: it goes on when its attempt gets another epoch.
import { z } from "zod";
import { attemptRefSchema, sha256Schema } from "./common.ts";
import { TICK_USAGE_MAX } from "./limits.ts";

/** What of a container became durable: a checkpoint of it, its success, its end. */
export const TICK_MOMENTS = ["checkpoint", "exit", "end"] as const;
export type TickMoment = (typeof TICK_MOMENTS)[number];

/** How much of a resource was used since the container began, by the resource's name with its unit, e.g. `egressBytes`. */
export const tickUsageSchema = z
  .record(z.string().regex(/^[a-z][A-Za-z0-9]{0,39}$/, "not the name of a resource"), z.number().int().min(0))
  .refine((usage) => Object.keys(usage).length <= TICK_USAGE_MAX, `at most ${TICK_USAGE_MAX} resources`);

export const tickFields = {
  attempt: attemptRefSchema,
  /** Rises from tick to tick of a chain, and is never used twice. */
  n: z.number().int().min(1),
  moment: z.enum(TICK_MOMENTS),
  /** Container time, in milliseconds; never less than in the tick before. */
  ranMs: z.number().int().min(0),
  /** {@link tickText} of the tick before, hashed (SHA-256, hexadecimal); null for the first. */
  prev: sha256Schema.nullable(),
  usage: tickUsageSchema.optional(),
};
const tickSchema = z.strictObject(tickFields);
export type Tick = z.output<typeof tickSchema>;

/** Where a chain stands; `hash` is null and `n` 0 before the first. */
export const tickHeadSchema = z.strictObject({ n: z.number().int().min(0), hash: sha256Schema.nullable() });
export type TickHead = z.output<typeof tickHeadSchema>;

/** As it stands in receipts: ids are plain text there. */
export interface TickStatement {
  readonly attempt: { readonly jobId: string; readonly replica: number; readonly epoch: number };
  readonly n: number;
  readonly moment: string;
  readonly ranMs: number;
  readonly prev: string | null;
  readonly usage?: Readonly<Record<string, number>> | undefined;
}

/** What a worker signs of a tick, and what its hash is made of. */
export function tickText({ attempt, n, moment, ranMs, prev, usage = {} }: TickStatement): string {
  const used = Object.entries(usage)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, amount]) => `${name}=${amount}`);
  const of = [attempt.jobId, attempt.replica, attempt.epoch];
  return ["qubix-tick-v1", ...of, n, moment, ranMs, prev ?? "-", ...used].join("\n");
}
