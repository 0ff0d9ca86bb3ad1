// The chunk store as the simulation needs it: which trees are wholly there, who holds them, what they hold, and which are damaged. As in the
// product a tree that no record names, and that is on nobody's way to one, is let go as soon as the core says that it may be.
import type { JobRecord } from "@qubix/orchestrator/core";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import type { TreeRef } from "@qubix/shared/protocol";
import { type Program, type ProgramState, treeOf } from "./programs.ts";

/** A job, or a request that is about to make one of another's checkpoint. */
export type Holder = JobId | `from:${number}`;

export interface Trees {
  /** A worker has stored all of it for this job; it is kept until a record names it, or the core does not take it. */
  put(holder: Holder, program: Program, kind: "checkpoint" | "outputs", state: ProgramState): TreeRef;
  /** Holds what is there; false when it is not. */
  hold(holder: Holder, cid: ChunkCid): boolean;
  release(holder: Holder, cid: ChunkCid): void;
  /** Undefined when not every byte of it is here. */
  get(cid: ChunkCid): ProgramState | undefined;
  /** The state that a tree of this name had when it was put, whether or not it is still here. */
  stateOf(cid: ChunkCid): ProgramState | undefined;
  /** A piece of it is not what it was. Nobody knows until it is read. */
  damage(cid: ChunkCid): void;
  isDamaged(cid: ChunkCid): boolean;
  /** A message that brings it has come; false when it is not whole here. Followed by `settle`. */
  admit(holder: Holder, cid: ChunkCid): boolean;
  /** The core answered that message. */
  settle(holder: Holder, cid: ChunkCid, accepted: boolean): void;
  /** These are perhaps not named any more. */
  collect(holder: Holder, trees: readonly TreeRef[]): void;
}

interface Kept {
  readonly state: ProgramState;
  readonly holders: Set<Holder>;
  /** Who stored it and has not told the core of it; and for whom the core is being told. */
  readonly fresh: Set<Holder>;
  readonly admitted: Map<Holder, number>;
  isDamaged: boolean;
}

/** `jobOf` gives a job as it is durable; `isSweptAtOnce`: whether what is let go is gone now, or stays for as long as a run lasts. */
export function createTrees(jobOf: (id: JobId) => JobRecord | undefined, isSweptAtOnce: () => boolean): Trees {
  const trees = new Map<ChunkCid, Kept>();
  const states = new Map<ChunkCid, ProgramState>();

  function isNamed(holder: Holder, cid: ChunkCid): boolean {
    if (holder.startsWith("from:")) return true;
    const job = jobOf(holder as JobId);
    if (job === undefined) return true;
    const { outputs, checkpoints, mirror, endedAtMs } = job;
    const kept = [...checkpoints, ...(mirror?.checkpoints ?? [])];
    // The results of a mirror job are kept for as long as they may still decide.
    const results = endedAtMs === null ? (mirror?.results ?? []) : [];
    return [outputs, ...kept.map(({ tree }) => tree), ...results.map((result) => result.outputs)].some(
      (tree) => tree?.manifestCid === cid,
    );
  }

  function reconsider(holder: Holder, cid: ChunkCid): void {
    const kept = trees.get(cid);
    if (kept === undefined || kept.fresh.has(holder) || (kept.admitted.get(holder) ?? 0) > 0) return;
    if (!isNamed(holder, cid)) letGo(kept, holder, cid);
  }

  function letGo(kept: Kept, holder: Holder, cid: ChunkCid): void {
    if (!isSweptAtOnce()) return;
    kept.holders.delete(holder);
    if (kept.holders.size === 0) trees.delete(cid);
  }

  return {
    put(holder, program, kind, state) {
      const tree = treeOf(program, kind, state);
      const cid = tree.manifestCid;
      const kept = trees.get(cid) ?? {
        state,
        holders: new Set<Holder>(),
        fresh: new Set<Holder>(),
        admitted: new Map<Holder, number>(),
        isDamaged: false,
      };
      kept.holders.add(holder);
      kept.fresh.add(holder);
      kept.isDamaged = false;
      trees.set(cid, kept);
      states.set(cid, state);
      return tree;
    },
    hold(holder, cid) {
      const kept = trees.get(cid);
      kept?.holders.add(holder);
      return kept !== undefined;
    },
    release(holder, cid) {
      const kept = trees.get(cid);
      if (kept !== undefined) letGo(kept, holder, cid);
    },
    get: (cid) => trees.get(cid)?.state,
    stateOf: (cid) => states.get(cid),
    damage(cid) {
      const kept = trees.get(cid);
      if (kept !== undefined) kept.isDamaged = true;
    },
    isDamaged: (cid) => trees.get(cid)?.isDamaged === true,
    admit(holder, cid) {
      const kept = trees.get(cid);
      if (kept === undefined || !kept.holders.has(holder)) return false;
      kept.admitted.set(holder, (kept.admitted.get(holder) ?? 0) + 1);
      return true;
    },
    settle(holder, cid, accepted) {
      const kept = trees.get(cid);
      if (kept === undefined) return;
      kept.admitted.set(holder, Math.max(0, (kept.admitted.get(holder) ?? 0) - 1));
      if (accepted) kept.fresh.delete(holder);
      else reconsider(holder, cid);
    },
    collect(holder, collected) {
      for (const { manifestCid } of collected) reconsider(holder, manifestCid);
    },
  };
}
