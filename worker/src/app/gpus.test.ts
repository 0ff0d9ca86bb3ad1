// The agent with an `nvidia-smi` that changes its mind: as a part of it over the core, and as the real process with the real Docker Engine.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { StandbyId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import type { WorkerCoreEvent } from "../core/index.ts";
import { ATTEMPT, createBench, RUN, SESSION } from "../core/testing.ts";
import { createFakeSmi, type FakeSmi, readFixture } from "../gpu/testing.ts";
import { createKey } from "../link/keys.ts";
import { ORCHESTRATOR_ID, startTestOrchestrator, type TestOrchestrator } from "../link/testing.ts";
import { createContainers } from "../runner/containers.ts";
import { createEngine } from "../runner/engine.ts";
import { DOCKER_SOCKET, ensureTinyImage, shell, TINY_IMAGE } from "../runner/testing.ts";
import { askAgent } from "./agent-socket.ts";
import { createGpus, type Gpus } from "./gpus.ts";
import { createOfferKeeper } from "./offer.ts";
import type { AgentStatus } from "./owner/status.ts";

const A = "GPU-b8d6207f-4e1c-4a93-8c5b-e27f1d0a9634";
const B = "GPU-d13a95c8-7b60-4f2e-b9d4-80c5e6f7a213";
const PULSE = `0, ${A}, 00000000:19:00.0, 4, 0, 31\n1, ${B}, 00000000:3B:00.0, 4, 0, 31\n`;
const PULSE_LOST = PULSE.replace(`1, ${B}`, "1, [GPU is lost]").replace(/4, 0, 31\n$/, "[N/A], [N/A], [N/A]\n");
const WORKER_ID = "wrk-test-gpus";

let dir = "";
let smi: FakeSmi;
let idle = "";
let lost = "";
let busy = "";

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-gpus-"));
  smi = await createFakeSmi(join(dir, "bin"));
  const full = await readFixture("h100-sxm-v12.xml");
  idle = full.replace(/<process_info>[\s\S]*<\/process_info>/, "").replace("<used>79206 MiB<", "<used>4 MiB<");
  // The first process of the machine is nobody's container.
  busy = full.replaceAll(/<pid>\d+/g, "<pid>1");
  lost = await readFixture("h100-one-lost-v13.xml");
  await smi.set({ report: idle, pulse: PULSE });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe("a job on a card that is lost", () => {
  const path = process.env["PATH"];
  let gpus: Gpus;
  afterEach(() => {
    gpus.stop();
    process.env["PATH"] = path;
  });

  /** A core with a job that runs on the second card, and what is given to it. */
  async function running() {
    process.env["PATH"] = `${smi.directory}${delimiter}${path}`;
    const bench = createBench();
    const given: WorkerCoreEvent[] = [];
    const engine = createEngine(join(dir, "no.sock"));
    const config = { yieldGpu: true, yieldGpuIgnore: [], yieldGpuQuietMin: 1 };
    gpus = createGpus({ engine, logger: createLogger("test", "silent"), nowMs: () => performance.now() }, config);
    const detection = await gpus.start();
    const price = { amount: 1n, currency: "USD" };
    const keeper = createOfferKeeper(
      {
        machine: { cpus: 4, memoryMiB: 8192, diskMiBFree: 10_000 },
        detection,
        terms: {
          region: "unknown",
          pricePerCpuHour: price,
          pricePerGpuHour: price,
          standbyPercent: 25,
          localImages: [],
        },
        pauses: new Set(),
        withheldGpus: new Set(),
        features: new Set(),
      },
      () => undefined,
    );
    const dispatch = (event: WorkerCoreEvent) => {
      given.push(event);
      bench.give(event);
    };
    gpus.attach({ keeper, state: bench.state, dispatch });
    bench.give({ kind: "boot", containers: new Map() });
    bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
    const run = { ...RUN, gpuUuids: [B] };
    bench.give({ kind: "message", message: { kind: "assign", attempt: ATTEMPT, run, checkpoint: null } });
    const slotId = [...bench.state.slots.keys()][0] ?? "";
    bench.give({ kind: "prepared", slotId, checkpointSeq: 0, entry: null });
    bench.give({ kind: "started", slotId });
    return { bench, given, slotId, keeper };
  }

  it("is taken off it, and the card off the offer", async () => {
    const { given, slotId, keeper } = await running();
    expect(keeper.offer().gpus.map(({ uuid }) => uuid)).toEqual([A, B]);
    expect(gpus.status()).toMatchObject([
      { uuid: A, state: "offered", model: "H100 80GB HBM3", temperatureC: expect.any(Number) },
      { uuid: B, state: "offered" },
    ]);
    await smi.set({ report: lost, pulse: PULSE_LOST });
    await expect
      .poll(() => given, { timeout: 15_000 })
      .toMatchObject([
        { kind: "reclaim", slotId, outcome: { code: "gpu_lost", message: expect.stringContaining("GPU is lost") } },
      ]);
    expect(keeper.offer().gpus.map(({ uuid }) => uuid)).toEqual([A]);
    expect(gpus.status()).toContainEqual(expect.objectContaining({ uuid: B, state: "lost", message: "GPU is lost" }));
  }, 30_000);

  it("is not at fault when it dies of it before anybody else knew", async () => {
    const { bench, given, slotId } = await running();
    await smi.set({ report: lost });
    gpus.dispatch({ kind: "exited", slotId, exitCode: 1, oomKilled: false, diskExceeded: false, ranMs: 5 });
    await expect
      .poll(() => given.map(({ kind }) => kind).slice(-2), { timeout: 10_000 })
      .toEqual(["reclaim", "exited"]);
    expect(bench.state.slots.get(slotId)?.end?.outcome).toMatchObject({ kind: "worker_failed", code: "gpu_lost" });
  }, 30_000);

  it("is at fault when it dies and its cards are well", async () => {
    const { bench, given, slotId } = await running();
    gpus.dispatch({ kind: "exited", slotId, exitCode: 1, oomKilled: false, diskExceeded: false, ranMs: 5 });
    await expect.poll(() => given.map(({ kind }) => kind), { timeout: 10_000 }).toEqual(["exited"]);
    expect(bench.state.slots.get(slotId)?.end?.outcome).toMatchObject({ kind: "failed", code: "exit_code" });
  }, 30_000);
});

describe("the agent", () => {
  const main = JSON.stringify(join(import.meta.dirname, "main.ts"));
  const program = `import(${main}).then(async (m) => { process.exitCode = await m.main(process.argv.slice(1)); })`;
  const containers = createContainers(createEngine(DOCKER_SOCKET), WORKER_ID);
  let orchestrator: TestOrchestrator | null = null;
  let child: ChildProcess | null = null;

  beforeAll(ensureTinyImage, 120_000);
  afterEach(async () => {
    child?.kill("SIGKILL");
    child = null;
    await orchestrator?.stop();
    orchestrator = null;
    for (const id of await containers.list()) await containers.remove(id);
  });

  async function start(...more: string[]): Promise<void> {
    orchestrator = await startTestOrchestrator(createKey(join(dir, "key.pem")).publicKey);
    const identity = { url: orchestrator.url, workerId: WORKER_ID, orchestratorId: ORCHESTRATOR_ID, name: "w" };
    await writeFile(join(dir, "identity.json"), JSON.stringify(identity));
    const node = ["--conditions=qubix-source", "-e", program, "--", "start", "--data-dir", dir, "--json"];
    const offer = ["--price-per-gpu-hour", "1", "--cpus", "1", "--memory-mib", "512", "--local-image", TINY_IMAGE];
    const env = { ...process.env, PATH: `${smi.directory}${delimiter}${process.env["PATH"]}` };
    child = spawn(process.execPath, [...node, ...offer, "--log-level", "silent", ...more], { env });
    let errors = "";
    child.stderr?.on("data", (text: Buffer) => (errors += text.toString()));
    child.once("exit", (code) => code !== null && console.error(`the agent ended with ${code}: ${errors}`));
    await expect.poll(() => said("hello"), { timeout: 20_000 }).toHaveLength(1);
  }

  function said<K extends WorkerMessage["kind"]>(kind: K): Extract<WorkerMessage, { kind: K }>[] {
    const all = orchestrator?.messages ?? [];
    return all.filter((message): message is Extract<WorkerMessage, { kind: K }> => message.kind === kind);
  }

  function offered(): readonly string[] | undefined {
    const offers = [...said("hello"), ...said("offer")].toSorted((a, b) => a.msg - b.msg);
    return offers.at(-1)?.offer.gpus.map(({ uuid }) => uuid);
  }

  it("tells the orchestrator of every change, and gives a standby on a lost card back", async () => {
    await start("--yield-gpu-quiet-min", "0.02");
    expect(offered()).toEqual([A, B]);
    expect(said("hello")[0]?.offer.gpus[0]).toMatchObject({ model: "H100 80GB HBM3", cudaVersion: "12.4", ecc: true });
    const standbyId = "job-g/s1" as StandbyId;
    const run = { ...shell("sleep 60"), gpuUuids: [B] };
    orchestrator?.send({ kind: "prepare", standbyId, jobId: ATTEMPT.jobId, run, checkpoint: null });
    await expect.poll(() => said("standby.ready"), { timeout: 20_000 }).toMatchObject([{ standbyId }]);
    await smi.set({ report: lost, pulse: PULSE_LOST });
    await expect.poll(offered, { timeout: 15_000 }).toEqual([A]);
    await expect.poll(() => said("standby.failed")).toMatchObject([{ standbyId, code: "gpu_lost" }]);
    await expect.poll(() => containers.list(), { timeout: 10_000 }).toEqual([]);
    const status = (await askAgent(dir, { command: "status" })) as AgentStatus;
    expect(status.gpuStates).toContainEqual(expect.objectContaining({ uuid: B, state: "lost" }));

    // Reset by its owner, who then uses the first card for a while.
    await smi.set({ report: busy, pulse: PULSE.replace(", 4, 0,", ", 79206, 100,") });
    await expect.poll(offered, { timeout: 40_000 }).toEqual([B]);
    await smi.set({ report: idle, pulse: PULSE });
    await expect.poll(offered, { timeout: 40_000 }).toEqual([A, B]);
  }, 120_000);
});
