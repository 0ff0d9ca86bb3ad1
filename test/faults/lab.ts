// The lab of faults: an orchestrator and three workers of three providers as real programs, each worker on a machine of its own (a network namespace),
// with a disk of its own (a file system of a fixed size) and a wall clock of its own. Jobs that count, and what must hold of each when it has ended.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client, JobSpec, JobView } from "@qubix/client/sdk";
import { expect, type TestContext } from "vitest";
import { type Network, type RunningWorker, startNetwork } from "../../scripts/lib/network.ts";
import { createLan, type Lan, type Machine, whyNoMachines } from "../lib/machines.ts";
import { CREDIT, eventsOf, logOf, NO_PROOFS, outputOf, settled, SMALL_WORKER, until } from "../system/fixture.ts";
import { clockEnv, setClock } from "./clocks.ts";
import { type Disk, makeDisk } from "./disks.ts";
import { type Followed, followTicks } from "./follow.ts";
import { createFaultTable, type FaultTable } from "./table.ts";

const NAMES = ["anna", "bruno", "chiara"];
const WORKER_DISK_MIB = 1024;
const ORCHESTRATOR_DISK_MIB = 256;
const ONLINE_TIMEOUT_MS = 60_000;
const QUIET_TIMEOUT_MS = 30_000;

export interface FaultLab {
  readonly network: Network;
  readonly client: Client;
  readonly apiKey: string;
  readonly table: FaultTable;
  readonly lan: Lan;
  /** The orchestrator's. */
  readonly disk: Disk;
  node(workerId: string | null | undefined): Node;
  nodes(): readonly Node[];
  /** Submits a job and follows its log. */
  submit(spec: JobSpec): Promise<Run>;
  /** Moves the wall clock of one program by so many seconds; 0 sets it right. */
  setClock(whose: "orchestrator" | Node, offsetS: number): void;
  /** Plugs every cable in again, starts what does not run, and waits until every worker is online and has nothing left. */
  restore(): Promise<void>;
  /** Counts jobs that were submitted by other ways among those that are paid for. */
  note(ids: readonly string[]): void;
  /** What the consumer paid is what its jobs cost, each once, and nothing is held. */
  checkMoney(): Promise<void>;
  stop(): Promise<void>;
}

/** A worker and the machine it runs on. */
export interface Node {
  readonly worker: RunningWorker;
  readonly machine: Machine;
  readonly disk: Disk;
  /** The cable first, then everything on it: nobody is told. Resolves to the moment before. */
  powerOff(): Promise<number>;
}

export interface Run {
  readonly id: string;
  readonly followed: Followed;
  until(reached: (job: JobView) => boolean): Promise<JobView>;
  /** Waits for the end, checks what must hold whatever happened, and puts the fault into the table. `atMs`: when it struck. */
  end(fault: string, atMs: number, options: EndOptions): Promise<JobView>;
  /** The same for a job that is there beside the one that the fault is about: it has no row of its own. */
  endBeside(result: string): Promise<JobView>;
}

export interface EndOptions {
  readonly result: string;
  readonly note?: string;
}

export { whyNoMachines };

export async function startFaultLab(): Promise<FaultLab> {
  const lan = await createLan();
  const folder = mkdtempSync(join(tmpdir(), "qubix-faults-"));
  const undo: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
    await lan.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    return await start(folder, lan, undo, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  folder: string,
  lan: Lan,
  undo: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<FaultLab> {
  const disk = await makeDisk(join(folder, "orchestrator"), ORCHESTRATOR_DISK_MIB);
  undo.push(() => disk.remove());
  const clockOf = (name: string) => join(folder, `clock-${name}`);
  for (const name of ["orchestrator", ...NAMES]) writeFileSync(clockOf(name), "+0");
  const network = await startNetwork({
    folder,
    listen: `${lan.address}:0`,
    orchestratorArgs: NO_PROOFS,
    orchestratorEnv: clockEnv(clockOf("orchestrator")),
  });
  undo.push(() => network.stop());
  const nodes: Node[] = [];
  for (const name of NAMES) {
    const machine = await lan.addMachine();
    const own = await makeDisk(join(folder, "workers", name), WORKER_DISK_MIB);
    undo.push(() => own.remove());
    // The programs have to go before their disks.
    undo.push(() => network.stop());
    const worker = await network.addWorker({
      name,
      args: [...SMALL_WORKER.map((arg) => (arg === "4096" ? "512" : arg)), "--no-direct"],
      enter: machine.enter,
      env: clockEnv(clockOf(name)),
    });
    const powerOff = async () => {
      const at = await machine.cut();
      await worker.die();
      return at;
    };
    nodes.push({ worker, machine, disk: own, powerOff });
  }
  const { client, apiKey } = await network.addConsumer("consumer", CREDIT.toString());
  const table = createFaultTable();
  const submitted: string[] = [];
  const lab: FaultLab = {
    network,
    client,
    apiKey,
    table,
    lan,
    disk,
    nodes: () => nodes,
    node: (id) => {
      const found = nodes.find(({ worker }) => worker.id === id);
      if (found === undefined) throw new Error(`no machine has the worker ${id}`);
      return found;
    },
    submit: async (spec) => {
      const { id } = await client.jobs.create(spec);
      submitted.push(id);
      const followed = followTicks(client, id);
      const conclude = async (result: string) => {
        const job = await client.jobs.wait(id);
        await checkJob(client, job, result);
        followed.close();
        return job;
      };
      return {
        id,
        followed,
        until: (reached) => until(client, id, reached),
        endBeside: conclude,
        end: async (fault, atMs, { result, note = "" }) => {
          const job = await conclude(result);
          const { workLostMs, failoversUsed, retriesUsed } = job;
          const recoveryMs = recovery(followed, atMs);
          table.add({
            fault,
            recoveryMs,
            lostMs: workLostMs,
            repeated: repeats(followed),
            failovers: failoversUsed,
            retries: retriesUsed,
            note,
          });
          return job;
        },
      };
    },
    setClock: (whose, offsetS) =>
      setClock(clockOf(whose === "orchestrator" ? "orchestrator" : whose.worker.name), offsetS),
    restore: () => restore(network, nodes),
    note: (ids) => void submitted.push(...ids),
    checkMoney: () => checkMoney(client, submitted),
    stop,
  };
  return lab;
}

/** Whatever struck: one success with the result of an undisturbed run, epochs that rise by one, nothing accepted from an older one, every unit accounted for. */
async function checkJob(client: Client, job: JobView, result: string): Promise<void> {
  expect([job.phase, job.reason, job.message]).toEqual(["succeeded", "completed", null]);
  expect(await outputOf(client, job.id, "result.txt")).toBe(result);
  expect(job.attempts.map(({ epoch }) => epoch)).toEqual(job.attempts.map((_, index) => index + 1));
  const { sum, hold } = settled(job);
  expect(sum).toBe(hold);
  const kinds = (await eventsOf(client, job.id)).map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind === "completed" || kind === "settled")).toEqual(["completed", "settled"]);
  const epochsOf = async (list: Promise<readonly { readonly epoch: number }[]>) =>
    (await list).map(({ epoch }) => epoch);
  for (const epochs of [await epochsOf(logOf(client, job.id)), await epochsOf(client.jobs.checkpoints(job.id))])
    expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
  // Paid for no more than the time there was.
  const lastedMs = Date.parse(job.endedAt ?? "") - Date.parse(job.createdAt);
  const { creditedMs } = job;
  expect(creditedMs).toBe(job.attempts.reduce((sum, attempt) => sum + attempt.creditedMs, 0));
  expect(creditedMs).toBeLessThanOrEqual(Math.max(lastedMs, 0) + CLOCK_STEP_MS_MAX);
}

/** How far a test may set the wall clock that both moments are told by. */
const CLOCK_STEP_MS_MAX = 3_600_000;

function recovery(followed: Followed, atMs: number): number | null {
  const before = followed.newest(atMs);
  const first = followed.ticks.find((tick) => tick.atMs >= atMs && tick.tick > before);
  return first === undefined ? null : first.atMs - atMs;
}

function repeats({ ticks }: Followed): number {
  return ticks.length - new Set(ticks.map(({ tick }) => tick)).size;
}

async function restore(network: Network, nodes: readonly Node[]): Promise<void> {
  for (const { machine } of nodes) await machine.heal();
  if (!network.orchestrator().running()) await network.restartOrchestrator();
  for (const { worker } of nodes) if (!worker.program().running()) await worker.start();
  const phases = async () =>
    Promise.all(nodes.map(async ({ worker }) => (await network.admin.workers.get(worker.id)).phase));
  await expect.poll(phases, { timeout: ONLINE_TIMEOUT_MS }).toEqual(nodes.map(() => "online"));
  for (const { worker } of nodes) await checkNothingLeft(worker);
}

/** For a fault that cannot be made here: its test is skipped, and the table says why. */
export function leaveOut(lab: FaultLab, fault: string, why: string, context: TestContext): void {
  lab.table.leaveOut(fault, why);
  context.skip(why);
}

/** No container, and nothing on its disk. */
export async function checkNothingLeft(worker: RunningWorker): Promise<void> {
  await expect.poll(() => worker.allContainers(), { timeout: QUIET_TIMEOUT_MS }).toEqual([]);
  const slots = () => readdirSync(join(worker.dataDir, "slots"));
  await expect.poll(slots, { timeout: QUIET_TIMEOUT_MS }).toEqual([]);
}

async function checkMoney(client: Client, ids: readonly string[]): Promise<void> {
  const jobs = await Promise.all(ids.map((id) => client.jobs.wait(id)));
  const refund = (job: JobView) =>
    BigInt(job.settlement.lines.find(({ role }) => role === "refund")?.amount.amount ?? "0");
  const cost = jobs.reduce((sum, job) => sum + settled(job).hold - refund(job), 0n);
  const [balance] = (await client.wallet.get()).balances;
  expect([balance?.held, balance?.available]).toEqual(["0", (CREDIT - cost).toString()]);
  const settlements: (string | null)[] = [];
  for await (const entry of client.wallet.entriesAll()) if (entry.kind === "settlement") settlements.push(entry.jobId);
  expect(settlements.toSorted()).toEqual(ids.toSorted());
}
