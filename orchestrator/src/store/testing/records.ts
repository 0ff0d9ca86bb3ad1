// Records for tests of the stores: complete, with every field that is odd to encode.
import {
  attemptId,
  standbyId,
  type AccountId,
  type ChunkCid,
  type Epoch,
  type JobId,
  type JobPhase,
  type WorkerId,
} from "@qubix/shared/domain";
import { jobSpecSchema, workerOfferSchema, type TreeRef } from "@qubix/shared/protocol";
import type {
  AttemptRecord,
  Changes,
  JobRecord,
  MetaRecord,
  MirrorState,
  Put,
  StandbyRecord,
  TableName,
  Tables,
  VerificationRecord,
  WorkerRecord,
} from "../../core/model.ts";

export const ACCOUNT = "acc-1" as AccountId;
export const PROVIDER = "acc-provider" as AccountId;

export function jobIdOf(n: number): JobId {
  return `job-${n.toString(36).padStart(6, "0")}-abcd` as JobId;
}

export function metaOf(n: number): MetaRecord {
  return {
    orchestratorId: "orc-test",
    random: 4_294_967_295,
    jobCount: n,
    workerCount: n,
    accountCount: n,
    transferCount: n,
    eventSeq: n,
    clockMs: n * 1000,
  };
}

/** Changes with everything empty but what is given. */
export function changesOf(partial: Partial<Changes>): Changes {
  return { puts: [], events: [], transfers: [], logs: [], ticks: [], settled: [], meta: metaOf(0), ...partial };
}

export function put<T extends TableName>(table: T, key: string, record: Tables[T] | null): Put {
  return { table, key, record } as Put;
}

export function aTree(n: number): TreeRef {
  const cid = `bafkrei${n
    .toString(32)
    .padStart(52, "a")
    .replaceAll(/[^a-z2-7]/g, "b")}` as ChunkCid;
  return { manifestCid: cid, files: 3, bytes: 64, bytesMoved: 10 };
}

export function aJob(
  n: number,
  options: { readonly phase?: JobPhase; readonly accountId?: AccountId; readonly settled?: boolean } = {},
): JobRecord {
  const id = jobIdOf(n);
  return {
    id,
    accountId: options.accountId ?? ACCOUNT,
    spec: jobSpecSchema.parse({
      name: `job ${n} "✓"`,
      image: "docker.io/library/python:3.12",
      command: ["python", "-c", "print('\\u0000')"],
      priceMaxPerHour: { amount: "1250000", currency: "USD" },
      network: "egress",
      egressGiBMax: 0.5,
      egressPriceMaxPerGiB: { amount: "60000", currency: "USD" },
      durationMaxS: 60,
    }),
    phase: options.phase ?? "queued",
    intent: null,
    reason: null,
    message: null,
    epoch: 0,
    standbysMade: 0,
    standbyId: null,
    retriesUsed: 0,
    failoversUsed: 0,
    troubledWorkers: ["wrk-1" as WorkerId],
    creditedMs: 0,
    workLostMs: 0,
    leaseWait: { epoch: 1 as Epoch, workerId: "wrk-1" as WorkerId, untilMs: 17_000.5, why: "worker_lost" },
    checkpoints: [
      {
        jobId: id,
        seq: 1,
        parentSeq: 0,
        epoch: 1 as Epoch,
        workerId: "wrk-1" as WorkerId,
        tree: aTree(n),
        ranMs: 5,
        progress: 0.25,
        signature: "sig",
        committedAtMs: 9,
      },
    ],
    checkpointIntervalS: 60,
    fromCheckpoint: { jobId: "job-0000000000-aaaaaa" as JobId, seq: 2 },
    outputs: null,
    inputs: [{ manifestCid: aTree(1).manifestCid, to: "/work/in" }],
    imageTree: null,
    imageDigest: `sha256:${"0".repeat(64)}`,
    vaultId: "5eed",
    currency: "USD",
    rateMax: 123n,
    standbyRateMax: 0n,
    ...(n % 2 === 1 ? { mirror: aMirror(id, n) } : {}),
    settlement: options.settled
      ? {
          phase: "settled",
          hold: 9_007_199_254_740_993n,
          gross: 7n,
          lines: [{ account: "fee", role: "fee", amount: 7n, ms: 3 }],
        }
      : { phase: "held", hold: 20_834n, gross: null, lines: [] },
    createdAtMs: n,
    queuedAtMs: n,
    startedAtMs: null,
    endedAtMs: null,
  };
}

function aMirror(jobId: JobId, n: number): MirrorState {
  return {
    epoch: 2 as Epoch,
    active: [true, false],
    results: [
      {
        run: 1,
        attemptId: attemptId({ jobId, replica: 1, epoch: 2 as Epoch }),
        workerId: "wrk-2" as WorkerId,
        providerId: PROVIDER,
        outputs: aTree(n),
        sum: "0".repeat(64),
        failure: null,
      },
    ],
    thirdAfter: null,
    checkpoints: [],
    rateMax: [9_007_199_254_740_993n, 7n, 0n],
    gpuModel: "H200",
    compared: { same: 1, different: 0 },
    verified: false,
  };
}

const allocation = { gpuUuids: ["GPU-1"], cpuMilli: 1500, memoryMiB: 1024, diskMiB: 4096 };

export function anAttempt(jobId: JobId, epoch: number): AttemptRecord {
  const ref = { jobId, replica: 0, epoch: epoch as Epoch };
  return {
    ...ref,
    id: attemptId(ref),
    workerId: "wrk-1" as WorkerId,
    providerId: PROVIDER,
    phase: "running",
    lease: "active",
    allocation,
    ratePerHour: 1_000_000n,
    parts: [
      { name: "gpu", ratePerHour: 900_000n },
      { name: "memory", ratePerHour: 100_000n },
    ],
    egress: { pricePerGiB: 50_000n, mbpsMax: 80.5, baseBytes: 7, bytes: 2 ** 40, cut: true },
    fromSeq: 0,
    adoptedEpoch: 0,
    baseRanMs: 0,
    creditedMs: 0,
    committed: false,
    outcome: { kind: "failed", code: "exit_code", exitCode: 1, message: "no" },
    stopped: "c2ln",
    workLostMs: 0,
    assignedAtMs: 1,
    startedAtMs: 2,
    endedAtMs: null,
  };
}

export function aStandby(jobId: JobId, n: number): StandbyRecord {
  return {
    id: standbyId(jobId, n),
    jobId,
    workerId: "wrk-2" as WorkerId,
    providerId: PROVIDER,
    phase: "ready",
    lease: "active",
    allocation,
    ratePerHour: 250_000n,
    fullRatePerHour: 1_000_000n,
    parts: [{ name: "gpu", ratePerHour: 1_000_000n }],
    egress: { pricePerGiB: 50_001n, mbpsMax: 200 },
    checkpointSeq: 1,
    reservedAtMs: 1,
    readyAtMs: 2,
    endedAtMs: null,
    creditedMs: 0,
  };
}

export function aWorker(n: number): WorkerRecord {
  return {
    id: `wrk-${n}` as WorkerId,
    providerId: PROVIDER,
    name: `worker ${n}`,
    publicKey: "AAAA",
    phase: "online",
    sessionId: null,
    offer: workerOfferSchema.parse({
      gpus: [{ uuid: "GPU-1", model: "H200", memoryMiB: 141_000 }],
      cpus: 1.5,
      memoryMiB: 2048,
      diskMiB: 100,
      pricePerGpuHour: { amount: "2500000", currency: "USD" },
      pricePerCpuHour: { amount: "100000", currency: "USD" },
      pricePerGpuJobCpuHour: { amount: "50000", currency: "USD" },
      pricePerMemoryGiBHour: { amount: "7", currency: "USD" },
      pricePerDiskGiBHour: { amount: "0", currency: "USD" },
      pricePerEgressGiB: { amount: "50000", currency: "USD" },
    }),
    draining: false,
    earned: [
      { amount: 9_007_199_254_740_993n, currency: "USD" },
      { amount: 1n, currency: "EUR" },
    ],
    enrolledAtMs: 1,
    proofs: [
      {
        target: "gpu:GPU-1",
        model: "H200",
        cpus: 0,
        memoryMiB: 141_000,
        provenAtMs: 5,
        recheckAtMs: 9.5,
        figures: { memoryGBps: 4_800.25 },
      },
    ],
    proofFailures: [{ target: "cpu", code: "too_late", message: "“late”", atMs: 7, count: 2, retryAtMs: 120_007 }],
  };
}

/** Of this job, undecided; the job's environment has a name that an amount would have. */
export function aVerification(job: JobRecord): VerificationRecord {
  return {
    id: job.id,
    accountId: job.accountId,
    kind: "spot-check",
    phase: "running",
    message: null,
    startedAtMs: 5,
    decidedAtMs: null,
    currency: "USD",
    frozen: [{ account: "provider:acc-2", amount: 9_007_199_254_740_993n, workerId: "wrk-1" as WorkerId }],
    apart: [ACCOUNT],
    runs: [
      {
        jobId: job.id,
        fromSeq: 0,
        endedAtMs: 4,
        workers: [{ workerId: "wrk-1" as WorkerId, providerId: "acc-2" as AccountId }],
        isUndisturbed: true,
        result: { outputs: aTree(1), sum: "ab" },
        lost: null,
      },
    ],
    compared: [{ a: 0, b: 1, isSame: null }],
    plan: {
      spec: { ...job.spec, env: { units: "kg" } },
      inputs: [],
      imageTree: null,
      imageDigest: "sha256:00",
      gpuModel: null,
      rateMax: 5n,
      payer: "external:checks",
      base: null,
      hasBase: true,
    },
  };
}
