// What the HTTP API takes and gives (design §9), shared by the orchestrator and the SDK. Requests are strict; answers are described, and may gain fields.
// What it says of money is in `http-money.ts`, of reputation, disputes and stakes in `trust.ts`.
import { z } from "zod";
import { accountIdSchema, chunkCidSchema, nameSchema, workerIdSchema } from "./common.ts";
import { pageQuerySchema, wireMoneySchema } from "./http-common.ts";
import { BATCH_JOBS_MAX, ENROLMENT_TTL_S_DEFAULT, HAVE_CHUNKS_MAX, LONG_POLL_S_MAX } from "./limits.ts";
import { treeManifestSchema } from "./manifest.ts";
import { reputationDetailsSchema, reputationSchema } from "./trust.ts";
import { gpuSchema, hardwareSchema } from "./worker-messages.ts";

const text = z.string();
const count = z.number().int();
const nullableText = z.string().nullable();
const nullableCount = z.number().int().nullable();

export const problemSchema = z.looseObject({
  type: text,
  title: text,
  status: count,
  code: text,
  detail: text,
  errors: z.array(z.object({ path: text, message: text })).optional(),
});

// ── Accounts ──
export const roleSchema = z.enum(["provider", "consumer", "admin"]);
export type Role = z.output<typeof roleSchema>;
export const createAccountSchema = z.strictObject({ name: nameSchema, role: roleSchema });
export const accountSchema = z.object({ id: text, name: text, role: roleSchema, createdAt: text });
export const createApiKeySchema = z.strictObject({ accountId: accountIdSchema, name: nameSchema.default("key") });
/** `key` is shown once. */
export const apiKeySchema = z.object({ id: text, accountId: text, name: text, createdAt: text, key: text.optional() });
export const createEnrolmentSchema = z.strictObject({
  /** The provider the worker will belong to; only an admin may name another than himself. */
  accountId: accountIdSchema.optional(),
  ttlS: z
    .number()
    .int()
    .min(1)
    .max(7 * 86_400)
    .default(ENROLMENT_TTL_S_DEFAULT),
});
/** `token` is shown once. */
export const enrolmentSchema = z.object({ id: text, accountId: text, expiresInS: count, token: text });

// ── Jobs ──
export const jobPhaseSchema = z.enum([
  "queued",
  "starting",
  "running",
  "finishing",
  "succeeded",
  "failed",
  "cancelled",
]);
export const treeViewSchema = z.object({ files: count, bytes: count });
/** What a rate is the sum of, and what each part came to; they sum to the charge. */
const chargedPartSchema = z.object({
  part: z.enum(["cpu", "disk", "gpu", "memory"]),
  ratePerHour: wireMoneySchema,
  charge: wireMoneySchema,
});
const chargedEgressSchema = z.object({ pricePerGiB: wireMoneySchema, bytes: count, charge: wireMoneySchema });
export const attemptViewSchema = z.object({
  epoch: count,
  replica: count,
  workerId: text,
  providerId: text,
  phase: text,
  ratePerHour: wireMoneySchema,
  parts: z.array(chargedPartSchema).optional(),
  /** What it sent and is paid for, where that has a price of its own; beside the parts of the rate. */
  egress: chargedEgressSchema.optional(),
  creditedMs: count,
  fromCheckpointSeq: count,
  exitCode: nullableCount,
  /** Its result was outvoted by two others of a mirror job that agreed: it is not paid. */
  refused: z.boolean().optional(),
});
/** One of the two replicas of a mirror job, by its newest attempt. */
export const replicaViewSchema = z.object({
  replica: count,
  /** `sought`: no worker has it now. `ended`: it has a result that waits to be compared, or was. */
  state: z.enum(["sought", "starting", "running", "ended"]),
  epoch: count,
  workerId: nullableText,
  providerId: nullableText,
  progress: z.number().nullable(),
  /** The newest it has saved; 0 for none. */
  checkpointSeq: count,
  /** What its result is told by: a sum over its files; null before there is one. */
  result: nullableText,
});
export const mirrorViewSchema = z.object({
  /** Two providers came to the same result, and it is the job's end. */
  verified: z.boolean(),
  /** The two results differed, and replica 1 runs, or ran, once more from the beginning at a third provider. */
  third: z.boolean(),
  /** How often checkpoints of both replicas, of the same progress, could be compared, and were equal or not. */
  checkpointsSame: count,
  checkpointsDifferent: count,
  replicas: z.array(replicaViewSchema),
});
export const standbyViewSchema = z.object({
  id: text,
  workerId: text,
  providerId: text,
  phase: text,
  ratePerHour: wireMoneySchema,
  parts: z.array(chargedPartSchema).optional(),
  creditedMs: count,
  /** On its disk, verified and unpacked; 0 for none. */
  checkpointSeq: count,
  /** Committed checkpoints that it has not unpacked yet, and for how long it lacks the oldest of them. */
  checkpointsBehind: count,
  behindMs: count,
});
export const settlementLineSchema = z.object({
  account: text,
  role: z.enum(["primary", "standby", "fee", "refund"]),
  amount: wireMoneySchema,
  ms: count.optional(),
  workerId: text.optional(),
});
export const settlementViewSchema = z.object({
  phase: z.enum(["held", "settled"]),
  hold: wireMoneySchema,
  gross: wireMoneySchema.nullable(),
  lines: z.array(settlementLineSchema),
  /** Of the gross, once it is known: what was paid for each resource, standbys included. They sum to it. */
  parts: z.array(z.object({ part: text, amount: wireMoneySchema })).optional(),
});
/** How a job's result was, or is being, checked by running it again. */
export const verificationViewSchema = z.object({
  mode: z.enum(["spot-check", "majority", "adaptive"]),
  /** none: it was not chosen for a check (yet). waiting: a run waits for a place. failed: others agree on another result. */
  state: z.enum(["none", "waiting", "running", "passed", "failed", "inconclusive"]),
  /** What came of it, for people. */
  message: nullableText,
  startedAt: nullableText,
  decidedAt: nullableText,
  /** The runs that check it, in the order in which they were called. */
  runs: z.array(
    z.object({
      jobId: text,
      /** The checkpoint of the job that it began from; 0 for the beginning. */
      fromSeq: count,
      workerId: nullableText,
      endedAt: nullableText,
      /** Whether it came to the job's result; null where it came to none, or that is not told yet. */
      same: z.boolean().nullable(),
    }),
  ),
});

export const jobViewSchema = z.object({
  id: text,
  name: nullableText,
  accountId: text,
  phase: jobPhaseSchema,
  /** Why it ended; null while it has not. */
  reason: nullableText,
  /** A sentence for people on the reason, e.g. what to change. */
  message: nullableText,
  spec: z.record(z.string(), z.unknown()),
  /** What the image's tag stood for when the job first started (`sha256:…`): all its attempts run that. Null before, and where no registry named it. */
  imageDigest: nullableText,
  /** The checkpoint of another job that it began from; its own checkpoints count on from 1, which is that one. */
  fromCheckpoint: z.object({ jobId: text, seq: count }).nullable(),
  epoch: count,
  workerId: nullableText,
  progress: z.number().nullable(),
  retriesUsed: count,
  failoversUsed: count,
  movesUsed: count,
  /** A planned move under way; null for none. */
  move: z
    .object({ phase: z.string(), why: z.string(), fromWorkerId: workerIdSchema, toWorkerId: workerIdSchema.nullable() })
    .nullable(),
  creditedMs: count,
  /** The newest committed one. */
  checkpoint: z
    .object({
      seq: count,
      epoch: count,
      bytes: count,
      /** What of it went over the worker's line: the rest was stored already. */
      bytesMoved: count,
      committedAt: text,
      /** Since it was committed; null once the job has ended. */
      ageMs: nullableCount,
      /** How long it took until all of it was stored; null where nobody said. */
      shipMs: nullableCount,
    })
    .nullable(),
  /** Seconds between checkpoints now: as asked for, or longer while the worker's line does not keep up. */
  checkpointIntervalS: count,
  /** Work that would be lost if the worker died now: container time since the moment of the newest committed checkpoint. */
  workAtRiskMs: count,
  standby: standbyViewSchema.nullable(),
  /** Of a job with `standby: mirror` alone. */
  mirror: mirrorViewSchema.optional(),
  /** Of a job with another `verification.mode` than `none`. */
  verification: verificationViewSchema.optional(),
  /** Of a run by which the network checks another job: that job. */
  checkOf: text.optional(),
  /** Of an operator's job whose result is known: its name. */
  canary: text.optional(),
  /** An exclusive job that waits, queued, because its last container may still be running there: nobody else starts before `until`. Null for any other. */
  leaseWait: z.object({ workerId: text, epoch: count, until: text }).nullable(),
  attempts: z.array(attemptViewSchema),
  outputs: treeViewSchema.nullable(),
  /** Work that failovers threw away: container time after the checkpoint each successor began from. */
  workLostMs: count,
  /** The most that it may cost, where that is less than its price cap over all of its time, and how far it has come. Null otherwise. */
  budget: z
    .object({
      cap: wireMoneySchema,
      /** Its own `budgetMax`, or a budget of its account. */
      source: z.enum(["job", "total", "month", "admin_total", "admin_month"]),
      /** What is charged, with what runs now as if it were saved now. */
      used: wireMoneySchema,
      /** 80% are used, and it was told. */
      warned: z.boolean(),
    })
    .nullable(),
  settlement: settlementViewSchema,
  createdAt: text,
  startedAt: nullableText,
  endedAt: nullableText,
});
export type JobView = z.output<typeof jobViewSchema>;
/** `waitS`: answer when the job has ended, or after this many seconds with how it stands. */
export const getJobQuerySchema = z.object({
  waitS: z.coerce.number().min(0).max(LONG_POLL_S_MAX).default(0),
});
export const listJobsQuerySchema = pageQuerySchema.extend({ phase: jobPhaseSchema.optional() });
/** Each job is judged alone: a result is the job, or the problem. */
export const batchRequestSchema = z.strictObject({ jobs: z.array(z.unknown()).min(1).max(BATCH_JOBS_MAX) });
export const batchResultSchema = z.object({
  results: z.array(z.union([z.object({ job: jobViewSchema }), z.object({ problem: problemSchema })])),
});

/** One line of the timeline; `data` depends on `kind`. */
export const eventViewSchema = z.object({
  seq: count,
  time: text,
  /** Milliseconds on the orchestrator's clock; differences are exact, and never jump with the wall clock. */
  clockMs: count,
  channel: z.enum(["jobs", "offers", "workers", "wallet", "system"]),
  kind: text,
  jobId: nullableText,
  workerId: nullableText,
  data: z.record(z.string(), z.unknown()),
});
export type EventView = z.output<typeof eventViewSchema>;

/** One NDJSON line of the logs: text, or a marker at each promotion. */
export const logLineSchema = z.object({
  epoch: count,
  /** Of the second replica of a mirror job: 1. Missing otherwise. */
  replica: count.optional(),
  stream: z.enum(["stdout", "stderr", "marker"]),
  offset: count,
  time: text,
  text,
  cursor: text,
});
export type LogLine = z.output<typeof logLineSchema>;

export const checkpointViewSchema = z.object({
  /** 1 for those of a mirror job's second replica; missing for the job's own. */
  replica: count.optional(),
  seq: count,
  epoch: count,
  parentSeq: count,
  workerId: text,
  bytes: count,
  bytesMoved: count,
  shipMs: nullableCount,
  files: count,
  manifestCid: text,
  ranMs: count,
  progress: z.number().nullable(),
  committedAt: text,
});
/** `sha256` is null for a file of which each piece has a sum instead: those were checked when it was sent. Files of no bytes have one. */
export const checkpointEntrySchema = z.object({
  kind: z.enum(["file", "directory"]),
  path: text,
  mode: count,
  bytes: count,
  sha256: nullableText,
});
export const outputViewSchema = z.object({ path: text, bytes: count, sha256: text });

// ── Uploads: inputs from a client's disk. Ask which chunks are missing, PUT those, then commit the manifest; a cut upload resumes by asking again. ──
export const uploadMissingRequestSchema = z.strictObject({ cids: z.array(chunkCidSchema).max(HAVE_CHUNKS_MAX) });
export const uploadMissingSchema = z.object({ cids: z.array(text) });
export const createUploadSchema = z.strictObject({ manifest: treeManifestSchema });
export const uploadViewSchema = z.object({ id: text, files: count, bytes: count, createdAt: text });

// ── What stands behind a currency ──
/** custodial: the operator's word. contract: a chain's rules hold what is locked for jobs, and pay providers. */
export const backingSchema = z.object({ driver: text, enforced: z.enum(["custodial", "contract"]) });

// ── Market ──
export const quoteRequestSchema = z.strictObject({ spec: z.unknown() });
export const quoteSchema = z.object({
  /** ceil(priceMaxPerHour × durationMaxS / 3600), or what a budget leaves: what would be locked. */
  hold: wireMoneySchema,
  /** The budget that allows less than all of its time at its highest price; null where none does. `suffices`: for at least a minute, else it is refused. */
  budget: z.object({ source: text, left: wireMoneySchema, suffices: z.boolean() }).nullable(),
  /** The cheapest matching offer for the whole job, standby included; null where none matches. */
  ratePerHour: wireMoneySchema.nullable(),
  /** What that rate is the sum of; `standby` is what the standby, or the second replica, costs. Empty where nothing matches. */
  parts: z.array(z.object({ part: text, ratePerHour: wireMoneySchema })),
  /** What egress costs there, of which egressGiBMax is paid for at most; missing where it has no price of its own. */
  egress: z.object({ pricePerGiB: wireMoneySchema, costMax: wireMoneySchema }).optional(),
  /** At that rate for the whole durationMaxS, egress in full. */
  costMax: wireMoneySchema.nullable(),
  offers: z.object({ total: count, matching: count, standbys: count }),
  /** What stands behind the money of this job. */
  settledBy: backingSchema,
  /** In the order they were applied: how many of the offers left by the filters before it each one removed, and what would help. */
  filters: z.array(z.object({ filter: text, removed: count, hint: text })),
});
/** Measured while the hardware was proven, by name. */
const figures = z.record(text, z.number());
/** What is known of a card beside its model and memory. */
const gpuDetails = gpuSchema.pick({
  driverVersion: true,
  computeCapability: true,
  cudaVersion: true,
  pcie: true,
  powerLimitW: true,
  ecc: true,
}).shape;
/** How steady it has been: 1 where nothing is held against it, towards 0 the more often it was lost or let a job down; it recovers within hours. */
const standing = z.number().min(0).max(1);
export const offerViewSchema = z.object({
  workerId: text,
  providerId: text,
  name: text,
  region: text,
  /** Only those that count: where proofs are asked for, the proven ones. */
  gpus: z.array(z.object({ model: text, memoryMiB: count, verified: z.boolean(), figures, ...gpuDetails })),
  gpusFree: count,
  cpus: z.number(),
  cpusFree: z.number(),
  memoryMiB: count,
  memoryMiBFree: count,
  diskMiB: count,
  diskMiBFree: count,
  pricePerGpuHour: wireMoneySchema.nullable(),
  pricePerCpuHour: wireMoneySchema,
  /** Of a core, for jobs with GPUs; null where it is in the price of the GPU. */
  pricePerGpuJobCpuHour: wireMoneySchema.nullable(),
  /** Null where it is in the other prices. */
  pricePerMemoryGiBHour: wireMoneySchema.nullable(),
  pricePerDiskGiBHour: wireMoneySchema.nullable(),
  /** Of what a job sends over its network. */
  pricePerEgressGiB: wireMoneySchema.nullable(),
  standbyPercent: count,
  /** What stands behind its currency. */
  settledBy: backingSchema,
  standing,
  reputation: reputationSchema,
  /** What its provider has at risk. */
  stake: z.array(wireMoneySchema),
  hardware: hardwareSchema.optional(),
  /** Its cores and memory are proven; `figures` were measured with them. */
  verified: z.boolean(),
  figures,
});
/** How it stands with the proof of one piece of a worker's hardware. `unsupported`: its agent is too old to be asked. */
export const proofViewSchema = z.object({
  /** Null for cores and memory. */
  gpuUuid: nullableText,
  state: z.enum(["proven", "proving", "waiting", "failed", "unsupported"]),
  provenMsAgo: nullableCount,
  figures,
  /** Of the newest challenge, when it was not passed. */
  failure: z.object({ code: text, message: text, count, retryInMs: count }).nullable(),
});
export const workerViewSchema = z.object({
  id: text,
  name: text,
  providerId: text,
  phase: z.enum(["offline", "online", "suspect"]),
  draining: z.boolean(),
  region: text,
  gpus: z.array(z.object({ uuid: text, model: text, memoryMiB: count, ...gpuDetails })),
  cpus: z.number(),
  memoryMiB: count,
  attempts: z.array(text),
  standbys: z.array(text),
  /** Its shares of settled jobs so far, one entry a currency. */
  earned: z.array(wireMoneySchema).optional(),
  lastSeenMsAgo: nullableCount,
  standing,
  reputation: reputationDetailsSchema,
  /** All that it claims is proven. */
  verified: z.boolean(),
  /** Of all that has to be proven; empty where nothing has to be. */
  proofs: z.array(proofViewSchema),
  hardware: hardwareSchema.optional(),
});

// ── Recoveries ──
/** hot: a standby took over. cold: it went on elsewhere. undo: a worker that was given up came back. retry: after the job's own failure. move: it was planned. */
export const RECOVERY_KINDS = ["hot", "cold", "undo", "retry", "move"] as const;
export type RecoveryKind = (typeof RECOVERY_KINDS)[number];
/** A week. */
export const RECOVERY_WINDOW_S_DEFAULT = 7 * 86_400;
const RECOVERY_WINDOW_S_MAX = 366 * 86_400;
export const recoveryQuerySchema = z.object({
  /** How far back to look, in seconds. */
  windowS: z.coerce.number().int().min(1).max(RECOVERY_WINDOW_S_MAX).default(RECOVERY_WINDOW_S_DEFAULT),
});
/** Milliseconds. */
const distributionSchema = z.object({ p50: count, p90: count, p99: count, max: count });
export const recoveryStatsSchema = z.object({
  windowS: count,
  since: text,
  /** Recoveries in the window; where there were more than are counted at a time, the newest. */
  recoveries: count,
  truncated: z.boolean(),
  kinds: z.array(
    z.object({
      kind: z.enum(RECOVERY_KINDS),
      recoveries: count,
      /** From the last sign of life of the attempt that was lost to: its first new step… */
      recoveryMs: distributionSchema,
      /** …its worker being suspect… */
      detectedMs: distributionSchema,
      /** …another attempt being placed… */
      promotedMs: distributionSchema,
      /** …its container having started. */
      startedMs: distributionSchema,
      /** Container time since the newest checkpoint that was thrown away. */
      workLostMs: distributionSchema,
    }),
  ),
});
export type RecoveryStats = z.output<typeof recoveryStatsSchema>;

// ── Canaries ──
export const canaryListSchema = z.object({
  /** Of all jobs that succeed, in the long run. */
  share: z.number(),
  items: z.array(
    z.object({
      name: text,
      gpuModel: nullableText,
      given: count,
      /** Providers that came to its result, and to another. */
      right: count,
      wrong: count,
      /** unproven: too few came to its result for it to be held against anybody. spent: somebody was accused by it. broken: it is wrong itself. */
      state: z.enum(["unproven", "ready", "spent", "broken"]),
    }),
  ),
});
export type CanaryList = z.output<typeof canaryListSchema>;

// ── Storage ──
/** Of ciphertext: all checkpoints, outputs and uploads of the account, each piece once. */
export const storageSchema = z.object({ bytes: count, bytesMax: count });

// ── Live events: WS /v1/events. Authenticated by the Authorization header, or by the subprotocols EVENTS_SUBPROTOCOL and EVENTS_KEY_SUBPROTOCOL + KEY. ──
export const EVENTS_SUBPROTOCOL = "qubix.events.v1";
export const EVENTS_KEY_SUBPROTOCOL = "qubix.key.";
/** The reader was too slow: connect again with `after` = the `seq` of the last frame it read. */
export const EVENTS_CLOSE_SLOW = 4008;
export const eventsQuerySchema = z.object({
  /** Only what came after this `seq`; without it, only what comes from now on. */
  after: z.coerce.number().int().min(0).optional(),
  /** Comma-separated; all by default. */
  channels: z.string().max(200).optional(),
  /** Comma-separated event kinds; all by default. */
  kinds: z.string().max(500).optional(),
  jobId: z.string().max(100).optional(),
});
/** One text frame. The first comes at once and may be empty; `seq` is where to resume from. */
export const eventsFrameSchema = z.object({ seq: count, events: z.array(eventViewSchema) });
export type EventsFrame = z.output<typeof eventsFrameSchema>;

/** `GET /v1/jobs/{id}/logs`. */
export const logsQuerySchema = z.object({
  /** `cursor` of the last line read. */
  after: z.string().max(100).optional(),
  /** Go on until the job has ended. */
  follow: z.stringbool().default(false),
  /** Only this replica's lines (0 or 1), of a mirror job; markers always. Without it both come as they were written. */
  replica: z.coerce.number().int().min(0).max(1).optional(),
});
/** `GET /v1/jobs/{id}/checkpoints`. Those of a mirror job's second replica are for it alone to go on from: they come only where they are asked for. */
export const checkpointsQuerySchema = z.object({ replica: z.enum(["0", "1", "all"]).default("0") });
/** `GET /v1/jobs/{id}/events`; `after` is the `seq` of the last one read. */
export const jobEventsQuerySchema = pageQuerySchema.extend({ after: z.coerce.number().int().min(0).optional() });
/** `POST /v1/workers/{id}/drain`; an empty body drains. */
export const drainRequestSchema = z.strictObject({
  draining: z.boolean().default(true),
  /** What runs there moves away now, too. */
  move: z.boolean().default(false),
});

/** `POST /v1/jobs/{id}/move`; an empty body moves it wherever it fits. `force`: also where it does not save when it is asked to. */
export const moveRequestSchema = z.strictObject({ to: workerIdSchema.optional(), force: z.boolean().default(false) });
