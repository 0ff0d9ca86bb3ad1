// Jobs that run and no longer get on are taken to another machine; slow ones are left alone.
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventsOf, logOf, outputOf, shellJob, startTestNetwork, type TestNetwork } from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
});
afterAll(async () => {
  await network.stop();
});

it("a job that hangs is failed over, goes on from its newest checkpoint, and ends", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(
    shellJob(
      `step=$(cat "$QUBIX_CHECKPOINT_DIR/state" 2>/dev/null || echo 0)
      [ $step = 0 ] || { echo "from $step"; echo $step > /out/steps; exit 0; }
      while [ $step -lt 5 ]; do
        step=$((step + 1)); echo "step $step"; echo "$step/9" > "$QUBIX_PROGRESS_FILE"
        echo $step > "$QUBIX_CHECKPOINT_DIR/.state"; mv "$QUBIX_CHECKPOINT_DIR/.state" "$QUBIX_CHECKPOINT_DIR/state"
        sleep 0.5
      done
      exec sleep 10000`,
      { stallAfterS: 5 },
    ),
  );
  const job = await client.jobs.wait(id);
  expect([job.phase, job.epoch, job.failoversUsed, job.retriesUsed]).toEqual(["succeeded", 2, 1, 0]);
  const stalled = (await eventsOf(client, id)).find(({ kind }) => kind === "stalled");
  // Two that agree; which one beside its progress file comes first is chance.
  const signals = stalled?.data["signals"] as readonly string[];
  expect(signals).toContain("progress");
  expect(signals.length).toBeGreaterThanOrEqual(2);
  expect(stalled?.data).toMatchObject({ epoch: 1, stallAfterS: 5 });
  expect(job.attempts.map(({ workerId }) => workerId).at(-1)).not.toBe(stalled?.data["workerId"]);
  expect(await outputOf(client, id, "steps")).toBe("5\n");
  expect((await logOf(client, id)).map(({ text }) => text).join("")).toContain("from 5\n");
});

it("a job that misses its own deadline is failed over for that alone", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(
    shellJob(
      `[ $(cat "$QUBIX_EPOCH_FILE") = 1 ] || { echo done > /out/done; exit 0; }
      echo "0.1 deadline=2" > "$QUBIX_PROGRESS_FILE"
      while true; do echo busy; sleep 0.1; done`,
    ),
  );
  const job = await client.jobs.wait(id);
  expect([job.phase, job.epoch]).toEqual(["succeeded", 2]);
  const stalled = (await eventsOf(client, id)).find(({ kind }) => kind === "stalled");
  expect(stalled?.data).toMatchObject({ signals: ["deadline"], stallAfterS: 300 });
});

it("a slow job whose progress moves is left alone, though it neither logs nor saves nor computes", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(
    shellJob(
      `for step in 1 2 3 4 5 6; do echo "$step/1000000" > "$QUBIX_PROGRESS_FILE"; sleep 2; done; echo slow > /out/slow`,
      { stallAfterS: 4 },
    ),
  );
  const job = await client.jobs.wait(id);
  expect([job.phase, job.epoch, job.failoversUsed]).toEqual(["succeeded", 1, 0]);
  expect((await eventsOf(client, id)).map(({ kind }) => kind)).not.toContain("stalled");
});
