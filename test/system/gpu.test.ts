// Jobs on GPUs, without one: `nvidia-smi` and the container toolkit's hook are stand-ins, everything else is real. What is tested is what the network does when
// a card that a job runs on is lost, or taken back by its owner.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Client } from "@qubix/client/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Network, startNetwork } from "../../scripts/lib/network.ts";
import { createFakeSmi, type FakeSmi, readFixture } from "../../worker/src/gpu/testing.ts";
import { startTestEngine, type TestEngine, whyNoTestEngine } from "../lib/engine.ts";
import { counterJob, counterResult, eventsOf, NO_PROOFS, outputOf, until } from "./fixture.ts";

const CARD = "GPU-b8d6207f-4e1c-4a93-8c5b-e27f1d0a9634";
const TICKS = 60;
const TICK_S = 0.25;
const why = whyNoTestEngine();
if (why !== undefined) console.warn(`test/system/gpu.test.ts is skipped: ${why}`);

interface Machine {
  readonly smi: FakeSmi;
  readonly uuid: string;
}

describe.skipIf(why !== undefined)("a job on a GPU", () => {
  const folder = mkdtempSync(join(tmpdir(), "qubix-gpu-"));
  let engine: TestEngine | undefined;
  let network: Network | undefined;
  const machines = new Map<string, Machine>();
  let idle = "";

  beforeAll(async () => {
    idle = (await readFixture("h100-sxm-v12.xml"))
      .replace(/<gpu id="00000000:3B[\s\S]*?<\/gpu>/, "")
      .replace(/<process_info>[\s\S]*<\/process_info>/, "")
      .replace("79206 MiB", "4 MiB");
    const hook = await createFakeSmi(join(folder, "engine"));
    const env = { PATH: `${hook.directory}${delimiter}${process.env["PATH"] ?? ""}` };
    engine = await startTestEngine({ env });
    await engine.loadImage("qubix/tiny:local");
    network = await startNetwork({ folder, orchestratorArgs: NO_PROOFS });
    for (const name of ["anna", "bruno"]) await addMachine(name, engine, network);
  }, 180_000);
  afterAll(async () => {
    await network?.stop();
    await engine?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  async function addMachine(name: string, on: TestEngine, to: Network): Promise<void> {
    const smi = await createFakeSmi(join(folder, name));
    const uuid = CARD.replace("b8d6", name === "anna" ? "aaaa" : "bbbb");
    const report = idle.replace(CARD, uuid);
    await smi.set({ report, pulse: pulseOf(uuid, "4, 0, 31") });
    const args = ["--cpus", "2", "--memory-mib", "1024", "--disk-mib", "4096", "--price-per-gpu-hour", "0.10"];
    const more = ["--local-image", "qubix/tiny:local", "--docker-socket", on.socket, "--yield-gpu-quiet-min", "0.02"];
    const env = { PATH: `${smi.directory}${delimiter}${process.env["PATH"] ?? ""}` };
    const worker = await to.addWorker({ name, args: [...args, ...more], env });
    machines.set(worker.id, { smi, uuid });
  }

  function pulseOf(uuid: string, rest: string): string {
    return `0, ${uuid}, 00000000:19:00.0, ${rest}\n`;
  }

  function machineOf(workerId: string | null): Machine {
    const machine = machines.get(workerId ?? "");
    if (machine === undefined) throw new Error(`no machine ${workerId}`);
    return machine;
  }

  async function running(client: Client) {
    const resources = { gpus: { count: 1, model: "H100 80GB HBM3" }, cpus: 0.5, memoryMiB: 64, diskMiB: 64 };
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, { resources }));
    return until(client, id, (job) => (job.checkpoint?.seq ?? 0) >= 2);
  }

  async function offeredBy(client: Client, workerId: string | null): Promise<number | undefined> {
    const { items } = await client.offers.list();
    return items.find((offer) => offer.workerId === workerId)?.gpus.length;
  }

  it("fails over at once when the card is lost, and the offer is without it until it is back", async () => {
    if (network === undefined) throw new Error("no network");
    const { client } = await network.addConsumer("consumer", "100000000");
    const before = await running(client);
    const { smi, uuid } = machineOf(before.workerId);
    await smi.set({
      fails: "Unable to determine the device handle for GPU 0000:19:00.0: GPU is lost.  Reboot the system\n",
    });
    await expect.poll(() => offeredBy(client, before.workerId), { timeout: 20_000 }).toBe(0);
    const job = await client.jobs.wait(before.id);
    expect([job.phase, job.failoversUsed, job.retriesUsed]).toEqual(["succeeded", 1, 0]);
    expect(job.workerId).not.toBe(before.workerId);
    expect(await outputOf(client, job.id, "result.txt")).toBe(counterResult(TICKS));
    expect(job.attempts[0]).toMatchObject({ workerId: before.workerId, phase: "ended" });
    expect(JSON.stringify(await eventsOf(client, job.id))).toContain("gpu_lost");
    await smi.set({ fails: null, pulse: pulseOf(uuid, "4, 0, 31") });
    await expect.poll(() => offeredBy(client, before.workerId), { timeout: 60_000 }).toBe(1);
  }, 180_000);

  it("moves when the owner uses the card, and loses nothing", async () => {
    if (network === undefined) throw new Error("no network");
    const { client } = await network.addConsumer("consumer", "100000000");
    const before = await running(client);
    const { smi, uuid } = machineOf(before.workerId);
    // The first process of the machine is certainly in no container of ours.
    const process = `<process_info><pid>1</pid><type>C</type><process_name>/opt/game</process_name><used_memory>6000 MiB</used_memory></process_info>`;
    const report = idle
      .replace(CARD, uuid)
      .replace(/<processes>[\s\S]*?<\/processes>/, `<processes>${process}</processes>`)
      .replace("<used>4 MiB", "<used>6004 MiB");
    await smi.set({ report, pulse: pulseOf(uuid, "6004, 99, 70") });
    const job = await client.jobs.wait(before.id);
    expect([job.phase, job.movesUsed, job.failoversUsed, job.retriesUsed]).toEqual(["succeeded", 1, 0, 0]);
    expect(job.workLostMs).toBe(0);
    expect(job.workerId).not.toBe(before.workerId);
    expect(await outputOf(client, job.id, "result.txt")).toBe(counterResult(TICKS));
    expect(JSON.stringify(await eventsOf(client, job.id))).toContain("owner_reclaimed");
    await smi.set({ report: idle.replace(CARD, uuid), pulse: pulseOf(uuid, "4, 0, 31") });
    await expect.poll(() => offeredBy(client, before.workerId), { timeout: 60_000 }).toBe(1);
  }, 180_000);
});
