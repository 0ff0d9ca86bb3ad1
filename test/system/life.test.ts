// A job's life on a real network: to its end, by its own failure, by its consumer's word, by its limits.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  available,
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

let network: TestNetwork;
beforeAll(async () => {
  // As people run it: the workers prove their hardware first.
  network = await startTestNetwork(["anna", "bruno"], [], []);
});
afterAll(async () => {
  await network.stop();
});

describe("a job that succeeds", () => {
  it("gives its logs, timeline, checkpoints, outputs and an exact settlement", async () => {
    const { client } = network.consumer;
    const before = await available(client);
    const { id } = await client.jobs.create(counterJob(4, 0.5));
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["succeeded", "completed"]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(4));
    expect((await logOf(client, id)).map((line) => line.text).join("")).toContain("tick 4/4");
    expect((await client.jobs.checkpoints(id)).length).toBeGreaterThan(0);
    const kinds = (await eventsOf(client, id)).map((event) => event.kind);
    expect(kinds.filter((kind) => ["queued", "matched", "started", "completed", "settled"].includes(kind))).toEqual([
      "queued",
      "matched",
      "started",
      "completed",
      "settled",
    ]);
    const { sum, hold, roles } = settled(job);
    expect(sum).toBe(hold);
    expect([...roles].sort()).toEqual(["fee", "primary", "refund"]);
    const refund = BigInt(job.settlement.lines.find((line) => line.role === "refund")?.amount.amount ?? "0");
    expect(before - (await available(client))).toBe(hold - refund);
    expect(job.creditedMs).toBeGreaterThan(1_500);
  });

  it("gets inputs from the client's disk, read-only", async () => {
    const { client } = network.consumer;
    const { createClient, uploadPath } = await nodeSdk();
    const { mkdtempSync, rmSync, writeFileSync } = await import("node:fs");
    const folder = mkdtempSync("/tmp/qubix-input-");
    writeFileSync(`${folder}/words.txt`, "from the client\n");
    const upload = await uploadPath(createClient({ url: network.url, apiKey: network.consumer.apiKey }), folder);
    rmSync(folder, { recursive: true });
    const { id } = await client.jobs.create(
      shellJob(
        "cat /data/words.txt > /out/copy.txt; touch /data/new 2>/dev/null && echo writable >> /out/copy.txt; true",
        { inputs: [{ upload: upload.id, to: "/data" }] },
      ),
    );
    expect((await client.jobs.wait(id)).phase).toBe("succeeded");
    expect(await outputOf(client, id, "copy.txt")).toBe("from the client\n");
  });
});

describe("a job that fails by itself", () => {
  it("is retried from its newest checkpoint, then fails with its exit code and is paid for what it used", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(2, 0.2, { retries: 1, env: { EXIT_CODE: "3" } }));
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason, job.retriesUsed, job.failoversUsed]).toEqual(["failed", "exit_code", 1, 0]);
    expect(job.message).toContain("3");
    expect(job.attempts.map((attempt) => attempt.exitCode)).toEqual([3, 3]);
    expect((await logOf(client, id)).map((line) => line.text).join("")).toContain("resume: from tick-");
    expect(settled(job).sum).toBe(settled(job).hold);
  });
  it("says that a command does not exist", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create({ ...shellJob(""), command: ["/no/such/program"] });
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["failed", "start_failed"]);
    expect(job.message).toContain("/no/such/program");
  });
  it("is stopped at its memory limit", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      shellJob("x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo ${#x}", { retries: 0 }),
    );
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["failed", "oom"]);
  });
  it("is stopped at its disk limit", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      // With a volume the write fails; where folders are only watched, the job is stopped soon after it.
      shellJob("head -c 150000000 /dev/zero > /out/big || exit 1; sleep 60", { retries: 0 }),
    );
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["failed", "disk_exceeded"]);
  });
});

describe("a job that is ended from outside", () => {
  it("stops when it is cancelled, is paid up to then, and the rest goes back", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(600, 0.5));
    await until(client, id, (job) => job.checkpoint !== null);
    await client.jobs.cancel(id);
    const job = await client.jobs.wait(id);
    expect([job.phase, settled(job).sum === settled(job).hold]).toEqual(["cancelled", true]);
    expect(job.creditedMs).toBeGreaterThan(0);
    await expect.poll(() => network.worker(job.workerId).containers(), { timeout: 10_000 }).toEqual([]);
  });
  it("is cancelled at once while it waits, at no cost", async () => {
    const { client } = network.consumer;
    const before = await available(client);
    const { id } = await client.jobs.create(shellJob("true", { resources: { cpus: 900 } }));
    await client.jobs.cancel(id);
    const job = await client.jobs.wait(id);
    expect([job.phase, job.creditedMs]).toEqual(["cancelled", 0]);
    expect(await available(client)).toBe(before);
  });
  it("ends at durationMaxS", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(600, 0.5, { durationMaxS: 2 }));
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["failed", "deadline"]);
    expect(job.creditedMs).toBeLessThanOrEqual(2_000);
  });
  it("ends when no offer comes within queueS, and says why", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(shellJob("true", { resources: { cpus: 900 }, queueS: 1 }));
    const job = await client.jobs.wait(id);
    expect([job.phase, job.reason]).toEqual(["failed", "no_offer"]);
    expect(job.message).toContain("cpus");
  });
});

describe("bounds", () => {
  it("keeps a bounded log and says where it was cut", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      shellJob(
        "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 20000000; echo; echo end",
        { retries: 0 },
      ),
    );
    expect((await client.jobs.wait(id)).phase).toBe("succeeded");
    const lines = await logOf(client, id);
    const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(line.text), 0);
    expect(bytes).toBeLessThan(17 * 1024 * 1024);
    expect(lines.filter((line) => line.stream === "marker").length).toBe(1);
  });
  it("runs without rights, network or a writable root", async () => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(
      shellJob(
        "grep CapEff /proc/self/status; id -u; touch /forbidden 2>/dev/null || echo read-only; ls /sys/class/net; touch /tmp/a /work/a /out/a && echo writable",
        { retries: 0 },
      ),
    );
    expect((await client.jobs.wait(id)).phase).toBe("succeeded");
    const text = (await logOf(client, id)).map((line) => line.text).join("");
    expect(text).toContain("CapEff:\t0000000000000000");
    expect(text).toContain("read-only");
    expect(text).toContain("\nlo\n");
    expect(text).not.toContain("eth0");
    expect(text).toContain("writable");
  });
});

async function nodeSdk() {
  const [{ createClient }, node] = await Promise.all([import("@qubix/client/sdk"), import("@qubix/client/node")]);
  return { createClient, uploadPath: node.uploadPath };
}
