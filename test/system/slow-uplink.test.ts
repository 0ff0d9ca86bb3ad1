// A job that saves faster than its machine's line carries: fewer checkpoints are taken, and everybody is told; when the line is free again, as before.
import { afterAll, beforeAll, expect, it } from "vitest";
import { askAgent } from "../../worker/src/app/agent-socket.ts";
import { eventsOf, logOf, shellJob, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  // A checkpoint of a million bytes takes about two seconds then.
  network = await startTestNetwork(["anna"], ["--uplink-mbps-max", "4"]);
});
afterAll(async () => {
  await network.stop();
});

const SAVE_TWICE_A_SECOND = `
  for n in $(seq 1000 1200); do
    head -c 1000000 /dev/urandom >"$QUBIX_CHECKPOINT_DIR/.new.tmp"
    mv "$QUBIX_CHECKPOINT_DIR/.new.tmp" "$QUBIX_CHECKPOINT_DIR/save-$n"
    sleep 0.5
  done`;

it("checkpoints lie further apart while the owner's cap lets no more through, and as asked for when he takes it away", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(shellJob(SAVE_TWICE_A_SECOND, { checkpoint: { intervalS: 1 } }));
  const slow = await until(client, id, (job) => job.checkpointIntervalS > 1);
  expect([2, 4, 8]).toContain(slow.checkpointIntervalS);
  expect(slow.checkpoint?.shipMs).toBeGreaterThan(1_000);
  const risk = await until(client, id, (job) => job.workAtRiskMs > 1_500);
  expect(risk.workAtRiskMs).toBeLessThan(20_000);

  const [anna] = network.workers;
  await askAgent(anna?.dataDir ?? "", { command: "set", values: { uplinkMbpsMax: "none" }, reset: [] });
  await until(client, id, (job) => job.checkpointIntervalS === 1);
  await client.jobs.cancel(id);
  await client.jobs.wait(id);

  const changes = (await eventsOf(client, id)).filter(({ kind }) => kind === "checkpoint_interval");
  expect(changes[0]?.data).toMatchObject({ askedS: 1, effectiveS: slow.checkpointIntervalS, why: "uplink_slow" });
  expect(changes.at(-1)?.data).toMatchObject({ askedS: 1, effectiveS: 1, why: "uplink_quick" });
  const log = (await logOf(client, id)).map((line) => line.text).join("");
  expect(log).toMatch(/qubix: shipping the last checkpoint took [0-9.]+ s, longer than the time between two of them/);
  expect(log).toMatch(/qubix: checkpoints are shipped quickly again .* as asked for/);
});
