// A provider's machine: its disk and its containers, which live on when the agent dies.
import type { FolderEntry, ContainerFound, Look, Slot, SlotId } from "@qubix/worker/core";
import { attemptId, type AttemptRef, type JobId, type WorkerId } from "@qubix/shared/domain";
import type { CheckpointRef, RunSpec } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import { createSimGuard, type Runs, type SimGuard } from "./exclusive.ts";
import type { Monitor } from "./monitor.ts";
import type { ContainerTruth } from "./truth.ts";
import { advance, begin, type Program, type ProgramState } from "./programs.ts";
import type { Trees } from "./trees.ts";
import type { World } from "./world.ts";

interface Entry {
  readonly key: string;
  readonly state: ProgramState;
  readonly ranMs: number;
}

interface Container {
  readonly slotId: SlotId;
  readonly jobId: JobId;
  readonly program: Program;
  readonly truth: ContainerTruth;
  state: "created" | "running" | "exited";
  /** What was unpacked for it, or its last milestone, and when that was. */
  at: ProgramState;
  atMs: number;
  startedFrom: ProgramState;
  exitCode: number | null;
  oomKilled: boolean;
  readonly entries: Entry[];
  readonly isExclusive: boolean;
  /** By its guard; since when, or null; and for how long before. */
  isHeld: boolean;
  heldFromMs: number;
  heldAtStep: number;
  heldMs: number;
  /** The step at which this run of its program stands still for ever; null for none. */
  hangsAt: number | null;
  /** The step up to which it works now. */
  nextStep: number;
  /** What it was about to do, and signals that came, while it was held: in order, as soon as it goes on. */
  waiting: (() => void)[];
}

/** What became of unpacking a checkpoint: `key` names the entry, null where there was nothing to unpack. */
export type Unpacked =
  | { readonly kind: "done"; readonly key: string | null }
  | { readonly kind: "failed"; readonly code: "restore_failed" | "checkpoint_damaged" };

/** What a follower of a container is told. */
export interface Follower {
  entry(slotId: SlotId, entry: FolderEntry): void;
  exited(slotId: SlotId, found: ContainerFound): void;
}

export interface Machine {
  readonly workerId: WorkerId;
  readonly journal: Map<SlotId, Slot>;
  readonly guard: SimGuard;
  follower: Follower | null;
  /** Makes the container and unpacks the checkpoint. Called again: only what is missing. */
  prepare(slotId: SlotId, run: RunSpec, checkpoint: CheckpointRef | null): Unpacked;
  restore(slotId: SlotId, checkpoint: CheckpointRef): Unpacked;
  /** True when it runs or has run. */
  start(slotId: SlotId, attempt: AttemptRef): boolean;
  /** The container's work counts for this attempt from now on. */
  label(slotId: SlotId, attempt: AttemptRef): void;
  /** Asks the program to save and go: it does at its next step, or saves and goes on, or takes no notice. */
  ask(slotId: SlotId): void;
  /** Ends it as a signal does. */
  kill(slotId: SlotId): void;
  remove(slotId: SlotId): void;
  entryState(slotId: SlotId, key: string): { readonly program: Program; readonly state: ProgramState } | undefined;
  result(slotId: SlotId): { readonly program: Program; readonly state: ProgramState } | undefined;
  found(slotId: SlotId): ContainerFound;
  /** What an agent sees of a container that runs. */
  look(slotId: SlotId): Look | undefined;
  containers(): readonly SlotId[];
  /** Power is lost: what ran is gone, what is on disk stays unless that is `wiped`. */
  powerLoss(wiped: boolean): void;
  /** All that runs stands still for so long; the clocks go on. */
  suspend(ms: number): void;
  asleepUntilMs(): number;
}

/** What a program prints at each entry. */
const LINE_BYTES = 10;
const EXIT_BY_SIGNAL = 137;
const EXIT_BY_REQUEST = 143;
/** What programs do when they are asked to save, by their index: save and end, save and go on, nothing. */
const MANNERS = 3;
const GOES = 0;
const DEAF = 2;
const NOTHING: Unpacked = { kind: "done", key: null };

export function createMachine(
  world: World,
  monitor: Monitor,
  trees: Trees,
  programs: readonly Program[],
  workerId: WorkerId,
  runs: Runs,
): Machine {
  const guard = createSimGuard(world);
  const containers = new Map<SlotId, Container>();
  const journal = new Map<SlotId, Slot>();
  /** One after the other. */
  const suspended: { readonly fromMs: number; readonly untilMs: number }[] = [];

  function unpack(container: Container, checkpoint: CheckpointRef): Unpacked {
    const cid = checkpoint.tree.manifestCid;
    const state = trees.get(cid);
    if (state === undefined) {
      check(!monitor.isNewest(container.jobId, cid), () => {
        return `invariant 3: checkpoint ${checkpoint.seq} of ${container.jobId} is its newest and is not whole`;
      });
      return { kind: "failed", code: "restore_failed" };
    }
    if (trees.isDamaged(cid) || world.strikes("restoreDamage")) return { kind: "failed", code: "checkpoint_damaged" };
    container.at = state;
    const key = keyOf(container, state);
    container.entries.length = 0;
    container.entries.push({ key, state, ranMs: 0 });
    return { kind: "done", key };
  }

  function makeContainer(slotId: SlotId, run: RunSpec): Container {
    const jobId = journal.get(slotId)?.jobId;
    if (jobId === undefined) throw new Error(`no slot ${slotId}`);
    const program = programs[Number(run.command[0])];
    if (program === undefined) throw new Error(`no program ${run.command[0]}`);
    const at = begin(program);
    const truth = monitor.container(workerId);
    const made: Container = {
      slotId,
      jobId,
      program,
      truth,
      state: "created",
      at,
      atMs: 0,
      startedFrom: at,
      exitCode: null,
      oomKilled: false,
      entries: [],
      isExclusive: run.failover === "exclusive",
      isHeld: false,
      heldFromMs: 0,
      heldAtStep: 0,
      heldMs: 0,
      hangsAt: null,
      nextStep: at.step,
      waiting: [],
    };
    containers.set(slotId, made);
    return made;
  }

  function run(container: Container): void {
    const { program, at } = container;
    container.atMs = world.nowMs();
    const failsAt = program.failure !== null && program.runs <= program.failure.runs ? program.failure.atStep : null;
    const nextEntry = (Math.floor(at.step / program.stepsPerEntry) + 1) * program.stepsPerEntry;
    const mishaps = [failsAt, container.hangsAt].filter((mishap) => mishap !== null && mishap > at.step);
    const step = Math.min(program.steps, nextEntry, ...mishaps.map(Number));
    container.nextStep = step;
    const take = (): void => {
      if (container.state !== "running") return undefined;
      container.at = advance(program, at, step);
      if (step === container.hangsAt) {
        container.truth.hungAtMs = world.nowMs();
        return undefined;
      }
      if (step === failsAt) return exit(container, program.failure?.kind === "oom" ? EXIT_BY_SIGNAL : 3);
      if (step === program.steps) return exit(container, 0);
      addEntry(container);
      return run(container);
    };
    work(container, (step - at.step) * program.stepMs, () => unlessHeld(container, take));
  }

  /** A container that is held does nothing, and no signal reaches its program, until it is let go. */
  function unlessHeld(container: Container, act: () => void): void {
    if (container.isHeld) container.waiting.push(act);
    else act();
  }

  /** It saves at its next step, where that is no milestone at which it has saved already, and goes if that is its manner. */
  function answer(container: Container): void {
    if (container.state !== "running" || container.truth.hungAtMs !== null) return;
    const { program, at } = container;
    const workedMs = workedMsOf(container);
    const steps = Math.floor(workedMs / program.stepMs) + 1;
    const save = (): void => {
      if (container.state !== "running" || container.truth.hungAtMs !== null) return;
      if (container.at === at) saveNow(container, advance(program, at, at.step + steps));
      check(
        container.at === at || container.at.step === at.step + steps,
        () => `${container.slotId} was asked in no step`,
      );
      if (program.index % MANNERS !== GOES) return;
      container.truth.leftAtStep = at.step + steps;
      exit(container, EXIT_BY_REQUEST);
    };
    work(container, steps * program.stepMs - workedMs, () => unlessHeld(container, save));
  }

  /** Since its last milestone. */
  function workedMsOf({ atMs }: Container): number {
    return world.nowMs() - atMs - stoodStill(atMs, world.nowMs());
  }

  /** As far as anybody sees. */
  function stepOf({ program, at, atMs, nextStep, truth }: Container): number {
    if (truth.hungAtMs !== null) return at.step;
    const workedMs = world.nowMs() - atMs - stoodStill(atMs, world.nowMs());
    return Math.min(nextStep, at.step + Math.floor(workedMs / program.stepMs));
  }

  function stands(container: Container): void {
    runs.end(container.jobId, container);
  }

  function moves(container: Container): void {
    if (container.isExclusive) runs.begin(container.jobId, container, container.slotId);
  }

  function guardOver(container: Container): void {
    guard.watch(container.slotId, {
      isRunning: () => container.state === "running",
      hold() {
        if (container.state !== "running" || container.isHeld) return;
        container.heldAtStep = stepOf(container);
        container.isHeld = true;
        container.heldFromMs = world.nowMs();
        stands(container);
      },
      letGo() {
        if (container.state !== "running" || !container.isHeld) return;
        container.isHeld = false;
        container.heldMs += world.nowMs() - container.heldFromMs;
        moves(container);
        for (const act of container.waiting.splice(0)) act();
      },
    });
  }

  /** Computing takes so long, and as much longer as the machine stood still meanwhile. */
  function work(container: Container, ms: number, done: () => void): void {
    const fromMs = world.nowMs();
    let waitedMs = 0;
    const look = (): void => {
      if (container.state !== "running") return undefined;
      const stoodMs = stoodStill(fromMs);
      if (stoodMs <= waitedMs) return done();
      const moreMs = stoodMs - waitedMs;
      waitedMs = stoodMs;
      return world.after(moreMs, look);
    };
    world.after(ms, look);
  }

  /** Of the time from then; with what is to come of a suspension that has begun, unless it is asked for up to a moment. */
  function stoodStill(sinceMs: number, toMs = Number.POSITIVE_INFINITY): number {
    let sum = 0;
    for (const { fromMs, untilMs } of suspended) {
      if (fromMs <= world.nowMs()) sum += Math.max(0, Math.min(untilMs, toMs) - Math.max(fromMs, sinceMs));
    }
    return sum;
  }

  function addEntry(container: Container): void {
    const entry = { key: keyOf(container, container.at), state: container.at, ranMs: ranMs(container) };
    container.entries.push(entry);
    tellEntry(container);
  }

  /** Beside its milestones, which it goes on to. */
  function saveNow(container: Container, state: ProgramState): void {
    container.entries.push({ key: keyOf(container, state), state, ranMs: ranMs(container) });
    tellEntry(container);
  }

  function tellEntry(container: Container): void {
    const newest = newestOf(container);
    if (newest !== null) machine.follower?.entry(container.slotId, newest);
  }

  function exit(container: Container, exitCode: number): void {
    container.state = "exited";
    container.exitCode = exitCode;
    container.oomKilled = exitCode !== 0 && container.program.failure?.kind === "oom";
    container.truth.endedAtMs = world.nowMs();
    stands(container);
    tellEntry(container);
    machine.follower?.exited(container.slotId, machine.found(container.slotId));
  }

  function ranMs({ truth }: Container): number {
    if (truth.startedAtMs === null) return 0;
    return (truth.endedAtMs ?? world.nowMs()) - truth.startedAtMs;
  }

  const machine: Machine = {
    workerId,
    journal,
    guard,
    follower: null,
    prepare(slotId, spec, checkpoint) {
      const container = containers.get(slotId) ?? makeContainer(slotId, spec);
      return checkpoint === null || container.state !== "created" ? NOTHING : unpack(container, checkpoint);
    },
    restore(slotId, checkpoint) {
      const container = containers.get(slotId);
      return container?.state === "created" ? unpack(container, checkpoint) : NOTHING;
    },
    start(slotId, attempt) {
      const container = containers.get(slotId);
      if (container === undefined) return false;
      // Its guard removes what is started too late, and the agent finds nothing to start.
      if (container.isExclusive && container.state === "created" && !guard.mayRun(slotId)) {
        this.remove(slotId);
        return false;
      }
      this.label(slotId, attempt);
      if (container.state !== "created") return true;
      container.state = "running";
      container.startedFrom = container.at;
      container.truth.startedAtMs = world.nowMs();
      container.program.runs += 1;
      const { hang, runs: nth } = container.program;
      container.hangsAt = hang !== undefined && nth <= hang.runs ? hang.atStep : null;
      if (container.isExclusive) guardOver(container);
      moves(container);
      run(container);
      return true;
    },
    label(slotId, attempt) {
      const attempts = containers.get(slotId)?.truth.attempts;
      const id = attemptId(attempt);
      if (attempts !== undefined && !attempts.includes(id)) attempts.push(id);
    },
    ask(slotId) {
      const container = containers.get(slotId);
      if (container?.state !== "running" || container.program.index % MANNERS === DEAF) return;
      unlessHeld(container, () => answer(container));
    },
    kill(slotId) {
      const container = containers.get(slotId);
      if (container?.state === "running") exit(container, EXIT_BY_SIGNAL);
    },
    remove(slotId) {
      const container = containers.get(slotId);
      if (container === undefined) return;
      if (container.state === "running") container.truth.endedAtMs = world.nowMs();
      container.state = "exited";
      stands(container);
      guard.forget(slotId);
      containers.delete(slotId);
    },
    entryState(slotId, key) {
      const container = containers.get(slotId);
      const entry = container?.entries.find((other) => other.key === key);
      return container === undefined || entry === undefined
        ? undefined
        : { program: container.program, state: entry.state };
    },
    result(slotId) {
      const container = containers.get(slotId);
      return container === undefined ? undefined : { program: container.program, state: container.at };
    },
    found(slotId) {
      const container = containers.get(slotId);
      const state = container?.state ?? "absent";
      return {
        state,
        exitCode: container?.exitCode ?? null,
        oomKilled: container?.oomKilled ?? false,
        diskExceeded: false,
        ranMs: container === undefined ? 0 : ranMs(container),
        newest: container === undefined || state === "created" ? null : newestOf(container),
      };
    },
    look(slotId) {
      const container = containers.get(slotId);
      if (container?.state !== "running") return undefined;
      const { program, entries, isHeld, heldFromMs } = container;
      const step = isHeld ? container.heldAtStep : stepOf(container);
      const heldMs = container.heldMs + (isHeld ? world.nowMs() - heldFromMs : 0);
      return {
        progressMark: String(step),
        progressDueMs: program.dueMs ?? null,
        logBytes: entries.length * LINE_BYTES,
        heldMs,
        use: { cpuMs: step * program.stepMs, ioBytes: 0, gpuPercent: null },
      };
    },
    containers: () => [...containers.keys()],
    powerLoss(wiped) {
      for (const { slotId, state } of containers.values()) {
        if (wiped || state === "running") machine.remove(slotId);
      }
      if (wiped) journal.clear();
    },
    suspend(ms) {
      const fromMs = Math.max(world.nowMs(), suspended.at(-1)?.untilMs ?? 0);
      suspended.push({ fromMs, untilMs: Math.max(fromMs, world.nowMs() + ms) });
    },
    asleepUntilMs: () => suspended.at(-1)?.untilMs ?? 0,
  };
  return machine;
}

function keyOf(container: Container, state: ProgramState): string {
  return `${container.program.index}:${state.step}`;
}

function newestOf({ entries, program }: Container): FolderEntry | null {
  const newest = entries.at(-1);
  return newest === undefined
    ? null
    : { entry: newest.key, ranMs: newest.ranMs, progress: newest.state.step / program.steps };
}
