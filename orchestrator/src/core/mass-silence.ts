// When much of the fleet, or of one network, falls silent at once and nobody's socket closed, it is likelier that we hear nothing than that all of them
// died. Then nobody is given up, and nothing promoted, until they are back or the time for it is over. Small fleets are never held: a handful may well die together.
import { HEARTBEAT_BUSY_MS, HEARTBEAT_IDLE_MS } from "@qubix/shared/protocol";
import { isActiveAttempt } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import { machineLoad } from "./market.ts";
import { deadlineKey, rhythm, silenceMs, silentSinceMs } from "./silence.ts";
import type { CoreState, SilenceHold } from "./state.ts";
import { countUp, emit, emitJob, jobOf } from "./tables.ts";

const FLEET = "fleet";
/** A heartbeat that is later than its rhythm by this factor, and by so many deviations more, is missing. */
const OVERDUE_FACTOR = 1.2;
const OVERDUE_DEVIATIONS = 2;
/** The fleet, and each network, is counted at most this often: ten thousand workers take about a millisecond… */
const JUDGED_EVERY_MS = 50;
/** …and so many networks at most in that time. */
const NETWORKS_JUDGED_MAX = 8;

/** The worker fell silent, or its silence lasts: looks whether it is one of many. False where too many others are looked at just now. */
export function judgeSilence(state: CoreState, machine: Machine): boolean {
  const { mass } = state.volatile;
  const { judged } = mass;
  const sinceMs = missedAtMs(machine);
  if (holdOf(state, machine) !== undefined || sinceMs <= mass.doneUntilMs) return true;
  if (state.nowMs >= mass.judgedAtMs + JUDGED_EVERY_MS || state.nowMs < mass.judgedAtMs) {
    mass.judgedAtMs = state.nowMs;
    judged.clear();
    const fleet = count(state, null, sinceMs);
    if (isMass(state, fleet) || (isAwaited(machine) && isComing(state, fleet))) {
      begin(state, FLEET, fleet);
      return true;
    }
  }
  if (machine.network === null || judged.has(machine.network)) return true;
  if (judged.size >= NETWORKS_JUDGED_MAX) return false;
  judged.add(machine.network);
  const network = count(state, machine.network, sinceMs);
  if (isMass(state, network)) begin(state, machine.network, network);
  return true;
}

/** Until when the worker is not given up, because its silence is one of many; `undefined` where it is on its own. */
export function heldUntilMs(state: CoreState, machine: Machine): number | undefined {
  return holdOf(state, machine)?.untilMs;
}

/** Until when nobody is heard of because much of the fleet is silent at once; `undefined` as a rule. */
export function fleetHeldUntilMs({ volatile, nowMs }: CoreState): number | undefined {
  const hold = volatile.mass.holds.get(FLEET);
  return hold !== undefined && nowMs < hold.untilMs ? hold.untilMs : undefined;
}

/** It would be given up now: keeps it for as long as its silence is held. False where it is not. */
export function holdBack(state: CoreState, machine: Machine): boolean {
  if (machine.cut) return false;
  if (!judgeSilence(state, machine)) {
    state.deadlines.set(deadlineKey.worker(machine.id), state.nowMs + JUDGED_EVERY_MS);
    return true;
  }
  const hold = holdOf(state, machine);
  if (hold === undefined) return false;
  keep(hold, machine);
  state.deadlines.set(deadlineKey.worker(machine.id), hold.untilMs);
  if (hold.told.has(machine)) return true;
  hold.told.add(machine);
  for (const id of machine.attempts) {
    const attempt = state.rows.attempts.get(id);
    if (attempt === undefined || !isActiveAttempt(attempt)) continue;
    const { epoch, workerId } = attempt;
    const data = { workerId, epoch, why: "mass_silence", forMs: hold.untilMs - state.nowMs };
    emitJob(state, jobOf(state, attempt.jobId), "held", data, attempt);
  }
  return true;
}

/** Its socket closed while its silence is held: that is part of the same, and no news. */
export function isHeld(state: CoreState, machine: Machine): boolean {
  return !machine.cut && (holdOf(state, machine)?.held.has(machine) ?? false);
}

/** It was there before we started, and is back. */
export function noteReturn(state: CoreState, machine: Machine): void {
  if (!isAwaited(machine)) return;
  const { returnsMs } = state.volatile.mass;
  returnsMs.push(state.nowMs);
  if (returnsMs.length > state.config.massSilenceWorkersMin) returnsMs.shift();
}

/** It is heard again, or gone for good. When most are back, the others are waited for only as long as somebody comes back now and then. */
export function leaveHold(state: CoreState, machine: Machine): void {
  const { holds } = state.volatile.mass;
  if (holds.size === 0) return;
  for (const hold of holds.values()) {
    if (!hold.held.delete(machine)) continue;
    const { massSilenceShare, massSilenceReturnMs, massSilenceHoldMs } = state.config;
    if (hold.held.size > massSilenceShare * hold.heldInAll) continue;
    const beforeMs = hold.untilMs;
    const soonMs = Math.min(hold.beganAtMs + massSilenceHoldMs, state.nowMs + massSilenceReturnMs);
    hold.untilMs = soonMs;
    // A deadline that comes too early looks, and moves itself.
    if (soonMs >= beforeMs) continue;
    state.deadlines.setNoLater(deadlineKey.massSilence(hold.scope), soonMs);
    for (const silent of hold.held) state.deadlines.setNoLater(deadlineKey.worker(silent.id), soonMs);
  }
}

/** The time of a hold is over: what is silent still is given up as usual, by its own deadline. */
export function onHoldDue(state: CoreState, scope: string): void {
  const { mass } = state.volatile;
  const hold = mass.holds.get(scope);
  if (hold === undefined) return;
  if (state.nowMs < hold.untilMs) return state.deadlines.set(deadlineKey.massSilence(scope), hold.untilMs);
  mass.doneUntilMs = state.nowMs;
  mass.holds.delete(scope);
  const { heldInAll, held, beganAtMs } = hold;
  report(state, hold, "ended", {
    lastedMs: state.nowMs - beganAtMs,
    returned: heldInAll - held.size,
    silent: held.size,
  });
}

function holdOf({ volatile, nowMs }: CoreState, { network }: Machine): SilenceHold | undefined {
  const { holds } = volatile.mass;
  if (holds.size === 0) return undefined;
  const hold = holds.get(FLEET) ?? (network === null ? undefined : holds.get(network));
  return hold !== undefined && nowMs < hold.untilMs ? hold : undefined;
}

function begin(state: CoreState, scope: string, { workers, silent, share }: Census): void {
  const { mass } = state.volatile;
  const beganAtMs = state.nowMs;
  const untilMs = beganAtMs + state.config.massSilenceHoldMs;
  const hold: SilenceHold = { scope, beganAtMs, untilMs, held: new Set(), heldInAll: 0, told: new Set(), workers };
  state.step.undo.push(() => void mass.holds.delete(scope));
  mass.holds.set(scope, hold);
  for (const machine of silent) keep(hold, machine);
  state.deadlines.set(deadlineKey.massSilence(scope), untilMs);
  countUp(state, "massSilences");
  report(state, hold, "began", {
    silent: silent.length,
    share: Math.round(share * 100) / 100,
    holdMs: untilMs - beganAtMs,
  });
}

function keep(hold: SilenceHold, machine: Machine): void {
  if (hold.held.has(machine)) return;
  hold.held.add(machine);
  hold.heldInAll += 1;
  machine.blameless = true;
}

function report(
  state: CoreState,
  { scope, workers }: SilenceHold,
  phase: "began" | "ended",
  data: Readonly<Record<string, number>>,
): void {
  emit(state, { channel: "system", kind: "mass_silence", data: { phase, scope, workers, ...data } });
}

// ── Counting ──

interface Census {
  readonly workers: number;
  readonly silent: readonly Machine[];
  /** Of all workers, those that are silent: as far as it can be known by now. */
  readonly share: number;
}

function isMass({ config }: CoreState, { silent, share }: Census): boolean {
  return silent.length >= config.massSilenceWorkersMin && share > config.massSilenceShare;
}

/** After a start of ours: many are not back, and others come at this very moment. A large fleet is simply not through yet. */
function isComing({ config, volatile, nowMs }: CoreState, { silent }: Census): boolean {
  const { returnsMs } = volatile.mass;
  if (silent.length < config.massSilenceWorkersMin || returnsMs.length < config.massSilenceWorkersMin) return false;
  return (returnsMs[0] ?? -Infinity) >= nowMs - config.massSilenceWindowMs;
}

/** It was there before we started, and has not come back. */
export function isAwaited({ lostAtMs, cut, worker }: Machine): boolean {
  return worker.phase === "suspect" && lostAtMs !== null && !cut;
}

/** Workers of one rhythm: those that missed a heartbeat at about that time, those that were heard since, and all. */
interface Tally {
  all: number;
  silent: number;
  heard: number;
}

/**
 * Counts the fleet, or one network. Of an idle worker nothing may be known yet, for its next heartbeat is not due: those are taken to be like the others
 * of their rhythm of which something is known, or else like all of which something is.
 */
function count(state: CoreState, network: string | null, sinceMs: number): Census {
  const { massSilenceWindowMs } = state.config;
  const busy: Tally = { all: 0, silent: 0, heard: 0 };
  const idle: Tally = { all: 0, silent: 0, heard: 0 };
  const silent: Machine[] = [];
  for (const machine of state.ix.machines.values()) {
    if (machine.worker.phase === "offline" || (network !== null && machine.network !== network)) continue;
    const tally = machineLoad(machine) > 0 ? busy : idle;
    tally.all += 1;
    if (machine.cut) continue;
    if (!isOverdue(state, machine)) {
      if (machine.heardMs >= sinceMs) tally.heard += 1;
      continue;
    }
    const missedMs = missedAtMs(machine);
    if (Math.abs(missedMs - sinceMs) > massSilenceWindowMs || missedMs <= state.volatile.mass.doneUntilMs) continue;
    tally.silent += 1;
    silent.push(machine);
  }
  const workers = busy.all + idle.all;
  const known = silent.length + busy.heard + idle.heard;
  const otherwise = known === 0 ? 0 : silent.length / known;
  const expected = busy.all * shareOf(busy, otherwise) + idle.all * shareOf(idle, otherwise);
  return { workers, silent, share: workers === 0 ? 0 : expected / workers };
}

function shareOf({ silent, heard }: Tally, otherwise: number): number {
  return silent + heard === 0 ? otherwise : silent / (silent + heard);
}

/** Its heartbeat is missing; or it was there before we started, and has not come back. */
function isOverdue(state: CoreState, machine: Machine): boolean {
  if (machine.worker.phase === "suspect") return true;
  const known = rhythm(machine);
  const expected = known?.meanMs ?? usualMs(machine);
  return silenceMs(state, machine) > expected * OVERDUE_FACTOR + OVERDUE_DEVIATIONS * (known?.deviationMs ?? 0);
}

/** When its first missing heartbeat would have come. After a start of ours all are awaited from the same moment. */
function missedAtMs(machine: Machine): number {
  if (machine.lostAtMs !== null) return silentSinceMs(machine);
  return silentSinceMs(machine) + (rhythm(machine)?.meanMs ?? usualMs(machine));
}

function usualMs(machine: Machine): number {
  return machineLoad(machine) > 0 ? HEARTBEAT_BUSY_MS : HEARTBEAT_IDLE_MS;
}
