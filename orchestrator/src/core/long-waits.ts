// Whoever asks for much must not wait for ever beside those who ask for little, and take each small gap as it opens. Now and then it is looked at who waits: the
// consumer whose turn it is by fair share, with a job that has waited for long, has a machine kept for its oldest such job, the one that will have room for it soonest.
import type { AttemptRecord, JobRecord } from "./model.ts";
import { refusedByCheck } from "./check-places.ts";
import { requestOf } from "./indexes.ts";
import { freePlace, keepPlace } from "./kept-places.ts";
import type { Machine } from "./machine.ts";
import { affordable, isOpen, type OfferRequest, wouldSuit } from "./market.ts";
import { isHeld } from "./mass-silence.ts";
import { MS_PER_S } from "./metering.ts";
import { refusedByMirror } from "./mirror.ts";
import { type AccountLine, blockedLines, neediestFirst, type Signature } from "./queue.ts";
import { watchLongWaits } from "./queue-deadline.ts";
import { fitsWhenIdle, gpuFits, gpuIsFree, type Needs, pickGpusWhenIdle } from "./resources.ts";
import { isUnsteady } from "./standing.ts";
import type { CoreState } from "./state.ts";
import { emitJob, jobOf, liveStandby } from "./tables.ts";

/** Keeps at most one more machine at a time, so that a step stays short. */
export function onLongWaitsDue(state: CoreState): void {
  const { ix, config, volatile } = state;
  if (ix.queue.size === 0) return;
  watchLongWaits(state);
  for (const [jobId, machine] of volatile.keptPlaces) {
    const job = jobOf(state, jobId);
    if (isAble(machine, requestOf(job))) continue;
    freePlace(state, jobId);
    emitJob(state, job, "place_freed", { workerId: machine.id });
  }
  const most = Math.max(1, Math.floor(ix.machines.size * config.keptPlacesShare));
  if (volatile.keptPlaces.size >= Math.min(most, config.keptPlacesMax)) return;
  const served = new Set([...volatile.keptPlaces.keys()].map((jobId) => jobOf(state, jobId).accountId));
  let looks = config.longWaitLooksMax;
  for (const account of neediestFirst(ix.queue, ix.usage, ix.totals)) {
    if (served.has(account.accountId)) continue;
    for (const { signature, job } of longWaiting(state, account)) {
      const machine = soonestRoom(state, job);
      if (machine !== undefined) {
        keepPlace(state, job.id, machine);
        return emitJob(state, job, "place_kept", { workerId: machine.id, waitedMs: state.nowMs - job.queuedAtMs });
      }
      // Nobody is large enough, or suits: that changes seldom.
      signature.unableUntilMs = state.nowMs + longMs(state, job);
      looks -= ix.machines.size;
      if (looks <= 0) return;
    }
  }
}

interface LongWaiting {
  readonly signature: Signature;
  readonly job: JobRecord;
}

/** The first jobs of a consumer's lines that wait for capacity, as far as they have waited long, oldest first. */
function longWaiting(state: CoreState, account: AccountLine): readonly LongWaiting[] {
  const { nowMs } = state;
  const first = [...blockedLines(account)].flatMap(({ line: { signature }, waiting }) => {
    const job = signature.unableUntilMs > nowMs ? undefined : jobOf(state, waiting.jobId);
    const isLong = job !== undefined && !isCanary(job) && nowMs - job.queuedAtMs >= longMs(state, job);
    return isLong ? [{ signature, job, order: waiting.order }] : [];
  });
  return first.toSorted((a, b) => a.order - b.order);
}

/** The operator's own: no consumer waits for it. */
function isCanary({ check, id }: JobRecord): boolean {
  return check?.of === id;
}

/** Sooner for a job that gives up soon. */
function longMs({ config }: CoreState, { spec }: JobRecord): number {
  return Math.min(config.longWaitMs, spec.queueS * MS_PER_S * config.longWaitShare);
}

/** The machine that has room for it first, should everything there run as long as it may; one with GPUs is not kept for who needs none, if another will do. */
function soonestRoom(state: CoreState, job: JobRecord): Machine | undefined {
  const request = requestOf(job);
  // Which of its GPUs are free now says nothing of a machine that is to become free.
  const isRefused = refusedByMirror(state, job, pickGpusWhenIdle);
  const isApart = refusedByCheck(state, job, pickGpusWhenIdle);
  const standbyAt = liveStandby(state, job)?.workerId;
  let best: { readonly machine: Machine; readonly rank: number; readonly atMs: number } | undefined;
  for (const machine of state.ix.machines.values()) {
    if (machine.keptFor !== null || machine.id === standbyAt || !isAble(machine, request)) continue;
    if (isHeld(state, machine) || isRefused(machine) || isApart(machine)) continue;
    const rank = rankOf(state, job, machine, request.needs);
    const atMs = roomAtMs(state, machine, request.needs);
    if (best === undefined || rank < best.rank || (rank === best.rank && atMs < best.atMs)) {
      best = { machine, rank, atMs };
    }
  }
  return best?.machine;
}

function isAble(machine: Machine, request: OfferRequest): boolean {
  if (!isOpen(machine) || !machine.coresListed) return false;
  return wouldSuit(machine, request) && fitsWhenIdle(machine, request.needs) && affordable(machine, request);
}

function rankOf(state: CoreState, job: JobRecord, machine: Machine, needs: Needs): number {
  const wastesGpus = needs.gpus === 0 && (machine.worker.offer?.gpus.length ?? 0) > 0;
  return (
    (wastesGpus ? 1 : 0) + (isUnsteady(state, machine) ? 2 : 0) + (job.troubledWorkers.includes(machine.id) ? 4 : 0)
  );
}

/** When so much of what is there has ended, at the latest, that there is room. Standbys end with the attempts that they stand behind. */
function roomAtMs(state: CoreState, machine: Machine, needs: Needs): number {
  const { offer } = machine.worker;
  const free = {
    cpuMilli: machine.cpuMilli - machine.usedCpuMilli,
    memoryMiB: (offer?.memoryMiB ?? 0) - machine.usedMemoryMiB,
    diskMiB: (offer?.diskMiB ?? 0) - machine.usedDiskMiB,
    gpus: new Set<string>(),
  };
  const fitting = (offer?.gpus ?? []).filter((gpu) => gpuFits(gpu, needs)).map(({ uuid }) => uuid);
  for (const uuid of fitting) if (gpuIsFree(machine, uuid)) free.gpus.add(uuid);
  const hasRoom = () =>
    free.cpuMilli >= needs.cpuMilli &&
    free.memoryMiB >= needs.memoryMiB &&
    free.diskMiB >= needs.diskMiB &&
    free.gpus.size >= needs.gpus;
  const held = [...machine.attempts, ...machine.standbys].flatMap((id) => heldBy(state, id) ?? []);
  for (const { atMs, allocation } of held.toSorted((a, b) => a.atMs - b.atMs)) {
    free.cpuMilli += allocation.cpuMilli;
    free.memoryMiB += allocation.memoryMiB;
    free.diskMiB += allocation.diskMiB;
    for (const uuid of allocation.gpuUuids) if (fitting.includes(uuid)) free.gpus.add(uuid);
    if (hasRoom()) return atMs;
  }
  return state.nowMs;
}

interface Held {
  readonly allocation: AttemptRecord["allocation"];
  readonly atMs: number;
}

function heldBy({ rows, nowMs }: CoreState, id: string): Held | undefined {
  const record = rows.attempts.get(id) ?? rows.standbys.get(id);
  const job = record === undefined ? undefined : rows.jobs.get(record.jobId);
  if (record === undefined || job === undefined) return undefined;
  const leftMs = job.spec.durationMaxS * MS_PER_S - job.creditedMs;
  return { allocation: record.allocation, atMs: nowMs + Math.max(0, leftMs) };
}
