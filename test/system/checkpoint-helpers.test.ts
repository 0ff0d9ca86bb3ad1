// The example of the helpers for jobs, on a real network: its machine dies, and the job goes on from what the Python helper saved.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { uploadPath } from "@qubix/client/node";
import { createClient } from "@qubix/client/sdk";
import { logOf, outputOf, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

const EXAMPLE = fileURLToPath(new URL("../../examples/checkpoint", import.meta.url));
const STEPS = 60;

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"], ["--local-image", "qubix/train:local"]);
});
afterAll(async () => {
  await network.stop();
});

it("a job that saves with the Python helper survives its machine", async () => {
  const { client, apiKey } = network.consumer;
  const upload = await uploadPath(createClient({ url: network.url, apiKey }), EXAMPLE);
  const { id } = await client.jobs.create({
    image: "qubix/train:local",
    command: ["/usr/bin/python3", "-B", "/work/example/count.py"],
    env: { STEPS: String(STEPS), STEP_S: "0.2" },
    inputs: [{ upload: upload.id, to: "/work/example" }],
    resources: { cpus: 0.5, memoryMiB: 128, diskMiB: 64 },
    checkpoint: { intervalS: 1 },
    standby: "hot",
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 300,
  });
  const running = await until(client, id, (job) => (job.checkpoint?.seq ?? 0) >= 2 && job.standby?.phase === "ready");
  expect(running.progress).toBeGreaterThan(0);
  await network.worker(running.workerId).die();
  const job = await client.jobs.wait(id);
  expect([job.phase, job.epoch]).toEqual(["succeeded", 2]);
  expect((await logOf(client, id)).map((line) => line.text).join("")).toContain("resume: from step-");
  expect(await outputOf(client, id, "result.txt")).toBe(`steps ${STEPS} hash ${hashAfter(STEPS)}\n`);
});

function hashAfter(steps: number): bigint {
  let hash = 1n;
  for (let step = 1n; step <= BigInt(steps); step += 1n) hash = (hash * 1_103_515_245n + step) % 2_147_483_648n;
  return hash;
}
