// Stalls in the virtual world: some programs stand still for ever at a step of theirs, and agents look at what shows that a container gets on. Whoever gets
// on must be left alone, however long its machine slept or its guard held it; whoever does not must be found.
import type { Look } from "@qubix/worker/core";
import { createRng } from "./random.ts";
import type { Intent } from "./workload.ts";

/** Apart from the world's, so that the other seeds run as they always did. */
const APART = 0x57a1;
const STALLS_EVERY = 3;
const HANG_SHARE = 0.35;
/** So many at most, and so many of them wherever they run: what stands still keeps its place from the others, who are to end in time. */
const HANGS_MAX = 4;
const FOREVER_MAX = 1;
const FOREVER_SHARE = 0.4;
const DUE_SHARE = 0.3;
/** Beyond the longest step and what a machine may sleep before it counts as unseen. */
const STALL_AFTER_S_MIN = 5;
const STALL_AFTER_S_MAX = 9;
const DUE_MS = 8_000;
/** Where no agent looks, what stands still keeps its place until its `durationMaxS`: who waits for that must not give up before. */
const QUEUE_S_MIN = 210;

/** How often an agent looks, and at how many of those looks it asks for what was used. */
export const LOOK_MS = 1_000;
export const USE_EVERY = 3;

export function hasStalls(seed: number): boolean {
  return seed % STALLS_EVERY === 1;
}

/** Makes some programs hang, and has all of them watched. */
export function withStalls(seed: number, intents: readonly Intent[]): readonly Intent[] {
  if (!hasStalls(seed)) return intents;
  const rng = createRng(seed ^ APART);
  let hangs = 0;
  let forever = 0;
  return intents.map((intent) => {
    const { program, kind } = intent;
    const atStep = rng.int(1, program.steps - 1);
    const isForever = rng.chance(FOREVER_SHARE) && forever < FOREVER_MAX;
    if (rng.chance(HANG_SHARE) && hangs < HANGS_MAX && kind === "plain" && intent.fork === null) {
      program.hang = { atStep, runs: isForever ? Number.POSITIVE_INFINITY : 1 };
      hangs += 1;
      forever += isForever ? 1 : 0;
    }
    if (rng.chance(DUE_SHARE)) program.dueMs = DUE_MS;
    const queueS = kind === "unfit" ? intent.spec.queueS : Math.max(intent.spec.queueS, QUEUE_S_MIN);
    return { ...intent, spec: { ...intent.spec, queueS, stallAfterS: rng.int(STALL_AFTER_S_MIN, STALL_AFTER_S_MAX) } };
  });
}

/** Without what was used, which is asked for less often. */
export function withoutUse(look: Look): Look {
  const { use: _, ...rest } = look;
  return rest;
}
