// Providers die; the job goes on under its id, from its newest whole checkpoint, and its result is that of an undisturbed run.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
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

let network: TestNetwork;
beforeEach(async () => {
  network = await startTestNetwork(["anna", "bruno", "chiara"]);
});
afterEach(async () => {
  await network.stop();
});

describe("the primary worker is killed with its container", () => {
  it("with a hot standby: promoted, resumed, exact", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await until(client, id, (job) => job.standby?.phase === "ready" && (job.checkpoint?.seq ?? 0) >= 2);
    const standbyWorker = before.standby?.workerId;
    expect(network.worker(before.workerId).providerId).not.toBe(before.standby?.providerId);
    await network.worker(before.workerId).die();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.failoversUsed, job.retriesUsed, job.workerId]).toEqual(["succeeded", 1, 0, standbyWorker]);
    expect(job.epoch).toBeGreaterThanOrEqual(2);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    const kinds = (await eventsOf(client, id)).map((event) => event.kind);
    expect(kinds.indexOf("suspect")).toBeGreaterThan(0);
    expect(kinds.indexOf("promoted")).toBeGreaterThan(kinds.indexOf("suspect"));
    expect(settled(job).roles).toContain("standby");
    expect(settled(job).sum).toBe(settled(job).hold);
    const lines = await logOf(client, id);
    expect(lines.some((line) => line.stream === "marker")).toBe(true);
    expect(
      lines
        .filter((line) => line.epoch === 2)
        .map((line) => line.text)
        .join(""),
    ).toContain("resume: from tick-");
  });

  it("with a cold standby: restarted elsewhere from the newest checkpoint", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S));
    const before = await until(client, id, (job) => (job.checkpoint?.seq ?? 0) >= 2);
    await network.worker(before.workerId).die();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.failoversUsed]).toEqual(["succeeded", 1]);
    expect(job.workerId).not.toBe(before.workerId);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    expect(settled(job).sum).toBe(settled(job).hold);
  });

  it("both providers, one after the other: a third finishes", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const first = await until(client, id, (job) => job.standby?.phase === "ready" && job.checkpoint !== null);
    await network.worker(first.workerId).die();
    const second = await until(client, id, (job) => job.phase === "running" && job.workerId !== first.workerId);
    await network.worker(second.workerId).die();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.failoversUsed]).toEqual(["succeeded", 2]);
    expect(new Set([first.workerId, second.workerId, job.workerId]).size).toBe(3);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
  });

  it("when nobody is left, the job waits, and goes on when the machine is back", async () => {
    const { client } = network.consumer;
    const [, bruno, chiara] = network.workers;
    await bruno?.stop();
    await chiara?.stop();
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S));
    const before = await until(client, id, (job) => job.checkpoint !== null);
    await network.worker(before.workerId).die();
    await until(client, id, (job) => job.phase === "queued");
    await network.worker(before.workerId).start();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.workerId]).toEqual(["succeeded", before.workerId]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
  });
});

describe("a checkpoint that is not whole", () => {
  it("is never begun from", async () => {
    const script = `
      ls -A "$QUBIX_CHECKPOINT_DIR" | sed 's/^/found: /'
      if [ -e "$QUBIX_CHECKPOINT_DIR/one" ]; then cp "$QUBIX_CHECKPOINT_DIR/one" /out/one; exit 0; fi
      echo whole > "$QUBIX_CHECKPOINT_DIR/.one"; mv "$QUBIX_CHECKPOINT_DIR/.one" "$QUBIX_CHECKPOINT_DIR/one"
      echo part > "$QUBIX_CHECKPOINT_DIR/.two"; echo part > "$QUBIX_CHECKPOINT_DIR/two.tmp"
      sleep 60`;
    const { client } = network.consumer;
    const { id } = await client.jobs.create(shellJob(script, { standby: "hot" }));
    const before = await until(client, id, (job) => job.checkpoint !== null && job.standby?.phase === "ready");
    await network.worker(before.workerId).die();
    const job = await client.jobs.wait(id);
    expect(job.phase).toBe("succeeded");
    expect(await outputOf(client, id, "one")).toBe("whole\n");
    const found = (await logOf(client, id))
      .flatMap((line) => line.text.split("\n"))
      .filter((line) => line.startsWith("found: "));
    expect(found).toEqual(["found: one"]);
  });
});

describe("the agent alone is killed", () => {
  it("finds its container again, and nothing is done twice", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      counterJob(TICKS, TICK_S, { placement: { workers: [network.workers[0]?.id ?? ""] } }),
    );
    const before = await until(client, id, (job) => job.checkpoint !== null);
    const worker = network.worker(before.workerId);
    const containers = await worker.containers();
    await worker.program().kill();
    expect(await worker.containers()).toEqual(containers);
    await worker.start();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.workerId]).toEqual(["succeeded", worker.id]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    const text = (await logOf(client, id)).map((line) => line.text).join("");
    expect(text).not.toContain("resume:");
    expect([...text.matchAll(/^tick (\d+)\//gm)].map((match) => Number(match[1]))).toEqual(
      Array.from({ length: TICKS }, (_, index) => index + 1),
    );
  });

  it("and stays away until it is given up: its container goes on, with all that it wrote meanwhile", async () => {
    const { client } = network.consumer;
    const [only, ...others] = network.workers;
    for (const other of others) await other.stop();
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S));
    await until(client, id, (job) => job.checkpoint !== null);
    await only?.program().kill();
    await until(client, id, (job) => job.phase === "queued");
    await only?.start();
    const job = await client.jobs.wait(id);
    expect([job.phase, job.epoch]).toEqual(["succeeded", 2]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    // How far the log was told is durable once a second: what was told in the last one before the kill comes again, under the new epoch.
    const lines = await logOf(client, id);
    const ticksOf = (epoch: number) => {
      const text = lines.flatMap((line) => (line.epoch === epoch ? [line.text] : [])).join("");
      return [...text.matchAll(/^tick (\d+)\//gm)].map((match) => Number(match[1]));
    };
    const [before, after] = [ticksOf(1), ticksOf(2)];
    const first = after[0] ?? 0;
    expect([first >= 1, first <= before.length + 1]).toEqual([true, true]);
    expect(before).toEqual(Array.from({ length: before.length }, (_, index) => index + 1));
    expect(after).toEqual(Array.from({ length: TICKS - first + 1 }, (_, index) => first + index));
  });
});

describe("the worker falls silent with its socket open", () => {
  it("with a hot standby: promoted by silence alone, and fenced when it is back", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await until(client, id, (job) => job.standby?.phase === "ready" && job.checkpoint !== null);
    const silent = network.worker(before.workerId);
    process.kill(silent.program().pid, "SIGSTOP");
    try {
      const job = await client.jobs.wait(id);
      expect([job.phase, job.failoversUsed, job.workerId]).toEqual(["succeeded", 1, before.standby?.workerId]);
      expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
      const suspect = (await eventsOf(client, id)).find((event) => event.kind === "suspect");
      expect(suspect?.data).toMatchObject({ why: "silent" });
      expect(await slotsOf(silent.dataDir)).toHaveLength(1);
    } finally {
      process.kill(silent.program().pid, "SIGCONT");
    }
    // Told that its epoch is over, it lets go of everything.
    await expect.poll(() => slotsOf(silent.dataDir), { timeout: 20_000 }).toEqual([]);
  });

  it("and comes back before anybody took over: its container goes on, nothing is charged twice", async () => {
    const { client } = network.consumer;
    const only = network.workers[0];
    if (only === undefined) throw new Error("the network has no worker");
    const { id } = await client.jobs.create(counterJob(60, TICK_S, { placement: { workers: [only.id] } }));
    await until(client, id, (job) => job.checkpoint !== null);
    process.kill(only.program().pid, "SIGSTOP");
    try {
      await until(client, id, (job) => job.phase === "queued");
    } finally {
      process.kill(only.program().pid, "SIGCONT");
    }
    const job = await client.jobs.wait(id);
    expect([job.phase, job.workerId, job.epoch, job.failoversUsed]).toEqual(["succeeded", only.id, 2, 0]);
    expect((await eventsOf(client, id)).map((event) => event.kind)).toContain("undone");
    expect((await logOf(client, id)).map((line) => line.text).join("")).not.toContain("resume:");
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(60));
    expect(settled(job).sum).toBe(settled(job).hold);
  });
});

/** The folders of the containers that a worker still has something of. */
function slotsOf(dataDir: string): Promise<string[]> {
  return readdir(join(dataDir, "slots"));
}
