// The agent is killed with -9 at random moments, again and again, while jobs of every kind are in every phase of their life; each time it is started again at
// once. QUBIX_TEST_AGENT_KILLS says how often, QUBIX_TEST_AGENT_KILL_SEED when.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient, type JobView } from "@qubix/client/sdk";
import { uploadPath } from "@qubix/client/node";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { RunningWorker } from "../../scripts/lib/network.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { type Phase, phaseOf, PHASES, readJournal } from "./agent-phases.ts";
import { counterJob, counterResult, outputOf, settled, startTestNetwork, type TestNetwork } from "./fixture.ts";

const run = promisify(execFile);
const KILLS = Number(process.env["QUBIX_TEST_AGENT_KILLS"] ?? "25");
const SEED = Number(process.env["QUBIX_TEST_AGENT_KILL_SEED"] ?? "1");
/** Jobs that are there at any time: each kill hits as many of them as run. */
const JOBS_AT_ONCE = 6;
/** A job lives for about two seconds, most of it in its container. */
const TICKS = 4;
const TICK_S = 0.3;
/** What the Engine may take to say that a container has begun, while its job works already. */
const START_ANSWER_MS_MAX = 600;
/** After the agent has come back; sooner is likelier than later. */
const KILL_AFTER_MS_MAX = 4_000;
/** On a busy machine the agent takes many times the two seconds of an idle one to come back. */
const TIMEOUT_MS = 120_000 + KILLS * 15_000;
const SECRET = "the content of a secret";

let network: TestNetwork;
let worker: RunningWorker;
let upload: string;
beforeAll(async () => {
  network = await startTestNetwork(["anna"]);
  const [only] = network.workers;
  if (only === undefined) throw new Error("no worker");
  worker = only;
  const folder = mkdtempSync(join(tmpdir(), "qubix-input-"));
  writeFileSync(join(folder, "words.txt"), "words\n");
  const client = createClient({ url: network.url, apiKey: network.consumer.apiKey });
  upload = (await uploadPath(client, folder)).id;
  rmSync(folder, { recursive: true });
});
afterAll(async () => {
  await network?.stop();
});

it(
  `killed ${KILLS} times, every job succeeds once, is paid for once, and nothing is left`,
  async () => {
    const { client } = network.consumer;
    const random = generator(SEED);
    const ids: string[] = [];
    const over = new AbortController();
    const streams = Array.from({ length: JOBS_AT_ONCE }, async () => {
      while (!over.signal.aborted) {
        const { id } = await client.jobs.create(aJob(ids.length));
        ids.push(id);
        await client.jobs.wait(id);
      }
    });
    const hits = new Map<Phase, number>(PHASES.map((phase) => [phase, 0]));
    let idle = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      await sleep(random() ** 2 * KILL_AFTER_MS_MAX);
      await worker.program().kill();
      const { slots } = readJournal(worker.dataDir);
      const containers = await worker.allContainers();
      for (const slot of slots) {
        const phase = phaseOf(worker.dataDir, slot, containers);
        hits.set(phase, (hits.get(phase) ?? 0) + 1);
      }
      if (slots.length === 0) idle += 1;
      await worker.start();
    }
    over.abort();
    await Promise.all(streams);
    const histogram = [...hits].map(([phase, count]) => `${phase} ${count}`).join(", ");
    console.log(
      `${KILLS} kills (seed ${SEED}) among ${ids.length} jobs, ${idle} of them idle; slots hit: ${histogram}`,
    );

    for (const id of ids) await checkJob(await client.jobs.get(id));
    const settlements: (string | null)[] = [];
    for await (const entry of client.wallet.entriesAll())
      if (entry.kind === "settlement") settlements.push(entry.jobId);
    expect(settlements.toSorted()).toEqual(ids.toSorted());
    expect((await client.wallet.get()).balances.map(({ held }) => held)).toEqual(["0"]);
    await checkNothingLeft();
    if (KILLS >= 100) for (const [phase, count] of hits) expect([phase, count > 0]).toEqual([phase, true]);
  },
  TIMEOUT_MS,
);

/** Some with inputs, some with secrets, some with both; all with checkpoints and outputs. */
function aJob(index: number) {
  return counterJob(TICKS, TICK_S, {
    name: `n${index}`,
    ...(index % 2 === 0 ? { inputs: [{ upload, to: "/data" }] } : {}),
    ...(index % 3 === 0 ? { secrets: { TOKEN: SECRET } } : {}),
    resources: { cpus: 0.3, memoryMiB: 64, diskMiB: 64 },
    // On a busy machine the agent takes so long to come back that an attempt which had not begun is given to it anew.
    failoversMax: 1_000,
  });
}

async function checkJob(job: JobView): Promise<void> {
  const { client } = network.consumer;
  expect([job.name, job.phase, job.reason]).toEqual([job.name, "succeeded", "completed"]);
  expect(await outputOf(client, job.id, "result.txt")).toBe(counterResult(TICKS));
  expect(job.attempts.map(({ epoch }) => epoch)).toEqual(job.attempts.map((_, index) => index + 1));
  expect(settled(job).sum).toBe(settled(job).hold);
  // Paid for at least the work since the Engine said that it began, at most the time there was, and each moment once.
  const credited = job.attempts.reduce((sum, { creditedMs }) => sum + creditedMs, 0);
  expect(job.creditedMs).toBe(credited);
  expect(job.creditedMs).toBeGreaterThanOrEqual(TICKS * TICK_S * 1000 - START_ANSWER_MS_MAX);
  const lastedMs = Date.parse(job.endedAt ?? "") - Date.parse(job.createdAt);
  expect([job.id, job.creditedMs <= lastedMs]).toEqual([job.id, true]);
}

async function checkNothingLeft(): Promise<void> {
  const wait = { timeout: 20_000 };
  await expect.poll(() => worker.allContainers(), wait).toEqual([]);
  await expect.poll(() => readdirSync(join(worker.dataDir, "slots")), wait).toEqual([]);
  const places = ["/run", "/dev/shm"].map((parent) => join(parent, `qubix-${worker.id}`));
  const secrets = () => places.filter(existsSync);
  expect(secrets()).not.toEqual([]);
  await expect.poll(() => secrets().flatMap((place) => readdirSync(place)), wait).toEqual([]);
  await worker.stop();
  expect(secrets()).toEqual([]);
  const { slots, keys } = readJournal(worker.dataDir);
  expect([slots, keys.filter((key) => key.startsWith("log:"))]).toEqual([[], []]);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(worker.dataDir);
  const { stdout } = await run("docker", ["network", "ls", "--filter", `label=qubix.worker=${worker.id}`, "--quiet"]);
  expect(stdout).toBe("");
}

/** Mulberry32: the same moments for the same seed, as far as a busy machine allows. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
