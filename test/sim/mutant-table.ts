// The mutants: the core with one promise broken in each, by one line removed or turned round. The simulator must find every one of them within
// {@link MUTANT_SEEDS} seeds; one that it does not find is an invariant that nobody looks at.
import { SILENCE_MUTANTS } from "./mutant-table-silence.ts";
import { TRUST_MUTANTS } from "./mutant-table-trust.ts";
import { CORE, WORKER, type Mutant } from "./mutant.ts";

export const MUTANT_SEEDS = 5_000;

export const MUTANTS: readonly Mutant[] = [
  {
    name: "the epoch check is removed",
    patches: [
      {
        file: "orchestrator/src/core/attempts.ts",
        find: "return attempt.epoch === epochOf(job, attempt.replica) && isActiveAttempt(attempt);",
        replace: "return attempt.epoch <= epochOf(job, attempt.replica);",
      },
    ],
  },
  {
    name: "a machine that is kept for who waits long takes another",
    patches: [
      {
        file: "orchestrator/src/core/market.ts",
        find: "if (machine.keptFor !== null && !request.takesKept) return false;",
        replace: "",
      },
    ],
  },
  {
    name: "effects are sent before the commit",
    patches: [
      {
        file: "test/sim/orchestrator.ts",
        find: "    const outcome = disk.commit(batch);\n",
        replace: "    carryOut(of, waiting, steps);\n    const outcome = disk.commit(batch);\n",
      },
      {
        file: "test/sim/orchestrator.ts",
        find: "    carryOut(of, waiting, steps);\n    if (life === of) armTimer(of);\n",
        replace: "    if (life === of) armTimer(of);\n",
      },
    ],
  },
  {
    name: "settlement is not idempotent",
    patches: [
      // An end that is told again settles again…
      {
        file: "orchestrator/src/core/attempts.ts",
        find: "if (endedBefore(state, machine, message.attempt)) return ack(state, machine, message);",
        replace: `if (endedBefore(state, machine, message.attempt)) {
      const ended = state.rows.jobs.get(message.attempt.jobId);
      if (ended !== undefined && ended.endedAtMs !== null) settle(state, ended);
      return ack(state, machine, message);
    }`,
      },
      {
        file: "orchestrator/src/core/attempts.ts",
        find: 'import { credit } from "./metering.ts";',
        replace: 'import { credit, settle } from "./metering.ts";',
      },
      // …because nothing remembers that it was done…
      {
        file: "orchestrator/src/core/metering.ts",
        find: "if (phase === undefined) return job;",
        replace: "",
      },
      {
        file: "orchestrator/src/core/metering.ts",
        find: "settlement: { phase, hold, gross, lines }",
        replace: 'settlement: { phase: "settled", hold, gross, lines }',
      },
      // …and the job is still at hand.
      {
        file: "orchestrator/src/core/job-end.ts",
        find: "  state.step.ended.push(job.id);\n",
        replace: "",
      },
    ],
  },
  {
    name: "an attempt is credited beyond what its job may cost",
    patches: [
      {
        file: `${CORE}/charges.ts`,
        find: "return msOf(attempt, left - shareOf(left, stands, claims));",
        replace: "return claimedMs;",
      },
    ],
  },
  {
    name: "what an account has spent is not noted",
    patches: [
      {
        file: `${CORE}/metering.ts`,
        find: "  noteSpent(state, job, gross);\n",
        replace: "",
      },
    ],
  },
  ...SILENCE_MUTANTS,
  {
    name: "a standby that was lost is not sought again",
    patches: [
      {
        file: `${CORE}/indexes.ts`,
        find: `  if (wants && !wanted) {
    ix.wantedStandbys.add(id);
    state.volatile.openStandbys.set(id, null);
`,
        replace: `  if (wants && !wanted) {
    ix.wantedStandbys.add(id);
    if (after.standbysMade === 0) state.volatile.openStandbys.set(id, null);
`,
      },
    ],
  },
  {
    name: "what was saved for a move is not waited for",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: "const workLostMs = setback.move?.saved === true ? 0 : workAtRiskMs(state, job, gone);",
        replace: "const workLostMs = workAtRiskMs(state, job, gone);",
      },
    ],
  },
  {
    name: "a mirror job's first result is accepted alone",
    patches: [
      {
        file: `${CORE}/mirror-results.ts`,
        find: "if (agreeing.length > 1)",
        replace: "if (!hasActiveReplica(noted) || agreeing.length > 1)",
      },
    ],
  },
  {
    name: "two runs of a mirror job may come to one provider",
    patches: [
      {
        file: `${CORE}/mirror.ts`,
        find: "if (others.has(machine.worker.providerId)) return true;",
        replace: "",
      },
    ],
  },
  {
    name: "an outvoted run is paid",
    patches: [
      {
        file: `${CORE}/mirror-results.ts`,
        find: "{ ...attempt, creditedMs: 0, isRefused: true }",
        replace: "{ ...attempt, isRefused: true }",
      },
    ],
  },
  {
    name: "GPUs are listed before they are proven",
    patches: [
      {
        file: "orchestrator/src/core/proof-claims.ts",
        find: "const gpus = proven.flatMap(",
        replace: "const gpus = claims.flatMap(",
      },
    ],
  },
  {
    name: "an attempt that is over may speak again",
    patches: [
      {
        file: `${CORE}/attempts.ts`,
        find: "return attempt.epoch === epochOf(job, attempt.replica) && isActiveAttempt(attempt);",
        replace: "return attempt.epoch === epochOf(job, attempt.replica);",
      },
    ],
  },
  {
    name: "a silent worker is never given up",
    patches: [
      {
        file: `${CORE}/workers.ts`,
        find: "if (!holdBack(state, machine)) expire(state, machine);",
        replace: "holdBack(state, machine);",
      },
    ],
  },
  {
    name: "a lost worker's standby is kept",
    patches: [
      {
        file: `${CORE}/workers.ts`,
        find: `if (standby !== undefined) loseStandby(state, jobOf(state, standby.jobId), standby, "expired", "worker_lost");`,
        replace: "void standby;",
      },
    ],
  },
  {
    name: "what went on elsewhere is undone although it has committed something",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: "if (!mayReturn(state, job, lost) || successors.some((attempt) => attempt.committed)) return false;",
        replace: "if (!mayReturn(state, job, lost)) return false;",
      },
    ],
  },
  {
    name: "the rest of a hold is kept",
    patches: [
      {
        file: `${CORE}/metering.ts`,
        find: '{ account: job.check?.payer ?? `customer:${job.accountId}`, role: "refund"',
        replace: `{ account: "fee", role: "refund"`,
      },
    ],
  },
  {
    name: "an ended job's hold is not released",
    patches: [
      {
        file: `${CORE}/job-end.ts`,
        find: "const settled = settle(state, ended);",
        replace: "const settled = ended;",
      },
    ],
  },
  {
    name: "a standby is not sought again after a promotion",
    patches: [
      {
        file: `${CORE}/timers.ts`,
        find: "if (!state.volatile.blockedStandbys.delete(id)) return;",
        replace: "if (!state.volatile.blockedStandbys.has(id) || id !== undefined) return;",
      },
    ],
  },
  {
    name: "a request that comes again is carried out again",
    patches: [
      {
        file: `${CORE}/jobs.ts`,
        find: `  if (repeated !== undefined) {
`,
        replace: `  if (repeated !== undefined && repeated.length === 0) {
`,
      },
    ],
  },
  {
    name: "checkpoints are taken in any order",
    patches: [
      {
        file: `${CORE}/attempts.ts`,
        find: "if (message.seq <= newest || (message.parentSeq !== newest && message.parentSeq !== 0)) {",
        replace: "if (message.seq < 0) {",
      },
    ],
  },
  {
    name: "what a worker lost is not noticed at its hello",
    patches: [
      {
        file: `${CORE}/reconcile.ts`,
        find: `    else judgeMissing(state, machine, attempt, journal, standbys);
`,
        replace: "",
      },
    ],
  },
  {
    name: "what an attempt took is not given back",
    patches: [
      {
        file: `${CORE}/indexes.ts`,
        find: `machine.hotAttempts += is ? 1 : -1;
  take(state`,
        replace: `machine.hotAttempts += is ? 1 : -1;
  if (is) take(state`,
      },
    ],
  },
  {
    name: "failoversMax bounds nothing",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: "if (setback.final === true || left[budget] <= 0) return",
        replace: `if (setback.final === true || (left[budget] <= 0 && budget === "retries")) return`,
      },
    ],
  },
  {
    name: "retries bounds nothing",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: "if (setback.final === true || left[budget] <= 0) return",
        replace: `if (setback.final === true || (left[budget] <= 0 && budget === "failovers")) return`,
      },
    ],
  },
  {
    name: "queueS bounds nothing",
    patches: [
      {
        file: `${CORE}/timers.ts`,
        find: `  endJob(state, job, { event: "failed", reason: "no_offer", message });
`,
        replace: `  void message;
`,
      },
    ],
  },
  {
    name: "a standby is paid beyond its worker's last sign of life",
    patches: [
      {
        file: `${CORE}/standbys.ts`,
        find: "creditedMs: standbyCreditMs(state, job, standby, untilMs),",
        replace: "creditedMs: standbyCreditMs(state, job, standby, Math.max(untilMs, state.nowMs)),",
      },
    ],
  },
  {
    name: "durationMaxS bounds no credit",
    patches: [
      {
        file: `${CORE}/metering.ts`,
        find: "Math.min(claimedMs, roomMs)",
        replace: "Math.max(claimedMs, Math.min(claimedMs, roomMs))",
      },
    ],
  },
  {
    name: "a worker's word on its time is believed",
    patches: [
      {
        file: `${CORE}/metering.ts`,
        find: "Math.min(signedMs(state, attempt, ranMs), elapsedMs) - attempt.baseRanMs",
        replace: "Math.max(ranMs, Math.min(ranMs, elapsedMs)) - attempt.baseRanMs",
      },
    ],
  },
  {
    name: "the account of a container that was adopted begins anew",
    patches: [
      {
        file: `${CORE}/placing.ts`,
        find: "...(adopts?.ticks === undefined ? {} : { ticks: { ...adopts.ticks, kept: 0, unkept: 0 } }),",
        replace: "",
      },
    ],
  },
  {
    name: "a worker signs two lines of one number",
    patches: [
      { file: `${WORKER}/ticks.ts`, find: "head: { n: tick.n, hash: tickHash(tick) }", replace: "head: ticks.head" },
    ],
  },
  {
    name: "a share is missing in the earnings",
    patches: [
      { file: `${CORE}/settled.ts`, find: "lines.flatMap(shareOf)", replace: "lines.slice(1).flatMap(shareOf)" },
    ],
  },
  {
    name: "time is credited twice to a container that was adopted",
    patches: [
      {
        file: `${CORE}/placing.ts`,
        find: "baseRanMs: adopts === undefined ? 0 : adopts.baseRanMs + adopts.creditedMs,",
        replace: "baseRanMs: 0,",
      },
    ],
  },
  {
    name: "bytes are paid twice to a container that was adopted",
    patches: [
      {
        file: `${CORE}/egress-offers.ts`,
        find: "const baseBytes = before === undefined ? 0 : before.baseBytes + before.bytes;",
        replace: "const baseBytes = 0;",
      },
    ],
  },
  {
    name: "bytes are paid beyond what the job pays for",
    patches: [
      {
        file: `${CORE}/egress.ts`,
        find: "Math.min(told, carried, bytesMax - beside)",
        replace: "Math.min(told, carried, bytesMax)",
      },
    ],
  },
  {
    name: "bytes are paid that no line has carried",
    patches: [
      {
        file: `${CORE}/egress.ts`,
        find: "Math.min(told, carried, bytesMax - beside)",
        replace: "Math.min(told, bytesMax - beside)",
      },
    ],
  },
  {
    name: "a damaged checkpoint is never given up",
    patches: [
      {
        file: `${CORE}/checkpoints.ts`,
        find: "if (reports < DAMAGE_REPORTS || isHeld) {",
        replace: "if (reports > 0) {",
      },
    ],
  },
  {
    name: "a start of ours expects nobody back",
    patches: [
      {
        file: `${CORE}/timers.ts`,
        find: `  for (const machine of state.ix.machines.values()) onRestart(state, machine);
`,
        replace: `  void onRestart;
`,
      },
    ],
  },
  {
    name: "log text of any epoch is taken",
    patches: [
      {
        file: `${CORE}/logs.ts`,
        find: `  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  const { job } = current;
`,
        replace: `  const job = state.rows.jobs.get(message.attempt.jobId);
  const attempt = state.rows.attempts.get(attemptId(message.attempt));
  if (job === undefined || attempt === undefined) return refuseStale(state, machine, message, message.attempt);
  const current = { attempt };
  void currentOf;
`,
      },
    ],
  },
  {
    name: "a worker ignores fences",
    patches: [
      {
        file: `${WORKER}/orders.ts`,
        find: `      const slot = slotOfAttempt(draft.state, message.attempt);
      if (slot !== undefined) remove(draft, slot);
`,
        replace: `      void remove;
`,
      },
    ],
  },
  {
    name: "a worker does not tell again what was not answered",
    patches: [
      {
        file: `${WORKER}/step.ts`,
        find: `  for (const slot of state.slots.values()) {
    tell(draft, slot);
    pursue(draft, slot);`,
        replace: `  for (const slot of state.slots.values()) {
    pursue(draft, slot);`,
      },
    ],
  },
  {
    name: "a worker acts before its journal is written",
    isSlow: true,
    patches: [
      {
        file: `test/sim/agent.ts`,
        find: `    // Rather than do what it would forget it stops; what runs goes on.
`,
        replace: `    for (const effect of effects) carry(of, effect);
`,
      },
      {
        file: `test/sim/agent.ts`,
        find: `crash();
    for (const effect of effects) carry(of, effect);
    armTimer(of);`,
        replace: `crash();
    armTimer(of);`,
      },
    ],
  },
  {
    name: "who stands still is never given up",
    patches: [
      {
        file: `${CORE}/stall-watch.ts`,
        find: `  if (verdict.kind === "stalled") return giveUp(state, job, attempt, verdict);
`,
        replace: `  if (verdict.kind === "stalled" && attempt.epoch === 0) return giveUp(state, job, attempt, verdict);
`,
      },
    ],
  },
  {
    name: "what nobody saw counts for a stall",
    patches: [{ file: `${WORKER}/signs.ts`, find: "const UNSEEN_MS = 3_000;", replace: "const UNSEEN_MS = 15_000;" }],
  },
  {
    name: "the time for which its guard held a container counts for a stall",
    isSlow: true,
    patches: [
      {
        file: `${WORKER}/signs.ts`,
        find: "Math.max(unseenMs, Math.min(sinceMs, heldMs - before))",
        replace: "Math.max(unseenMs, Math.min(0, heldMs - before))",
      },
    ],
  },
  ...TRUST_MUTANTS,
];
