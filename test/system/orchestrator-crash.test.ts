// The orchestrator is killed with -9 while jobs run, and started again on the same data.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sleep } from "../../scripts/lib/processes.ts";
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

const KILLS = 10;
const JOBS = 30;

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
  const containers = async () =>
    (await network.worker(before.workerId).containers()).filter((name) => name.includes(running.id));
  const own = await containers();
  expect(own).toHaveLength(1);

  await network.orchestrator().kill();
  expect(await containers()).toEqual(own);
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

it(`killed ${KILLS} times at random moments, brings every job to its end once and leaves nothing behind`, async () => {
  const { client } = network.consumer;
  const [first, second] = network.workers;
  const ids: string[] = [];
  for (let n = 0; n < JOBS; n += 1) {
    const standby = n % 5 === 0 ? "hot" : "cold";
    ids.push((await client.jobs.create(counterJob(8, 0.25, { standby, name: `n${n}` }))).id);
  }
  for (let kill = 0; kill < KILLS; kill += 1) {
    await sleep(Math.random() * 1_500);
    await network.orchestrator().kill();
    await network.restartOrchestrator();
  }
  for (const id of ids) {
    const job = await client.jobs.wait(id);
    expect([job.name, job.phase, job.reason]).toEqual([job.name, "succeeded", "completed"]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(8));
    expect(settled(job).sum).toBe(settled(job).hold);
  }
  const settlements: (string | null)[] = [];
  for await (const entry of client.wallet.entriesAll()) if (entry.kind === "settlement") settlements.push(entry.jobId);
  expect(settlements.filter((id) => id !== null && ids.includes(id)).toSorted()).toEqual(ids.toSorted());
  expect((await client.wallet.get()).balances.map(({ held }) => held)).toEqual(["0"]);
  for (const worker of [first, second]) {
    await expect.poll(() => worker?.allContainers(), { timeout: 10_000 }).toEqual([]);
    await expect.poll(() => readdirSync(join(worker?.dataDir ?? "", "slots")), { timeout: 10_000 }).toEqual([]);
  }
}, 240_000);
