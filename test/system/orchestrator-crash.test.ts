// The orchestrator is killed with -9 while jobs run, and started again on the same data.
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  counterJob,
  counterResult,
  logOf,
  outputOf,
  settled,
  startTestNetwork,
  type TestNetwork,
  until,
} from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
});
afterAll(async () => {
  await network.stop();
});

it("loses no accepted job, stops no running container, and settles each once", async () => {
  const { client } = network.consumer;
  const ticks = 40;
  const running = await client.jobs.create(counterJob(ticks, 0.25, { standby: "hot" }));
  const waiting = await Promise.all(Array.from({ length: 12 }, () => client.jobs.create(counterJob(2, 0.1))));
  const before = await until(client, running.id, (job) => job.checkpoint !== null && job.standby?.phase === "ready");
  const containers = await network.worker(before.workerId).containers();

  await network.orchestrator().kill();
  expect(await network.worker(before.workerId).containers()).toEqual(
    expect.arrayContaining([...containers].slice(0, 1)),
  );
  await network.restartOrchestrator();

  const after = await until(client, running.id, (job) => job.phase === "running" && job.standby?.phase === "ready");
  expect([after.epoch, after.workerId]).toEqual([before.epoch, before.workerId]);
  const job = await client.jobs.wait(running.id);
  expect([job.phase, job.failoversUsed]).toEqual(["succeeded", 0]);
  expect(await outputOf(client, job.id, "result.txt")).toBe(counterResult(ticks));
  const ticksSeen = [
    ...(await logOf(client, job.id))
      .map((line) => line.text)
      .join("")
      .matchAll(/^tick (\d+)\//gm),
  ].map((match) => Number(match[1]));
  expect(ticksSeen).toEqual(Array.from({ length: ticks }, (_, index) => index + 1));
  for (const { id } of [running, ...waiting]) {
    const ended = await client.jobs.wait(id);
    expect([ended.phase, settled(ended).sum === settled(ended).hold]).toEqual(["succeeded", true]);
  }
});
