// What the owner does with a running worker: the program itself as a process, with the real Docker Engine and a server that speaks the protocol.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createKey } from "../../link/keys.ts";
import { ORCHESTRATOR_ID, startTestOrchestrator, type TestOrchestrator } from "../../link/testing.ts";
import { createContainers } from "../../runner/containers.ts";
import { createEngine } from "../../runner/engine.ts";
import { attemptOf, DOCKER_SOCKET, ensureTinyImage, shell, TINY_IMAGE } from "../../runner/testing.ts";
import { askAgent } from "../agent-socket.ts";
import { parseMetrics } from "../metrics/testing.ts";
import type { SetAnswer } from "../requests.ts";
import type { AgentStatus } from "./status.ts";

const run = promisify(execFile);
const WORKER_ID = "wrk-test-owner";
const main = JSON.stringify(join(import.meta.dirname, "../main.ts"));
const PROGRAM = `import(${main}).then(async (m) => { process.exitCode = await m.main(process.argv.slice(1)); })`;
const NODE = ["--conditions=qubix-source", "-e", PROGRAM, "--"];
const containers = createContainers(createEngine(DOCKER_SOCKET), WORKER_ID);

let dir = "";
let orchestrator: TestOrchestrator;
let agent: ChildProcess | null = null;

beforeAll(ensureTinyImage, 120_000);
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-owner-"));
  orchestrator = await startTestOrchestrator(createKey(join(dir, "key.pem")).publicKey);
  const identity = { url: orchestrator.url, workerId: WORKER_ID, orchestratorId: ORCHESTRATOR_ID, name: "w" };
  await writeFile(join(dir, "identity.json"), JSON.stringify(identity));
});
afterEach(async () => {
  agent?.kill("SIGKILL");
  agent = null;
  await orchestrator.stop();
  for (const id of await containers.list()) await containers.remove(id);
  await rm(dir, { recursive: true, force: true });
});

async function cli(...args: string[]) {
  return run(process.execPath, [...NODE, ...args, "--data-dir", dir]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

async function start(...more: string[]): Promise<void> {
  const flags = [
    "--data-dir",
    dir,
    "--local-image",
    TINY_IMAGE,
    "--memory-mib",
    "512",
    "--json",
    "--log-level",
    "error",
  ];
  const child = spawn(process.execPath, [...NODE, "start", ...flags, ...more]);
  agent = child;
  await new Promise<void>((resolve, reject) => {
    let errors = "";
    child.stdout?.once("data", () => resolve());
    child.stderr?.on("data", (data: Buffer) => (errors += data.toString()));
    child.once("exit", (code) => reject(new Error(`exit ${code}: ${errors}`)));
  });
}

async function stop(): Promise<void> {
  const child = agent;
  if (child === null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await gone;
  agent = null;
}

async function status(): Promise<AgentStatus> {
  return (await askAgent(dir, { command: "status" })) as AgentStatus;
}

async function set(values: Record<string, unknown>, reset: readonly string[] = []): Promise<SetAnswer> {
  return (await askAgent(dir, { command: "set", values, reset })) as SetAnswer;
}

function offers() {
  return orchestrator.messages.flatMap((message) => ("offer" in message ? [message.offer] : []));
}

describe("the owner of a running worker", () => {
  it("sets prices, limits and hours; they hold across restarts until he starts it with others", async () => {
    await start("--cpus", "2");
    const changed = await cli("set", "--price-per-cpu-hour", "0.25", "--cpus", "1", "--region", "eu-west");
    expect(changed.stdout).toBe("price-per-cpu-hour: 0.10 → 0.25\nregion: unknown → eu-west\ncpus: 2 → 1\n");
    await expect
      .poll(() => offers().at(-1))
      .toMatchObject({ cpus: 1, region: "eu-west", pricePerCpuHour: { amount: 250_000n } });
    expect(await cli("set", "--cpus", "many")).toMatchObject({ code: 2, stderr: expect.stringMatching(/--cpus: /) });
    const hours = await set({ quietHours: ["00:00-24:00"] });
    expect(hours).toMatchObject({ changes: [{ name: "quietHours", from: [], to: ["00:00-24:00"] }] });
    await expect.poll(() => offers().at(-1)?.draining).toBe(true);
    expect(await status()).toMatchObject({ pauses: [{ reason: "quiet_hours", until: null }], draining: true });
    await stop();

    await start("--cpus", "2");
    await expect.poll(() => offers().at(-1)).toMatchObject({ cpus: 1, region: "eu-west", draining: true });
    expect((await cli("set")).stdout).toMatch(/cpus +1 {2}\(by set/);
    await set({ quietHours: ["none"] });
    await expect.poll(() => offers().at(-1)?.draining).toBe(false);
    expect((await cli("drain", "--now", "--deadline", "60")).stdout).toContain("is being moved to other workers");
    await expect.poll(() => offers().at(-1)).toMatchObject({ draining: true, leaving: "drain" });
    expect(await cli("drain", "--now", "--deadline", "soon")).toMatchObject({ code: 2 });
    expect((await cli("drain", "--undo")).stdout).not.toContain("moved");
    await expect.poll(() => offers().at(-1)).not.toHaveProperty("leaving");
    await stop();

    await start("--cpus", "1.5");
    await expect.poll(() => offers().at(-1)).toMatchObject({ cpus: 1.5, region: "eu-west" });
    expect(await set({}, ["region"])).toMatchObject({ changes: [{ name: "region", from: "eu-west", to: "unknown" }] });
    expect((await cli("set", "--reset")).stdout).toBe("price-per-cpu-hour: 0.25 → 0.10\n");
    await expect
      .poll(() => offers().at(-1))
      .toMatchObject({ cpus: 1.5, region: "unknown", pricePerCpuHour: { amount: 100_000n } });
  }, 90_000);

  it("sees what runs at which price and what came in, and waits for the end of it", async () => {
    await start("--cpus", "2", "--price-per-cpu-hour", "0.30", "--metrics-listen", "0");
    expect(await status()).toMatchObject({
      connected: true,
      earnings: { total: null },
      slots: [],
      features: expect.arrayContaining(["earnings"]),
    });
    orchestrator.send({ kind: "earnings", totals: [] });
    const attempt = attemptOf("job-a");
    const work = shell("trap 'exit 0' TERM; echo begun; sleep 600 & wait");
    orchestrator.send({ kind: "assign", attempt, run: work, checkpoint: null });
    await expect.poll(async () => (await status()).slots[0]?.phase, { timeout: 20_000 }).toBe("running");
    await set({ pricePerCpuHour: "9" });
    orchestrator.send({ kind: "earnings", totals: [{ amount: "1250000", currency: "USD" }] });
    const seen = await status();
    const rate = Math.ceil(work.cpus * 300_000);
    expect(seen.slots).toMatchObject([
      {
        jobId: "job-a",
        role: "attempt",
        epoch: 1,
        image: TINY_IMAGE,
        ratePerHour: { amount: String(rate), currency: "USD" },
      },
    ]);
    expect(seen.earnings).toMatchObject({ total: [{ amount: "1250000" }], today: [{ amount: "1250000" }] });
    expect(seen.metricsUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    const metrics = parseMetrics(await (await fetch(seen.metricsUrl ?? "")).text());
    expect(metrics.get('qubix_worker_slots{phase="running"}')).toBe(1);
    expect(metrics.get("qubix_worker_connected")).toBe(1);
    expect(metrics.get('qubix_worker_earned{currency="USD"}')).toBe(1.25);
    expect(metrics.get("qubix_worker_process_resident_bytes")).toBeGreaterThan(10_000_000);
    expect((await fetch(new URL("/", seen.metricsUrl ?? ""))).status).toBe(404);

    const draining = cli("drain", "--wait");
    await expect
      .poll(async () => (await status()).pauses, { timeout: 20_000 })
      .toEqual([{ reason: "drained", until: null }]);
    orchestrator.send({ kind: "stop", attempt, reason: "drain" });
    const drained = await draining;
    expect(drained.stderr).toMatch(/waiting for 1: job-a running/);
    expect(drained.stdout).toMatch(
      /takes no new work: drained .*\n[^]*earned: 1\.25 USD in all, 1\.25 USD today[^]*nothing runs/,
    );
    const after = parseMetrics(await (await fetch(seen.metricsUrl ?? "")).text());
    expect(after.get('qubix_worker_attempts_ended_total{outcome="stopped",code=""}')).toBe(1);
    expect(after.get('qubix_worker_paused{reason="drained"}')).toBe(1);
    expect(after.get("qubix_worker_log_bytes_total")).toBe("begun\n".length);
  }, 90_000);
});
