// The orchestrator's shell in the virtual world: the real core behind one writer with group commit. It keeps the product's promises: events of a
// tick are stepped together, written in one transaction, and only then have effects; after a commit that failed, memory is read again.
import {
  type Changes,
  type CoreEvent,
  type CoreState,
  createState,
  DEFAULT_CORE_CONFIG,
  type Effect,
  nextDeadlineMs,
  type StepResult,
  step,
} from "@qubix/orchestrator/core";
import { SIM_BUDGET_RUN_S } from "./budgets.ts";
import type { Store } from "@qubix/orchestrator/store";
import type { AccountId, ApiKeyId, JobId, WorkerId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { canaryConfig } from "./canaries.ts";
import { checkConfig, comparisonOf } from "./checks.ts";
import { createDisk, type Disk } from "./disk.ts";
import { type Answer, createGateway, type Gateway } from "./gateway.ts";
import type { Monitor } from "./monitor.ts";
import type { Connection, End } from "./network.ts";
import { PROOF_CONFIG } from "./proofs.ts";
import type { Trees } from "./trees.ts";
import type { World } from "./world.ts";

export interface OrchestratorNode {
  readonly disk: Disk;
  isUp(): boolean;
  start(): void;
  crash(): void;
  /** The process dies with its machine; its clock goes on from the newest commit. */
  reboot(): void;
  /** The event loop does nothing for so long; what arrives waits. */
  stall(ms: number): void;
  submit(event: CoreEvent, onAnswer?: (answer: Answer) => void): void;
  /** A worker dials; null when nobody listens. */
  accept(workerId: WorkerId, open: (end: End<WorkerMessage>) => Connection): Connection | null;
  /** Whether something of this job can be stored; noted where it cannot. */
  hasRoom(workerId: WorkerId, jobId: JobId): boolean;
}

interface Waiting {
  readonly event: CoreEvent;
  readonly onAnswer: ((answer: Answer) => void) | undefined;
}

/** What one process holds; a crash forgets it. */
interface Life {
  state: CoreState;
  waiting: Waiting[];
  /** Their commit is under way. */
  answering: readonly Waiting[];
  isTicking: boolean;
  /** A tick placed as much as it may; the next goes on. */
  isDispatchLeft: boolean;
  timerAtMs: number | null;
  stalledUntilMs: number;
  /** For how long it did nothing since its core was last told. */
  lagMs: number;
  /** Memory is not what the store has: nothing is taken until it is. */
  isFailed: boolean;
  /** Commits that failed since the last one that worked. */
  failures: number;
  readonly gateway: Gateway;
}

/** Dispatches of one tick: placing stops when nothing changes; the rest waits for the next tick. */
const DISPATCHES_PER_TICK_MAX = 16;
/** Between tries to bring memory back; the first time there is no wait. As the product's writer does it. */
const REBUILD_RETRY_MS = 500;
const REBUILD_RETRY_MS_MAX = 10_000;
const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 4_000;
/** Two results are read in this time. */
const COMPARE_MS = 700;
/** Lag is known to within this time. */
const LAG_LOOK_MS = 50;
/** Dying among the effects is as likely as dying before them, all of them together. */
const AMONG_EFFECTS = 0.25;

export function createOrchestrator(
  world: World,
  store: Store,
  monitor: Monitor,
  trees: Trees,
  referees: readonly AccountId[] = [],
): OrchestratorNode {
  const proofs = world.faults.proofs ? PROOF_CONFIG : {};
  const config = {
    ...DEFAULT_CORE_CONFIG,
    budgetRunS: SIM_BUDGET_RUN_S,
    ...world.faults.bounds,
    ...proofs,
    ...checkConfig(world.seed, referees),
    ...canaryConfig(world.seed),
  };
  const disk = createDisk(world, store, monitor);
  let life: Life | null = null;
  /** How far its clock is behind the world's, because its machine was off. */
  let behindMs = 0;

  const clockMs = () => world.nowMs() - behindMs;

  // ── Life ──

  function start(): void {
    if (life !== null) return;
    world.note("orchestrator starts");
    const of: Life = {
      state: load(),
      waiting: [],
      answering: [],
      isTicking: false,
      isDispatchLeft: true,
      timerAtMs: null,
      stalledUntilMs: 0,
      lagMs: 0,
      isFailed: false,
      failures: 0,
      gateway: createGateway(world, monitor, trees, {
        submit: (event, onAnswer) => submitTo(of, event, onAnswer),
        isAlive: () => life === of,
        stalledUntilMs: () => of.stalledUntilMs,
        tick: (key) => store.tick(key),
      }),
    };
    life = of;
    // What cannot begin ends, and is started again by whoever watches over it.
    if (!boot(of)) crash();
    else requestTick(of);
  }

  function load(): CoreState {
    const input = { snapshot: store.load(), config, nowMs: clockMs(), seed: world.seed };
    return createState({ ...input, orchestratorId: "orc-sim" });
  }

  /** The first step of a state that was read; false when it could not be written. */
  function boot(of: Life): boolean {
    const isFirst = store.meta() === null;
    const event: CoreEvent = isFirst
      ? { kind: "boot", admin: { keyId: "key-admin" as ApiKeyId, keyHash: "0" } }
      : { kind: "boot" };
    const booted = advance(of, event);
    if (disk.commit(booted.changed ? [booted.changes] : []).kind !== "committed") return false;
    for (const effect of booted.effects) carry(of, effect);
    return true;
  }

  function crash(): void {
    if (life === null) return;
    world.note("orchestrator dies");
    monitor.counts.orchestratorRestarts += 1;
    const of = life;
    life = null;
    of.gateway.closeAll();
    refuse([...of.answering, ...of.waiting]);
    world.after(world.rng.int(RESTART_MS_MIN, RESTART_MS_MAX), start);
  }

  function reboot(): void {
    if (life === null) return;
    const diedAtMs = world.nowMs();
    crash();
    // It is known when it starts: uptime counts from some moment in between.
    const committedMs = store.meta()?.clockMs ?? 0;
    const upMs = world.rng.int(0, RESTART_MS_MIN);
    behindMs = Math.max(behindMs, diedAtMs - committedMs - upMs);
    world.note(`its clock is ${behindMs} ms behind`);
  }

  function submit(event: CoreEvent, onAnswer?: (answer: Answer) => void): void {
    if (life === null) onAnswer?.({ kind: "unavailable" });
    else submitTo(life, event, onAnswer);
  }

  function submitTo(of: Life, event: CoreEvent, onAnswer: ((answer: Answer) => void) | undefined): void {
    if (life !== of || of.isFailed) {
      onAnswer?.({ kind: "unavailable" });
      return;
    }
    of.waiting.push({ event, onAnswer });
    requestTick(of);
  }

  function refuse(waiting: readonly Waiting[]): void {
    for (const { onAnswer } of waiting) onAnswer?.({ kind: "unavailable" });
  }

  // ── The writer ──

  function requestTick(of: Life): void {
    if (of.isTicking || of.isFailed) return;
    of.isTicking = true;
    world.after(Math.max(0, of.stalledUntilMs - world.nowMs()), () => {
      of.isTicking = false;
      if (life === of && !of.isFailed) tick(of);
    });
  }

  function tick(of: Life): void {
    if (of.stalledUntilMs > world.nowMs()) return requestTick(of);
    const waiting = of.waiting;
    of.waiting = [];
    if (of.lagMs > 0) advance(of, { kind: "lagged", ms: of.lagMs });
    of.lagMs = 0;
    const steps = waiting.map(({ event }) => advance(of, event));
    const dueMs = nextDeadlineMs(of.state);
    const isDue = dueMs !== null && dueMs <= clockMs();
    if (isDue) steps.push(advance(of, { kind: "timer" }));
    if (isDue || of.isDispatchLeft || steps.some(({ changed }) => changed)) dispatch(of, steps);
    const batch: Changes[] = steps.filter(({ changed }) => changed).map(({ changes }) => changes);
    const outcome = disk.commit(batch);
    if (outcome.kind === "failed") return fail(of, waiting);
    of.answering = waiting;
    if (outcome.kind === "died") return crash();
    if (batch.length > 0) of.failures = 0;
    if (outcome.tookMs === 0) return finish(of, waiting, steps);
    // The writer waits for its disk, and does nothing else meanwhile.
    world.countFault("slowDisks");
    standStill(of, outcome.tookMs);
    return world.after(outcome.tookMs, () => {
      if (life === of) finish(of, waiting, steps);
    });
  }

  /** Its event loop does nothing; as in the product, the meter that tells of it looks only now and then. */
  function standStill(of: Life, ms: number): void {
    const untilMs = world.nowMs() + ms;
    const newMs = untilMs - Math.max(world.nowMs(), of.stalledUntilMs);
    if (newMs <= 0) return;
    of.stalledUntilMs = untilMs;
    of.lagMs += Math.max(0, newMs - LAG_LOOK_MS);
  }

  /** Places what waits, until there is nothing to place or the tick has done enough. */
  function dispatch(of: Life, steps: StepResult[]): void {
    of.isDispatchLeft = false;
    for (let count = 0; count < DISPATCHES_PER_TICK_MAX; count += 1) {
      const placed = advance(of, { kind: "dispatch" });
      if (!placed.changed) return;
      steps.push(placed);
    }
    of.isDispatchLeft = true;
    requestTick(of);
  }

  function advance(of: Life, event: CoreEvent): StepResult {
    const result = step(of.state, clockMs(), event);
    monitor.stepped(event, result);
    return result;
  }

  function finish(of: Life, waiting: readonly Waiting[], steps: readonly StepResult[]): void {
    of.answering = [];
    carryOut(of, waiting, steps);
    if (life === of) armTimer(of);
  }

  function carryOut(of: Life, waiting: readonly Waiting[], steps: readonly StepResult[]): void {
    waiting.forEach(({ onAnswer }, at) => {
      const result = steps[at];
      if (result !== undefined) onAnswer?.({ kind: "reply", reply: result.reply });
    });
    for (const { effects } of steps) {
      for (const effect of effects) {
        carry(of, effect);
        if (world.strikes("crashBeforeEffects", AMONG_EFFECTS)) return crash();
      }
    }
    return undefined;
  }

  function carry(of: Life, effect: Effect): void {
    if (effect.kind === "compare") {
      // What is being read is forgotten with the process, and asked for again.
      world.after(COMPARE_MS, () => {
        if (life === of) submit(comparisonOf(effect));
      });
    } else if (effect.kind === "collect") trees.collect(effect.jobId, effect.trees);
    else of.gateway.carry(effect);
  }

  function armTimer(of: Life): void {
    const dueMs = nextDeadlineMs(of.state);
    if (dueMs === null || (of.timerAtMs !== null && of.timerAtMs <= dueMs && of.timerAtMs > clockMs())) return;
    of.timerAtMs = dueMs;
    world.after(dueMs - clockMs(), () => {
      if (life === of && of.timerAtMs === dueMs) requestTick(of);
    });
  }

  // ── After a commit that failed ──

  /** 503 for everyone of the batch, no effects. The first time memory is read again at once; then later and later, and nothing is taken until it was. */
  function fail(of: Life, waiting: readonly Waiting[]): void {
    world.note("commit failed");
    monitor.counts.failedCommits += 1;
    of.isFailed = true;
    refuse(waiting);
    of.failures += 1;
    if (of.failures === 1) rebuild(of);
    else rebuildLater(of);
  }

  function rebuild(of: Life): void {
    if (life !== of) return;
    of.state = load();
    if (!boot(of)) {
      of.failures += 1;
      rebuildLater(of);
      return;
    }
    of.isFailed = false;
    of.isDispatchLeft = true;
    of.timerAtMs = null;
    // As after a restart: workers reconcile on new connections.
    of.gateway.closeAll();
    requestTick(of);
  }

  function rebuildLater(of: Life): void {
    const { waiting } = of;
    of.waiting = [];
    refuse(waiting);
    const waitMs = Math.min(REBUILD_RETRY_MS * 2 ** (of.failures - 1), REBUILD_RETRY_MS_MAX);
    world.after(waitMs, () => rebuild(of));
  }

  return {
    disk,
    isUp: () => life !== null && !life.isFailed,
    start,
    crash,
    reboot,
    stall(ms) {
      if (life === null) return;
      world.note(`orchestrator stalls ${ms} ms`);
      standStill(life, ms);
    },
    submit,
    accept: (workerId, open) => (life === null || life.isFailed ? null : life.gateway.accept(workerId, open)),
    hasRoom(workerId, jobId) {
      if (disk.hasRoom()) return true;
      submit({ kind: "storage.refused", workerId, jobId, code: "storage_full", message: "no room" });
      return false;
    },
  };
}
