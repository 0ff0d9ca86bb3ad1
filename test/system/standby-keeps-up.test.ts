// A hot standby on a real network: it has each checkpoint on disk soon after its commit, so that a promotion finds nothing left to fetch.
import { afterAll, beforeAll, expect, it } from "vitest";
import { counterJob, counterResult, eventsOf, outputOf, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
});
afterAll(async () => {
  await network.stop();
});

/** Between a commit and the standby's word that it has unpacked it: chunks over a socket of this machine, with all its other work. */
const BEHIND_MS_MAX = 2_000;

it("has unpacked each checkpoint before the next one, says how far behind it is, and starts from the newest", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(counterJob(60, 0.25, { standby: "hot", checkpoint: { intervalS: 3 } }));
  const four = await until(client, id, (job) => (job.checkpoint?.seq ?? 0) >= 4);
  expect(four).toMatchObject({ checkpointIntervalS: 3, checkpoint: { shipMs: expect.any(Number) } });
  expect(four.workAtRiskMs).toBeLessThan(3_000 + BEHIND_MS_MAX);
  const current = await until(client, id, ({ standby, checkpoint }) => standby?.checkpointSeq === checkpoint?.seq);
  expect(current.standby).toMatchObject({ checkpointsBehind: 0, behindMs: 0 });

  const events = await eventsOf(client, id);
  const had = events.filter(({ kind }) => kind === "standby_checkpoint");
  expect(had.map(({ data }) => data["seq"])).toEqual(
    events
      .filter(({ kind, data }) => kind === "checkpoint" && Number(data["seq"]) <= had.length)
      .map(({ data }) => data["seq"]),
  );
  const behindMs = had.map(({ data }) => Number(data["behindMs"]));
  expect(Math.max(...behindMs)).toBeLessThan(BEHIND_MS_MAX);

  await network.worker(current.workerId).die();
  const after = await until(client, id, (job) => job.epoch === 2 && job.phase === "running");
  expect(after.attempts[1]?.fromCheckpointSeq).toBeGreaterThanOrEqual(current.checkpoint?.seq ?? 0);
  expect((await client.jobs.wait(id)).phase).toBe("succeeded");
  expect(await outputOf(client, id, "result.txt")).toBe(counterResult(60));
});
