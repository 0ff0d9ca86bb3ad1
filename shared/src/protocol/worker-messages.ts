// The worker protocol's control messages (text frames on `/v1/worker`). Nothing else defines a message.
// Every message is idempotent: receiving it twice does what receiving it once does. `msg` is unique per sender and session; an `ack` names it in `re`.
import { z } from "zod";
import {
  attemptRefSchema,
  base64urlSchema,
  challengeIdSchema,
  chunkCidSchema,
  epochSchema,
  jobIdSchema,
  moneySchema,
  nameSchema,
  regionSchema,
  sessionIdSchema,
  sha256Schema,
  standbyIdSchema,
  workerIdSchema,
} from "./common.ts";
import { DIRECT_ADDRESSES_MAX, DIRECT_RELAYS_MAX, LOG_FRAME_BYTES_MAX } from "./limits.ts";
import { treeRefSchema } from "./manifest.ts";
import { tickFields, tickHeadSchema } from "./ticks.ts";

const ms = z.number().int().min(0);
/** What is to be proven: one GPU, or the cores and memory of the machine. */
export const proofTargetSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("gpu"), uuid: z.string().max(100) }),
  z.strictObject({ kind: z.literal("cpu") }),
]);
export type ProofTarget = z.output<typeof proofTargetSchema>;
const envelope = { msg: z.number().int().min(0) };

// ── What a worker has ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const gpuSchema = z.strictObject({
  uuid: z.string().min(1).max(100),
  model: z.string().min(1).max(100),
  memoryMiB: z.number().int().min(0),
  driverVersion: z.string().max(50).optional(),
  computeCapability: z.string().max(20).optional(),
  /** The newest CUDA that the driver runs, e.g. `12.4`. */
  cudaVersion: z.string().max(20).optional(),
  pcie: z.strictObject({ generation: z.number().int().min(1), lanes: z.number().int().min(1) }).optional(),
  powerLimitW: z.number().min(0).optional(),
  /** Error-correcting memory is on. */
  ecc: z.boolean().optional(),
  /** The card this is a partition of. */
  migParentUuid: z.string().max(100).optional(),
});
export type Gpu = z.output<typeof gpuSchema>;

/** What the machine is made of, for people and rankings to see; measured once, so that it does not change with every look. Rates in 10⁶ bytes or bits a second. */
export const hardwareSchema = z.strictObject({
  cpuModel: z.string().max(200).optional(),
  cpuThreads: z.number().int().min(1).optional(),
  /** Real cores, each of which may run two threads. */
  cpuCores: z.number().int().min(1).optional(),
  /** Size of the disk that jobs are given a part of. */
  diskMiB: z.number().int().min(0).optional(),
  diskWriteMBps: z.number().min(0).optional(),
  diskReadMBps: z.number().min(0).optional(),
  uplinkMbps: z.number().min(0).optional(),
  downlinkMbps: z.number().min(0).optional(),
});
export type Hardware = z.output<typeof hardwareSchema>;

/** The raw 32-byte X25519 public key that secrets are sealed to, base64url. `signature`: the worker's Ed25519 over {@link sealingKeyText}. */
export const sealingKeySchema = z.strictObject({ publicKey: base64urlSchema, signature: base64urlSchema });
export type SealingKey = z.output<typeof sealingKeySchema>;

/** A multiaddress, e.g. `/ip4/192.0.2.7/tcp/40001`, or a relay's followed by `/p2p/ID/p2p-circuit`. */
const directAddressSchema = z.string().regex(/^\/[\x21-\x7e]{1,299}$/, "not a multiaddress");

/**
 * What a worker can run now, and at what price. GPU jobs pay per GPU, others per core, and what else has a price; all include the network's fee. Prices beyond
 * these two are sent only where the owner names one: orchestrators of before refuse an offer with them.
 */
export const workerOfferSchema = z.strictObject({
  gpus: z.array(gpuSchema).max(64),
  cpus: z.number().min(0.1).max(4096),
  memoryMiB: z.number().int().min(1),
  diskMiB: z.number().int().min(0),
  region: regionSchema.default("unknown"),
  pricePerGpuHour: moneySchema.optional(),
  pricePerCpuHour: moneySchema,
  /** Of a core, for jobs with GPUs; missing where it is in the price of the GPU. */
  pricePerGpuJobCpuHour: moneySchema.optional(),
  pricePerMemoryGiBHour: moneySchema.optional(),
  pricePerDiskGiBHour: moneySchema.optional(),
  /** Of what a job's container sends over its network; missing where it is in the other prices. Charged only of workers with the features `ticks` and `usage`. */
  pricePerEgressGiB: moneySchema.optional(),
  /** A standby pays this share of the full rate. */
  standbyPercent: z.number().int().min(0).max(100).default(25),
  /** Images with the tag `local` that the owner allows. */
  localImages: z.array(z.string().max(255)).max(200).default([]),
  /** No new attempts or standbys; what runs goes on. */
  draining: z.boolean().default(false),
  /** What runs here is to go elsewhere now, and why; missing while it may stay. */
  leaving: z.enum(["drain", "maintenance"]).optional(),
  /** Beyond what every worker can: {@link WORKER_FEATURES}, each offered only while its own check passes. Unknown names are kept, and match nothing. */
  features: z.array(z.string().max(40)).max(50).optional(),
  hardware: hardwareSchema.optional(),
  sealingKey: sealingKeySchema.optional(),
  /** Where other workers can connect to this one, while it has a job with a peer. Told to those peers alone. */
  directAddresses: z.array(directAddressSchema).max(DIRECT_ADDRESSES_MAX).optional(),
});
export type WorkerOffer = z.output<typeof workerOfferSchema>;

// ── What is to be run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** All a worker needs of a specification. Money and identity of the consumer stay with the orchestrator. */
export const runSpecSchema = z.strictObject({
  image: z.string().max(255),
  command: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  outputs: z.array(z.string()),
  /** Trees to unpack, read-only, at `to`. */
  inputs: z.array(z.strictObject({ manifestCid: chunkCidSchema, to: z.string().max(1024) })),
  gpuUuids: z.array(z.string()),
  cpus: z.number(),
  memoryMiB: z.number().int(),
  diskMiB: z.number().int(),
  shmMiB: z.number().int(),
  stopGraceS: z.number().int(),
  checkpointIntervalS: z.number().int(),
  // What follows is left out where it is the default, and sent only to workers that offer the feature of its name: older ones know none of it.
  isolation: z.literal("sandboxed").optional(),
  network: z.literal("egress").optional(),
  /** The worker saves the sandbox's memory at every checkpoint interval; the job is told nothing of checkpoints. */
  transparent: z.literal(true).optional(),
  /** The container is paused when the lease runs out, and starts only under one. */
  failover: z.literal("exclusive").optional(),
  /** Names of files under /run/secrets; their content comes sealed, beside the run. */
  secretNames: z.array(z.string()).optional(),
  /** Registry credentials come sealed, beside the run. */
  registryAuth: z.literal(true).optional(),
  /** What the reference resolved to for the job's first attempt: every later one runs the same image. */
  imageDigest: z.string().max(80).optional(),
  /** The archive (`docker save`) of an image `upload:ID`. */
  imageTree: z.strictObject({ manifestCid: chunkCidSchema }).optional(),
  /** Heartbeats tell {@link signsSchema} once something has been silent for a good part of this. */
  stallAfterS: z.number().int().min(1).optional(),
  /** Metering ticks are asked for, beside checkpoints and ends. */
  ticks: z.literal(true).optional(),
});
export type RunSpec = z.output<typeof runSpecSchema>;

/** X25519 with an ephemeral key, HKDF, AES-256-GCM with a 16-byte tag; all base64url. What it is bound to is in the functions that seal and open. */
export const sealedSchema = z.strictObject({
  version: z.literal(1),
  ephemeralKey: base64urlSchema,
  nonce: base64urlSchema,
  /** Secrets (64 KiB as JSON) and a registry's password (32,768 characters, each up to 6 bytes in JSON) fit. */
  box: z.string().max(524_288),
});
export type Sealed = z.output<typeof sealedSchema>;

/** A committed checkpoint to begin from. */
export const checkpointRefSchema = z.strictObject({
  seq: z.number().int().min(1),
  epoch: epochSchema,
  tree: treeRefSchema,
});
export type CheckpointRef = z.output<typeof checkpointRefSchema>;

export const measuresSchema = z.strictObject({
  cpuPercent: z.number().min(0).optional(),
  memoryMiB: z.number().min(0).optional(),
  gpuPercent: z.number().min(0).max(100).optional(),
  gpuMemoryMiB: z.number().min(0).optional(),
});

/**
 * How long a container has given no sign of this or that, by its worker's own clock; each only where the job has ever given it. Sent by workers with the
 * feature `stalls`, for runs with `stallAfterS`, and left out while nothing is silent.
 */
export const signsSchema = z.strictObject({
  /** Since the progress file was last written, and by when after that the job itself said it would write it again. */
  progressMs: ms.optional(),
  progressDueMs: ms.optional(),
  /** Since the last whole checkpoint stood in its folder, and the median time between two of them. */
  savedMs: ms.optional(),
  savedEveryMs: ms.optional(),
  /** Since the last output, the longest that it was silent before, and for how long it printed. */
  logMs: ms.optional(),
  logGapMs: ms.optional(),
  logSpanMs: ms.optional(),
  /** Since it last used a processor, disk, network or GPU to speak of. */
  idleMs: ms.optional(),
});
export type Signs = z.output<typeof signsSchema>;

const endOutcome = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("succeeded"), outputs: treeRefSchema.nullable() }),
  /** The job's own failure: it uses `retries`. */
  z.strictObject({
    kind: z.literal("failed"),
    code: z.enum(["exit_code", "oom", "disk_exceeded", "output_exceeded", "start_failed", "image_not_found"]),
    exitCode: z.number().int().nullable(),
    message: z.string().max(2000),
  }),
  /** The worker's fault: it uses `failoversMax`. */
  z.strictObject({
    kind: z.literal("worker_failed"),
    code: z.enum([
      "image_pull_failed",
      "docker_error",
      "restore_failed",
      /** What came for the checkpoint was not what was stored: nobody may be able to restore it. */
      "checkpoint_damaged",
      "upload_failed",
      "lost_container",
      "contact_loss",
      /** The isolation that the job asks for cannot be kept up: firewall rules or sandbox are gone. */
      "isolation_failed",
      /** Secrets could not be opened, or went with a restart of the machine. */
      "secrets_lost",
      /** Its owner takes the GPU back. */
      "owner_reclaimed",
      /** The process that pauses an `exclusive` container when its lease runs out does not run. */
      "guard_failed",
      "gpu_lost",
    ]),
    message: z.string().max(2000),
    /** As with `stopped`. */
    saved: z.literal(true).optional(),
  }),
  /** Stopped because it was asked to. `saved`: it had been asked to save, and what it saved last is committed. */
  z.strictObject({ kind: z.literal("stopped"), saved: z.literal(true).optional() }),
]);
export type EndOutcome = z.output<typeof endOutcome>;

/** What a worker's journal says of an attempt, in `hello`. `end` waits here until it is acknowledged. */
export const journalAttemptSchema = z.strictObject({
  attempt: attemptRefSchema,
  /** `exited`: with success, its outputs are being collected. `ended`: how it ended is certain, and is told until it is answered. */
  phase: z.enum(["preparing", "running", "exited", "ended"]),
  /** Milliseconds the container has run, on the worker's monotonic clock. */
  ranMs: ms,
  /** The newest checkpoint it knows to be committed; 0 for none. */
  checkpointSeq: z.number().int().min(0),
  progress: z.number().min(0).max(1).nullable(),
});
export type JournalAttempt = z.output<typeof journalAttemptSchema>;

export const journalStandbySchema = z.strictObject({
  standbyId: standbyIdSchema,
  phase: z.enum(["preparing", "ready"]),
  checkpointSeq: z.number().int().min(0),
});
export type JournalStandby = z.output<typeof journalStandbySchema>;

// ── Worker → orchestrator ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** First frame of a worker. `signature`: Ed25519 over {@link authText}. */
export const authSchema = z.strictObject({
  kind: z.literal("auth"),
  protocol: z.number().int(),
  workerId: workerIdSchema,
  signature: base64urlSchema,
  agentVersion: z.string().max(50),
});

/** Rounds of a proof, and one more. */
const PROOF_STATES_MAX = 65;

export const workerMessageSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    ...envelope,
    kind: z.literal("hello"),
    offer: workerOfferSchema,
    attempts: z.array(journalAttemptSchema).max(1000),
    standbys: z.array(journalStandbySchema).max(1000),
  }),
  z.strictObject({
    ...envelope,
    kind: z.literal("heartbeat"),
    attempts: z
      .array(
        z.strictObject({
          attempt: attemptRefSchema,
          ranMs: ms,
          progress: z.number().min(0).max(1).nullable(),
          measures: measuresSchema.optional(),
          signs: signsSchema.optional(),
          phase: z.string().max(40).optional(),
        }),
      )
      .max(1000)
      .optional(),
  }),
  z.strictObject({ ...envelope, kind: z.literal("offer"), offer: workerOfferSchema }),
  z.strictObject({
    ...envelope,
    kind: z.literal("started"),
    attempt: attemptRefSchema,
    /** Begun from this checkpoint; 0 for none. */ fromSeq: z.number().int().min(0),
    /** What the image's reference resolved to, where a registry named it. */
    imageDigest: z.string().max(80).optional(),
  }),
  /** The container ended by itself with success and its outputs are being uploaded. */
  z.strictObject({ ...envelope, kind: z.literal("exited"), attempt: attemptRefSchema, ranMs: ms }),
  z.strictObject({ ...envelope, kind: z.literal("ended"), attempt: attemptRefSchema, ranMs: ms, outcome: endOutcome }),
  /**
   * The container of this `exclusive` attempt does not run and will not: it has ended, was removed, or was never started. `signature`: Ed25519 over
   * {@link stoppedText}. It alone shortens the wait for the attempt's lease.
   */
  z.strictObject({
    ...envelope,
    kind: z.literal("stopped"),
    attempt: attemptRefSchema,
    signature: base64urlSchema,
  }),
  /** All chunks and the manifest are in the store (over the bulk socket). `ranMs`: when the checkpoint was complete on disk. `signature`: Ed25519 over {@link checkpointText}. */
  z.strictObject({
    ...envelope,
    kind: z.literal("checkpoint"),
    attempt: attemptRefSchema,
    seq: z.number().int().min(1),
    parentSeq: z.number().int().min(0),
    tree: treeRefSchema,
    ranMs: ms,
    progress: z.number().min(0).max(1).nullable(),
    signature: base64urlSchema,
    /** How long it took until all of it was stored. */
    shipMs: ms.optional(),
    /** Seconds between checkpoints from here on, where the line does not keep up with those that were asked for. */
    intervalS: z.number().int().min(1).optional(),
  }),
  /** One line of the worker's own account, in order and before the message that it stands beside; said again until it is answered. For runs with `ticks` alone. */
  z.strictObject({ ...envelope, kind: z.literal("tick"), ...tickFields, signature: base64urlSchema }),
  /** `offset`: bytes of this stream of this attempt before `text`. */
  z.strictObject({
    ...envelope,
    kind: z.literal("log"),
    attempt: attemptRefSchema,
    stream: z.enum(["stdout", "stderr"]),
    offset: z.number().int().min(0),
    text: z.string().max(LOG_FRAME_BYTES_MAX),
    time: z.string().max(40),
  }),
  z.strictObject({
    ...envelope,
    kind: z.literal("standby.ready"),
    standbyId: standbyIdSchema,
    checkpointSeq: z.number().int().min(0),
  }),
  z.strictObject({
    ...envelope,
    kind: z.literal("standby.failed"),
    standbyId: standbyIdSchema,
    code: z.string().max(100),
    message: z.string().max(2000),
  }),
  /**
   * The work of a challenge is done: the clock stops when this arrives. `commitment`: SHA-256 (hexadecimal) of the answer, which follows over the
   * bulk socket and cannot be changed any more. The milliseconds are the worker's own word.
   */
  z.strictObject({
    ...envelope,
    kind: z.literal("proof.commit"),
    challengeId: challengeIdSchema,
    commitment: sha256Schema,
    memoryMiB: z.number().int().min(0),
    fillMs: ms,
    chaseMs: ms,
    multiplyMs: ms,
    /** What it signs of the answer: see `shared/src/proof/claims.ts`. Older agents do not, and prove nothing. */
    claim: z
      .strictObject({
        states: z.array(sha256Schema).min(2).max(PROOF_STATES_MAX),
        root: sha256Schema,
      })
      .optional(),
    /** Ed25519 over `proofClaimText`. */
    signature: base64urlSchema.optional(),
  }),
  /** It cannot answer: no program for this hardware, no memory, busy. */
  z.strictObject({
    ...envelope,
    kind: z.literal("proof.failed"),
    challengeId: challengeIdSchema,
    code: z.string().max(100),
    message: z.string().max(2000),
  }),
]);
export type WorkerMessage = z.output<typeof workerMessageSchema>;

// ── Orchestrator → worker ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export const orchestratorMessageSchema = z.discriminatedUnion("kind", [
  /** First frame of the orchestrator. */
  z.strictObject({
    kind: z.literal("challenge"),
    protocol: z.number().int(),
    orchestratorId: z.string().max(100),
    nonce: base64urlSchema,
  }),
  /** The signature is good: say hello. */
  z.strictObject({
    kind: z.literal("welcome"),
    sessionId: sessionIdSchema,
    name: nameSchema,
    contactLossS: z.number().int().min(1),
  }),
  /** Durable here; the sender may forget it. Also answers heartbeats. */
  z.strictObject({ kind: z.literal("ack"), re: z.number().int().min(0) }),
  /** Not accepted, and will not be: a stale epoch or a broken rule. The sender may forget it. */
  z.strictObject({
    kind: z.literal("refused"),
    re: z.number().int().min(0),
    code: z.string().max(100),
    message: z.string().max(2000),
    /** To a tick that does not follow: the newest that was taken, from which the chain goes on. */
    head: tickHeadSchema.optional(),
  }),
  z.strictObject({
    kind: z.literal("assign"),
    attempt: attemptRefSchema,
    run: runSpecSchema,
    checkpoint: checkpointRefSchema.nullable(),
    /** Secrets and registry credentials, for this attempt on this worker alone. */
    sealed: sealedSchema.optional(),
  }),
  /** The container of `from` (same job and replica, an older epoch) runs on under this epoch. */
  z.strictObject({ kind: z.literal("adopt"), attempt: attemptRefSchema, from: epochSchema }),
  /** Stop in good order (SIGTERM, `stopGraceS`, SIGKILL), ship the newest checkpoint, answer `ended` with `stopped`. */
  z.strictObject({
    kind: z.literal("stop"),
    attempt: attemptRefSchema,
    reason: z.enum(["cancelled", "deadline", "drain"]),
  }),
  /**
   * The job is to move: ask it to save once more (the request file and its signal), and stop it as soon as a new checkpoint stands in its folder, or after
   * `answerMs` where `force` is true; else it goes on then. Answered by `ended` with `stopped`. Sent to workers with the feature `moves` alone.
   */
  z.strictObject({
    kind: z.literal("save"),
    attempt: attemptRefSchema,
    answerMs: z.number().int().min(1),
    force: z.boolean(),
  }),
  /** The epoch is no longer current: kill and forget, nothing more is accepted of it. */
  z.strictObject({ kind: z.literal("fence"), attempt: attemptRefSchema }),
  z.strictObject({
    kind: z.literal("prepare"),
    standbyId: standbyIdSchema,
    jobId: jobIdSchema,
    run: runSpecSchema,
    checkpoint: checkpointRefSchema.nullable(),
    /** Registry credentials, for this standby alone. */
    sealed: sealedSchema.optional(),
  }),
  /** A newer checkpoint is committed: fetch, verify and unpack it. */
  z.strictObject({
    kind: z.literal("standby.checkpoint"),
    standbyId: standbyIdSchema,
    checkpoint: checkpointRefSchema,
  }),
  /** Start the prepared container now, as this attempt, from this checkpoint. */
  z.strictObject({
    kind: z.literal("promote"),
    standbyId: standbyIdSchema,
    attempt: attemptRefSchema,
    checkpoint: checkpointRefSchema.nullable(),
    /** Secrets, for this attempt on this worker alone. */
    sealed: sealedSchema.optional(),
  }),
  z.strictObject({ kind: z.literal("release"), standbyId: standbyIdSchema }),
  /**
   * Who may talk to this worker of this job over the direct path, instead of whom it was told before; `null` for nobody. Holds for the session; sent to
   * workers with the feature `direct` alone.
   */
  z.strictObject({
    kind: z.literal("direct.peer"),
    jobId: jobIdSchema,
    peer: z
      .strictObject({
        /** What the receiver is to this job: a primary gives chunks, a standby fetches them. */
        as: z.enum(["primary", "standby"]),
        /** The peer's raw 32-byte Ed25519 public key, base64url, as it was enrolled. */
        publicKey: base64urlSchema,
        addresses: z.array(directAddressSchema).max(DIRECT_ADDRESSES_MAX),
      })
      .nullable(),
    /** Relays (with `/p2p/ID`) that take a reservation of both. */
    relays: z.array(directAddressSchema).max(DIRECT_RELAYS_MAX).default([]),
  }),
  /** Prove this hardware: see `shared/src/proof`. Answered by `proof.commit` and the answer over the bulk socket, or by `proof.failed`. */
  z.strictObject({
    kind: z.literal("prove"),
    challengeId: challengeIdSchema,
    target: proofTargetSchema,
    /** 32 bytes. */
    nonce: base64urlSchema,
    /** Memory to fill; 0 for nearly all that is free. */
    memoryMiB: z.number().int().min(0),
    /** Dependent reads at addresses that the memory's own content chooses. */
    chaseSteps: z.number().int().min(1),
    matrixSize: z.number().int().min(16).max(4096),
    /** Matrices multiplied one after the other. */
    matrixSteps: z.number().int().min(1),
    timeoutMs: z.number().int().min(1),
  }),
  /** What this worker has earned so far, settled jobs only; one entry per currency. */
  z.strictObject({ kind: z.literal("earnings"), totals: z.array(moneySchema).max(50) }),
]);
export type OrchestratorMessage = z.output<typeof orchestratorMessageSchema>;
export type OrchestratorMessageInput = z.input<typeof orchestratorMessageSchema>;

// ── Signed texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a worker signs to open a connection; `purpose` keeps a signature for one socket from opening the other. */
export function authText(purpose: "control" | "bulk", orchestratorId: string, nonce: string, workerId: string): string {
  return ["qubix-auth-v1", purpose, orchestratorId, nonce, workerId].join("\n");
}

/** What a worker signs of the key that secrets are sealed to, so that nobody between can put his own in its place. */
export function sealingKeyText(workerId: string, publicKey: string): string {
  return ["qubix-sealing-key-v1", workerId, publicKey].join("\n");
}

/** What a worker signs to say that the container of an attempt is over. */
export function stoppedText(attempt: {
  readonly jobId: string;
  readonly replica: number;
  readonly epoch: number;
}): string {
  return ["qubix-stopped-v1", attempt.jobId, attempt.replica, attempt.epoch].join("\n");
}

/** What a worker signs of a checkpoint. */
export function checkpointText(checkpoint: {
  readonly attempt: { readonly jobId: string; readonly replica: number; readonly epoch: number };
  readonly seq: number;
  readonly parentSeq: number;
  readonly tree: { readonly manifestCid: string };
}): string {
  const { attempt, seq, parentSeq, tree } = checkpoint;
  return ["qubix-checkpoint-v1", attempt.jobId, attempt.replica, attempt.epoch, seq, parentSeq, tree.manifestCid].join(
    "\n",
  );
}

// ── Enrolment (HTTP POST /v1/enrolments/redeem, authenticated by the token itself) ─────────────────────────────────────────────────

export const enrolRequestSchema = z.strictObject({
  token: z.string().min(20).max(200),
  name: nameSchema,
  /** Raw 32-byte Ed25519 public key, base64url. */
  publicKey: base64urlSchema,
  /** Ed25519 over `qubix-enrol-v1\nTOKEN`: proof that the key is held. */
  signature: base64urlSchema,
});
export const enrolResponseSchema = z.strictObject({ workerId: workerIdSchema, orchestratorId: z.string() });

export function enrolText(token: string): string {
  return `qubix-enrol-v1\n${token}`;
}
