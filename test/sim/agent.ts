// The worker's shell in the virtual world: the real core, a journal that survives, a runner that takes time and sometimes fails, and a link that dials again.
import {
  createWorkerState,
  DEFAULT_WORKER_CONFIG,
  nextDeadlineMs,
  step,
  type WorkerCoreEvent,
  type WorkerEffect,
  type WorkerMessageBody,
  type WorkerState,
} from "@qubix/worker/core";
import { type AttemptId, attemptId } from "@qubix/shared/domain";
import type { EndOutcome, OrchestratorMessage, WorkerOffer } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import { BrokenInvariant, type World } from "./world.ts";
import type { Machine } from "./machine.ts";
import type { Monitor } from "./monitor.ts";
import { connect, type Connection, type Path } from "./network.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { Trees } from "./programs.ts";

export interface WorkerNode {
  readonly machine: Machine;
  readonly path: Path;
  isUp(): boolean;
  start(): void;
  /** The agent dies; containers live on. */
  crash(): void;
  /** The machine dies with all its containers; nobody is told. `wiped`: its journal is gone too. */
  powerLoss(wiped: boolean): void;
  cut(): void;
  offer(patch: Partial<WorkerOffer>): void;
  /** Offers this share of what the machine has; what runs goes on. */
  resize(share: number): void;
  /** Slots its journal still holds, and containers nobody knows. */
  leftovers(): readonly string[];
}

/** One process of the agent; a crash forgets it. */
interface Life {
  readonly core: WorkerState;
  link: Link | null;
  timerAtMs: number | null;
}

interface Link {
  readonly connection: Connection;
  readonly sent: Map<number, WorkerMessageBody>;
  msg: number;
  isOpen: boolean;
  lastFrameMs: number;
}

/** No frame for three idle heartbeats: the line is taken for dead. With work they come five times as often. */
const WATCHDOG_BUSY_MS = 3_000;
const WATCHDOG_IDLE_MS = 15_000;
/** How many messages of the last session may be repeated in the next. */
const REPEATS_MAX = 3;
const REPEATABLE: ReadonlySet<string> = new Set([
  "started",
  "checkpoint",
  "exited",
  "ended",
  "standby.ready",
  "standby.failed",
]);
/** A lying worker claims so many times the container time it had. */
const LIE = 3;
/** How long a piece of work takes that needs the line, when the line is away, until it is tried again. */
const RETRY_MS = 400;

export function createWorkerNode(
  world: World,
  monitor: Monitor,
  orchestrator: OrchestratorNode,
  trees: Trees,
  machine: Machine,
  setup: { readonly path: Path; readonly offer: WorkerOffer; readonly lies: boolean },
): WorkerNode {
  const { path } = setup;
  const { workerId, journal } = machine;
  const { rng, faults } = world;
  /** The machine's boot-time clock has nothing to do with the orchestrator's. */
  const clockOffsetMs = rng.int(0, 10_000_000);
  let offer = setup.offer;
  let life: Life | null = null;
  let lastLink: Link | null = null;
  const logged = new Map<AttemptId, number>();

  // ── The loop: event, step, journal, effects ──

  function give(of: Life, event: WorkerCoreEvent): void {
    if (life !== of) return;
    if (world.strikes(faults.agentCrashInStep / 2)) return crash();
    const { puts, effects } = step(of.core, clock(), event);
    for (const { id, slot } of puts) {
      if (slot === null) journal.delete(id);
      else journal.set(id, slot);
    }
    if (puts.length > 0 && world.strikes(faults.agentCrashInStep)) return crash();
    for (const effect of effects) carry(of, effect);
    armTimer(of);
    return undefined;
  }

  function clock(): number {
    return world.nowMs() + clockOffsetMs;
  }

  function armTimer(of: Life): void {
    const due = nextDeadlineMs(of.core);
    if (due === null) return;
    const dueMs = Math.max(due - clockOffsetMs, world.nowMs());
    if (of.timerAtMs !== null && of.timerAtMs <= dueMs && of.timerAtMs >= world.nowMs()) return;
    of.timerAtMs = dueMs;
    world.after(dueMs - world.nowMs(), () => {
      if (life !== of || of.timerAtMs !== dueMs) return;
      of.timerAtMs = null;
      watch(of);
      give(of, { kind: "timer" });
    });
  }

  function start(): void {
    if (life !== null) return;
    world.note(`${workerId} starts`);
    const of: Life = {
      core: createWorkerState({ slots: [...journal.values()], offer, config: DEFAULT_WORKER_CONFIG }),
      link: null,
      timerAtMs: null,
    };
    life = of;
    machine.follower = {
      entry: (slotId, entry) => {
        log(of, slotId, `${entry.entry}\n`);
        later(of, 20, () => give(of, { kind: "entry", slotId, ...entry }));
      },
      exited: (slotId, found) => later(of, 20, () => give(of, { kind: "exited", slotId, ...found })),
    };
    reap();
    give(of, { kind: "boot", containers: new Map([...journal.keys()].map((id) => [id, machine.found(id)])) });
    dial(of);
  }

  /** Containers that no slot knows are removed: their slot was never journaled, or its removal was. */
  function reap(): void {
    for (const slotId of machine.containers()) if (!journal.has(slotId)) machine.remove(slotId);
  }

  function crash(): void {
    if (life === null) return;
    world.note(`${workerId} agent dies`);
    monitor.counts.agentRestarts += 1;
    life.link?.connection.closeByWorker();
    end();
  }

  function end(): void {
    lastLink = null;
    life = null;
    machine.follower = null;
    world.after(rng.int(50, 6_000), start);
  }

  function later(of: Life, msMax: number, action: () => void): void {
    world.after(rng.int(1, msMax), () => {
      if (life === of) action();
    });
  }

  // ── The link ──

  function dial(of: Life): void {
    if (life !== of || of.link !== null) return;
    const isBlocked = Math.max(path.upBlockedUntilMs, path.downBlockedUntilMs) > world.nowMs();
    const again = () => world.after(rng.int(200, 1_500), () => dial(of));
    if (isBlocked) return again();
    let link: Link | null = null;
    const ends = {
      receive: (message: OrchestratorMessage) => link !== null && hear(of, link, message),
      closed: () => link !== null && unlink(of, link),
    };
    const connection = orchestrator.accept(workerId, (end) =>
      connect(world, workerId, path, { worker: ends, orchestrator: end }),
    );
    if (connection === null) return again();
    link = { connection, sent: new Map(), msg: 0, isOpen: false, lastFrameMs: world.nowMs() };
    of.link = link;
    if (world.strikes(faults.flaps)) {
      world.after(rng.int(0, 150), () => connection.cut({ worker: rng.chance(0.7), orchestrator: rng.chance(0.7) }));
    }
    // A line that is blocked before the welcome came is given up too.
    world.after(WATCHDOG_BUSY_MS, () => {
      if (link !== null && of.link === link && !link.isOpen) unlink(of, link);
    });
    return undefined;
  }

  function unlink(of: Life, link: Link): void {
    if (life !== of || of.link !== link) return;
    link.connection.closeByWorker();
    of.link = null;
    lastLink = link;
    if (link.isOpen) give(of, { kind: "closed" });
    world.after(rng.int(50, 800), () => dial(of));
  }

  function watch(of: Life): void {
    const { link } = of;
    if (link === null || !link.isOpen) return;
    const limitMs = journal.size > 0 ? WATCHDOG_BUSY_MS : WATCHDOG_IDLE_MS;
    if (world.nowMs() - link.lastFrameMs > limitMs) unlink(of, link);
  }

  function hear(of: Life, link: Link, message: OrchestratorMessage): void {
    if (life !== of || of.link !== link) return;
    link.lastFrameMs = world.nowMs();
    const re = message.kind === "ack" || message.kind === "refused" ? link.sent.get(message.re) : undefined;
    if (re?.kind !== "heartbeat") world.note(`> ${workerId} ${describe(message)}`);
    monitor.delivered(workerId, message, re);
    if (message.kind === "welcome") {
      link.isOpen = true;
      give(of, { kind: "opened", sessionId: message.sessionId, contactLossS: message.contactLossS });
      if (world.strikes(faults.repeats)) repeat(link);
      return;
    }
    if (message.kind === "ack" || message.kind === "refused") {
      link.sent.delete(message.re);
      if (re === undefined) return;
      if (message.kind === "ack") give(of, { kind: "acknowledged", message: re });
      else give(of, { kind: "refused", message: re, code: message.code, reason: message.message });
      return;
    }
    give(of, { kind: "message", message });
    if (world.strikes(faults.repeats)) give(of, { kind: "message", message });
  }

  /** What the last session carried up arrives once more, in any order: the sender could not know that it had arrived. */
  function repeat(link: Link): void {
    const sent = [...(lastLink?.sent.values() ?? [])].filter(({ kind }) => REPEATABLE.has(kind));
    for (let count = rng.int(1, REPEATS_MAX); count > 0 && sent.length > 0; count -= 1) send(link, rng.pick(sent));
  }

  function send(link: Link, body: WorkerMessageBody): void {
    if (body.kind !== "heartbeat") world.note(`< ${workerId} ${describe(body)}`);
    link.msg += 1;
    link.sent.set(link.msg, body);
    const told = setup.lies ? inflate(body) : body;
    const { msg } = link;
    link.connection.sendUp(told.kind === "checkpoint" ? { ...told, signature: "sig", msg } : { ...told, msg });
  }

  /** What the container printed, under the epoch that the journal knows now. Lines are lost while the line is away. */
  function log(of: Life, slotId: string, text: string): void {
    const attempt = journal.get(slotId)?.attempt;
    if (of.link?.isOpen !== true || attempt === undefined || attempt === null) return;
    const offset = logged.get(attemptId(attempt)) ?? 0;
    logged.set(attemptId(attempt), offset + text.length);
    send(of.link, { kind: "log", attempt, stream: "stdout", offset, text, time: "2026-01-01T00:00:00Z" });
  }

  function isReachable(): boolean {
    const { link } = life ?? { link: null };
    return link?.isOpen === true && orchestrator.isUp() && path.upBlockedUntilMs <= world.nowMs();
  }

  // ── The runner ──

  function carry(of: Life, effect: WorkerEffect): void {
    switch (effect.kind) {
      case "send":
        if (of.link?.isOpen === true) send(of.link, effect.message);
        return;
      case "prepare":
        return withLine(of, 300, () => {
          if (!isWanted(effect.slotId)) return;
          if (fails(of, effect.slotId, "image_pull_failed")) return;
          const entry = machine.prepare(effect.slotId, effect.run, effect.checkpoint);
          const checkpointSeq = effect.checkpoint?.seq ?? 0;
          give(of, { kind: "prepared", slotId: effect.slotId, checkpointSeq, entry });
        });
      case "restore":
        return withLine(of, 200, () => {
          if (!isWanted(effect.slotId)) return;
          if (fails(of, effect.slotId, "restore_failed")) return;
          const entry = machine.restore(effect.slotId, effect.checkpoint);
          give(of, { kind: "prepared", slotId: effect.slotId, checkpointSeq: effect.checkpoint.seq, entry });
        });
      case "start":
        // The engine starts it even when the agent dies meanwhile.
        world.after(rng.int(5, 100), () => {
          if (life === of && fails(of, effect.slotId, "docker_error")) return;
          if (machine.start(effect.slotId, effect.attempt) && life === of) {
            give(of, { kind: "started", slotId: effect.slotId });
          }
        });
        return;
      case "relabel": {
        const attempt = journal.get(effect.slotId)?.attempt;
        if (attempt !== undefined && attempt !== null) machine.label(effect.slotId, attempt);
        return;
      }
      case "follow":
        machine.label(effect.slotId, effect.attempt);
        // It may have ended between the look at it and now.
        later(of, 20, () => {
          const found = machine.found(effect.slotId);
          if (found.state === "exited") give(of, { kind: "exited", slotId: effect.slotId, ...found });
        });
        return;
      case "stop":
        world.after(rng.int(1, Math.max(1, effect.graceS * 1000)), () => machine.kill(effect.slotId));
        return;
      case "ship":
        return ship(of, effect);
      case "committed":
        return;
      case "collect":
        return withLine(of, 100, () => {
          if (!isWanted(effect.slotId)) return;
          if (fails(of, effect.slotId, "upload_failed")) return;
          const done = machine.result(effect.slotId);
          if (done === undefined) throw new BrokenInvariant(`${effect.slotId} has no container to collect from`);
          give(of, { kind: "outputs", slotId: effect.slotId, tree: trees.put(done.program, "outputs", done.state) });
        });
      case "remove":
        return later(of, 50, () => {
          machine.remove(effect.slotId);
          give(of, { kind: "removed", slotId: effect.slotId });
        });
      default:
        return unreachable(effect);
    }
  }

  function ship(of: Life, effect: Extract<WorkerEffect, { kind: "ship" }>): void {
    const { slotId, entry, ranMs, progress } = effect;
    const content = machine.entryState(slotId, entry);
    later(of, 150, () => {
      if (content === undefined || !isReachable() || world.strikes(faults.shipFailure)) {
        give(of, { kind: "shipFailed", slotId, entry });
        return;
      }
      const tree = trees.put(content.program, "checkpoint", content.state);
      give(of, { kind: "shipped", slotId, entry, tree, ranMs, progress });
    });
  }

  /** Work that needs the orchestrator's store goes on when the line is there. */
  function withLine(of: Life, msMax: number, action: () => void): void {
    later(of, msMax, () => {
      if (isReachable()) action();
      else later(of, RETRY_MS, () => withLine(of, msMax, action));
    });
  }

  /** Work for a slot that is being removed is given up. */
  function isWanted(slotId: string): boolean {
    const slot = journal.get(slotId);
    return slot !== undefined && slot.phase !== "removing";
  }

  function fails(of: Life, slotId: string, code: Extract<EndOutcome, { kind: "worker_failed" }>["code"]): boolean {
    if (!world.strikes(faults.runnerFailure)) return false;
    give(of, { kind: "failed", slotId, outcome: { kind: "worker_failed", code, message: "simulated" } });
    return true;
  }

  function changeOffer(patch: Partial<WorkerOffer>): void {
    offer = { ...offer, ...patch };
    if (life !== null) give(life, { kind: "offer", offer });
  }

  return {
    machine,
    path,
    isUp: () => life !== null,
    start,
    crash,
    powerLoss(wiped) {
      world.note(`${workerId} loses power${wiped ? " and its disk" : ""}`);
      if (life !== null) monitor.counts.agentRestarts += 1;
      life?.link?.connection.cut({ worker: false, orchestrator: false });
      machine.powerLoss(wiped);
      if (life !== null) end();
    },
    cut() {
      const link = life?.link ?? null;
      if (link === null) return;
      world.note(`${workerId} line cut`);
      const tells = { worker: rng.chance(0.7), orchestrator: rng.chance(0.7) };
      link.connection.cut(tells);
    },
    offer: changeOffer,
    resize(share) {
      const { cpus, memoryMiB, gpus } = setup.offer;
      const kept = gpus.slice(0, Math.floor(gpus.length * share));
      changeOffer({ cpus: cpus * share, memoryMiB: Math.floor(memoryMiB * share), gpus: kept });
    },
    leftovers: () => [...journal.keys(), ...machine.containers().filter((slotId) => !journal.has(slotId))],
  };
}

function describe(message: OrchestratorMessage | WorkerMessageBody): string {
  const attempt = "attempt" in message ? ` ${message.attempt.jobId}/${message.attempt.epoch}` : "";
  const standby = "standbyId" in message ? ` ${message.standbyId}` : "";
  const re = "re" in message ? ` ${message.re}` : "";
  const seq = "seq" in message ? ` seq ${message.seq}` : "";
  const outcome = message.kind === "ended" ? ` ${message.outcome.kind}` : "";
  return `${message.kind}${attempt}${standby}${seq}${re}${outcome}`;
}

/** The same message with the container time a lying provider claims. */
function inflate(body: WorkerMessageBody): WorkerMessageBody {
  if (body.kind === "exited" || body.kind === "ended" || body.kind === "checkpoint") {
    return { ...body, ranMs: body.ranMs * LIE };
  }
  if (body.kind === "hello") {
    return { ...body, attempts: body.attempts.map((entry) => ({ ...entry, ranMs: entry.ranMs * LIE })) };
  }
  if (body.kind !== "heartbeat" || body.attempts === undefined) return body;
  return { ...body, attempts: body.attempts.map((entry) => ({ ...entry, ranMs: entry.ranMs * LIE })) };
}
