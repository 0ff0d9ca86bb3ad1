// A job on its way to its cap: told at 80%, asked to save shortly before the end, stopped where the next moment would cost more than the cap.
// The deadline is only a hint to look: rates come and go with attempts and standbys, so each look reckons anew and says when to look again.
import { type CapEvent, capTable, formatUnits, jobTable } from "@qubix/shared/domain";
import { armStop, stopAttempt } from "./attempts.ts";
import { armBudget, pointsOf } from "./budget-deadline.ts";
import { accruedSoFar } from "./charges.ts";
import { endByIntent } from "./failover.ts";
import { capWords } from "./job-cap.ts";
import { activeAttempts } from "./mirror.ts";
import type { AttemptRecord, JobCap, JobRecord } from "./model.ts";
import { answerMsOf } from "./saving.ts";
import { waitsForWorker } from "./not-heard.ts";
import { deadlineKey } from "./silence.ts";
import { releaseStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { currentAttempt, emitJob, fire, machineOf, patchJob, refOf, send } from "./tables.ts";

export function onBudgetDue(state: CoreState, id: JobRecord["id"]): void {
  const job = state.rows.jobs.get(id);
  const cap = job?.cap;
  if (job === undefined || cap === undefined) return;
  if (job.intent === "budget" && cap.phase === "saving") return lookAtSaving(state, job, cap);
  if (job.intent !== null) return;
  if (job.phase === "queued") return lookAtWaiting(state, job, cap);
  const active = activeAttempts(state, job);
  if (active.some((attempt) => waitsForWorker(state, attempt, deadlineKey.budget(id)))) return;
  const used = accruedSoFar(state, job);
  const works = active.some(({ phase }) => phase !== "exited");
  if (used >= cap.amount) {
    // Its outputs are on their way: only what stands by costs more.
    if (!works) return void releaseStandby(state, job);
    return exhaust(state, job, cap);
  }
  const { saveAtMs } = pointsOf(state, job, cap, used);
  const attempt = currentAttempt(state, job);
  if (state.nowMs >= saveAtMs && attempt !== undefined && maySave(state, job, attempt)) {
    return askToSave(state, job, cap, attempt);
  }
  armBudget(state, cap.phase === "open" && used * 100n >= cap.amount * 80n ? warn(state, job, cap, used) : job);
}

/** A budget was lowered under it while it waits: nothing runs, so nothing is to be saved. */
function lookAtWaiting(state: CoreState, job: JobRecord, cap: JobCap): void {
  if (accruedSoFar(state, job) >= cap.amount) endByIntent(state, patchJob(state, job, { intent: "budget" }));
}

function warn(state: CoreState, job: JobRecord, cap: JobCap, used: bigint): JobRecord {
  const warned = advance(state, job, cap, "near");
  const { currency } = job;
  emitJob(state, warned, "budget_warning", {
    currency,
    used: used.toString(),
    cap: cap.amount.toString(),
    source: cap.source,
    message: `80% of what it may cost (${formatUnits(cap.amount)} ${currency}, by ${capWords(cap.source)}) is used. It is asked to save before the end, and is stopped there.`,
  });
  return warned;
}

/** A worker that does not know the request stops it at the end, which asks it to save as well. Of two replicas none waits for the other. */
function maySave(state: CoreState, job: JobRecord, attempt: AttemptRecord): boolean {
  return (
    job.mirror === undefined && attempt.phase === "running" && machineOf(state, attempt.workerId).features.has("moves")
  );
}

/** From here on it is being stopped: as soon as it has saved, at the latest at the cap. Nobody needs its standby any more. */
function askToSave(state: CoreState, job: JobRecord, cap: JobCap, attempt: AttemptRecord): void {
  const alone = releaseStandby(state, job);
  const { stopAtMs } = pointsOf(state, alone, cap, accruedSoFar(state, alone));
  const answerMs = Math.max(1, Math.min(answerMsOf(state, alone), stopAtMs - state.nowMs));
  const savingUntilMs = state.nowMs + answerMs;
  const phase = fire(state, jobTable, alone.phase, "stopping") ?? alone.phase;
  const saving = patchJob(state, advance(state, alone, cap, "ending", { savingUntilMs }), { intent: "budget", phase });
  armStop(state, saving);
  armBudget(state, saving);
  emitJob(state, job, "budget_saving", { answerMs, cap: cap.amount.toString(), currency: job.currency }, attempt);
  send(state, attempt.workerId, { kind: "save", attempt: refOf(attempt), answerMs, force: true });
}

/** It had its time to save, or its budget was lowered meanwhile. */
function lookAtSaving(state: CoreState, job: JobRecord, cap: JobCap): void {
  const isOver = state.nowMs >= (cap.savingUntilMs ?? 0) || accruedSoFar(state, job) >= cap.amount;
  if (isOver) stopAttempt(state, advance(state, job, cap, "reached"), "budget");
  else armBudget(state, job);
}

function exhaust(state: CoreState, job: JobRecord, cap: JobCap): void {
  stopAttempt(state, advance(state, releaseStandby(state, job), cap, "reached"), "budget");
}

function advance(
  state: CoreState,
  job: JobRecord,
  { amount, source, phase: before }: JobCap,
  event: CapEvent,
  saving: Pick<JobCap, "savingUntilMs"> = {},
): JobRecord {
  const phase = fire(state, capTable, before, event) ?? before;
  return patchJob(state, job, { cap: { amount, source, phase, ...saving } });
}
