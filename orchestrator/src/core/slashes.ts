// Slashes: stake that is taken for a proven offence, in two phases. The evidence is kept whole, whoever may see it can check it, and its provider may appeal for
// a time; without an appeal the slash is applied, with one an admin decides, and where none does it is void. Nobody is slashed for being away: that costs
// reputation (`standing.ts`) and pay. While much of the fleet is silent at once, an accusation is noted and taken up when that is over.
import {
  type AccountId,
  BASIS_POINTS_PER_WHOLE,
  chargeFor,
  type JobId,
  type Money,
  slashTable,
} from "@qubix/shared/domain";
import type { SlashEvent, TransferId, WorkerId } from "@qubix/shared/domain";
import { EVIDENCE_LENGTH_MAX } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import type { Offence, SlashCase } from "./case-records.ts";
import { endingId, newCaseId, openCase, openCases, putCase, reservingId } from "./case-rows.ts";
import type { CoreEvent } from "./events.ts";
import { transfer } from "./ledger.ts";
import type { JobRecord, LedgerAccount, TransferStep } from "./model.ts";
import { decayFactor } from "./reputation-score.ts";
import { tally } from "./reputation.ts";
import { gatherStake } from "./stakes.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, emit, fire, refuse } from "./tables.ts";

/** Open ones of one worker: more would be the same thing over and over. */
const OPEN_PER_WORKER_MAX = 20;

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

export interface Accusation {
  readonly kind: Offence;
  readonly workerId: WorkerId;
  readonly jobId: JobId | null;
  /** What a stranger can verify; JSON. */
  readonly evidence: Readonly<Record<string, unknown>>;
  /** What cheating could gain: the worker's pay for the job. Missing where the job is in memory, and can be asked. */
  readonly gain?: Money;
  /** The job's consumer, who may see it too. Missing where the job is in memory. */
  readonly consumerId?: AccountId;
}

/**
 * Takes an accusation up. Gives the id of its slash: of the open one where the same worker is accused of the same in the same job already. Null where there is
 * nothing to hold against it: an unknown worker, or evidence that is empty or longer than can be kept.
 */
export function accuse(state: CoreState, accusation: Accusation): string | null {
  const { kind: offence, workerId, jobId } = accusation;
  const worker = state.rows.workers.get(workerId);
  const evidence = JSON.stringify(accusation.evidence);
  if (worker === undefined || evidence.length > EVIDENCE_LENGTH_MAX || Object.keys(accusation.evidence).length === 0) {
    return null;
  }
  const open = openCases(state, "slash").filter((each) => each.workerId === workerId);
  const same = open.find((each) => each.offence === offence && each.jobId === jobId);
  if (same !== undefined) return same.id;
  if (open.length >= OPEN_PER_WORKER_MAX) return null;
  const gain = accusation.gain ?? gainOf(state, jobId, workerId);
  // Verdicts on results are told to the reputation by whoever reached them.
  if (offence !== "wrong_result") tally(state, workerId, { wrong: 1 });
  const noted: SlashCase = {
    kind: "slash",
    id: newCaseId(state, "slash"),
    phase: slashTable.initial,
    parties: [worker.providerId, ...consumersOf(state, accusation)],
    createdAtMs: state.nowMs,
    endedAtMs: null,
    offence,
    workerId,
    providerId: worker.providerId,
    jobId,
    publicKey: worker.publicKey,
    evidence,
    currency: gain.currency,
    gain: gain.amount,
    due: slashFor(gain.amount, state.config.checkRateMinBps),
    amount: 0n,
    untilMs: state.nowMs + state.config.massSilenceHoldMs,
    appeal: null,
    decision: null,
  };
  tellAccused(state, noted, accusation);
  if (suspectsItself(state)) putCase(state, noted);
  else propose(state, noted);
  return noted.id;
}

/**
 * What is taken for cheating that could gain `gain`, where at least `checkRateMinBps` of jobs are run again whole: gain ÷ rate, rounded up. Whoever leaves out a
 * part f of a job saves no more than f × gain, and is found with at least that probability, whatever f: he loses rate × slash ≥ gain. Where only a part is run again,
 * and is found with probability f, that is rate × f × slash ≥ f × gain. So it is never worth it, even for one who keeps the pay; that he does not, and his
 * reputation, come on top. It holds for providers whose stake is that large; see docs/decisions/2026-11-27-trust.md for the others.
 */
export function slashFor(gain: bigint, checkRateMinBps: number): bigint {
  const rate = BigInt(checkRateMinBps);
  return (gain * BASIS_POINTS_PER_WHOLE + rate - 1n) / rate;
}

/** Of a job in memory: what all of its time at the worker's rate would cost. Of any other, an hour of what the worker offers. */
function gainOf(state: CoreState, jobId: JobId | null, workerId: WorkerId): Money {
  const job = jobId === null ? undefined : state.rows.jobs.get(jobId);
  if (job === undefined) return offeredHour(state, workerId);
  const rates = attemptsOf(state, job.id).flatMap((each) => (each.workerId === workerId ? [each.ratePerHour] : []));
  const rate = rates.reduce((most, each) => (each > most ? each : most), 0n);
  return { amount: chargeFor(rate, job.spec.durationMaxS * 1_000), currency: job.currency };
}

function offeredHour(state: CoreState, workerId: WorkerId): Money {
  const offer = state.rows.workers.get(workerId)?.offer;
  if (offer === undefined || offer === null) return { amount: 0n, currency: "USD" };
  const { pricePerCpuHour: cpu, pricePerGpuHour: gpu } = offer;
  if (gpu !== undefined && offer.gpus.length > 0) {
    return { amount: gpu.amount * BigInt(offer.gpus.length), currency: gpu.currency };
  }
  return { amount: (cpu.amount * BigInt(Math.ceil(offer.cpus * 1_000))) / 1_000n, currency: cpu.currency };
}

/** What a worker was paid for a job that has ended, fee included as far as it is his. */
export function paidFor(job: JobRecord, workerId: WorkerId): Money {
  const { lines } = job.settlement;
  const amount = lines.reduce((sum, line) => (line.workerId === workerId ? sum + line.amount : sum), 0n);
  return { amount, currency: job.currency };
}

/** So many are silent that the fault may be ours: then nothing that was seen lately is held against anybody. */
function suspectsItself(state: CoreState): boolean {
  return state.volatile.mass.holds.size > 0;
}

function propose(state: CoreState, noted: SlashCase): void {
  const { providerId, currency, due } = noted;
  const phase = step(state, noted, "propose");
  const staked = gatherStake(state, providerId, currency, due);
  const amount = staked < due ? staked : due;
  const untilMs = state.nowMs + state.config.appealWindowMs;
  const proposed = putCase(state, { ...noted, phase, amount, untilMs });
  const of = { id: reservingId(proposed.id), step: "reserve" } as const;
  move(state, proposed, [`stake:${providerId}`, `reserved:${proposed.id}`], of);
  report(state, proposed, "slash_proposed");
}

// ── By an admin, and what its provider says ──

export function proposeSlash(state: CoreState, event: Event<"slash.propose">): void {
  const { actor, offence, workerId, jobId, evidence, ended } = event;
  if (actor.role !== "admin") {
    return refuse(state, 403, "forbidden", "Only an admin may propose a slash. Send the operator what you found.");
  }
  if (!state.rows.workers.has(workerId)) {
    return refuse(state, 404, "worker_not_found", `There is no worker ${workerId}. Check the id.`);
  }
  const of = ended === null ? {} : { gain: paidFor(ended, workerId), consumerId: ended.accountId };
  const id = accuse(state, { kind: offence, workerId, jobId, evidence, ...of });
  if (id === null) {
    const message = `The evidence is empty, longer than ${EVIDENCE_LENGTH_MAX} characters, or this worker has ${OPEN_PER_WORKER_MAX} open slashes already.`;
    return refuse(state, 422, "evidence_refused", message);
  }
  state.step.reply = { kind: "case", caseId: id };
}

export function appealSlash(state: CoreState, event: Event<"slash.appeal">): void {
  const { actor, slashId, text } = event;
  const slash = openCase(state, "slash", slashId);
  if (slash === undefined) return;
  if (actor.accountId !== slash.providerId) {
    return refuse(state, 403, "forbidden", "Only the provider whose stake it is may appeal.");
  }
  if (slash.phase !== "proposed") {
    const message = `Slash ${slashId} is ${slash.phase}: it can be appealed once, while it is proposed.`;
    return refuse(state, 409, "slash_not_proposed", message);
  }
  const phase = step(state, slash, "appeal");
  const untilMs = state.nowMs + state.config.decisionMs;
  const appealed = putCase(state, { ...slash, phase, untilMs, appeal: { text, atMs: state.nowMs } });
  report(state, appealed, "slash_appealed", { text });
  state.step.reply = { kind: "case", caseId: slashId };
}

export function resolveSlash(state: CoreState, event: Event<"slash.resolve">): void {
  const { actor, slashId, decision, note } = event;
  if (actor.role !== "admin") {
    return refuse(state, 403, "forbidden", "Only an admin decides slashes. Appeal, if it is your stake.");
  }
  const slash = openCase(state, "slash", slashId);
  if (slash === undefined) return;
  if (slash.phase === "noted") {
    const message = `Slash ${slashId} waits: much of the fleet is silent at once, and the fault may be ours. Decide it when it is proposed.`;
    return refuse(state, 409, "slash_not_proposed", message);
  }
  if (decision === "uphold" && slash.phase !== "appealed") {
    const message = `Slash ${slashId} is ${slash.phase}: without an appeal it is applied by itself when the appeal window is over. It can be dismissed before.`;
    return refuse(state, 409, "slash_not_appealed", message);
  }
  close(state, slash, decision, { by: "admin", note });
  state.step.reply = { kind: "case", caseId: slashId };
}

/** The time of its phase is over. */
export function onSlashDue(state: CoreState, slash: SlashCase): void {
  if (slash.phase === "noted") {
    if (!suspectsItself(state)) return propose(state, slash);
    return void putCase(state, { ...slash, untilMs: state.nowMs + state.config.massSilenceHoldMs });
  }
  const by = slash.phase === "appealed" ? "nobody" : "window";
  close(state, slash, "lapse", { by, note: "" });
}

function close(state: CoreState, slash: SlashCase, event: SlashEvent, decision: NonNullable<SlashCase["decision"]>) {
  const phase = step(state, slash, event);
  assert(phase === "applied" || phase === "voided", `${slash.id} is closed and ${phase}`);
  const { providerId, workerId } = slash;
  const to: LedgerAccount = phase === "applied" ? "slashed" : `stake:${providerId}`;
  const of = { id: endingId(slash.id), step: phase === "applied" ? "post" : "void" } as const;
  move(state, slash, [`reserved:${slash.id}`, to], of);
  const closed = putCase(state, { ...slash, phase, decision, endedAtMs: state.nowMs });
  // It was no offence: what is left of it in the reputation goes.
  if (phase === "voided") tally(state, workerId, { wrong: -decayFactor(state.nowMs - slash.createdAtMs) });
  report(state, closed, phase === "applied" ? "slash_applied" : "slash_voided", {
    by: decision.by,
    note: decision.note,
  });
}

function step(state: CoreState, slash: SlashCase, event: SlashEvent): SlashCase["phase"] {
  const phase = fire(state, slashTable, slash.phase, event);
  assert(phase !== undefined, `${slash.id} is ${slash.phase}: no ${event}`);
  return phase;
}

function move(
  state: CoreState,
  { id, jobId, currency, amount }: SlashCase,
  [from, to]: readonly [LedgerAccount, LedgerAccount],
  of: { readonly id: TransferId; readonly step: TransferStep },
): void {
  const postings = [
    { account: from, amount: -amount },
    { account: to, amount },
  ];
  transfer(state, { ...of, kind: "slash", jobId, currency, postings, memo: id });
}

function consumersOf(state: CoreState, { jobId, consumerId }: Accusation): readonly AccountId[] {
  const known = consumerId ?? (jobId === null ? undefined : state.rows.jobs.get(jobId)?.accountId);
  return known === undefined ? [] : [known];
}

/** With all of its evidence: the log is appended to, and never changed. */
function tellAccused(state: CoreState, { id, providerId }: SlashCase, { kind, workerId, jobId, evidence }: Accusation) {
  const data = { slashId: id, kind, evidence };
  emit(state, { channel: "workers", kind: "accused", providerId, workerId, jobId, data });
}

function report(state: CoreState, slash: SlashCase, kind: string, more: Readonly<Record<string, unknown>> = {}): void {
  const { id, offence, providerId, workerId, jobId, currency, amount } = slash;
  const data = { slashId: id, jobId, offence, amount: amount.toString(), currency, ...more };
  emit(state, { channel: "workers", kind, providerId, workerId, data });
}
