// The orchestrator is killed with -9 at random moments while jobs are submitted, run, end and are cancelled, and money is deposited, as fast as it takes
// them; each time it is started again at once. Whatever it had acknowledged is there at the end, once. QUBIX_TEST_ORCHESTRATOR_KILLS says how often,
// QUBIX_TEST_ORCHESTRATOR_KILL_SEED when. The workers are of the benchmarks: they speak the whole protocol and run nothing, so that all the load is on the orchestrator.
import { createHash, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { type Client, type JobSpec, type JobView, QubixError } from "@qubix/client/sdk";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createApi, enrolWorkers } from "../../bench/harness/network.ts";
import { createNullWorker, type NullWorker } from "../../bench/harness/null-worker.ts";
import { type Network, startNetwork } from "../../scripts/lib/network.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { createRng } from "../sim/random.ts";
import { NO_PROOFS, settled } from "../system/fixture.ts";

const KILLS = Number(process.env["QUBIX_TEST_ORCHESTRATOR_KILLS"] ?? "12");
const SEED = Number(process.env["QUBIX_TEST_ORCHESTRATOR_KILL_SEED"] ?? "1");
const WORKERS = 12;
/** After it has answered again; sooner is likelier than later, so that many fall into what it does after a restart. */
const KILL_AFTER_MS_MAX = 1_500;
const STREAMS = 4;
const BATCH = 10;
/** Every so many-th submission is a batch, is cancelled at once, or is followed by a deposit. */
const BATCH_EVERY = 5;
const CANCEL_EVERY = 7;
const DEPOSIT_EVERY = 3;
/** So that four streams do not take all of a machine. */
const PAUSE_MS = 25;
const AGAIN_MS = 50;
const CREDIT = 10_000_000_000n;
const DEPOSIT = 1_000n;
const TIMEOUT_MS = 180_000 + KILLS * 15_000;

let folder: string;
let network: Network;
const workers: NullWorker[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "qubix-kills-"));
  network = await startNetwork({ folder, orchestratorArgs: [...NO_PROOFS, "--log-level", "warn"] });
  const provider = await network.admin.accounts.create({ name: "provider", role: "provider" });
  const api = createApi(new URL(network.url), network.adminKey);
  for (const worker of await enrolWorkers(api, provider.id, WORKERS))
    workers.push(
      createNullWorker({
        url: new URL(network.url),
        worker,
        cpus: 4,
        pricePerCpuHour: 100_000n,
        onStart: () => undefined,
      }),
    );
  api.close();
  await Promise.all(workers.map(({ online }) => online));
});
afterAll(async () => {
  for (const worker of workers) worker.stop();
  await network?.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Acknowledged {
  readonly jobs: Set<string>;
  readonly cancelled: Set<string>;
  /** By reference. */
  readonly deposits: Set<string>;
}

it(
  `killed ${KILLS} times under load, it has every acknowledged job and ledger entry, and every job ends`,
  async () => {
    const random = createRng(SEED);
    const { id: accountId, client } = await network.addConsumer("consumer", CREDIT.toString());
    const acknowledged: Acknowledged = { jobs: new Set(), cancelled: new Set(), deposits: new Set() };
    const over = new AbortController();
    const streams = Promise.all(
      Array.from({ length: STREAMS }, (_, stream) => submitUntil(over.signal, stream, accountId, client, acknowledged)),
    );
    // Told below.
    streams.catch(() => undefined);
    let downMs = 0;
    let downMsMax = 0;
    let before = 0;
    let idleKills = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      await sleep(random.next() ** 2 * KILL_AFTER_MS_MAX);
      if (acknowledged.jobs.size === before) idleKills += 1;
      before = acknowledged.jobs.size;
      const at = performance.now();
      await network.orchestrator().kill();
      await network.restartOrchestrator();
      const ms = performance.now() - at;
      downMs += ms;
      downMsMax = Math.max(downMsMax, ms);
    }
    over.abort();
    await streams;
    const at = performance.now();
    const jobs = await checkJobs(client, acknowledged);
    const endedMs = performance.now() - at;
    await checkLedger(client, acknowledged, jobs);
    expect(workers.map((worker) => worker.unacknowledged())).toEqual(workers.map(() => 0));
    console.log(
      `${KILLS} kills (seed ${SEED}; ${idleKills} before anything new was acknowledged) among ${acknowledged.jobs.size} acknowledged jobs ` +
        `(${acknowledged.cancelled.size} cancelled) and ${acknowledged.deposits.size} deposits; ready again after ` +
        `${Math.round(downMs / KILLS)} ms, ${Math.round(downMsMax)} at most; all ended ${Math.round(endedMs)} ms after the last; load ${loadavg()[0]?.toFixed(1)}`,
    );
  },
  TIMEOUT_MS,
);

/** Submits, cancels and deposits; each request is repeated under its key until it is answered. */
async function submitUntil(
  over: AbortSignal,
  stream: number,
  accountId: string,
  client: Client,
  acknowledged: Acknowledged,
): Promise<void> {
  for (let n = 0; !over.aborted; n += 1) {
    const name = `s${stream}-${n}`;
    const idempotencyKey = randomUUID();
    const options = { idempotencyKey };
    if (n % BATCH_EVERY === 0) {
      const specs = Array.from({ length: BATCH }, (_, index) => nullJob(`${name}-${index}`));
      const { results } = await untilAnswered(() => client.jobs.batch(specs, options));
      for (const result of results) {
        if (!("job" in result)) throw new Error(`a job of a batch was refused: ${JSON.stringify(result)}`);
        acknowledged.jobs.add(result.job.id);
      }
    } else {
      const isCancelled = n % CANCEL_EVERY === 0;
      // Nobody is there: it waits, until it is cancelled.
      const more: Partial<JobSpec> = isCancelled ? { placement: { regions: ["nowhere"] } } : {};
      const { id } = await untilAnswered(() => client.jobs.create({ ...nullJob(name), ...more }, options));
      acknowledged.jobs.add(id);
      if (isCancelled) {
        await untilAnswered(() => client.jobs.cancel(id));
        acknowledged.cancelled.add(id);
      }
    }
    if (n % DEPOSIT_EVERY === 0) {
      const amount = { amount: DEPOSIT.toString(), currency: "USD" };
      await untilAnswered(() => network.admin.wallet.deposit({ accountId, amount, reference: name }, options));
      acknowledged.deposits.add(name);
    }
    await sleep(PAUSE_MS);
  }
}

async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      // Killed between two tries of the client: it gives up sooner than we do.
      if (error instanceof QubixError && (error.category === "user" || error.category === "conflict")) throw error;
      await sleep(AGAIN_MS);
    }
  }
}

async function checkJobs(client: Client, acknowledged: Acknowledged): Promise<readonly JobView[]> {
  const jobs: JobView[] = [];
  for (const id of acknowledged.jobs) jobs.push(await client.jobs.wait(id));
  for (const job of jobs) {
    expect([job.id, job.phase]).toEqual([job.id, acknowledged.cancelled.has(job.id) ? "cancelled" : "succeeded"]);
    expect([job.id, settled(job).sum]).toEqual([job.id, settled(job).hold]);
    expect(job.attempts.map(({ epoch }) => epoch)).toEqual(job.attempts.map((_, index) => index + 1));
  }
  // No request was carried out twice: as many jobs as names, and all of them were acknowledged.
  const listed: string[] = [];
  for await (const job of client.jobs.listAll()) listed.push(job.id);
  expect(digest(listed)).toBe(digest([...acknowledged.jobs]));
  return jobs;
}

async function checkLedger(client: Client, acknowledged: Acknowledged, jobs: readonly JobView[]): Promise<void> {
  const deposits: string[] = [];
  const settlements: string[] = [];
  for await (const entry of client.wallet.entriesAll()) {
    if (entry.kind === "deposit") deposits.push(entry.memo);
    if (entry.kind === "settlement") settlements.push(entry.jobId ?? "");
  }
  // And the credit it began with.
  expect(digest(deposits)).toBe(digest(["credit", ...acknowledged.deposits]));
  expect(digest(settlements)).toBe(digest([...acknowledged.jobs]));
  const refund = (job: JobView) =>
    BigInt(job.settlement.lines.find(({ role }) => role === "refund")?.amount.amount ?? "0");
  const cost = jobs.reduce((sum, job) => sum + settled(job).hold - refund(job), 0n);
  const [balance] = (await client.wallet.get()).balances;
  const available = CREDIT + DEPOSIT * BigInt(acknowledged.deposits.size) - cost;
  expect([balance?.held, balance?.available]).toEqual(["0", available.toString()]);
}

function nullJob(name: string): JobSpec {
  return {
    name,
    image: "docker.io/library/busybox:1",
    outputs: [],
    resources: { cpus: 1, memoryMiB: 64, diskMiB: 64 },
    priceMaxPerHour: { amount: "200000", currency: "USD" },
    durationMaxS: 60,
    failoversMax: 1_000,
  };
}

/** Thousands of ids compare better by one. */
function digest(ids: readonly string[]): string {
  return `${ids.length} ${createHash("sha256").update(ids.toSorted().join()).digest("hex")}`;
}
