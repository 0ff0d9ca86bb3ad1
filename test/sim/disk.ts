// The orchestrator's disk: what becomes of a commit, and how long it takes. The store's promise holds whatever happens: a commit is durable as a
// whole when it returns; when it throws, or the process dies in it, it happened as a whole or not at all.
import type { Changes } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { Monitor } from "./monitor.ts";
import type { World } from "./world.ts";

/** `failed`: it threw. `died`: the process did not survive it. Whether it happened is open in both. */
export type CommitOutcome =
  | { readonly kind: "committed"; readonly tookMs: number }
  | { readonly kind: "failed" }
  | { readonly kind: "died" };

export interface Disk {
  commit(batch: readonly Changes[]): CommitOutcome;
  /** Whether checkpoints and outputs can be stored. */
  hasRoom(): boolean;
  /** For so long each commit takes its time… */
  slow(ms: number): void;
  /** …or is refused. */
  fill(ms: number): void;
  /** The wall clock jumps. */
  stepWall(ms: number): void;
}

const SLOW_MS_MIN = 5;
const SLOW_MS_MAX = 700;
const AT_ONCE: CommitOutcome = { kind: "committed", tookMs: 0 };

export function createDisk(world: World, store: Store, monitor: Monitor): Disk {
  let slowUntilMs = 0;
  let fullUntilMs = 0;
  let wallOffsetMs = 0;
  const isFull = () => !world.calm && fullUntilMs > world.nowMs();

  function write(batch: readonly Changes[]): void {
    store.commit(batch, world.nowMs() + wallOffsetMs);
    monitor.committed(batch, world.nowMs());
  }

  return {
    commit(batch) {
      if (batch.length === 0) return AT_ONCE;
      if (isFull() || world.strikes("commitFailure")) return { kind: "failed" };
      if (world.strikes("tornCommit")) {
        if (world.rng.chance(0.5)) write(batch);
        return { kind: "died" };
      }
      write(batch);
      if (world.strikes("commitUnclear")) return { kind: "failed" };
      if (world.strikes("crashBeforeEffects")) return { kind: "died" };
      if (world.calm || slowUntilMs <= world.nowMs()) return AT_ONCE;
      return { kind: "committed", tookMs: world.rng.int(SLOW_MS_MIN, SLOW_MS_MAX) };
    },
    hasRoom: () => !isFull(),
    slow(ms) {
      world.note(`commits are slow for ${ms} ms`);
      slowUntilMs = world.nowMs() + ms;
    },
    fill(ms) {
      world.note(`the disk is full for ${ms} ms`);
      fullUntilMs = world.nowMs() + ms;
    },
    stepWall(ms) {
      world.note(`the wall clock jumps by ${ms} ms`);
      wallOffsetMs += ms;
    },
  };
}
