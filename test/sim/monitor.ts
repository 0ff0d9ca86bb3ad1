// Watches everything that is committed, and everything that leaves the orchestrator, and breaks the run when an invariant does not hold.
// It knows the truth that the orchestrator cannot know: when each simulated container really ran.
import {
  type Allocation,
  type AttemptRecord,
  type CaseRecord,
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
  type ChunkCid,
  type JobId,
  type Money,
  type SessionId,
  type WorkerId,
} from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import type { WorkerMessageBody } from "@qubix/worker/core";
import { check, type Counts, createCounts } from "./counts.ts";
import { createHoldWatch } from "./hold-watch.ts";
import { createKeptWatch } from "./kept-watch.ts";
import { checkBudgets, checkCheckpoints, checkDamage } from "./job-checks.ts";
import { networkOf } from "./network.ts";
import { fakeKey, type Fakes } from "./proofs.ts";
import { createStandbyWatch } from "./standby-watch.ts";
import type { Trees } from "./trees.ts";
import type { ContainerTruth, Seen } from "./truth.ts";
import type { World } from "./world.ts";

export interface Monitor {
  readonly counts: Counts;
  readonly fired: Set<string>;
  readonly jobs: ReadonlyMap<JobId, JobRecord>;
  readonly cases: ReadonlyMap<string, CaseRecord>;
  readonly attempts: ReadonlyMap<string, Seen<AttemptRecord>>;
  readonly standbys: ReadonlyMap<string, Seen<StandbyRecord>>;
  readonly transfers: readonly TransferRecord[];
  readonly containers: readonly ContainerTruth[];
  /** Hardware that is claimed and not there. */
  readonly fakes: Fakes;
  /** Machines that are lost for good. */
  readonly lost: Set<WorkerId>;
  /** Workers that did not look for stalls at some time. */
  readonly blind: ReadonlySet<WorkerId>;
  /** Hardware that is there, may be proven, and is not. */
  unproven(): readonly string[];
  stepped(event: CoreEvent, result: StepResult): void;
  committed(batch: readonly Changes[], nowMs: number): void;
  /** A message of the orchestrator reached a worker: what it says must be durable. `re`: what it answers. */
  delivered(workerId: WorkerId, message: OrchestratorMessage, re: WorkerMessageBody | undefined): void;
  container(workerId: WorkerId): ContainerTruth;
  /** A name that no session had before. */
  nextSession(): SessionId;
  /** A frame of this worker reached the orchestrator's machine, whether or not it was read. */
  arrived(workerId: WorkerId): void;
  /** The orchestrator stands still for so long, or is away: what it owes within a time it owes later. */
  disturbed(ms: number): void;
  /** Whether an attempt of this job is active on this worker. */
  holds(workerId: WorkerId, jobId: JobId): boolean;
  /** Whether this tree is the newest checkpoint of a job that goes on. */
  isNewest(jobId: JobId, cid: ChunkCid): boolean;
}

const ATTEMPT_ENDS: ReadonlySet<string> = new Set(["ended", "lost", "fenced"]);
const STANDBY_ENDS: ReadonlySet<string> = new Set(["promoted", "released", "lost"]);
const JOB_ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

/** No worker is silent that was heard within this time: less than any limit of the core… */
const HEARD_MS = 1_000;
const STEADY_MS = 2_500;
/** …and what came just now may not have been read, as when the process was late by less than it notices. */
const UNREAD_MS = 400;
const ARRIVALS_KEPT = 24;

export function createMonitor(world: World, store: Store, trees: Trees): Monitor {
  const jobs = new Map<JobId, JobRecord>();
  const cases = new Map<string, CaseRecord>();
  /** By worker and currency: what its row said at most. */
  const mostEarned = new Map<string, bigint>();
  const attempts = new Map<string, Seen<AttemptRecord>>();
  const standbys = new Map<string, Seen<StandbyRecord>>();
  const workerRows = new Map<WorkerId, WorkerRecord>();
  const fakes: Fakes = new Set();
  const lost = new Set<WorkerId>();
  const blind = new Set<WorkerId>();
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
  /** The newest checkpoint of each replica that was ever durable; it may have been given up since. */
  const newestEver = new Map<string, number>();
  /** The first replica's checkpoints by job and number: by the time a move is over, the one it began from may be kept no more. */
  const saved = new Map<string, ChunkCid>();
  const arrivals = new Map<WorkerId, number[]>();
  const standbyWatch = createStandbyWatch(world, counts);
  const holdWatch = createHoldWatch(world, counts, networkOf);
  const keptWatch = createKeptWatch(counts);
  let sessions = 0;

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
        touched.workers.add(change.record.id);
        return;
      case "balances":
        check(change.record.amount >= 0n || change.record.account.startsWith("external:"), () => {
          return `invariant 5: ${change.key} would be ${change.record?.amount}`;
        });
        return;
      case "cases":
        putCase(change.record);
        return;
      case "accounts":
      case "apiKeys":
      case "enrolments":
      case "idempotency":
      case "uploads":
      case "budgets":
      case "spending":
      case "verifications":
      case "reservations":
      case "releases":
      case "chainPays":
      case "payouts":
      case "payoutAddresses":
      case "depositAddresses":
        return;
      default:
        unreachable(change);
    }
  }

  function putJob(job: JobRecord): void | undefined {
    const before = jobs.get(job.id);
    if (before !== undefined) {
      if (JOB_ENDS.has(before.phase)) return putEnded(before, job);
      check(job.epoch >= before.epoch, () => `invariant 2: the epoch of ${job.id} fell`);
      const mayFall = JOB_ENDS.has(job.phase) && job.mirror !== undefined && job.mirror.thirdAfter !== null;
      check(mayFall || job.creditedMs >= before.creditedMs, () => `invariant 6: the credit of ${job.id} fell`);
      check(epochOf(job, 1) >= epochOf(before, 1), () => `invariant 2: the epoch of ${job.id}'s replica 1 fell`);
    }
    checkBudgets(job);
    checkDamage(before, job);
    const replicas = job.mirror === undefined ? [0] : [0, 1];
    for (const replica of replicas) checkCheckpoints(trees, counts, before, job, replica);
    jobs.set(job.id, job);
    for (const replica of replicas) {
      const kept = checkpointsOf(job, replica);
      // Rows are never changed in place: what is the same array was noted with the row before.
      if (before !== undefined && checkpointsOf(before, replica) === kept) continue;
      if (replica === 0) for (const { seq, tree } of kept) saved.set(`${job.id} ${seq}`, tree.manifestCid);
      const chain = chainOf(job.id, replica);
      newestEver.set(chain, Math.max(newestEver.get(chain) ?? 0, kept.at(-1)?.seq ?? 0));
    }
    if (!JOB_ENDS.has(job.phase)) return;
    check(job.settlement.phase === "settled", () => `invariant 5: ${job.id} ended without its settlement`);
    if (job.mirror?.verified === true) counts.verified += 1;
    if (job.reason === "budget_exhausted") counts.budgetEnds += 1;
    if (job.phase === "succeeded") counts.succeeded += 1;
    else if (job.phase === "failed") counts.failed += 1;
    else counts.cancelled += 1;
  }

  /** Invariant 6: nothing is taken of a stake without evidence, and nothing more than the rule says. */
  function putCase(record: CaseRecord): void {
    const before = cases.get(record.id);
    check(before === undefined || before.endedAtMs === null || record.kind === "rating", () => {
      return `${record.id} changed after its end`;
    });
    if (record.kind === "slash") {
      check(record.evidence.length > 2, () => `invariant 6: ${record.id} has no evidence`);
      check(record.amount <= record.due, () => `invariant 6: ${record.id} takes ${record.amount} of ${record.due}`);
    }
    cases.set(record.id, record);
    if (before === undefined) {
      if (record.kind === "rating") counts.ratings += 1;
      else if (record.kind === "dispute") counts.disputes += 1;
      else if (record.kind === "slash") counts.slashes += 1;
    }
  }

  /** After its end a job's consumer may remove checkpoints of it; nothing else changes. */
  function putEnded(before: JobRecord, job: JobRecord): void {
    const isSame = job.phase === before.phase && job.settlement === before.settlement && job.outputs === before.outputs;
    const isFewer = job.checkpoints.every((checkpoint) => before.checkpoints.includes(checkpoint));
    check(isSame && isFewer, () => `invariant 4: ${job.id} changed after its end as ${before.phase}`);
    jobs.set(job.id, job);
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
    if (lost.has(id) || offer?.features?.includes("proofs") !== true || offer.draining || worker.draining) return [];
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
    if (!standbys.has(row.id)) standbyWatch.reserved(row.jobId);
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
    for (const { amount, currency } of worker.earned) {
      const key = `${id} ${currency}`;
      if (amount > (mostEarned.get(key) ?? 0n)) mostEarned.set(key, amount);
    }
    if (offer !== null && offer.features?.includes("stalls") !== true) blind.add(id);
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
    const held = holders.get(workerId)?.size ?? 0;
    check(held === 0 || workerRows.get(workerId)?.phase !== "offline", () => {
      return `invariant 6: ${workerId} is given up, and ${held} attempts and standbys on it are not`;
    });
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

  /** What a worker is told lies in settlements that are durable; it may lie behind them, and behind a dispute by which some of it went back. */
  function checkEarnings(workerId: WorkerId, totals: readonly Money[]): void {
    const row = workerRows.get(workerId);
    check(row?.offer?.features?.includes("earnings") === true, () => `${workerId} does not know the message earnings`);
    for (const { amount, currency } of totals) {
      // What is taken back for a wrong result was earned when it was said.
      const earned = mostEarned.get(`${workerId} ${currency}`) ?? 0n;
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

  /** Silence is of the worker's making, not of ours: what we did not listen does not count, and after a long stall the sockets are read first. */
  function checkSilence(workerId: WorkerId): void {
    const nowMs = world.nowMs();
    const ages = (arrivals.get(workerId) ?? []).map((atMs) => nowMs - atMs);
    // Was heard all the time, and not just in the moment in which it came back.
    const unread = ages.findLast((ageMs) => ageMs > UNREAD_MS && ageMs < HEARD_MS);
    const isSteady = ages.some((ageMs) => ageMs >= HEARD_MS && ageMs < STEADY_MS);
    check(unread === undefined || !isSteady, () => `${workerId} was called silent, and was heard ${unread} ms before`);
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
    const began = saved.get(`${jobId} ${String(fromSeq)}`);
    const step = began === undefined ? null : trees.stateOf(began)?.step;
    check(step === leftAtStep, () => `${id} left at step ${leftAtStep}, and its successor begins at step ${step}`);
  }

  /** Whoever gets on is left alone, whatever its machine or its guard made it wait for. */
  function checkStall(jobId: JobId, { workerId, epoch, signals }: Readonly<Record<string, unknown>>): void {
    counts.stalls += 1;
    const isIt = (id: AttemptId) => id.startsWith(`${jobId}/`) && id.endsWith(`/${String(epoch)}`);
    const truth = containers.findLast((container) => container.workerId === workerId && container.attempts.some(isIt));
    check(truth !== undefined && truth.hungAtMs !== null, () => {
      return `${jobId} was taken for stalled (${String(signals)}), and gets on`;
    });
  }

  return {
    counts,
    fired,
    jobs,
    cases,
    attempts,
    standbys,
    transfers,
    containers,
    fakes,
    lost,
    blind,
    unproven: () => (world.faults.proofs ? [...workerRows.values()].flatMap(unprovenOf) : []),
    stepped(event, result) {
      counts.steps += 1;
      // After a restart the last commit is the last moment of which anything is known.
      if (event.kind === "boot") {
        standbyWatch.disturbed(0);
        holdWatch.restarted();
        keptWatch.restarted();
        for (const id of offered.keys()) heard.set(id, Math.max(heard.get(id) ?? 0, committedAtMs));
      }
      if ("sessionId" in event && event.kind !== "worker.closed") heard.set(event.workerId, world.nowMs());
      for (const row of result.fired) fired.add(row);
      for (const { kind } of result.incidents) {
        if (kind === "promotion") counts.promotions += 1;
        else if (kind === "failover") counts.failovers += 1;
        else if (kind === "undo") counts.undos += 1;
        else if (kind === "disagreement") counts.disagreements += 1;
        else if (kind === "egress_cut") counts.egressCuts += 1;
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
        for (const { kind, jobId, workerId, data } of changes.events) {
          if (jobId !== null) world.note(`${jobId} ${kind}`);
          if (kind === "worker_suspect" && data["why"] === "silent" && workerId !== null) checkSilence(workerId);
          if (kind === "checkpoint_removed") counts.checkpointsRemoved += 1;
          if (jobId !== null && kind === "moved") checkMove(jobId, data);
          if (jobId !== null && kind === "stalled") checkStall(jobId, data);
          if (jobId !== null) keptWatch.event(jobId, kind, data);
          if (jobId !== null) standbyWatch.event(jobs.get(jobId), kind, data);
          else holdWatch.event(kind, workerId, data);
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
        check(
          (newestEver.get(chainOf(re.attempt.jobId, re.attempt.replica)) ?? 0) >= re.seq,
          () => `checkpoint ${re.seq} of ${re.attempt.jobId} is acknowledged and not durable`,
        );
      }
    },
    nextSession() {
      sessions += 1;
      return `ses-${sessions}` as SessionId;
    },
    arrived(workerId) {
      const times = arrivals.get(workerId) ?? [];
      arrivals.set(workerId, times);
      if (times.push(world.nowMs()) > ARRIVALS_KEPT) times.shift();
    },
    disturbed(ms) {
      standbyWatch.disturbed(ms);
      holdWatch.disturbed(ms);
    },
    holds: (workerId, jobId) =>
      [...(active.get(jobId) ?? [])].some((id) => attempts.get(id)?.row.workerId === workerId),
    isNewest(jobId, cid) {
      const job = jobs.get(jobId);
      return (
        job !== undefined && [0, 1].some((replica) => checkpointsOf(job, replica).at(-1)?.tree.manifestCid === cid)
      );
    },
    container(workerId) {
      const truth: ContainerTruth = {
        workerId,
        startedAtMs: null,
        endedAtMs: null,
        attempts: [],
        leftAtStep: null,
        hungAtMs: null,
      };
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

function chainOf(jobId: JobId, replica: number): string {
  return `${jobId}/${replica}`;
}

function setOf<K>(sets: Map<K, Set<string>>, key: K): Set<string> {
  let set = sets.get(key);
  if (set === undefined) {
    set = new Set();
    sets.set(key, set);
  }
  return set;
}
