// A counter that saves nothing loses its machine, and goes on elsewhere from its count: real processes, a real Engine, the real gVisor.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Client, JobSpec } from "@qubix/client/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Network, startNetwork } from "../../scripts/lib/network.ts";
import { startTestEngine, type TestEngine, whyNoTestEngine } from "../lib/engine.ts";
import { CREDIT, logOf, NO_PROOFS, outputOf, shellJob, SMALL_WORKER, until } from "../system/fixture.ts";
import { sharedFolder } from "./lab.ts";

const RUNSC = "/usr/bin/runsc";
const RUNTIME = fileURLToPath(new URL("../../worker/bin/qubix-runsc", import.meta.url));
const TIMEOUT_MS = 240_000;
const LAST = 250;
const IMAGE = "qubix/tiny:local";

const missing = existsSync(RUNSC) ? whyNoTestEngine() : `gVisor is not installed (${RUNSC})`;
if (missing !== undefined) console.warn(`skipped: transparent checkpoints, because ${missing}`);

describe.skipIf(missing !== undefined)("a counter that saves nothing", { timeout: TIMEOUT_MS }, () => {
  let engine: TestEngine;
  let shared: Awaited<ReturnType<typeof sharedFolder>>;
  let network: Network;
  let client: Client;

  beforeAll(async () => {
    shared = await sharedFolder();
    const runtimeArgs = ["--platform=ptrace", "--network=none"];
    engine = await startTestEngine({
      runtimes: { runsc: { path: RUNSC, runtimeArgs }, "qubix-runsc": { path: RUNTIME, runtimeArgs } },
    });
    await engine.loadImage(IMAGE);
    // The network's own tools ask the same Engine as the workers.
    process.env["DOCKER_HOST"] = `unix://${engine.socket}`;
    network = await startNetwork({ folder: shared.path, orchestratorArgs: NO_PROOFS });
    for (const name of ["anna", "bruno"]) {
      await network.addWorker({ name, args: [...SMALL_WORKER, "--docker-socket", engine.socket] });
    }
    ({ client } = await network.addConsumer("consumer", CREDIT.toString()));
  }, TIMEOUT_MS);
  afterAll(async () => {
    await network?.stop();
    await engine?.stop();
    await shared?.remove();
    delete process.env["DOCKER_HOST"];
  }, TIMEOUT_MS);

  const counter = (more: Partial<JobSpec> = {}) =>
    shellJob(`n=0; while [ $n -lt ${LAST} ]; do n=$((n+1)); echo $n; sleep 0.1; done; echo $n > /out/result`, {
      isolation: "sandboxed",
      checkpoint: { intervalS: 2, transparent: true },
      resources: { cpus: 0.5, memoryMiB: 384, diskMiB: 256 },
      ...more,
    });

  it.each(["cold", "hot"] as const)("goes on elsewhere from its count, with a %s standby", async (standby) => {
    const { id } = await client.jobs.create(counter({ standby }));
    const before = await until(
      client,
      id,
      (job) => (job.checkpoint?.seq ?? 0) >= 2 && (standby === "cold" || job.standby?.phase === "ready"),
    );
    const worker = network.workers.find((one) => one.id === before.workerId);
    await worker?.die();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.failoversUsed, job.retriesUsed]).toEqual(["succeeded", 1, 0]);
    expect(job.workerId).not.toBe(before.workerId);
    expect(await outputOf(client, id, "result")).toBe(`${LAST}\n`);
    const lines = await logOf(client, id);
    const [early, late] = [1, 2].map((epoch) => {
      const own = lines.filter((line) => line.stream === "stdout" && line.epoch === epoch);
      const text = own.map((line) => line.text).join("");
      return text.trim().split("\n").map(Number);
    });
    const first = late?.[0] ?? 0;
    expect(first).toBeGreaterThan(1);
    expect(early).toContain(first - 1);
    expect(late).toEqual(Array.from({ length: LAST - first + 1 }, (_, index) => first + index));
    await worker?.start();
  });
});
