// What a simulated container does when it is asked to save while its guard holds it: nothing, until it is let go.
import { createMemoryStore } from "@qubix/orchestrator/store";
import type { AttemptRef, JobId, WorkerId } from "@qubix/shared/domain";
import type { RunSpec } from "@qubix/shared/protocol";
import type { Slot } from "@qubix/worker/core";
import { describe, expect, it } from "vitest";
import { Runs } from "./exclusive.ts";
import { createMachine, type Machine } from "./machine.ts";
import { createMonitor } from "./monitor.ts";
import type { ContainerTruth } from "./truth.ts";
import { type Program, resultOf } from "./programs.ts";
import { createTrees } from "./trees.ts";
import { createWorld, type World } from "./world.ts";

const SLOT = "job-1-r0e1";
const jobId = "job-1" as JobId;
const STEP_MS = 100;
const STEPS = 50;
const STEPS_PER_ENTRY = 20;
const LEASE_MS = 1_000;
/** The lease, and all of its guard's lateness. */
const HELD_FROM_MS = 2_900;

interface Bench {
  readonly world: World;
  readonly machine: Machine;
  readonly program: Program;
  readonly truth: ContainerTruth;
  at(ms: number): void;
}

/** An exclusive container that runs from 0 on, and leaves when it is asked to. */
function running(): Bench {
  const program: Program = {
    index: 0,
    steps: STEPS,
    stepMs: STEP_MS,
    stepsPerEntry: STEPS_PER_ENTRY,
    failure: null,
    runs: 0,
  };
  const world = createWorld(1);
  const store = createMemoryStore();
  const trees = createTrees(
    () => undefined,
    () => true,
  );
  const monitor = createMonitor(world, store, trees);
  const machine = createMachine(world, monitor, trees, [program], "wrk-1" as WorkerId, new Runs());
  machine.journal.set(SLOT, { jobId } as Slot);
  machine.prepare(SLOT, { command: ["0"], failover: "exclusive" } as unknown as RunSpec, null);
  machine.guard.extend(SLOT, LEASE_MS);
  machine.start(SLOT, { jobId, replica: 0, epoch: 1 } as AttemptRef);
  const [truth] = monitor.containers;
  if (truth === undefined) throw new Error("no container");
  const at = (ms: number): void => {
    world.after(ms - world.nowMs(), () => undefined);
    world.run(ms, () => false);
  };
  return { world, machine, program, truth, at };
}

function newestStep({ machine }: Bench): number | undefined {
  const { newest } = machine.found(SLOT);
  return newest === null ? undefined : machine.entryState(SLOT, newest.entry)?.state.step;
}

describe("a container that is asked to save", () => {
  it("saves at its next step and leaves", () => {
    const bench = running();
    bench.at(450);
    bench.machine.ask(SLOT);
    bench.at(500);
    expect(bench.truth.leftAtStep).toBe(5);
    expect(newestStep(bench)).toBe(5);
  });

  it("while it is held, past a milestone it has not reached, answers when it is let go and loses no step", () => {
    const bench = running();
    bench.at(60_000);
    expect(newestStep(bench)).toBe(STEPS_PER_ENTRY);
    bench.machine.ask(SLOT);
    bench.at(61_000);
    expect(bench.truth.leftAtStep).toBeNull();
    expect(bench.machine.found(SLOT).state).toBe("running");
    bench.machine.guard.extend(SLOT, 120_000);
    bench.at(70_000);
    expect(bench.truth.leftAtStep).toBe(2 * STEPS_PER_ENTRY + 1);
    expect(newestStep(bench)).toBe(bench.truth.leftAtStep);
    expect(bench.truth.leftAtStep).toBeLessThan(resultOf(bench.program).step);
  });

  it("and is held before it could answer does so when it is let go", () => {
    const bench = running();
    bench.at(HELD_FROM_MS - 50);
    bench.machine.ask(SLOT);
    bench.at(60_000);
    expect(bench.truth.leftAtStep).toBeNull();
    bench.machine.guard.extend(SLOT, 120_000);
    expect(bench.truth.leftAtStep).toBe(HELD_FROM_MS / STEP_MS);
    expect(newestStep(bench)).toBe(bench.truth.leftAtStep);
  });
});
