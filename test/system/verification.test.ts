// Verified results with real programs and containers: who computes something else than the job asks for is found, not paid, and accused with evidence that
// anybody can work out again; who checks is paid by the network, or out of the consumer's hold for a majority.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { uploadPath } from "@qubix/client/node";
import { type Client, createClient, type JobSpec, type JobView, type Slash } from "@qubix/client/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Network, type RunningWorker, startNetwork } from "../../scripts/lib/network.ts";
import { untilSeen } from "../lib/until.ts";
import {
  hasRegistry,
  idOf,
  makeImage,
  type MadeImage,
  makeTar,
  savedFiles,
  startRegistry,
  type TestRegistry,
  unsave,
} from "../../worker/src/runner/images/testing.ts";
import { CREDIT, eventsOf, NO_PROOFS, outputOf, shellJob } from "./fixture.ts";
import { type LyingEngine, startLyingEngine } from "./lying-engine.ts";

const run = promisify(execFile);
const UNTIL_TIMEOUT_MS = 60_000;
/** Enough to cost something. */
const RUN_S = 1;
const TRUTH = "the-right-answer";
const LIE = "another-answer";
const ARGS = ["--cpus", "2", "--memory-mib", "1024", "--disk-mib", "4096", "--no-egress"];
const STAKE = { amount: "50000000", currency: "USD" } as const;

let dir = "";
let registry: TestRegistry;
let engine: LyingEngine;
let network: Network;
let consumer: Awaited<ReturnType<Network["addConsumer"]>>;
let image: MadeImage;
let uploaded = "";
const orchestratorArgs: string[] = [];
/** The cheapest, so that jobs come to it first, and lies; the others are honest, and bruno's word counts. */
let liar: RunningWorker;
let bruno: RunningWorker;
let carla: RunningWorker;
let dora: RunningWorker;

beforeAll(async () => {
  if (!hasRegistry) throw new Error("these tests need a registry: apt-get install docker-registry");
  dir = mkdtempSync(join(tmpdir(), "qubix-verification-"));
  registry = await startRegistry();
  engine = await startLyingEngine(join(dir, "engine.sock"), { truth: TRUTH, instead: LIE });
  // Whose word counts is known when the accounts are there.
  orchestratorArgs.push(...NO_PROOFS, "--registry-allow", registry.host, "--check-share", "1");
  network = await startNetwork({ folder: dir, orchestratorArgs });
  const add = (name: string, pricePerCpuHour: string, more: readonly string[] = []) => {
    const own = ["--allow-private-registry", registry.host, "--price-per-cpu-hour", pricePerCpuHour];
    return network.addWorker({ name, args: [...ARGS, ...own, ...more] });
  };
  liar = await add("liar", "0.10", ["--docker-socket", engine.socket]);
  bruno = await add("bruno", "0.11");
  carla = await add("carla", "0.12");
  dora = await add("dora", "0.13");
  orchestratorArgs.push("--check-referees", bruno.providerId);
  await network.restartOrchestrator();
  await allOnline();
  consumer = await network.addConsumer("consumer", CREDIT.toString());
  const { stdout } = await run("docker", ["save", "qubix/tiny:local"], {
    encoding: "buffer",
    maxBuffer: 64 * 1024 * 1024,
  });
  image = await makeImage({ layers: (await unsave(stdout)).layers });
  const archive = join(dir, "image.tar");
  await writeFile(archive, await makeTar(savedFiles(image, ["tiny:1"])));
  uploaded = `upload:${(await uploadPath(consumer.client, archive)).id}`;
});
afterAll(async () => {
  await network?.stop();
  await engine?.stop();
  await registry?.stop();
  if (image !== undefined) await run("docker", ["rmi", "-f", idOf(image)]).catch(() => undefined);
  rmSync(dir, { recursive: true, force: true });
});

const until = <T>(look: () => Promise<T | undefined>): Promise<T> => untilSeen(look, UNTIL_TIMEOUT_MS);

async function allOnline(): Promise<void> {
  await until(async () => {
    const { items } = await network.admin.workers.list();
    return items.length === 4 && items.every(({ phase }) => phase === "online") ? true : undefined;
  });
}

function job(more: Partial<JobSpec>): JobSpec {
  return shellJob(`sleep ${RUN_S}; echo ${TRUTH} > /out/result`, { image: uploaded, queueS: 300, ...more });
}

/** Until its check is decided. */
async function decided(id: string): Promise<JobView> {
  await consumer.client.jobs.wait(id);
  return until(async () => {
    const view = await consumer.client.jobs.get(id);
    return typeof view.verification?.decidedAt === "string" ? view : undefined;
  });
}

async function providerClient(worker: RunningWorker): Promise<Client> {
  const { key = "" } = await network.admin.apiKeys.create({ accountId: worker.providerId });
  return createClient({ url: network.url, apiKey: key });
}

/** What it earned so far, pending or payable, in micro-units. */
async function earned(worker: RunningWorker): Promise<bigint> {
  const wallet = await (await providerClient(worker)).wallet.get();
  return BigInt(wallet.balances.find(({ currency }) => currency === "USD")?.earned ?? "0");
}

async function spendable(): Promise<bigint> {
  const wallet = await consumer.client.wallet.get();
  return BigInt(wallet.balances.find(({ currency }) => currency === "USD")?.available ?? "0");
}

const kindsOf = async (id: string) => (await eventsOf(consumer.client, id)).map(({ kind }) => kind);

/** What the network says of outputs that are this one file: whoever has the program works it out. */
function sumOf(content: string): string {
  const sha256 = createHash("sha256").update(content).digest("hex");
  const line = JSON.stringify(["result", Buffer.byteLength(content), [sha256]]);
  return createHash("sha256").update(line).digest("hex");
}

async function slashesOf(worker: RunningWorker): Promise<readonly Slash[]> {
  return (await network.admin.slashes.list()).items.filter(({ workerId }) => workerId === worker.id);
}

describe("a spot check", () => {
  it("of an honest worker confirms its result, and is paid by the network", async () => {
    await network.admin.workers.drain(liar.id);
    const before = { consumer: await spendable(), bruno: await earned(bruno), carla: await earned(carla) };
    const { id } = await consumer.client.jobs.create(job({ verification: { mode: "spot-check" } }));
    const view = await decided(id);
    expect(view).toMatchObject({ phase: "succeeded", workerId: bruno.id, verification: { state: "passed" } });
    expect(view.verification?.runs).toMatchObject([{ workerId: carla.id, same: true }]);
    const gross = BigInt(view.settlement.gross?.amount ?? "0");

    // The consumer paid for his run alone; both workers have their pay.
    expect(before.consumer - (await spendable())).toBe(gross);
    expect(await earned(bruno)).toBeGreaterThan(before.bruno);
    expect(await earned(carla)).toBeGreaterThan(before.carla);
    for (const worker of [bruno, carla]) {
      expect((await network.admin.workers.get(worker.id)).reputation.verified).toBeGreaterThan(0.9);
    }
    expect(await kindsOf(id)).toEqual(
      expect.arrayContaining(["verification_started", "verification_run", "settled", "verified"]),
    );
    await network.admin.workers.drain(liar.id, { draining: false });
  });

  it("finds the worker whose machine runs something else: it is not paid, and accused with evidence", async () => {
    const owner = await providerClient(liar);
    await network.admin.wallet.deposit({ accountId: liar.providerId, amount: STAKE, reference: "stake" });
    await owner.stakes.add({ amount: STAKE, from: "spendable" });
    const before = { consumer: await spendable(), bruno: await earned(bruno), carla: await earned(carla) };
    const { id } = await consumer.client.jobs.create(job({ verification: { mode: "spot-check" } }));
    const view = await decided(id);
    expect(view).toMatchObject({ phase: "succeeded", workerId: liar.id, verification: { state: "failed" } });
    expect(await outputOf(consumer.client, id, "result")).toBe(`${LIE}\n`);
    expect(engine.lies()).toBeGreaterThan(0);
    expect(view.verification?.runs.map(({ same }) => same)).toEqual([false, false]);
    const checkers = view.verification?.runs.map(({ workerId }) => workerId);
    expect(checkers).toEqual([bruno.id, carla.id]);
    expect(await kindsOf(id)).toEqual(expect.arrayContaining(["verification_differs", "verification_failed"]));

    // The consumer has all of it back, fee included; the checks are the operator's.
    expect(await spendable()).toBe(before.consumer);
    expect(await earned(liar)).toBe(0n);
    expect(await earned(bruno)).toBeGreaterThan(before.bruno);
    expect(await earned(carla)).toBeGreaterThan(before.carla);

    const { reputation } = await network.admin.workers.get(liar.id);
    expect([reputation.wrong > 0.9, reputation.verified, reputation.score < 0.4]).toEqual([true, 0, true]);
    const [slash, ...others] = await slashesOf(liar);
    expect(others).toEqual([]);
    expect(slash).toMatchObject({ phase: "proposed", offence: "wrong_result", jobId: id, providerId: liar.providerId });
    const evidence = slash?.evidence ?? {};
    const runs = evidence["runs"] as readonly { readonly result: string; readonly workers: readonly object[] }[];
    // Whoever runs the program works these sums out, and sees whose result is which.
    expect(runs.map(({ result }) => result)).toEqual([sumOf(`${LIE}\n`), sumOf(`${TRUTH}\n`), sumOf(`${TRUTH}\n`)]);
    expect(runs.map(({ workers }) => workers)).toMatchObject(
      [liar, bruno, carla].map(({ id: workerId, providerId }) => [{ workerId, providerId }]),
    );
    expect(evidence["imageTree"]).toEqual(expect.any(String));
    expect(BigInt(slash?.amount.amount ?? "0")).toBeGreaterThan(0n);
    // Its owner sees it, and may appeal; other providers do not.
    expect((await owner.slashes.list()).items.map((one) => one.id)).toEqual([slash?.id]);
    expect((await (await providerClient(bruno)).slashes.list()).items).toEqual([]);
    const [balance] = (await owner.stakes.get()).balances;
    expect(balance?.slashing).toBe(slash?.amount.amount);
    expect(await slashesOf(bruno)).toEqual([]);
    expect(await slashesOf(carla)).toEqual([]);
  });

  it("that the liar makes costs the liar, and not whose job it checks", async () => {
    const draining = async (workers: readonly RunningWorker[], is: boolean) => {
      for (const worker of workers) await network.admin.workers.drain(worker.id, { draining: is });
    };
    await draining([liar, bruno, carla], true);
    const before = { dora: await earned(dora), slashes: (await slashesOf(liar)).length };
    const { id } = await consumer.client.jobs.create(job({ verification: { mode: "spot-check" } }));
    expect(await consumer.client.jobs.wait(id)).toMatchObject({
      workerId: dora.id,
      verification: { state: "waiting" },
    });
    // Frozen until it is decided.
    expect(await earned(dora)).toBe(before.dora);
    await draining([liar], false);
    await until(async () => ((await kindsOf(id)).includes("verification_differs") ? true : undefined));
    await draining([bruno, carla], false);
    const view = await decided(id);
    expect(view.verification).toMatchObject({
      state: "passed",
      runs: [
        { workerId: liar.id, same: false },
        { workerId: bruno.id, same: true },
      ],
    });
    expect(await earned(dora)).toBeGreaterThan(before.dora);
    const slashes = await slashesOf(liar);
    expect(slashes).toHaveLength(before.slashes + 1);
    expect(slashes[0]).toMatchObject({ offence: "wrong_result", jobId: view.verification?.runs[0]?.jobId });
    for (const worker of [bruno, carla, dora]) expect(await slashesOf(worker)).toEqual([]);
  });
});

describe("a majority", () => {
  it("of an image of a registry outvotes the liar, whatever run it has; the consumer's hold pays for the others", async () => {
    await registry.put(image, "team/tool", "1");
    const before = { consumer: await spendable(), dora: await earned(dora) };
    const cap = { amount: "1800000", currency: "USD" } as const;
    const { id } = await consumer.client.jobs.create(
      job({
        image: `${registry.host}/team/tool:1`,
        verification: { mode: "majority", replicas: 3 },
        priceMaxPerHour: cap,
      }),
    );
    const view = await decided(id);
    const result = await outputOf(consumer.client, id, "result");
    expect(view.imageDigest).toMatch(/^sha256:/);
    expect(view.verification?.runs).toHaveLength(2);
    const runs = await Promise.all((view.verification?.runs ?? []).map(({ jobId }) => consumer.client.jobs.get(jobId)));
    // The very same image, at providers of their own.
    expect(runs.map(({ imageDigest }) => imageDigest)).toEqual([view.imageDigest, view.imageDigest]);
    expect(new Set([view, ...runs].map(({ attempts }) => attempts.at(-1)?.providerId)).size).toBe(3);
    const isLie = result === `${LIE}\n`;
    expect(view.verification?.state).toBe(isLie ? "failed" : "passed");
    const paid = [view, ...runs].reduce((sum, one, at) => {
      return at === 0 && isLie ? sum : sum + BigInt(one.settlement.gross?.amount ?? "0");
    }, 0n);
    expect(before.consumer - (await spendable())).toBe(paid);
    expect(paid).toBeGreaterThan(0n);
    const spent = (await consumer.client.jobs.get(runs[0]?.id ?? "")).settlement.lines.find(
      (line) => line.role === "refund",
    );
    for (const worker of [bruno, carla, dora]) expect(await slashesOf(worker)).toEqual([]);
    expect(spent?.account).toBe(`customer:${consumer.id}`);
  });
});

describe("a canary", () => {
  it("that two honest workers confirmed accuses the liar, who took it for a job", async () => {
    const digest = await registry.put(image, "team/canary", "1");
    const content = `${TRUTH}\n`;
    const sha256 = createHash("sha256").update(content).digest("hex");
    const spec = { ...job({}), image: `${registry.host}/team/canary@${digest}` };
    const expected = { outputs: [{ path: "result", bytes: Buffer.byteLength(content), sha256 }] };
    const file = join(dir, "canaries.json");
    await writeFile(file, JSON.stringify([{ name: "answer", spec, expected }]));
    orchestratorArgs.push("--canaries", file, "--canary-share", "1");
    await network.restartOrchestrator();
    await allOnline();
    const standing = async () => (await network.admin.canaries.list()).items[0];
    /** After a job of its own a worker gets one: the share is 1. */
    const workAt = async (worker: RunningWorker) => {
      const { id } = await consumer.client.jobs.create(job({ placement: { workers: [worker.id] } }));
      expect((await consumer.client.jobs.wait(id)).phase).toBe("succeeded");
    };
    for (const [n, worker] of [bruno, carla].entries()) {
      await workAt(worker);
      await expect.poll(async () => (await standing())?.right).toBe(n + 1);
    }
    expect(await standing()).toMatchObject({ name: "answer", given: 2, right: 2, wrong: 0, state: "ready" });
    const before = { slashes: (await slashesOf(liar)).length, lies: engine.lies() };
    await workAt(liar);
    const paid = await earned(liar);
    await expect.poll(async () => (await standing())?.state).toBe("spent");
    expect(engine.lies()).toBe(before.lies + 2);
    const [slash, ...others] = await slashesOf(liar);
    expect(others).toHaveLength(before.slashes);
    expect(slash).toMatchObject({
      offence: "wrong_result",
      evidence: {
        canary: "answer",
        expected: { exitCode: 0, sum: sumOf(content) },
        result: { sum: sumOf(`${LIE}\n`) },
        run: { image: spec.image, command: spec.command },
      },
    });
    // What it lied about is not paid, its other job is: nobody had that checked.
    expect(await earned(liar)).toBe(paid);
    for (const worker of [bruno, carla, dora]) expect(await slashesOf(worker)).toEqual([]);
    // It was a job of nobody's that he could see.
    const seen = (await (await providerClient(liar)).jobs.list()).items.map(({ id }) => id);
    expect(seen).not.toContain(slash?.jobId);
  });
});
