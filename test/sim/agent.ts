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
import { type AttemptId, attemptId, type JobId } from "@qubix/shared/domain";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { egressFeatures, withSent } from "./egress.ts";
import { createLink, type Link } from "./link.ts";
import type { Machine } from "./machine.ts";
import type { Monitor } from "./monitor.ts";
import type { Path } from "./network.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { Trees } from "./trees.ts";
import { createRunner, NOTICE_MS_MAX, type RunnerEffect } from "./runner.ts";
import { type Fakes, proofRng, prove } from "./proofs.ts";
import { hasStalls, LOOK_MS, USE_EVERY, withoutUse } from "./stalls.ts";
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
  /** The whole machine stands still for so long, or only the agent does. */
  suspend(ms: number): void;
  stop(ms: number): void;
  /** Its journal takes nothing for so long. */
  fillDisk(ms: number): void;
  /** The agent is replaced by one of another version. */
  upgrade(): void;
  /** It does not stand still any more unless it sleeps, and its disk has room. */
  revive(): void;
  /** It comes back no more. */
  lose(): void;
  isLost(): boolean;
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
/** What a version of the agent may know beyond what every worker can. */
const FEATURES = ["earnings", "direct", "moves", "exclusive", "image-digest", "proofs", "ticks"] as const;
const IMAGE_DIGEST = `sha256:${"a".repeat(64)}`;
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
  const { rng } = world;
  const history: WorkerMessageBody[] = [];
  let stoppedUntilMs = 0;
  /** What happened while it stood still, in order. */
  let waiting: { readonly of: Life; readonly event: WorkerCoreEvent }[] = [];
  let diskFullUntilMs = 0;
  let isLost = false;
  let isOld = false;
  /** The machine's boot-time clock has nothing to do with the orchestrator's. */
  const clockOffsetMs = rng.int(0, 10_000_000);
  const logged = new Map<AttemptId, number>();
  const proofs = proofRng(world.seed * WORKERS_APART + setup.at);
  let offer = setup.offer;
  let life: Life | null = null;

  // ── The loop: event, step, journal, effects ──

  function give(of: Life, event: WorkerCoreEvent): void {
    if (life !== of) return undefined;
    if (stoppedUntilMs > world.nowMs()) return void waiting.push({ of, event });
    if (world.strikes("agentCrashInStep", 0.5)) return crash();
    const told = "slotId" in event ? withSent(event, sender(event.slotId), lies) : event;
    const { puts, effects } = step(of.core, world.nowMs() + clockOffsetMs, told);
    // Rather than do what it would forget it stops; what runs goes on.
    if (puts.length > 0 && diskFullUntilMs > world.nowMs()) return crash();
    for (const { id, slot } of puts) {
      if (slot === null) journal.delete(id);
      else journal.set(id, slot);
    }
    if (puts.length > 0 && world.strikes("agentCrashInStep")) return crash();
    for (const effect of effects) carry(of, effect);
    armTimer(of);
    return undefined;
  }

  /** The job of a container with a network, by its index. */
  function sender(slotId: SlotId): number | undefined {
    const run = journal.get(slotId)?.run;
    return run?.network === "egress" ? Number(run.command[0]) : undefined;
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
      if (stoppedUntilMs <= world.nowMs()) of.link.watch(journal.size > 0);
      give(of, { kind: "timer" });
    });
  }

  // ── Life and death ──

  function start(): void {
    if (life !== null || isLost) return;
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
    if (hasStalls(world.seed)) world.after(LOOK_MS, () => lookAtAll(of, 1));
    give(of, { kind: "boot", containers: new Map([...journal.keys()].map((id) => [id, machine.found(id)])) });
    of.link.dial();
  }

  /** What shows that containers get on. Nobody looks while the agent stands still. */
  function lookAtAll(of: Life, nth: number): void {
    if (life !== of) return;
    const stoppedMs = stoppedUntilMs - world.nowMs();
    world.after(Math.max(LOOK_MS, stoppedMs), () => lookAtAll(of, nth + 1));
    if (stoppedMs > 0) return;
    for (const slotId of journal.keys()) {
      const look = machine.look(slotId);
      if (look === undefined) continue;
      const { ranMs, newest } = machine.found(slotId);
      const seen = nth % USE_EVERY === 0 ? look : withoutUse(look);
      give(of, { kind: "measured", slotId, ranMs, progress: newest?.progress ?? null, look: seen });
    }
  }

  function createLife(): Life {
    const link = createLink(world, monitor, orchestrator, { workerId, path, lies, isOld, history }, (event) => {
      if (event.kind === "message" && event.message.kind === "prove") prove(world, prover, event.message);
      else if (event.kind === "answered") give(of, { ...event, sentAtMs: event.sentAtMs + clockOffsetMs });
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
      worldTime: (bootMs: number) => bootMs - clockOffsetMs,
      isAlive: () => life === of,
      isReachable: () => link.isReachable(),
      hearNothing: (ms: number) => {
        path.downBlockedUntilMs = Math.max(path.downBlockedUntilMs, world.nowMs() + ms);
      },
      stoppedUntilMs: () => stoppedUntilMs,
      takes: (jobId: JobId) => orchestrator.hasRoom(workerId, jobId),
      imageDigest: () => (offer.features?.includes("image-digest") === true ? IMAGE_DIGEST : undefined),
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

  /** Nothing comes in or goes out, and nothing is done. */
  function standStill(ms: number): void {
    const untilMs = world.nowMs() + ms;
    stoppedUntilMs = Math.max(stoppedUntilMs, untilMs);
    path.upBlockedUntilMs = Math.max(path.upBlockedUntilMs, untilMs);
    path.downBlockedUntilMs = Math.max(path.downBlockedUntilMs, untilMs);
    world.after(ms, goOn);
  }

  function goOn(): void {
    if (stoppedUntilMs > world.nowMs()) return;
    const left = waiting;
    waiting = [];
    for (const { of, event } of left) give(of, event);
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
    suspend(ms) {
      world.note(`${workerId} is suspended for ${ms} ms`);
      machine.suspend(ms);
      standStill(ms);
    },
    stop(ms) {
      world.note(`${workerId} agent stands still for ${ms} ms`);
      standStill(ms);
    },
    fillDisk(ms) {
      world.note(`${workerId} disk is full for ${ms} ms`);
      diskFullUntilMs = world.nowMs() + ms;
    },
    upgrade() {
      isOld = rng.chance(0.5);
      const known = new Set(offer.features);
      // Proofs are drawn with the seed: who gives them goes on to.
      const features = FEATURES.filter((name) => (name === "proofs" ? known.has(name) : !isOld && rng.chance(0.7)));
      const { features: _, ...rest } = offer;
      const isWatching = hasStalls(world.seed) && !isOld;
      const all = egressFeatures(world.seed, setup.at, isWatching ? [...features, "stalls"] : features);
      const saysNone = features.length === 0 && rng.chance(0.5) && !all.includes("egress");
      offer = saysNone ? rest : { ...rest, features: [...all] };
      crash();
    },
    revive() {
      // A machine that sleeps sleeps on, or its agent would see its containers stand still.
      stoppedUntilMs = machine.asleepUntilMs();
      path.awayUntilMs = Math.max(path.awayUntilMs, stoppedUntilMs);
      diskFullUntilMs = 0;
      goOn();
      // In the end every owner has a version that takes every kind of job.
      const features = offer.features ?? [];
      if (!features.includes("exclusive")) changeOffer({ features: [...features, "exclusive"] });
    },
    lose() {
      isLost = true;
    },
    isLost: () => isLost,
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
