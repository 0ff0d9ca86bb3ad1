// The worker's shell in the virtual world: the real core, a journal that survives its process, and around them a link and a runner that do not.
import {
  createWorkerState,
  DEFAULT_WORKER_CONFIG,
  nextDeadlineMs,
  type SlotId,
  step,
  type WorkerCoreEvent,
  type WorkerEffect,
  type WorkerMessageBody,
  type WorkerState,
} from "@qubix/worker/core";
import { type AttemptId, attemptId } from "@qubix/shared/domain";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { createLink, type Link } from "./link.ts";
import type { Machine } from "./machine.ts";
import type { Monitor } from "./monitor.ts";
import type { Path } from "./network.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { Trees } from "./programs.ts";
import { createRunner, NOTICE_MS_MAX, type RunnerEffect } from "./runner.ts";
import { type Fakes, proofRng, prove } from "./proofs.ts";
import type { World } from "./world.ts";

export interface WorkerNode {
  readonly machine: Machine;
  readonly path: Path;
  start(): void;
  /** The agent dies; containers live on. */
  crash(): void;
  /** The machine dies with all that runs; nobody is told. `wiped`: its disk is empty afterwards. */
  powerLoss(wiped: boolean): void;
  /** Its line breaks. */
  cut(): void;
  offer(patch: Partial<WorkerOffer>): void;
  /** Offers this share of what the machine has; what runs goes on. */
  resize(share: number): void;
  /** What runs here is to go elsewhere, or may stay. */
  leave(is: boolean): void;
  /** Slots its journal still holds, and containers nobody knows. */
  leftovers(): readonly string[];
}

export interface WorkerSetup {
  readonly at: number;
  readonly path: Path;
  readonly offer: WorkerOffer;
  readonly lies: boolean;
  /** Hands over another result of mirror jobs than it computed. */
  readonly forges: boolean;
  readonly fakes: Fakes;
}

/** One process of the agent; a crash forgets it. */
interface Life {
  readonly core: WorkerState;
  readonly link: Link;
  readonly run: (effect: RunnerEffect) => void;
  timerAtMs: number | null;
}

/** More than a seed has of them. */
const WORKERS_APART = 16;
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 6_000;

export function createWorkerNode(
  world: World,
  monitor: Monitor,
  orchestrator: OrchestratorNode,
  trees: Trees,
  machine: Machine,
  setup: WorkerSetup,
): WorkerNode {
  const { path, lies } = setup;
  const { workerId, journal } = machine;
  const { rng, faults } = world;
  /** The machine's boot-time clock has nothing to do with the orchestrator's. */
  const clockOffsetMs = rng.int(0, 10_000_000);
  const logged = new Map<AttemptId, number>();
  const proofs = proofRng(world.seed * WORKERS_APART + setup.at);
  let offer = setup.offer;
  let life: Life | null = null;

  // ── The loop: event, step, journal, effects ──

  function give(of: Life, event: WorkerCoreEvent): void {
    if (life !== of) return;
    if (world.strikes(faults.agentCrashInStep / 2)) return crash();
    const { puts, effects } = step(of.core, world.nowMs() + clockOffsetMs, event);
    for (const { id, slot } of puts) {
      if (slot === null) journal.delete(id);
      else journal.set(id, slot);
    }
    if (puts.length > 0 && world.strikes(faults.agentCrashInStep)) return crash();
    for (const effect of effects) carry(of, effect);
    armTimer(of);
    return undefined;
  }

  function carry(of: Life, effect: WorkerEffect): void {
    if (effect.kind === "send") of.link.send(effect.message);
    else of.run(effect);
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
      of.link.watch(journal.size > 0);
      give(of, { kind: "timer" });
    });
  }

  // ── Life and death ──

  function start(): void {
    if (life !== null) return;
    world.note(`${workerId} starts`);
    const of = createLife();
    life = of;
    machine.follower = {
      entry: (slotId, entry) => {
        log(of, slotId, `${entry.entry}\n`);
        world.after(rng.int(1, NOTICE_MS_MAX), () => give(of, { kind: "entry", slotId, ...entry }));
      },
      exited: (slotId, found) =>
        world.after(rng.int(NOTICE_MS_MAX, 2 * NOTICE_MS_MAX), () => give(of, { kind: "exited", slotId, ...found })),
    };
    reap();
    give(of, { kind: "boot", containers: new Map([...journal.keys()].map((id) => [id, machine.found(id)])) });
    of.link.dial();
  }

  function createLife(): Life {
    const link = createLink(world, monitor, orchestrator, { workerId, path, lies }, (event) => {
      if (event.kind === "message" && event.message.kind === "prove") prove(world, prover, event.message);
      else give(of, event);
    });
    const prover = {
      workerId,
      fakes: setup.fakes,
      rng: proofs,
      isAlive: () => life === of,
      send: (body: WorkerMessageBody) => link.send(body),
      cut: () => link.cut({ worker: true, orchestrator: true }),
    };
    const ports = {
      give: (event: WorkerCoreEvent) => give(of, event),
      isAlive: () => life === of,
      isReachable: () => link.isReachable(),
    };
    const core = createWorkerState({ slots: [...journal.values()], offer, config: DEFAULT_WORKER_CONFIG });
    const of: Life = { core, link, run: createRunner(world, machine, trees, ports, setup.forges), timerAtMs: null };
    return of;
  }

  /** Containers that no slot knows are removed: their slot was never journaled, or its removal was. */
  function reap(): void {
    for (const slotId of machine.containers()) if (!journal.has(slotId)) machine.remove(slotId);
  }

  function crash(): void {
    if (life === null) return;
    world.note(`${workerId} agent dies`);
    end(life);
  }

  function end(of: Life): void {
    monitor.counts.agentRestarts += 1;
    of.link.die();
    life = null;
    machine.follower = null;
    world.after(rng.int(RESTART_MS_MIN, RESTART_MS_MAX), start);
  }

  /** What the container printed, under the epoch that the journal knows now. Lines are lost while the line is away. */
  function log(of: Life, slotId: SlotId, text: string): void {
    const attempt = journal.get(slotId)?.attempt;
    if (!of.link.isReachable() || attempt === undefined || attempt === null) return;
    const offset = logged.get(attemptId(attempt)) ?? 0;
    logged.set(attemptId(attempt), offset + text.length);
    of.link.send({ kind: "log", attempt, stream: "stdout", offset, text, time: "2026-01-01T00:00:00Z" });
  }

  function changeOffer(patch: Partial<WorkerOffer>): void {
    offer = { ...offer, ...patch };
    if (life !== null) give(life, { kind: "offer", offer });
  }

  return {
    machine,
    path,
    start,
    crash,
    powerLoss(wiped) {
      world.note(`${workerId} loses power${wiped ? " and its disk" : ""}`);
      life?.link.cut({ worker: false, orchestrator: false });
      machine.powerLoss(wiped);
      if (life !== null) end(life);
    },
    cut() {
      world.note(`${workerId} line cut`);
      life?.link.cut({ worker: rng.chance(0.7), orchestrator: rng.chance(0.7) });
    },
    offer: changeOffer,
    resize(share) {
      const { cpus, memoryMiB, gpus } = setup.offer;
      const kept = gpus.slice(0, Math.floor(gpus.length * share));
      changeOffer({ cpus: cpus * share, memoryMiB: Math.floor(memoryMiB * share), gpus: kept });
    },
    leave(is) {
      if (is === (offer.leaving !== undefined)) return;
      const { leaving: _, ...stays } = offer;
      offer = is ? { ...offer, draining: true, leaving: "drain" } : { ...stays, draining: false };
      if (life !== null) give(life, { kind: "offer", offer });
    },
    leftovers: () => [...journal.keys(), ...machine.containers().filter((slotId) => !journal.has(slotId))],
  };
}
