// The shell around the pure core: one event after the other, the journal before the effects.
import type { MonotonicClock } from "@qubix/shared/runtime";
import { type Logger } from "@qubix/shared/runtime";
import {
  nextDeadlineMs,
  type SlotId,
  type SlotPut,
  step,
  type WorkerCoreEvent,
  type WorkerEffect,
  type WorkerState,
} from "../core/index.ts";
import type { Journal } from "../journal/journal.ts";

export interface CoreLoop {
  dispatch(event: WorkerCoreEvent): void;
  stop(): void;
}

export interface CoreLoopPorts {
  readonly clock: MonotonicClock;
  readonly journal: Journal;
  readonly logger: Logger;
  perform(effect: WorkerEffect): void;
  /** The journal could not be written: nothing may go on that it does not know of. */
  broken(error: unknown): void;
}

export function createCoreLoop(state: WorkerState, ports: CoreLoopPorts): CoreLoop {
  const queue: WorkerCoreEvent[] = [];
  let scheduled = false;
  let stopped = false;
  let timer: NodeJS.Timeout | null = null;

  function schedule(): void {
    if (scheduled || stopped) return;
    scheduled = true;
    // A macrotask: events that arrive together are journaled together, and I/O gets its turn.
    setImmediate(turn);
  }

  function turn(): void {
    scheduled = false;
    if (stopped) return;
    const puts = new Map<SlotId, SlotPut>();
    const effects: WorkerEffect[] = [];
    for (const event of queue.splice(0)) {
      try {
        const result = step(state, ports.clock.nowMs(), event);
        for (const put of result.puts) puts.set(put.id, put);
        effects.push(...result.effects);
      } catch (error) {
        ports.logger.error({ event: "step_failed", kind: event.kind, err: error }, "an event was dropped");
      }
    }
    try {
      ports.journal.commit([...puts.values()]);
    } catch (error) {
      stopped = true;
      ports.broken(error);
      return;
    }
    for (const effect of effects) ports.perform(effect);
    arm();
  }

  function arm(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const atMs = nextDeadlineMs(state);
    if (atMs === null || stopped) return;
    timer = setTimeout(
      () => dispatch({ kind: "timer" }),
      Math.max(1, Math.min(atMs - ports.clock.nowMs(), TIMER_MS_MAX)),
    );
  }

  function dispatch(event: WorkerCoreEvent): void {
    if (stopped) return;
    queue.push(event);
    schedule();
  }

  return {
    dispatch,
    stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}

/** A suspended machine's timers stand still while the boot-time clock runs on: look again this often. */
const TIMER_MS_MAX = 60_000;
