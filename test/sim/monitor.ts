// Watches everything that is committed, and everything that leaves the orchestrator, and breaks the run when an invariant does not hold.
// It knows the truth that the orchestrator cannot know: when each simulated container really ran.
import {
  type Allocation,
  type AttemptRecord,
  type Changes,
  checkpointsOf,
  type CoreEvent,
  epochOf,
  type JobRecord,
  type Put,
  type StandbyRecord,
  type StepResult,
  type TransferRecord,
  type WorkerRecord,
} from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import {
  type AttemptId,
  type AttemptRef,
  attemptId,
  type JobId,
  type Money,
  type WorkerId,
} from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import type { WorkerMessageBody } from "@qubix/worker/core";
import { stepOf } from "./programs.ts";
import { fakeKey, type Fakes } from "./proofs.ts";
import { BrokenInvariant, type World } from "./world.ts";

export interface Counts {
  jobs: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  promotions: number;
  undos: number;
  staleRefused: number;
  /** Planned moves after which the successor began at the very step at which the program had left. */
  movesWithoutLoss: number;
  failovers: number;
  disagreements: number;
  /** Mirror jobs whose end two runs agreed on. */
  verified: number;
  retries: number;
  orchestratorRestarts: number;
  agentRestarts: number;
  failedCommits: number;
  /** Rows of workers with them, each time one was written. */
  proofs: number;
  proofFailures: number;
  steps: number;
}

export function createCounts(): Counts {
  return {
    jobs: 0,
    succeeded: 0,
    failed: 0,
    cancelled: 0,
    promotions: 0,
    undos: 0,
    staleRefused: 0,
    movesWithoutLoss: 0,
    failovers: 0,
    disagreements: 0,
    verified: 0,
    retries: 0,
    orchestratorRestarts: 0,
    agentRestarts: 0,
    failedCommits: 0,
    proofs: 0,
    proofFailures: 0,
    steps: 0,
  };
}

/** One container's life, on the world's clock. */
export interface ContainerTruth {
  readonly workerId: WorkerId;
  startedAtMs: number | null;
  endedAtMs: number | null;
  /** The attempts it ran for. */
  readonly attempts: AttemptId[];
  /** The step at which its program saved and left, because it was asked to; null where it did not. */
  leftAtStep: number | null;
}

/** What was seen of an attempt or a standby: when its lease was committed, and when its end was. */
export interface Seen<Row> {
  row: Row;
  readonly fromMs: number;
  untilMs: number | null;
  /** When its credit last grew. */
  creditedAtMs: number;
  /** Of a standby: when it was first ready. */
  readyAtMs: number | null;
}

export interface Monitor {
  readonly counts: Counts;
  readonly fired: Set<string>;
  readonly jobs: ReadonlyMap<JobId, JobRecord>;
  readonly attempts: ReadonlyMap<string, Seen<AttemptRecord>>;
  readonly standbys: ReadonlyMap<string, Seen<StandbyRecord>>;
  readonly transfers: readonly TransferRecord[];
  readonly containers: readonly ContainerTruth[];
  /** Hardware that is claimed and not there. */
  readonly fakes: Fakes;
  /** Hardware that is there, may be proven, and is not. */
  unproven(): readonly string[];
  stepped(event: CoreEvent, result: StepResult): void;
  committed(batch: readonly Changes[], nowMs: number): void;
  /** A message of the orchestrator reached a worker: what it says must be durable. `re`: what it answers. */
  delivered(workerId: WorkerId, message: OrchestratorMessage, re: WorkerMessageBody | undefined): void;
  container(workerId: WorkerId): ContainerTruth;
}

const ATTEMPT_ENDS: ReadonlySet<string> = new Set(["ended", "lost", "fenced"]);
const STANDBY_ENDS: ReadonlySet<string> = new Set(["promoted", "released", "lost"]);
const JOB_ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

export function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new BrokenInvariant(message());
}

export function createMonitor(world: World, store: Store): Monitor {
  const jobs = new Map<JobId, JobRecord>();
  const attempts = new Map<string, Seen<AttemptRecord>>();
  const standbys = new Map<string, Seen<StandbyRecord>>();
  const workerRows = new Map<WorkerId, WorkerRecord>();
  const fakes: Fakes = new Set();
  const offered = new Map<WorkerId, Omit<Allocation, "gpuUuids">>();
  const active = new Map<JobId, Set<string>>();
  const holders = new Map<WorkerId, Map<string, AttemptRecord | StandbyRecord>>();
  /** When each worker's last sign of life was read. */
  const heard = new Map<WorkerId, number>();
  let committedAtMs = 0;
  const transfers: TransferRecord[] = [];
  const containers: ContainerTruth[] = [];
  const counts = createCounts();
  const fired = new Set<string>();

  function put(change: Put, nowMs: number, touched: Touched): void {
    if (change.record === null) return;
    switch (change.table) {
      case "jobs":
        putJob(change.record);
        return;
      case "attempts":
        putAttempt(change.record, nowMs);
        touched.workers.add(change.record.workerId);
        touched.jobs.add(change.record.jobId);
        return;
      case "standbys":
        putStandby(change.record, nowMs);
        touched.workers.add(change.record.workerId);
        return;
      case "workers":
        putWorker(change.record);
        return;
      case "balances":
        check(change.record.amount >= 0n || change.record.account.startsWith("external:"), () => {
          return `invariant 5: ${change.key} would be ${change.record?.amount}`;
        });
        return;
      case "accounts":
      case "apiKeys":
      case "enrolments":
      case "idempotency":
      case "uploads":
        return;
      default:
        unreachable(change);
    }
  }

  function putJob(job: JobRecord): void {
    const before = jobs.get(job.id);
    if (before !== undefined) {
      check(!JOB_ENDS.has(before.phase), () => `invariant 4: ${job.id} changed after its end as ${before.phase}`);
      check(job.epoch >= before.epoch, () => `invariant 2: the epoch of ${job.id} fell`);
      const mayFall = JOB_ENDS.has(job.phase) && job.mirror !== undefined && job.mirror.thirdAfter !== null;
      check(mayFall || job.creditedMs >= before.creditedMs, () => `invariant 6: the credit of ${job.id} fell`);
      check(epochOf(job, 1) >= epochOf(before, 1), () => `invariant 2: the epoch of ${job.id}'s replica 1 fell`);
    }
    jobs.set(job.id, job);
    if (!JOB_ENDS.has(job.phase)) return;
    check(job.settlement.phase === "settled", () => `invariant 5: ${job.id} ended without its settlement`);
    if (job.mirror?.verified === true) counts.verified += 1;
    if (job.phase === "succeeded") counts.succeeded += 1;
    else if (job.phase === "failed") counts.failed += 1;
    else counts.cancelled += 1;
  }

  function putAttempt(row: AttemptRecord, nowMs: number): void {
    const before = attempts.get(row.id);
    const isOver = ATTEMPT_ENDS.has(row.phase);
    const of = setOf(active, row.jobId);
    if (before === undefined && world.faults.proofs) checkProven(row);
    if (isOver) of.delete(row.id);
    else of.add(row.id);
    hold(row.workerId, row.id, isOver ? null : row);
    if (before === undefined) {
      const seen = { row, fromMs: nowMs, untilMs: isOver ? nowMs : null, creditedAtMs: nowMs, readyAtMs: null };
      attempts.set(row.id, seen);
      return;
    }
    const fell = row.creditedMs < before.row.creditedMs;
    check(!fell || row.isRefused === true, () => `invariant 6: the credit of ${row.id} fell`);
    if (row.creditedMs > before.row.creditedMs) {
      check(before.untilMs === null, () => `invariant 2: ${row.id} is credited after it was ${before.row.phase}`);
      before.creditedAtMs = nowMs;
    }
    if (before.row.startedAtMs === null && row.startedAtMs !== null) checkBeginning(row);
    before.row = row;
    if (isOver) before.untilMs ??= nowMs;
  }

  /** Work comes only to hardware that is there, and that has been proven as it is claimed. */
  function checkProven({ id, jobId, workerId, allocation, adoptedEpoch }: AttemptRecord): void {
    for (const uuid of [null, ...allocation.gpuUuids]) {
      const key = fakeKey(workerId, uuid);
      check(!fakes.has(key), () => `${id} was placed on ${key}, which is made up`);
    }
    // What was placed before, as an attempt or a standby, runs on whatever is claimed anew.
    const stoodBy = [...standbys.values()].some(({ row }) => row.jobId === jobId && row.workerId === workerId);
    if (adoptedEpoch !== 0 || stoodBy) return;
    const worker = workerRows.get(workerId);
    check(worker !== undefined && worker.offer !== null, () => `${id} was placed on ${workerId}, which offers nothing`);
    for (const uuid of [null, ...allocation.gpuUuids]) {
      check(isProven(worker, uuid), () => `${id} was placed on ${fakeKey(workerId, uuid)}, which is not proven`);
    }
  }

  function unprovenOf(worker: WorkerRecord): readonly string[] {
    const { id, offer } = worker;
    // Whoever takes no new work is not asked.
    if (offer?.features?.includes("proofs") !== true || offer.draining || worker.draining) return [];
    return [null, ...offer.gpus.map(({ uuid }) => uuid)].flatMap((uuid) => {
      const key = fakeKey(id, uuid);
      check(!fakes.has(key) || !isProven(worker, uuid), () => `${key} is proven, and is made up`);
      return fakes.has(key) || isProven(worker, uuid) ? [] : [key];
    });
  }

  /** Nothing can be committed between the assignment and the start, so it begins from the newest checkpoint there is. */
  function checkBeginning(row: AttemptRecord): void {
    if (row.adoptedEpoch !== 0) return;
    const job = jobs.get(row.jobId);
    const newest = (job === undefined ? undefined : checkpointsOf(job, row.replica).at(-1)?.seq) ?? 0;
    check(row.fromSeq === newest, () => `${row.id} began from checkpoint ${row.fromSeq}, the newest is ${newest}`);
  }

  function putStandby(row: StandbyRecord, nowMs: number): void {
    const isOver = STANDBY_ENDS.has(row.phase);
    hold(row.workerId, row.id, isOver ? null : row);
    const seen = standbys.get(row.id) ?? { row, fromMs: nowMs, untilMs: null, creditedAtMs: nowMs, readyAtMs: null };
    standbys.set(row.id, seen);
    check(row.creditedMs >= seen.row.creditedMs, () => `invariant 6: the credit of ${row.id} fell`);
    if (row.creditedMs > seen.row.creditedMs) {
      check(seen.untilMs === null, () => `invariant 6: ${row.id} is credited after it was ${seen.row.phase}`);
    }
    seen.row = row;
    if (row.phase === "ready") seen.readyAtMs ??= nowMs;
    if (!isOver) return;
    seen.untilMs ??= nowMs;
    if (row.phase !== "lost" || row.creditedMs === 0) return;
    const provenMs = (heard.get(row.workerId) ?? 0) - (seen.readyAtMs ?? 0);
    check(row.creditedMs <= provenMs, () => {
      return `invariant 6: lost ${row.id} is credited ${row.creditedMs} ms, its worker was heard for ${provenMs} ms of them`;
    });
  }

  function hold(workerId: WorkerId, id: string, row: AttemptRecord | StandbyRecord | null): void {
    const held = holders.get(workerId) ?? new Map<string, AttemptRecord | StandbyRecord>();
    holders.set(workerId, held);
    if (row === null) held.delete(id);
    else held.set(id, row);
  }

  /** What runs goes on when less is offered than before, so the most that was ever offered is the bound. */
  function putWorker(worker: WorkerRecord): void {
    const { id, offer } = worker;
    workerRows.set(id, worker);
    counts.proofs += worker.proofs.length;
    counts.proofFailures += worker.proofFailures.length;
    const most = offered.get(id) ?? { cpuMilli: 0, memoryMiB: 0, diskMiB: 0 };
    offered.set(id, {
      cpuMilli: Math.max(most.cpuMilli, Math.round((offer?.cpus ?? 0) * 1000)),
      memoryMiB: Math.max(most.memoryMiB, offer?.memoryMiB ?? 0),
      diskMiB: Math.max(most.diskMiB, offer?.diskMiB ?? 0),
    });
  }

  function checkWorker(workerId: WorkerId): void {
    const most = offered.get(workerId);
    if (most === undefined) return;
    const gpus = new Set<string>();
    let [cpuMilli, memoryMiB, diskMiB] = [0, 0, 0];
    for (const { allocation } of holders.get(workerId)?.values() ?? []) {
      cpuMilli += allocation.cpuMilli;
      memoryMiB += allocation.memoryMiB;
      diskMiB += allocation.diskMiB;
      for (const uuid of allocation.gpuUuids) {
        check(!gpus.has(uuid), () => `${uuid} of ${workerId} is given away twice`);
        gpus.add(uuid);
      }
    }
    const fits = cpuMilli <= most.cpuMilli && memoryMiB <= most.memoryMiB && diskMiB <= most.diskMiB;
    check(fits, () => `${workerId} is oversubscribed: ${cpuMilli} mCPU, ${memoryMiB} MiB, ${diskMiB} MiB`);
  }

  function checkJob(jobId: JobId): void {
    const job = jobs.get(jobId);
    const of = active.get(jobId);
    if (job === undefined || of === undefined) return;
    const most = job.mirror === undefined ? 1 : 2;
    check(of.size <= most, () => `invariant 2: ${jobId} has ${of.size} active attempts: ${[...of].join(", ")}`);
    for (const id of of) {
      const { epoch, replica = 0 } = attempts.get(id)?.row ?? {};
      const current = epochOf(job, replica);
      check(epoch === current, () => `invariant 2: ${id} is active while ${jobId} is at epoch ${current}`);
      check(!JOB_ENDS.has(job.phase), () => `invariant 7: ${id} is active though ${jobId} has ended`);
    }
  }

  function transferred(transfer: TransferRecord): void {
    transfers.push(transfer);
    const sum = transfer.postings.reduce((total, posting) => total + posting.amount, 0n);
    check(sum === 0n, () => `invariant 5: ${transfer.id} sums to ${sum}`);
  }

  /** What a worker is told lies in settlements that are durable; it may lie behind them. */
  function checkEarnings(workerId: WorkerId, totals: readonly Money[]): void {
    const row = workerRows.get(workerId);
    check(row?.offer?.features?.includes("earnings") === true, () => `${workerId} does not know the message earnings`);
    for (const { amount, currency } of totals) {
      const earned = row.earned.find((money) => money.currency === currency)?.amount ?? 0n;
      check(amount > 0n && amount <= earned, () => {
        return `${workerId} was told of ${amount} ${currency} earned, and ${earned} are durable`;
      });
    }
  }

  /** Nobody is told of a worker that had no part in the job; the word may be late, so the part may be over. */
  function checkPeer(workerId: WorkerId, { jobId, peer }: Extract<OrchestratorMessage, { kind: "direct.peer" }>): void {
    const row = workerRows.get(workerId);
    check(row?.offer?.features?.includes("direct") === true, () => `${workerId} does not know the message direct.peer`);
    if (peer === null) return;
    const rows = store.job(jobId);
    const ran = new Set((rows?.attempts ?? []).map((attempt) => attempt.workerId));
    const stoodBy = new Set((rows?.standbys ?? []).map((standby) => standby.workerId));
    const other = [...workerRows.values()].find(({ publicKey }) => publicKey === peer.publicKey)?.id;
    const [primary, standby] = peer.as === "primary" ? [workerId, other] : [other, workerId];
    const isPair = primary !== undefined && standby !== undefined && ran.has(primary) && stoodBy.has(standby);
    check(isPair && primary !== standby, () => `${workerId} was told of ${other} for ${jobId}, and they were no pair`);
  }

  function durable(ref: AttemptRef): AttemptRecord | undefined {
    return store.job(ref.jobId)?.attempts.find((row) => row.id === attemptId(ref));
  }

  /** Work lost on a planned move is none: where a program saved and left as it was asked to, its successor begins at that very step. */
  function checkMove(jobId: JobId, { epoch, fromSeq, workLostMs }: Readonly<Record<string, unknown>>): void {
    const id = attemptId({ jobId, replica: 0, epoch: (Number(epoch) - 1) as AttemptRecord["epoch"] });
    const outcome = attempts.get(id)?.row.outcome;
    if (outcome?.kind !== "stopped" || outcome.saved !== true) return;
    check(workLostMs === 0, () => `${id} had saved, and its move tells of ${String(workLostMs)} ms that were lost`);
    const leftAtStep = containers.findLast((container) => container.attempts.includes(id))?.leftAtStep ?? null;
    if (leftAtStep === null) return;
    counts.movesWithoutLoss += 1;
    const began = jobs.get(jobId)?.checkpoints.find(({ seq }) => seq === fromSeq);
    const step = began === undefined ? null : stepOf(began.tree);
    check(step === leftAtStep, () => `${id} left at step ${leftAtStep}, and its successor begins at step ${step}`);
  }

  return {
    counts,
    fired,
    jobs,
    attempts,
    standbys,
    transfers,
    containers,
    fakes,
    unproven: () => (world.faults.proofs ? [...workerRows.values()].flatMap(unprovenOf) : []),
    stepped(event, result) {
      counts.steps += 1;
      // After a restart the last commit is the last moment of which anything is known.
      if (event.kind === "boot")
        for (const id of offered.keys()) heard.set(id, Math.max(heard.get(id) ?? 0, committedAtMs));
      if ("sessionId" in event && event.kind !== "worker.closed") heard.set(event.workerId, world.nowMs());
      for (const row of result.fired) fired.add(row);
      for (const { kind } of result.incidents) {
        if (kind === "promotion") counts.promotions += 1;
        else if (kind === "failover") counts.failovers += 1;
        else if (kind === "undo") counts.undos += 1;
        else if (kind === "disagreement") counts.disagreements += 1;
        else counts.staleRefused += 1;
      }
    },
    committed(batch, nowMs) {
      committedAtMs = nowMs;
      const touched: Touched = { workers: new Set(), jobs: new Set() };
      for (const changes of batch) {
        for (const change of changes.puts) put(change, nowMs, touched);
        changes.transfers.forEach(transferred);
        for (const log of changes.logs) {
          const job = jobs.get(log.jobId);
          const epoch = job === undefined ? undefined : epochOf(job, log.replica);
          check(log.stream === "marker" || log.epoch === epoch, () => {
            return `invariant 2: a log line of ${log.jobId} epoch ${log.epoch} was taken at epoch ${epoch}`;
          });
        }
        for (const { kind, jobId, data } of changes.events) {
          if (jobId !== null) world.note(`${jobId} ${kind}`);
          if (jobId !== null && kind === "moved") checkMove(jobId, data);
        }
      }
      touched.workers.forEach(checkWorker);
      touched.jobs.forEach(checkJob);
    },
    delivered(workerId, message, re) {
      if (message.kind === "assign" || message.kind === "promote" || message.kind === "adopt") {
        const row = durable(message.attempt);
        check(row?.workerId === workerId, () => {
          return `${message.kind} of ${attemptId(message.attempt)} reached ${workerId} and is not durable`;
        });
      }
      if (message.kind === "earnings") checkEarnings(workerId, message.totals);
      if (message.kind === "direct.peer") checkPeer(workerId, message);
      if (message.kind !== "ack" || re === undefined) return;
      if (re.kind === "ended") {
        const row = durable(re.attempt);
        check(row === undefined || ATTEMPT_ENDS.has(row.phase), () => {
          return `the end of ${attemptId(re.attempt)} is acknowledged and not durable`;
        });
      } else if (re.kind === "checkpoint") {
        const job = store.job(re.attempt.jobId)?.job;
        const newest = (job === undefined ? undefined : checkpointsOf(job, re.attempt.replica).at(-1)?.seq) ?? 0;
        // A comparison, or the end, may have thrown the whole chain away meanwhile.
        const isThrown = job?.mirror !== undefined && (JOB_ENDS.has(job.phase) || job.mirror.results.length > 1);
        check(
          isThrown || newest >= re.seq,
          () => `checkpoint ${re.seq} of ${re.attempt.jobId} is acknowledged and not durable`,
        );
      }
    },
    container(workerId) {
      const truth: ContainerTruth = { workerId, startedAtMs: null, endedAtMs: null, attempts: [], leftAtStep: null };
      containers.push(truth);
      return truth;
    },
  };
}

/** As it is claimed now; `null`: cores and memory. */
function isProven({ offer, proofs }: WorkerRecord, uuid: string | null): boolean {
  const proof = proofs.find(({ target }) => target === (uuid === null ? "cpu" : `gpu:${uuid}`));
  if (proof === undefined || offer === null) return false;
  if (uuid === null) return proof.cpus >= offer.cpus && proof.memoryMiB >= offer.memoryMiB;
  const gpu = offer.gpus.find((other) => other.uuid === uuid);
  return gpu === undefined || (gpu.model === proof.model && gpu.memoryMiB <= proof.memoryMiB);
}

interface Touched {
  readonly workers: Set<WorkerId>;
  readonly jobs: Set<JobId>;
}

function setOf<K>(sets: Map<K, Set<string>>, key: K): Set<string> {
  let set = sets.get(key);
  if (set === undefined) {
    set = new Set();
    sets.set(key, set);
  }
  return set;
}
