// What must hold between any two steps. For tests: it goes through everything.
import type { JobId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { accruingPerHour, chargedSoFar } from "../charges.ts";
import { waitsForLease } from "../exclusive.ts";
import { isActiveAttempt, isLiveStandby, waitsForPlace } from "../indexes.ts";
import { capOf, mayCost } from "../job-cap.ts";
import { machineLoad } from "../market.ts";
import { deadlineKey } from "../silence.ts";
import { epochOf, openRuns, runOf } from "../mirror-state.ts";
import type { AttemptRecord, JobRecord } from "../model.ts";
import type { AccountLine } from "../queue.ts";
import type { CoreState } from "../state.ts";

/** Throws when the state contradicts itself. */
export function checkInvariants(state: CoreState): void {
  checkMoney(state);
  checkCaps(state);
  checkCapacity(state);
  checkJobs(state);
  checkQueue(state);
  checkKept(state);
  checkWanted(state);
  checkProofs(state);
}

/** What is under a challenge is bounded by a deadline, connected, and takes no new work there. */
function checkProofs(state: CoreState): void {
  const { proving } = state.volatile;
  assert(proving.size <= state.config.proofsUnderWayMax, `${proving.size} machines are under challenges`);
  for (const machine of state.ix.machines.values()) {
    assert(proving.has(machine) === machine.proving.size > 0, `the challenges of ${machine.id} are not counted`);
    if (machine.proving.size === 0) continue;
    assert(state.deadlines.atMs(deadlineKey.challenge(machine.id)) !== undefined, `${machine.id} may prove for ever`);
    assert(machine.worker.sessionId !== null && machine.worker.phase !== "offline", `${machine.id} proves nothing`);
    for (const { target, committedAtMs } of machine.proving.values()) {
      assert(machine.owes.has(target) === (committedAtMs === null), `${machine.id} owes ${[...machine.owes].join()}`);
      if (committedAtMs !== null) continue;
      const busy = target === "cpu" ? machineLoad(machine) > 0 : machine.usedGpus.has(target.slice("gpu:".length));
      assert(!busy, `${target} of ${machine.id} got work while it is proven`);
    }
  }
}

/** What is missing behind, or beside, a running job is being sought, or waits for capacity. */
function checkWanted(state: CoreState): void {
  const { openStandbys, blockedStandbys } = state.volatile;
  for (const job of state.rows.jobs.values()) {
    const runs = job.phase === "starting" || job.phase === "running";
    const lacks =
      job.mirror === undefined ? job.spec.standby === "hot" && job.standbyId === null : openRuns(job).length > 0;
    const isWanted = runs && job.intent === null && lacks;
    assert(state.ix.wantedStandbys.has(job.id) === isWanted, `${job.id} is ${isWanted ? "" : "not "}to be completed`);
    const isSought = openStandbys.has(job.id) || blockedStandbys.has(job.id);
    assert(isSought === isWanted, `nobody seeks what ${job.id} lacks, or somebody what it does not`);
  }
}

/** What is set aside, or pending, is told by rows, to the unit. */
function checkReservations({ rows }: CoreState): void {
  for (const { id, currency, amount } of rows.reservations.values()) {
    const held = rows.balances.get(`reserved:${id} ${currency}`)?.amount;
    assert(amount > 0n && held === amount, `${id} reserves ${amount}, its account holds ${held}`);
  }
}

function checkReleases({ rows, deadlines }: CoreState): void {
  const pending = new Map<string, bigint>();
  for (const { id, providerId, currency, amount } of rows.releases.values()) {
    assert(amount > 0n, `the pay of ${id} is ${amount}`);
    assert(deadlines.atMs(deadlineKey.release(id)) !== undefined, `${id} is never released`);
    const key = `pending:${providerId} ${currency}`;
    pending.set(key, (pending.get(key) ?? 0n) + amount);
  }
  for (const [key, { account, amount }] of rows.balances) {
    if (!account.startsWith("pending:")) continue;
    assert((pending.get(key) ?? 0n) === amount, `${key} holds ${amount}, its hours ${pending.get(key)}`);
    pending.delete(key);
  }
  assert(pending.size === 0, `${[...pending.keys()].join()} are released from nothing`);
}

function checkMoney(state: CoreState): void {
  const sums = new Map<string, bigint>();
  for (const { account, currency, amount } of state.rows.balances.values()) {
    sums.set(currency, (sums.get(currency) ?? 0n) + amount);
    assert(amount >= 0n || account.startsWith("external:"), `${account} is overdrawn`);
  }
  for (const [currency, sum] of sums) assert(sum === 0n, `${currency} sums to ${sum}`);
  checkReservations(state);
  checkReleases(state);
}

/** No job has cost more than it may, whatever was settled or lowered; and the budgets know what all may cost. */
function checkCaps(state: CoreState): void {
  const mayCostOf = new Map<string, bigint>();
  for (const job of state.rows.jobs.values()) {
    const key = `${job.accountId} ${job.currency}`;
    mayCostOf.set(key, (mayCostOf.get(key) ?? 0n) + mayCost(job));
    assert(capOf(job) >= 0n && capOf(job) <= job.settlement.hold, `${job.id} may cost ${capOf(job)}`);
    if (job.mirror === undefined) assert(chargedSoFar(state, job) <= capOf(job), `${job.id} costs more than its cap`);
    const isWatched = job.cap !== undefined && job.intent === null && job.phase === "running";
    if (isWatched && accruingPerHour(state, job) > 0n) {
      assert(state.deadlines.atMs(deadlineKey.budget(job.id)) !== undefined, `nobody looks at the budget of ${job.id}`);
    }
  }
  for (const [key, cost] of mayCostOf) {
    assert(
      (state.ix.mayCost.get(key) ?? 0n) === cost,
      `${key} may cost ${cost}, and ${state.ix.mayCost.get(key)} is counted`,
    );
  }
}

function checkCapacity(state: CoreState): void {
  const taken = new Map<string, { cpu: number; memory: number; disk: number; gpus: string[]; load: number }>();
  const take = (workerId: string, allocation: AllocationLike): void => {
    const sum = taken.get(workerId) ?? { cpu: 0, memory: 0, disk: 0, gpus: [], load: 0 };
    sum.cpu += allocation.cpuMilli;
    sum.memory += allocation.memoryMiB;
    sum.disk += allocation.diskMiB;
    sum.gpus.push(...allocation.gpuUuids);
    sum.load += 1;
    taken.set(workerId, sum);
  };
  for (const attempt of state.rows.attempts.values())
    if (isActiveAttempt(attempt)) take(attempt.workerId, attempt.allocation);
  for (const standby of state.rows.standbys.values())
    if (isLiveStandby(standby)) take(standby.workerId, standby.allocation);
  for (const machine of state.ix.machines.values()) {
    const sum = taken.get(machine.id) ?? { cpu: 0, memory: 0, disk: 0, gpus: [], load: 0 };
    assert(machine.usedCpuMilli === sum.cpu && machine.usedMemoryMiB === sum.memory, `usage of ${machine.id} is wrong`);
    assert(machine.usedDiskMiB === sum.disk, `disk usage of ${machine.id} is wrong`);
    assert(new Set(sum.gpus).size === sum.gpus.length, `a GPU of ${machine.id} is taken twice`);
    assert(machine.usedGpus.size === sum.gpus.length, `GPUs of ${machine.id} are wrong`);
    assert(machine.attempts.size + machine.standbys.size === sum.load, `load of ${machine.id} is wrong`);
  }
}

/** Each open line is found at the place of its first job. */
function checkQueue({ ix: { queue } }: CoreState): void {
  for (const { accountId, open, byOrder } of queue.accounts.values()) {
    for (const line of open) {
      const order = line.waiting[line.head]?.order;
      const found = byOrder.entries.some((entry) => entry.line === line && entry.order === order);
      assert(found, `a line of ${accountId} is open and would never be served`);
    }
  }
}

/** A machine is kept for one job, which waits; and it is looked at who waits as long as anybody does. */
function checkKept({ ix, volatile, deadlines }: CoreState): void {
  for (const machine of ix.machines.values()) {
    const { keptFor, id } = machine;
    assert(keptFor === null || volatile.keptPlaces.get(keptFor) === machine, `${id} is kept for nobody`);
  }
  for (const [jobId, machine] of volatile.keptPlaces) {
    assert(machine.keptFor === jobId, `the machine of ${jobId} is not kept for it`);
    assert(
      [...ix.queue.accounts.values()].some((account) => waitsIn(account, jobId)),
      `${jobId} keeps a machine and waits for none`,
    );
  }
  assert(ix.queue.size === 0 || deadlines.atMs(deadlineKey.longWaits) !== undefined, "nobody looks at who waits");
}

function waitsIn({ lines }: AccountLine, jobId: JobId): boolean {
  return [...lines.values()].some(({ waiting, head }) => waiting.some((one, at) => at >= head && one.jobId === jobId));
}

/** Invariant 7: whatever a job waits for, a deadline bounds it. */
function checkDeadlines(state: CoreState, job: JobRecord): void {
  const has = (key: string): boolean => state.deadlines.atMs(key) !== undefined;
  if (waitsForLease(job)) assert(has(deadlineKey.lease(job.id)), `${job.id} waits for a lease for ever`);
  else if (job.phase === "queued") assert(has(deadlineKey.queue(job.id)), `${job.id} waits for ever`);
  else if (job.intent !== null) assert(has(deadlineKey.stop(job.id)), `${job.id} stops for ever`);
  if (job.move?.phase === "preparing" || job.move?.phase === "saving") {
    assert(has(deadlineKey.move(job.id)) || job.intent !== null, `${job.id} moves for ever`);
  }
  for (const attempt of state.rows.attempts.values()) {
    if (attempt.jobId !== job.id || !isActiveAttempt(attempt)) continue;
    const key = attempt.phase === "running" ? deadlineKey.duration(attempt.id) : deadlineKey.attempt(attempt.id);
    assert(has(key) || job.intent !== null, `${attempt.id} is ${attempt.phase} for ever`);
  }
  for (const machine of state.ix.machines.values()) {
    if (machine.worker.phase !== "offline")
      assert(has(deadlineKey.worker(machine.id)), `${machine.id} may be silent for ever`);
  }
}

interface AllocationLike {
  readonly gpuUuids: readonly string[];
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** The newest are kept, with perhaps one that the standby fetches; each is the job's own and comes after the one before. */
function checkCheckpoints({ id, spec, checkpoints }: JobRecord): void {
  assert(checkpoints.length <= spec.checkpoint.keep + 1, `${id} keeps ${checkpoints.length} checkpoints`);
  for (const [index, { jobId, seq, parentSeq }] of checkpoints.entries()) {
    assert(jobId === id, `${id} keeps a checkpoint of ${jobId}`);
    const before = checkpoints[index - 1];
    assert(before === undefined || before.seq < seq, `${id} keeps checkpoint ${seq} after ${before?.seq}`);
    assert(parentSeq < seq, `checkpoint ${seq} of ${id} has the parent ${parentSeq}`);
  }
}

/** Two replicas at most, each once, on machines of providers who have no part in another run; results of different runs. */
function checkMirror(job: JobRecord, attempts: readonly AttemptRecord[], active: readonly AttemptRecord[]): void {
  const { mirror } = job;
  assert(mirror !== undefined || attempts.every(({ replica }) => replica === 0), `${job.id} has a replica too many`);
  if (mirror === undefined) return;
  for (const replica of [0, 1]) {
    const isActive = active.some((attempt) => attempt.replica === replica);
    assert(mirror.active[replica] === isActive, `${job.id} is wrong about its replica ${replica}`);
  }
  const runs = new Map<string, number>();
  for (const attempt of attempts) {
    if (!attempt.committed && !isActiveAttempt(attempt)) continue;
    const run = runOf(job, attempt);
    assert((runs.get(attempt.providerId) ?? run) === run, `${attempt.providerId} has part in two runs of ${job.id}`);
    runs.set(attempt.providerId, run);
  }
  const ran = mirror.results.map(({ run }) => run);
  assert(new Set(ran).size === ran.length, `${job.id} has two results of one run`);
  checkCheckpoints({ ...job, checkpoints: mirror.checkpoints });
}

function checkJobs(state: CoreState): void {
  let queued = 0;
  for (const job of state.rows.jobs.values()) {
    assert(job.endedAtMs === null, `${job.id} ended and is in memory`);
    const setAside = state.volatile.setAside.has(job.id);
    assert(
      !setAside || state.deadlines.atMs(deadlineKey.requeue(job.id)) !== undefined,
      `${job.id} is set aside for ever`,
    );
    checkDeadlines(state, job);
    checkCheckpoints(job);
    assert(!waitsForLease(job) || job.phase === "queued", `${job.id} is ${job.phase} and waits for a lease`);
    if (waitsForPlace(job) && !setAside) queued += 1;
    const attempts = [...state.rows.attempts.values()].filter((attempt) => attempt.jobId === job.id);
    const active = attempts.filter(isActiveAttempt);
    const most = job.phase === "queued" ? 0 : job.mirror === undefined ? 1 : 2;
    const isRight = active.length === most || (most === 2 && active.length === 1);
    assert(isRight, `${job.id} is ${job.phase} with ${active.length} active attempts`);
    assert(
      active.every((attempt) => attempt.epoch === epochOf(job, attempt.replica)),
      `${job.id} has a stale active attempt`,
    );
    checkMirror(job, attempts, active);
    const credited = attempts.reduce((sum, attempt) => sum + attempt.creditedMs, 0);
    assert(credited === job.creditedMs, `${job.id}: ${credited} credited, ${job.creditedMs} noted`);
    const escrow = state.rows.balances.get(`escrow:${job.id} ${job.currency}`)?.amount ?? 0n;
    assert(escrow === job.settlement.hold, `${job.id}: escrow ${escrow} is not its hold`);
    const standbys = [...state.rows.standbys.values()].filter((one) => one.jobId === job.id && isLiveStandby(one));
    assert(standbys.length <= 1, `${job.id} has ${standbys.length} standbys`);
    assert((standbys[0]?.id ?? null) === job.standbyId, `${job.id} does not know its standby`);
    const mayHave = job.spec.standby !== "cold" || job.move !== undefined;
    assert(mayHave || job.standbyId === null, `${job.id} is cold, does not move, and pays a standby`);
  }
  assert(queued === state.ix.queue.size, `${queued} jobs wait, ${state.ix.queue.size} are in the queue`);
}
