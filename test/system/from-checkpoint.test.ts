// A job that begins from a checkpoint of another one, on a real network: it goes on where that one was, on another machine, whatever becomes of that one.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { counterJob, counterResult, logOf, outputOf, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
});
afterAll(async () => {
  await network.stop();
});

const EVERY_SECOND = { checkpoint: { intervalS: 1, keep: 2 } };

describe("a job that begins from another job's checkpoint", () => {
  it("goes on counting where a cancelled one was, elsewhere, and gives the result of an undisturbed run", async () => {
    const { client } = network.consumer;
    const first = await client.jobs.create(counterJob(600, 0.3, EVERY_SECOND));
    const reached = await until(client, first.id, (job) => (job.checkpoint?.seq ?? 0) >= 2);
    await client.jobs.cancel(first.id);
    expect((await client.jobs.wait(first.id)).phase).toBe("cancelled");

    const { id } = await client.jobs.create(
      counterJob(20, 0.2, {
        ...EVERY_SECOND,
        fromCheckpoint: { job: first.id },
        placement: { avoid: [reached.workerId ?? ""] },
      }),
    );
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["succeeded", "completed"]);
    expect(job.workerId).not.toBe(reached.workerId);
    expect(job.fromCheckpoint).toMatchObject({ jobId: first.id });
    expect(job.attempts[0]?.fromCheckpointSeq).toBe(1);
    const text = (await logOf(client, id)).map((line) => line.text).join("");
    expect(text).toMatch(/resume: from tick-/);
    expect(text).not.toContain("tick 1/20");
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(20));
    const seqs = (await client.jobs.checkpoints(id)).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  });

  it("may branch off one that runs on and lets that checkpoint go meanwhile", async () => {
    const { client } = network.consumer;
    const first = await client.jobs.create(counterJob(40, 0.25, { checkpoint: { intervalS: 1, keep: 1 } }));
    const { checkpoint } = await until(client, first.id, (job) => job.checkpoint !== null);
    const seq = checkpoint?.seq ?? 0;
    // It waits for a worker that there is none of, while the other one goes on.
    const waiting = await client.jobs.create(
      counterJob(12, 0.1, { fromCheckpoint: { job: first.id, seq }, placement: { regions: ["nowhere"] } }),
    );
    await until(client, first.id, (job) => (job.checkpoint?.seq ?? 0) > seq + 1);
    await expect(
      client.jobs.create(counterJob(12, 0.1, { fromCheckpoint: { job: first.id, seq } })),
    ).rejects.toMatchObject({ code: "checkpoint_not_kept" });
    const { id } = await client.jobs.create(counterJob(12, 0.1, { fromCheckpoint: { job: waiting.id } }));
    const job = await client.jobs.wait(id);
    expect(job.phase).toBe("succeeded");
    expect(job.fromCheckpoint).toEqual({ jobId: waiting.id, seq: 1 });
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(12));
    await client.jobs.cancel(waiting.id);
    await client.jobs.cancel(first.id);
  });
});
