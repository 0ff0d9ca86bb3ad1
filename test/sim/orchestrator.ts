// The orchestrator's shell in the virtual world: the real core behind one writer with group commit, and a gateway without sockets.
// It keeps the product's promises: events of a tick are stepped together, written in one transaction, and only then have effects.
import {
  type Changes,
  type CoreEvent,
  type CoreState,
  createState,
  DEFAULT_CORE_CONFIG,
  type Effect,
  nextDeadlineMs,
  type Reply,
  type StepResult,
  step,
} from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { ApiKeyId, SessionId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, WorkerMessage } from "@qubix/shared/protocol";
import { contentIn } from "./mirrors.ts";
import type { Monitor } from "./monitor.ts";
import type { Connection, End } from "./network.ts";
import { orderOf, PROOF_CONFIG, proofRng, verdictOn } from "./proofs.ts";
import type { World } from "./world.ts";

/** How the answer to a request came: with a reply, or not at all (the process died, or 503). */
export type Answer = { readonly kind: "reply"; readonly reply: Reply } | { readonly kind: "unavailable" };

export interface OrchestratorNode {
  isUp(): boolean;
  start(): void;
  crash(): void;
  /** The event loop does nothing for so long; what arrives waits. */
  stall(ms: number): void;
  submit(event: CoreEvent, onAnswer?: (answer: Answer) => void): void;
  /** A worker dials; null when nobody listens. */
  accept(workerId: WorkerId, open: (end: End<WorkerMessage>) => Connection): Connection | null;
  /** For the checks; committed state only. */
  state(): CoreState | null;
}

interface Waiting {
  readonly event: CoreEvent;
  readonly onAnswer: ((answer: Answer) => void) | undefined;
}

interface Session {
  readonly id: SessionId;
  readonly workerId: WorkerId;
  readonly connection: Connection;
}

/** What one process holds; a crash forgets it. */
interface Life {
  state: CoreState;
  waiting: Waiting[];
  isTicking: boolean;
  /** A tick placed as much as it may; the next goes on. */
  isDispatchLeft: boolean;
  timerAtMs: number | null;
  stalledUntilMs: number;
  readonly sessions: Map<WorkerId, Session>;
}

/** Dispatches of one tick: placing stops when nothing changes; the rest waits for the next tick. */
const DISPATCHES_PER_TICK_MAX = 16;

export function createOrchestrator(world: World, store: Store, monitor: Monitor): OrchestratorNode {
  const proofs = world.faults.proofs ? PROOF_CONFIG : {};
  const config = { ...DEFAULT_CORE_CONFIG, ...world.faults.bounds, ...proofs };
  const rng = proofRng(world.seed);
  let life: Life | null = null;
  let sessionCount = 0;

  // ── The writer ──

  function load(): CoreState {
    const input = { snapshot: store.load(), config, nowMs: world.nowMs(), seed: world.seed };
    return createState({ ...input, orchestratorId: "orc-sim" });
  }

  function start(): void {
    if (life !== null) return;
    world.note("orchestrator starts");
    const isFirst = store.load().meta === null;
    life = {
      state: load(),
      waiting: [],
      isTicking: false,
      isDispatchLeft: false,
      timerAtMs: null,
      stalledUntilMs: 0,
      sessions: new Map(),
    };
    submit(isFirst ? { kind: "boot", admin: { keyId: "key-admin" as ApiKeyId, keyHash: "0" } } : { kind: "boot" });
  }

  function crash(): void {
    if (life === null) return;
    world.note("orchestrator dies");
    monitor.counts.orchestratorRestarts += 1;
    const { sessions, waiting } = life;
    life = null;
    for (const { connection } of sessions.values()) connection.closeByOrchestrator();
    for (const { onAnswer } of waiting) onAnswer?.({ kind: "unavailable" });
    world.after(world.rng.int(100, 4_000), start);
  }

  function submit(event: CoreEvent, onAnswer?: (answer: Answer) => void): void {
    if (life === null) {
      onAnswer?.({ kind: "unavailable" });
      return;
    }
    life.waiting.push({ event, onAnswer });
    requestTick(life);
  }

  function requestTick(of: Life): void {
    if (of.isTicking) return;
    of.isTicking = true;
    world.after(Math.max(0, of.stalledUntilMs - world.nowMs()), () => {
      of.isTicking = false;
      if (life === of) tick(of);
    });
  }

  function tick(of: Life): void {
    if (of.stalledUntilMs > world.nowMs()) return requestTick(of);
    const waiting = of.waiting;
    of.waiting = [];
    const steps = waiting.map(({ event }) => advance(of, event));
    const dueMs = nextDeadlineMs(of.state);
    const isDue = dueMs !== null && dueMs <= world.nowMs();
    if (isDue) steps.push(advance(of, { kind: "timer" }));
    if (isDue || of.isDispatchLeft || steps.some(({ changed }) => changed)) dispatch(of, steps);
    const outcome = commit(steps);
    if (outcome !== "committed") return recover(of, waiting, outcome);
    carryOut(of, waiting, steps);
    if (life === of) armTimer(of);
    return undefined;
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
    const result = step(of.state, world.nowMs(), event);
    monitor.stepped(event, result);
    return result;
  }

  /** `died`: the process did not survive it; whether the transaction happened is open. */
  function commit(steps: readonly StepResult[]): "committed" | "failed" | "died" {
    const batch: Changes[] = steps.filter((result) => result.changed).map((result) => result.changes);
    if (batch.length === 0) return "committed";
    if (world.strikes(world.faults.commitFailure)) return "failed";
    const isTorn = world.strikes(world.faults.tornCommit);
    if (isTorn && world.rng.chance(0.5)) return "died";
    store.commit(batch, world.nowMs());
    monitor.committed(batch, world.nowMs());
    if (isTorn || world.strikes(world.faults.crashBeforeEffects)) return "died";
    return "committed";
  }

  /** 503 for everyone of the batch, no effects; memory is read again, and workers reconcile on new sockets. */
  function recover(of: Life, waiting: readonly Waiting[], outcome: "failed" | "died"): void {
    for (const { onAnswer } of waiting) onAnswer?.({ kind: "unavailable" });
    if (outcome === "died") return crash();
    world.note("commit failed");
    monitor.counts.failedCommits += 1;
    for (const { connection } of of.sessions.values()) connection.closeByOrchestrator();
    const left = [{ event: { kind: "boot" }, onAnswer: undefined } as const, ...of.waiting];
    life = { ...of, state: load(), waiting: left, isTicking: false, timerAtMs: null, sessions: new Map() };
    requestTick(life);
    return undefined;
  }

  function carryOut(of: Life, waiting: readonly Waiting[], steps: readonly StepResult[]): void {
    waiting.forEach(({ onAnswer }, at) => {
      const result = steps[at];
      if (result !== undefined) onAnswer?.({ kind: "reply", reply: result.reply });
    });
    for (const { effects } of steps) {
      for (const effect of effects) {
        carry(of, effect);
        // Dying among the effects is as likely as dying before them.
        if (world.strikes(world.faults.crashBeforeEffects / 4)) return crash();
      }
    }
    return undefined;
  }

  function carry(of: Life, effect: Effect): void {
    if (effect.kind !== "send" && effect.kind !== "disconnect" && effect.kind !== "challenge") return;
    const session = of.sessions.get(effect.workerId);
    if (session?.id !== effect.sessionId) return;
    if (effect.kind === "send") {
      session.connection.sendDown(effect.message);
      return;
    }
    if (effect.kind === "challenge") {
      session.connection.sendDown(orderOf(effect.challengeId, effect.target));
      return;
    }
    world.note(`disconnect ${effect.workerId}: ${effect.reason}`);
    drop(of, session);
  }

  function armTimer(of: Life): void {
    const dueMs = nextDeadlineMs(of.state);
    if (dueMs === null || (of.timerAtMs !== null && of.timerAtMs <= dueMs && of.timerAtMs > world.nowMs())) return;
    of.timerAtMs = dueMs;
    world.after(dueMs - world.nowMs(), () => {
      if (life === of && of.timerAtMs === dueMs) requestTick(of);
    });
  }

  // ── The gateway ──

  function accept(workerId: WorkerId, open: (end: End<WorkerMessage>) => Connection): Connection | null {
    if (life === null) return null;
    const of = life;
    sessionCount += 1;
    const id = `ses-${sessionCount}` as SessionId;
    const older = of.sessions.get(workerId);
    const isCurrent = () => life?.sessions.get(workerId)?.id === id;
    const connection = open({
      receive(message) {
        if (!isCurrent()) return;
        submit({ kind: "worker.message", workerId, sessionId: id, message, ...contentIn(message) });
        if (message.kind === "proof.commit" || message.kind === "proof.failed") {
          // A verdict is lost with the process that makes it.
          verdictOn(world, rng, workerId, message, (event) => life === of && submit(event));
        }
      },
      closed() {
        if (!isCurrent()) return;
        life?.sessions.delete(workerId);
        submit({ kind: "worker.closed", workerId, sessionId: id });
      },
    });
    of.sessions.set(workerId, { id, workerId, connection });
    const welcome: OrchestratorMessage = {
      kind: "welcome",
      sessionId: id,
      name: workerId,
      contactLossS: world.faults.contactLossS,
    };
    connection.sendDown(welcome);
    submit({ kind: "worker.opened", workerId, sessionId: id });
    if (older !== undefined) {
      older.connection.closeByOrchestrator();
      submit({ kind: "worker.closed", workerId, sessionId: older.id });
    }
    return connection;
  }

  function drop(of: Life, session: Session): void {
    session.connection.closeByOrchestrator();
    of.sessions.delete(session.workerId);
    submit({ kind: "worker.closed", workerId: session.workerId, sessionId: session.id });
  }

  return {
    isUp: () => life !== null,
    start,
    crash,
    stall(ms) {
      if (life === null) return;
      world.note(`orchestrator stalls ${ms} ms`);
      life.stalledUntilMs = world.nowMs() + ms;
    },
    submit,
    accept,
    state: () => life?.state ?? null,
  };
}
