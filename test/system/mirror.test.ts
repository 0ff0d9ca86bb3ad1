// A mirror job runs at two providers at once. Each has a machine, real containers and a result of its own; what one of them does to its files is found out.
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JobView } from "@qubix/client/sdk";
import {
  counterJob,
  counterResult,
  eventsOf,
  logOf,
  outputOf,
  settled,
  shellJob,
  startTestNetwork,
  type TestNetwork,
  until,
} from "./fixture.ts";

const TICKS = 24;
const TICK_S = 0.25;
const MIRROR = { standby: "mirror" } as const;

let network: TestNetwork;
beforeEach(async () => {
  network = await startTestNetwork(["anna", "bruno", "chiara"]);
});
afterEach(async () => {
  await network.stop();
});

describe("two providers that compute the same", () => {
  it("agree: the result is verified, and both are paid", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, MIRROR));
    const both = await until(client, id, (job) => bothRun(job) && replicas(job).every((one) => one.checkpointSeq > 0));
    expect(new Set(replicas(both).map((one) => one.providerId)).size).toBe(2);
    expect(both.workAtRiskMs).toBe(0);
    const job = await client.jobs.wait(id);
    expect([job.phase, job.mirror?.verified, job.mirror?.third]).toEqual(["succeeded", true, false]);
    // Entries are named by their tick, so that only equal ones are laid beside each other.
    expect(job.mirror?.checkpointsDifferent).toBe(0);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    const [first, second] = replicas(job);
    expect(first?.result).toMatch(/^[0-9a-f]{64}$/);
    expect(second?.result).toBe(first?.result);
    expect(paid(job)).toEqual(new Set([first?.workerId, second?.workerId]));
    expect(settled(job).sum).toBe(settled(job).hold);
    const lines = await logOf(client, id);
    expect(new Set(lines.filter((line) => line.stream === "stdout").map((line) => line.replica ?? 0))).toEqual(
      new Set([0, 1]),
    );
  });

  it("one of them dies with its container: the other is not interrupted, and a third takes its place from a checkpoint", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(2 * TICKS, TICK_S, MIRROR));
    const before = await until(
      client,
      id,
      (job) => bothRun(job) && replicas(job).every((one) => one.checkpointSeq > 1),
    );
    const [lost, stays] = replicas(before);
    await network.worker(lost?.workerId ?? null).die();
    const during = await until(client, id, (job) => job.failoversUsed === 1);
    expect([during.phase, during.workerId]).toEqual(["running", stays?.workerId]);
    const again = await until(client, id, bothRun);
    expect(replicas(again)[0]).toMatchObject({ replica: 0, epoch: 2 });
    expect(replicas(again)[1]).toMatchObject({ epoch: 1, workerId: stays?.workerId });
    const job = await client.jobs.wait(id);
    expect([job.phase, job.mirror?.verified]).toEqual(["succeeded", true]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(2 * TICKS));
    expect(job.attempts.filter((attempt) => attempt.replica === 1)).toHaveLength(1);
    const resumed = job.attempts.find(({ replica, epoch }) => replica === 0 && epoch === 2);
    expect(resumed?.fromCheckpointSeq).toBeGreaterThan(0);
    const kinds = (await eventsOf(client, id)).map((event) => event.kind);
    expect(kinds).toContain("replica_lost");
    expect(kinds).not.toContain("requeued");
    // The one that stayed counted each tick once, in one go.
    const text = (await logOf(client, id)).flatMap((line) => (line.replica === 1 ? [line.text] : [])).join("");
    expect([...text.matchAll(/^tick (\d+)\//gm)].map((match) => Number(match[1]))).toEqual(
      Array.from({ length: 2 * TICKS }, (_, index) => index + 1),
    );
    expect(settled(job).sum).toBe(settled(job).hold);
  });
});

it("the orchestrator dies: both replicas run on, and their results are compared when it is back", async () => {
  const { client } = network.consumer;
  const { id } = await client.jobs.create(counterJob(2 * TICKS, TICK_S, MIRROR));
  await until(client, id, (job) => bothRun(job) && replicas(job).every((one) => one.checkpointSeq > 0));
  await network.orchestrator().kill();
  await network.restartOrchestrator();
  const job = await client.jobs.wait(id);
  expect([job.phase, job.mirror?.verified, job.failoversUsed]).toEqual(["succeeded", true, 0]);
  expect(job.attempts).toHaveLength(2);
  expect(await outputOf(client, id, "result.txt")).toBe(counterResult(2 * TICKS));
});

/** Writes its result, and ends when it is told to. */
const HELD = "echo right > /out/result; while [ ! -e /work/end ]; do sleep 0.1; done";

describe("a provider that changes the result on its own disk", () => {
  it("is outvoted by a third, not paid, and named with the sums", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(shellJob(HELD, MIRROR));
    const both = await until(client, id, bothRun);
    const [liar, honest] = replicas(both);
    await put(network, liar?.workerId, "out/result", "wrong\n");
    await put(network, liar?.workerId, "work/end", "");
    await put(network, honest?.workerId, "work/end", "");
    const third = await until(client, id, (job) => job.mirror?.third === true && replicas(job)[1]?.state === "running");
    const decides = replicas(third)[1]?.workerId;
    expect([liar?.workerId, honest?.workerId]).not.toContain(decides);
    await put(network, decides, "work/end", "");
    const job = await client.jobs.wait(id);
    expect([job.phase, job.mirror?.verified]).toEqual(["succeeded", true]);
    expect(await outputOf(client, id, "result")).toBe("right\n");
    expect(paid(job)).toEqual(new Set([honest?.workerId, decides]));
    expect(job.attempts.filter((attempt) => attempt.refused).map((attempt) => attempt.workerId)).toEqual([
      liar?.workerId,
    ]);
    const refused = (await eventsOf(client, id)).find((event) => event.kind === "work_refused");
    expect(refused).toMatchObject({ workerId: liar?.workerId });
    expect(refused?.data["result"]).not.toBe(refused?.data["agreed"]);
    expect(settled(job).sum).toBe(settled(job).hold);
  });
});

describe("a job that gives something else on every machine", () => {
  it("is not accepted from anybody, and says what to do", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      shellJob("cat /proc/sys/kernel/random/uuid > /out/result; sleep 1", MIRROR),
    );
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason, job.outputs]).toEqual(["failed", "mirror_disagreement", null]);
    expect(job.message).toContain("byte for byte");
    expect(paid(job).size).toBe(3);
    expect(settled(job).sum).toBe(settled(job).hold);
  });
});

type Replica = NonNullable<JobView["mirror"]>["replicas"][number];

function replicas(job: JobView): readonly Replica[] {
  return job.mirror?.replicas ?? [];
}

function bothRun(job: JobView): boolean {
  return replicas(job).length === 2 && replicas(job).every((one) => one.state === "running");
}

/** The workers with a share of more than nothing. */
function paid(job: JobView): ReadonlySet<string | undefined> {
  const lines = job.settlement.lines.filter(({ role, amount }) => role === "primary" && BigInt(amount.amount) > 0n);
  return new Set(lines.map(({ workerId }) => workerId));
}

/** As the owner of a machine can: writes into the files of the one container that runs there. */
async function put(net: TestNetwork, workerId: string | null | undefined, path: string, text: string): Promise<void> {
  const slots = join(net.worker(workerId ?? null).dataDir, "slots");
  const [slot] = await readdir(slots);
  if (slot === undefined) throw new Error(`${workerId ?? "no worker"} runs nothing`);
  await writeFile(join(slots, slot, "disk", path), text);
}
