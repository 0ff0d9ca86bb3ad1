// When the faults of a seed strike, and whom; and how all comes back when they stop.
import type { AccountId } from "@qubix/shared/domain";
import type { WorkerNode } from "./agent.ts";
import type { Client } from "./client.ts";
import type { FaultCounts } from "./faults.ts";
import type { Monitor } from "./monitor.ts";
import { heal, networkOf } from "./network.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { World } from "./world.ts";

export interface Targets {
  readonly world: World;
  readonly orchestrator: OrchestratorNode;
  readonly monitor: Monitor;
  readonly client: Client;
  readonly workers: readonly WorkerNode[];
  readonly admin: AccountId;
}

/** How many workers there must be for one of them to be lost for good: the others must be able to do all the work. Where they must prove their hardware, two cannot. */
const WORKERS_FOR_LOSS_MIN = 4;
const PROVERS_FOR_LOSS_MIN = 7;
const ASK_AGAIN_MS = 300;
/** About the 17 s after which the lease of an exclusive attempt is over, and the time in which its successor has saved nothing. */
const AWAY_MS_MIN = 15_000;
const AWAY_MS_MAX = 24_000;
const LATE_MS_MAX = 2_800;
/** How soon a worker is back after it stopped its jobs for lack of contact: some of them are stopping still. */
const BACK_MS_MAX = 2_000;
/** The share of mass silences that are those of one of the workers' networks. */
const ONE_NETWORK = 0.3;
/** The share of moves that empty a machine. */
const EMPTIED = 0.3;
const WALL_STEP_MS_MAX = 3_600_000;

/** Plans all that strikes at a time of its own; what strikes where something happens is asked for there. */
export function scheduleFaults(of: Targets): void {
  const { world, workers } = of;
  const { rng, faults, scale } = world;
  const someone = () => rng.pick(workers);
  const often = (kind: keyof FaultCounts, strike: () => void) => {
    for (let n = 0; n < faults[kind]; n += 1) {
      world.after(rng.int(scale.faultsFromMs, scale.faultsUntilMs - 1) - world.nowMs(), () => {
        world.countFault(kind);
        strike();
      });
    }
  };
  often("agentCrashes", () => someone().crash());
  often("machineCrashes", () => someone().powerLoss(false));
  often("machineWipes", () => someone().powerLoss(true));
  often("machinesGone", () => {
    const worker = someone();
    worker.powerLoss(true);
    // It stays away for the rest of the faulty time: its line is dead.
    block(world, worker, scale.faultsUntilMs - world.nowMs(), BOTH);
  });
  often("machinesLost", () => loseOne(of));
  often("cuts", () => someone().cut());
  often("absences", () => leaveForLong(world, holderOfLease(of) ?? someone()));
  often("partitions", () => {
    const worker = someone();
    block(world, worker, rng.int(500, 12_000), BOTH);
    if (rng.chance(0.5)) worker.cut();
  });
  often("oneWayStalls", () => block(world, someone(), rng.int(300, 8_000), oneWay(world)));
  often("oneWayPartitions", () => block(world, someone(), rng.int(8_000, 20_000), oneWay(world)));
  often("massSilences", () => silenceMany(of));
  often("suspends", () => someone().suspend(rng.int(300, 10_000)));
  often("agentStops", () => someone().stop(rng.int(300, 10_000)));
  often("journalsFull", () => someone().fillDisk(rng.int(300, 6_000)));
  often("upgrades", () => someone().upgrade());
  often("offerChanges", () => someone().resize(rng.pick([0.25, 0.5, 1])));
  often("drains", () => drain(of, someone(), false));
  often("moves", () => move(of));
  often("checkpointRemovals", () => of.client.removeCheckpoint());
  scheduleOrchestratorFaults(of, often);
  often("contactLosses", () => {
    const worker = holderOfLease(of) ?? someone();
    block(world, worker, Math.min(faults.contactLossS * 1_000 + rng.int(0, BACK_MS_MAX), AWAY_MS_MAX), BOTH);
    worker.cut();
  });
  world.after(scale.faultsFromMs - world.nowMs(), () => {
    world.calm = false;
  });
}

function scheduleOrchestratorFaults(
  { world, orchestrator, monitor }: Targets,
  often: (kind: keyof FaultCounts, strike: () => void) => void,
): void {
  const { rng } = world;
  const stall = (ms: number) => {
    monitor.disturbed(ms);
    orchestrator.stall(ms);
  };
  often("orchestratorCrashes", () => orchestrator.crash());
  often("orchestratorReboots", () => orchestrator.reboot());
  often("orchestratorStalls", () => stall(rng.int(200, 5_000)));
  often("orchestratorSuspends", () => stall(rng.int(4_000, 15_000)));
  often("wallSteps", () => orchestrator.disk.stepWall(rng.int(-WALL_STEP_MS_MAX, WALL_STEP_MS_MAX)));
  often("slowDisks", () => {
    const ms = rng.int(500, 5_000);
    monitor.disturbed(ms);
    orchestrator.disk.slow(ms);
  });
  often("fullDisks", () => {
    const ms = rng.int(200, 6_000);
    monitor.disturbed(ms);
    orchestrator.disk.fill(ms);
  });
}

interface Directions {
  readonly up: boolean;
  readonly down: boolean;
}
const BOTH: Directions = { up: true, down: true };

function oneWay({ rng }: World): Directions {
  const up = rng.chance(0.5);
  return { up, down: !up };
}

function block(world: World, worker: WorkerNode, ms: number, { up, down }: Directions): void {
  const untilMs = world.nowMs() + ms;
  world.note(`${worker.machine.workerId} blocked ${up ? "up" : ""} ${down ? "down" : ""} for ${ms} ms`);
  if (up) worker.path.upBlockedUntilMs = Math.max(worker.path.upBlockedUntilMs, untilMs);
  if (down) worker.path.downBlockedUntilMs = Math.max(worker.path.downBlockedUntilMs, untilMs);
}

/** A worker with a part in an exclusive job that runs, if there is one. */
function holderOfLease({ world, monitor, workers }: Targets): WorkerNode | undefined {
  const jobs = [...monitor.jobs.values()].filter(
    ({ phase, spec }) => phase === "running" && spec.failover === "exclusive",
  );
  if (jobs.length === 0) return undefined;
  const { id } = world.rng.pick(jobs);
  return workers.find(({ machine }) => monitor.holds(machine.workerId, id));
}

/** Away for longer than a lease; in half of the cases our last answers still come, late, when nothing of it reaches us any more. */
function leaveForLong(world: World, worker: WorkerNode): void {
  const { rng } = world;
  const lateMs = rng.chance(0.5) ? rng.int(0, LATE_MS_MAX) : 0;
  const ms = rng.int(AWAY_MS_MIN, AWAY_MS_MAX);
  if (lateMs > 0) {
    block(world, worker, lateMs, { up: false, down: true });
    world.after(rng.int(0, lateMs), () => block(world, worker, ms, { up: true, down: false }));
  }
  world.after(lateMs + 1, () => keepAway(world, worker, ms));
}

/** The end of the faulty time does not bring it back. */
function keepAway(world: World, worker: WorkerNode, ms: number): void {
  worker.path.awayUntilMs = Math.max(worker.path.awayUntilMs, world.nowMs() + ms);
  block(world, worker, ms, BOTH);
}

/** A network between us and many of them is away: they are silent together, and back together. */
function silenceMany({ world, workers }: Targets): void {
  const { rng } = world;
  const share = 0.3 + 0.7 * rng.next();
  const ms = rng.int(800, 20_000);
  const lasts = rng.chance(0.3);
  const network = rng.chance(ONE_NETWORK) ? networkOf(rng.pick(workers).machine.workerId) : null;
  for (const worker of workers) {
    const isAway = network === null ? rng.chance(share) : networkOf(worker.machine.workerId) === network;
    if (isAway && lasts) keepAway(world, worker, ms);
    else if (isAway) block(world, worker, ms, BOTH);
  }
}

/** The newest machine is gone for good, and nobody is told. */
function loseOne({ world, workers, monitor }: Targets): void {
  const worker = workers.at(-1);
  const least = world.faults.proofs ? PROVERS_FOR_LOSS_MIN : WORKERS_FOR_LOSS_MIN;
  if (worker === undefined || workers.length < least) return;
  world.note(`${worker.machine.workerId} is lost for good`);
  monitor.lost.add(worker.machine.workerId);
  worker.lose();
  worker.powerLoss(true);
}

/** The owner takes the machine out of the market for a while: by the API, or by its own word. `empties`: what runs there goes elsewhere. */
function drain({ world, orchestrator, admin }: Targets, worker: WorkerNode, empties: boolean): void {
  const { workerId } = worker.machine;
  const actor = { accountId: admin, role: "admin" } as const;
  const byApi = world.rng.chance(0.5);
  let wanted = false;
  const set = (draining: boolean): void => {
    wanted = draining;
    if (!byApi) return empties ? worker.leave(draining) : worker.offer({ draining });
    const order = { kind: "worker.drain", actor, workerId, draining, move: empties && draining } as const;
    return orchestrator.submit(order, ({ kind }) => {
      // An owner asks until he is answered, or wants something else.
      if (kind === "unavailable") world.after(ASK_AGAIN_MS, () => wanted === draining && set(draining));
    });
  };
  set(true);
  world.after(world.rng.int(1_000, 10_000), () => set(false));
}

/** A job is moved by its owner, to any worker or to one; or all that a machine has, because that is to be left. */
function move(of: Targets): void {
  const { world, orchestrator, monitor, workers, admin } = of;
  const { rng } = world;
  const worker = rng.pick(workers);
  if (rng.chance(EMPTIED)) return drain(of, worker, true);
  const running = [...monitor.jobs.values()].filter(({ phase }) => phase === "running");
  if (running.length === 0) return undefined;
  const actor = { accountId: admin, role: "admin" } as const;
  const to = rng.chance(0.5) ? worker.machine.workerId : null;
  return orchestrator.submit({ kind: "job.move", actor, jobId: rng.pick(running).id, to, force: rng.chance(0.5) });
}

/** Everything works again; what is lost for good is not there. */
export function calmDown({ world, orchestrator, workers }: Targets): void {
  world.note("faults stop");
  world.calm = true;
  orchestrator.start();
  for (const worker of workers) {
    worker.revive();
    heal(worker.path);
    worker.resize(1);
    worker.leave(false);
    worker.start();
  }
}
