// The slots of this machine: carries out what the core wants done, and watches over what runs.
import type { AttemptRef } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { ContainerFound, Slot, SlotId, WorkerEffect } from "../core/index.ts";
import { reap, type ReapPorts } from "./reap.ts";
import { createSlotRunner } from "./slot.ts";
import type { SlotConfig, SlotPorts, SlotRunner } from "./slot-port.ts";

/** Progress, container time and log positions are looked at this often. */
const MEASURE_EVERY_MS = 1_000;
/** The Engine's own measures cost it more: every tenth look. */
const STATS_EVERY = 10;

export type SlotEffect = Exclude<WorkerEffect, { readonly kind: "send" }>;

export interface Runner {
  /** Removes what no slot knows, and says what stands of those that are known. To be called first. */
  reconcile(slots: readonly Slot[]): Promise<ReadonlyMap<SlotId, ContainerFound>>;
  /** Begins one effect; its answer is an event. `slot` is the journal's row. */
  perform(effect: SlotEffect, slot: Slot | undefined): void;
  /** Sends all output that is held of this attempt: its end is about to be told. */
  flushLogs(attempt: AttemptRef, slots: Iterable<Slot>): void;
  opened(): void;
  closed(): void;
  start(): void;
  /** Lets go of everything. Containers run on. */
  stop(): void;
}

export function createRunner(ports: SlotPorts & ReapPorts, config: SlotConfig): Runner {
  const runners = new Map<SlotId, SlotRunner>();
  let online = false;
  let started = false;
  /** Runs while there are slots: an idle agent does nothing once a second. */
  let timer: NodeJS.Timeout | null = null;
  let looks = 0;

  function runnerOf(slotId: SlotId): SlotRunner {
    const known = runners.get(slotId);
    if (known !== undefined) return known;
    const made = createSlotRunner(slotId, ports, config, () => online);
    runners.set(slotId, made);
    if (started) watch();
    return made;
  }

  function watch(): void {
    timer ??= setInterval(() => {
      if (runners.size === 0) return unwatch();
      looks += 1;
      for (const runner of runners.values()) carryOut("measure", runner.measure(looks % STATS_EVERY === 0));
    }, MEASURE_EVERY_MS);
  }

  function unwatch(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
  }

  function carryOut(what: string, work: Promise<void>): void {
    work.catch((error: unknown) =>
      ports.logger.error({ event: "effect_failed", what, err: error }, "an effect failed"),
    );
  }

  return {
    async reconcile(slots) {
      await reap(new Set(slots.map(({ id }) => id)), config.slotsDir, ports);
      ports.guard?.keepOnly(new Set(slots.map(({ id }) => id)));
      await ports.images.clear();
      const found = new Map<SlotId, ContainerFound>();
      for (const slot of slots) {
        const runner = runnerOf(slot.id);
        const what = await runner.found();
        found.set(slot.id, what);
        if (what.state === "exited" && slot.attempt !== null) carryOut("readRest", runner.readRest(slot.attempt));
      }
      return found;
    },
    perform(effect, slot) {
      const runner = runnerOf(effect.slotId);
      switch (effect.kind) {
        case "prepare":
          return carryOut("prepare", runner.prepare(effect.jobId, effect.run, effect.checkpoint));
        case "restore":
          return carryOut("restore", runner.restore(effect.jobId, effect.checkpoint));
        case "start":
          if (slot !== undefined) carryOut("start", runner.start(effect.attempt, slot.run));
          return;
        case "follow":
          if (slot !== undefined) carryOut("follow", runner.follow(effect.attempt, slot.run));
          return;
        case "lease":
          return runner.lease(effect.untilMs);
        case "relabel":
          return relabel(runner, effect, slot);
        case "stop":
          return carryOut("stop", runner.stop(effect.graceS));
        case "request":
          return carryOut("request", runner.request(effect.number));
        case "ship":
          return carryOut("ship", runner.ship(effect.jobId, effect.entry, effect.ranMs, effect.progress));
        case "committed":
          return carryOut("committed", runner.committed(effect.entry));
        case "note":
          return runner.note(effect.text);
        case "collect":
          if (slot !== undefined) carryOut("collect", runner.collect(effect.jobId, slot.run));
          return;
        case "remove":
          runners.delete(effect.slotId);
          return carryOut("remove", runner.remove());
        default:
          return unreachable(effect);
      }
    },
    flushLogs(attempt, slots) {
      for (const slot of slots) {
        const own = slot.attempt;
        if (own?.jobId === attempt.jobId && own.replica === attempt.replica && own.epoch === attempt.epoch) {
          runners.get(slot.id)?.flushLogs();
        }
      }
    },
    opened() {
      online = true;
      for (const runner of runners.values()) runner.opened();
    },
    closed() {
      online = false;
      for (const runner of runners.values()) runner.closed();
    },
    start() {
      started = true;
      watch();
    },
    stop() {
      started = false;
      unwatch();
      for (const runner of runners.values()) runner.detach();
      ports.networks.stop();
      ports.guard?.stop();
    },
  };
}

function relabel(runner: SlotRunner, effect: Extract<SlotEffect, { kind: "relabel" }>, slot: Slot | undefined): void {
  const attempt = slot?.attempt ?? null;
  if (attempt !== null) runner.relabel({ ...attempt, epoch: effect.epoch });
}
