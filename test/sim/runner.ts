// The runner of one agent process: carries out what the core asks of containers, checkpoints and outputs. Everything takes time, and sometimes fails.
import type { JobId } from "@qubix/shared/domain";
import type { CheckpointRef, EndOutcome } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import type { SlotId, WorkerCoreEvent, WorkerEffect } from "@qubix/worker/core";
import type { Machine, Unpacked } from "./machine.ts";
import { handedOver } from "./mirrors.ts";
import type { Trees } from "./trees.ts";
import { BrokenInvariant, type World } from "./world.ts";

export interface RunnerPorts {
  readonly give: (event: WorkerCoreEvent) => void;
  /** From the machine's boot-time clock to the world's. */
  readonly worldTime: (bootMs: number) => number;
  /** Whether the process still lives. */
  readonly isAlive: () => boolean;
  /** Whether the orchestrator's store can be reached. */
  readonly isReachable: () => boolean;
  /** Nothing of the orchestrator's arrives for so long. */
  readonly hearNothing: (ms: number) => void;
  /** Until when the agent's process does nothing. */
  readonly stoppedUntilMs: () => number;
  /** Whether the store has room; the orchestrator notes where it has none. */
  readonly takes: (jobId: JobId) => boolean;
  /** Which image the tag stands for, where this version of the worker tells. */
  readonly imageDigest: () => string | undefined;
}

export type RunnerEffect = Exclude<WorkerEffect, { readonly kind: "send" }>;

/** When the line is away, work that needs it is tried again after at most this time. */
const RETRY_MS = 400;
const PREPARE_MS_MAX = 300;
const RESTORE_MS_MAX = 200;
const START_MS_MAX = 100;
const DEAF_MS_MAX = 3_000;
const SHIP_MS_MAX = 150;
const COLLECT_MS_MAX = 100;
const REMOVE_MS_MAX = 50;
/** Until the end of a container is noticed. */
export const NOTICE_MS_MAX = 20;

/** Gives the function that carries out one effect of the core. */
export function createRunner(
  world: World,
  machine: Machine,
  trees: Trees,
  ports: RunnerPorts,
  forges: boolean,
): (effect: RunnerEffect) => void {
  const { rng } = world;
  const { give } = ports;

  function later(msMax: number, action: () => void): void {
    const act = (): void => {
      const stoppedMs = ports.stoppedUntilMs() - world.nowMs();
      if (!ports.isAlive()) return undefined;
      return stoppedMs > 0 ? world.after(stoppedMs, act) : action();
    };
    world.after(rng.int(1, msMax), act);
  }

  /** Work that needs the orchestrator's store goes on when the line is there. Work for a slot that is being removed is given up. */
  function withLine(slotId: SlotId, msMax: number, action: () => void): void {
    later(msMax, () => {
      const slot = machine.journal.get(slotId);
      if (slot === undefined || slot.phase === "removing") return;
      if (ports.isReachable()) action();
      else later(RETRY_MS, () => withLine(slotId, msMax, action));
    });
  }

  function fails(slotId: SlotId, code: Extract<EndOutcome, { kind: "worker_failed" }>["code"]): boolean {
    if (!world.strikes("runnerFailure")) return false;
    failed(slotId, code);
    return true;
  }

  function failed(slotId: SlotId, code: Extract<EndOutcome, { kind: "worker_failed" }>["code"]): void {
    give({ kind: "failed", slotId, outcome: { kind: "worker_failed", code, message: "simulated" } });
  }

  function prepared(slotId: SlotId, checkpoint: CheckpointRef | null, unpacked: Unpacked): void {
    if (unpacked.kind === "failed") return failed(slotId, unpacked.code);
    const imageDigest = ports.imageDigest();
    return give({
      kind: "prepared",
      slotId,
      checkpointSeq: checkpoint?.seq ?? 0,
      entry: unpacked.key,
      ...(imageDigest === undefined ? {} : { imageDigest }),
    });
  }

  function ship({ slotId, jobId, entry, ranMs, progress }: Extract<RunnerEffect, { kind: "ship" }>): void {
    const content = machine.entryState(slotId, entry);
    later(SHIP_MS_MAX, () => {
      if (content === undefined || !ports.isReachable() || !ports.takes(jobId) || world.strikes("shipFailure")) {
        give({ kind: "shipFailed", slotId, entry });
        return;
      }
      const tree = trees.put(jobId, content.program, "checkpoint", content.state);
      if (world.strikes("checkpointDamage")) trees.damage(tree.manifestCid);
      give({ kind: "shipped", slotId, entry, tree, ranMs, progress });
    });
  }

  function start({ slotId, attempt }: Extract<RunnerEffect, { kind: "start" }>): void {
    // The engine starts it even when the agent dies meanwhile.
    world.after(rng.int(1, START_MS_MAX), () => {
      // …and sometimes though it says that it could not.
      if (ports.isAlive() && fails(slotId, "docker_error")) {
        if (!rng.chance(0.5)) return;
        machine.start(slotId, attempt);
        // What it says of that arrives; the answer, upon which it is removed, is late.
        if (rng.chance(0.5)) ports.hearNothing(rng.int(100, DEAF_MS_MAX));
        return;
      }
      const isStarted = machine.start(slotId, attempt);
      if (!ports.isAlive()) return;
      if (isStarted) return give({ kind: "started", slotId });
      if (machine.journal.get(slotId)?.run.failover !== "exclusive") return;
      const message = "its lease was over before its start";
      give({ kind: "failed", slotId, outcome: { kind: "worker_failed", code: "guard_failed", message } });
    });
  }

  function collect(effect: Extract<RunnerEffect, { kind: "collect" }>): void {
    const { slotId, jobId } = effect;
    if (!ports.takes(jobId)) return later(RETRY_MS, () => withLine(slotId, COLLECT_MS_MAX, () => collect(effect)));
    if (fails(slotId, "upload_failed")) return undefined;
    const done = machine.result(slotId);
    if (done === undefined) throw new BrokenInvariant(`${slotId} has no container to collect from`);
    const state = handedOver(done.program, done.state, machine.workerId, forges);
    return give({ kind: "outputs", slotId, tree: trees.put(jobId, done.program, "outputs", state) });
  }

  return (effect) => {
    const { slotId } = effect;
    switch (effect.kind) {
      case "prepare":
        return withLine(slotId, PREPARE_MS_MAX, () => {
          if (fails(slotId, "image_pull_failed")) return;
          prepared(slotId, effect.checkpoint, machine.prepare(slotId, effect.run, effect.checkpoint));
        });
      case "restore":
        return withLine(slotId, RESTORE_MS_MAX, () => {
          if (fails(slotId, "restore_failed")) return;
          prepared(slotId, effect.checkpoint, machine.restore(slotId, effect.checkpoint));
        });
      case "start":
        return start(effect);
      case "relabel": {
        const attempt = machine.journal.get(slotId)?.attempt;
        if (attempt !== undefined && attempt !== null) machine.label(slotId, attempt);
        return undefined;
      }
      case "follow":
        machine.label(slotId, effect.attempt);
        // It may have ended between the look at it and now.
        return later(NOTICE_MS_MAX, () => {
          const found = machine.found(slotId);
          if (found.state === "exited") give({ kind: "exited", slotId, ...found });
        });
      case "stop":
        world.after(rng.int(1, Math.max(1, effect.graceS * 1000)), () => machine.kill(slotId));
        return undefined;
      case "request":
        if (effect.number !== null) world.after(rng.int(1, NOTICE_MS_MAX), () => machine.ask(slotId));
        return undefined;
      case "ship":
        return ship(effect);
      case "lease":
        machine.guard.extend(slotId, ports.worldTime(effect.untilMs));
        return undefined;
      case "committed":
      case "note":
        return undefined;
      case "collect":
        return withLine(slotId, COLLECT_MS_MAX, () => collect(effect));
      case "remove":
        return later(REMOVE_MS_MAX, () => {
          machine.remove(slotId);
          give({ kind: "removed", slotId });
        });
      default:
        return unreachable(effect);
    }
  };
}
