// The runner of one agent process: carries out what the core asks of containers, checkpoints and outputs. Everything takes time, and sometimes fails.
import type { EndOutcome } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import type { SlotId, WorkerCoreEvent, WorkerEffect } from "@qubix/worker/core";
import type { Machine } from "./machine.ts";
import { handedOver } from "./mirrors.ts";
import type { Trees } from "./programs.ts";
import { BrokenInvariant, type World } from "./world.ts";

export interface RunnerPorts {
  readonly give: (event: WorkerCoreEvent) => void;
  /** Whether the process still lives. */
  readonly isAlive: () => boolean;
  /** Whether the orchestrator's store can be reached. */
  readonly isReachable: () => boolean;
}

export type RunnerEffect = Exclude<WorkerEffect, { readonly kind: "send" }>;

/** When the line is away, work that needs it is tried again after at most this time. */
const RETRY_MS = 400;
const PREPARE_MS_MAX = 300;
const RESTORE_MS_MAX = 200;
const START_MS_MAX = 100;
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
  const { rng, faults } = world;
  const { give } = ports;

  function later(msMax: number, action: () => void): void {
    world.after(rng.int(1, msMax), () => {
      if (ports.isAlive()) action();
    });
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
    if (!world.strikes(faults.runnerFailure)) return false;
    give({ kind: "failed", slotId, outcome: { kind: "worker_failed", code, message: "simulated" } });
    return true;
  }

  function ship({ slotId, entry, ranMs, progress }: Extract<RunnerEffect, { kind: "ship" }>): void {
    const content = machine.entryState(slotId, entry);
    later(SHIP_MS_MAX, () => {
      if (content === undefined || !ports.isReachable() || world.strikes(faults.shipFailure)) {
        give({ kind: "shipFailed", slotId, entry });
        return;
      }
      const tree = trees.put(content.program, "checkpoint", content.state);
      give({ kind: "shipped", slotId, entry, tree, ranMs, progress });
    });
  }

  function start({ slotId, attempt }: Extract<RunnerEffect, { kind: "start" }>): void {
    // The engine starts it even when the agent dies meanwhile.
    world.after(rng.int(1, START_MS_MAX), () => {
      if (ports.isAlive() && fails(slotId, "docker_error")) return;
      if (machine.start(slotId, attempt) && ports.isAlive()) give({ kind: "started", slotId });
    });
  }

  function collect(slotId: SlotId): void {
    if (fails(slotId, "upload_failed")) return;
    const done = machine.result(slotId);
    if (done === undefined) throw new BrokenInvariant(`${slotId} has no container to collect from`);
    const state = handedOver(done.program, done.state, machine.workerId, forges);
    give({ kind: "outputs", slotId, tree: trees.put(done.program, "outputs", state) });
  }

  return (effect) => {
    const { slotId } = effect;
    switch (effect.kind) {
      case "prepare":
        return withLine(slotId, PREPARE_MS_MAX, () => {
          if (fails(slotId, "image_pull_failed")) return;
          const entry = machine.prepare(slotId, effect.run, effect.checkpoint);
          give({ kind: "prepared", slotId, checkpointSeq: effect.checkpoint?.seq ?? 0, entry });
        });
      case "restore":
        return withLine(slotId, RESTORE_MS_MAX, () => {
          if (fails(slotId, "restore_failed")) return;
          const entry = machine.restore(slotId, effect.checkpoint);
          give({ kind: "prepared", slotId, checkpointSeq: effect.checkpoint.seq, entry });
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
      case "committed":
      case "note":
        return undefined;
      case "collect":
        return withLine(slotId, COLLECT_MS_MAX, () => collect(slotId));
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
