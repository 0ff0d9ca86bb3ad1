// Receipts of real processes: workers sign with their own keys, the command line verifies by itself, and a changed byte is found.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCli } from "@qubix/client/cli";
import { type Receipt, receiptSchema } from "@qubix/shared/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { counterJob, eventsOf, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

const TICKS = 24;
const TICK_S = 0.25;
/** Bytes of a receipt that are changed, one at a time; spread over all of it. */
const FLIPS = 40;

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
});
afterAll(async () => {
  await network.stop();
});

interface Ended {
  readonly code: number;
  readonly stdout: string;
}

async function qubix(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  let stdout = "";
  const code = await runCli(args, {
    stdout: { write: (text) => void (stdout += text) },
    stderr: { write: () => {} },
    env,
    onInterrupt: () => () => {},
  });
  return { code, stdout };
}

const asConsumer = () => ({ QUBIX_URL: network.url, QUBIX_API_KEY: network.consumer.apiKey });

async function receiptOf(id: string): Promise<Receipt> {
  const { code, stdout } = await qubix(["receipt", id, "--json"], asConsumer());
  expect(code).toBe(0);
  return receiptSchema.parse(JSON.parse(stdout));
}

describe("the receipt of a job whose worker died", () => {
  let id: string;
  let file: string;
  beforeAll(async () => {
    const { client } = network.consumer;
    ({ id } = await client.jobs.create(counterJob(TICKS, TICK_S, { standby: "hot" })));
    const isUnderWay = ({
      standby,
      checkpoint,
    }: {
      standby: { phase: string } | null;
      checkpoint: { seq: number } | null;
    }) => standby?.phase === "ready" && (checkpoint?.seq ?? 0) >= 2;
    const before = await until(client, id, isUnderWay);
    await network.worker(before.workerId).die();
    expect((await client.jobs.wait(id)).phase).toBe("succeeded");
    file = join(network.folder, "receipt.json");
    await writeFile(file, (await qubix(["receipt", id, "--json"], asConsumer())).stdout);
  });

  it("has both workers' signatures, and verifies", async () => {
    const shown = await qubix(["receipt", id], asConsumer());
    expect(shown.code).toBe(0);
    expect(shown.stdout).toMatch(/\nverified: \d+ signatures/);
    // All paid time is signed for.
    expect(shown.stdout).not.toContain("is not signed for");
    const { attempts, standbys, totals, agreed } = receiptSchema.parse(JSON.parse(await readFile(file, "utf8")));
    const paid = attempts.filter(({ creditedMs }) => creditedMs > 0);
    expect(new Set(paid.map(({ publicKey }) => publicKey)).size).toBe(2);
    for (const { ticks, creditedMs } of paid) expect(ticks.at(-1)?.ranMs).toBeGreaterThanOrEqual(creditedMs);
    expect(attempts.at(-1)?.ticks.at(-1)?.moment).toBe("end");
    expect(standbys.some(({ creditedMs }) => creditedMs > 0)).toBe(true);
    expect(BigInt(totals?.gross ?? "0") + BigInt(totals?.refund ?? "0")).toBe(BigInt(agreed?.hold ?? "-1"));
  });

  it("verifies from its file without the orchestrator, and any flipped byte is found", async () => {
    expect((await qubix(["receipt", "--verify", file], {})).code).toBe(0);
    const bytes = await readFile(file);
    const changed = join(network.folder, "changed.json");
    // The last byte is the line's end.
    for (let at = 0; at < bytes.length - 1; at += Math.ceil(bytes.length / FLIPS)) {
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await writeFile(changed, flipped);
      expect([at, (await qubix(["receipt", "--verify", changed], {})).code]).toEqual([at, 6]);
    }
  });

  it("is for its provider what is his, and verifies too", async () => {
    const provider = network.workers[0]?.providerId ?? "";
    const { key = "" } = await network.admin.apiKeys.create({ accountId: provider });
    const { code, stdout } = await qubix(["receipt", id, "--json"], { QUBIX_URL: network.url, QUBIX_API_KEY: key });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ view: "provider", agreed: null, totals: null });
    expect(stdout).not.toContain(network.consumer.id);
    const earned = await qubix(["earnings", "--json"], { QUBIX_URL: network.url, QUBIX_API_KEY: key });
    const posted = receiptSchema.parse(JSON.parse(stdout)).transfers.flatMap(({ postings }) => postings);
    const sum = posted.reduce((total, { amount }) => total + BigInt(amount), 0n);
    expect(JSON.parse(earned.stdout)).toMatchObject({ totals: [{ earned: sum.toString() }] });
  });
});

describe("a worker's account", () => {
  it("goes on over a restart of its agent, and of the orchestrator", async () => {
    const { client } = network.consumer;
    // The one that is alive.
    const [online] = (await network.admin.workers.list()).items.filter(({ phase }) => phase === "online");
    const worker = network.worker(online?.id ?? null);
    const { id } = await client.jobs.create(counterJob(TICKS, TICK_S, { placement: { workers: [worker.id] } }));
    await until(client, id, (job) => job.checkpoint !== null);
    await worker.program().kill();
    await worker.start();
    const seq = (await client.jobs.get(id)).checkpoint?.seq ?? 0;
    await until(client, id, (job) => (job.checkpoint?.seq ?? 0) > seq);
    await network.orchestrator().kill();
    await network.restartOrchestrator();
    expect((await client.jobs.wait(id)).phase).toBe("succeeded");
    const { attempts } = await receiptOf(id);
    const ticks = attempts.flatMap((attempt) => attempt.ticks);
    expect(ticks.length).toBeGreaterThan(2);
    // One chain: only its first line has none before it.
    expect(ticks.filter(({ prev }) => prev === null)).toHaveLength(1);
    expect((await eventsOf(client, id)).map(({ kind }) => kind)).not.toContain("tick_refused");
  });
});
