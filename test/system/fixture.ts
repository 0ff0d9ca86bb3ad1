// What every system test needs: a network of real processes in a folder of its own, small jobs, and ways to wait for what they do.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client, EventView, JobSpec, JobView, LogLine } from "@qubix/client/sdk";
import { type Network, type RunningWorker, startNetwork } from "../../scripts/lib/network.ts";
import { sleep } from "../../scripts/lib/processes.ts";

/** A condition that does not come true by then never will. */
const UNTIL_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
export const CREDIT = 100_000_000n;

export interface TestNetwork extends Network {
  /** All of it lives below. */
  readonly folder: string;
  readonly consumer: { readonly id: string; readonly apiKey: string; readonly client: Client };
  worker(id: string | null): RunningWorker;
}

/** For tests that are about something else: proofs take seconds of both cores at every start of a network. */
export const NO_PROOFS = ["--worker-proofs", "off"] as const;

/** Starts an orchestrator, a worker for each name (a provider each), and a consumer with credit. */
export async function startTestNetwork(
  names: readonly string[],
  workerArgs: readonly string[] = [],
  orchestratorArgs: readonly string[] = NO_PROOFS,
): Promise<TestNetwork> {
  const folder = mkdtempSync(join(tmpdir(), "qubix-system-"));
  const network = await startNetwork({ folder, orchestratorArgs });
  for (const name of names) await network.addWorker({ name, args: [...SMALL_WORKER, ...workerArgs] });
  // Without proofs every worker is on the market as soon as it is connected.
  if (!orchestratorArgs.includes("off")) await network.listed();
  const consumer = await network.addConsumer("consumer", CREDIT.toString());
  return {
    ...network,
    folder,
    consumer,
    worker: (id) => {
      const found = network.workers.find((worker) => worker.id === id);
      if (found === undefined) throw new Error(`no worker ${id} in this network`);
      return found;
    },
    stop: async () => {
      await network.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export const SMALL_WORKER = [
  "--cpus",
  "2",
  "--memory-mib",
  "1024",
  "--disk-mib",
  "4096",
  "--price-per-cpu-hour",
  "0.10",
  "--local-image",
  "qubix/tiny:local",
  // Its self-test makes and removes a network, which only tests of networks need.
  "--no-egress",
];

/** A job in the small image that anything can be put into. */
export function shellJob(script: string, more: Partial<JobSpec> = {}): JobSpec {
  return {
    image: "qubix/tiny:local",
    command: ["/bin/sh", "-c", script],
    resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 },
    checkpoint: { intervalS: 1 },
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 300,
    stopGraceS: 2,
    ...more,
  };
}

/** Counts; its result shows a tick that was done twice or left out. */
export function counterJob(ticks: number, tickS: number, more: Partial<JobSpec> = {}): JobSpec {
  return {
    ...shellJob("", more),
    command: ["/opt/counter/counter.sh"],
    env: { TICKS: String(ticks), TICK_S: String(tickS), ...more.env },
  };
}

/** The result of an undisturbed {@link counterJob}. */
export function counterResult(ticks: number): string {
  let hash = 1n;
  for (let tick = 1n; tick <= BigInt(ticks); tick++) hash = (hash * 1_103_515_245n + tick) % 2_147_483_648n;
  return `ticks ${ticks} hash ${hash}\n`;
}

/** Waits for a condition on a job. Throws when the job ends before it, or when it takes too long. */
export async function until(client: Client, id: string, reached: (job: JobView) => boolean): Promise<JobView> {
  const deadline = performance.now() + UNTIL_TIMEOUT_MS;
  for (;;) {
    const job = await client.jobs.get(id);
    if (reached(job)) return job;
    if (job.endedAt !== null) throw new Error(`job ended before: ${job.phase} ${job.reason} ${job.message}`);
    if (performance.now() > deadline) throw new Error(`waited too long, the job is ${JSON.stringify(job)}`);
    await sleep(POLL_MS);
  }
}

export async function eventsOf(client: Client, id: string): Promise<readonly EventView[]> {
  const events: EventView[] = [];
  for await (const event of client.jobs.eventsAll(id)) events.push(event);
  return events;
}

export async function logOf(client: Client, id: string): Promise<readonly LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of client.jobs.logs(id)) lines.push(line);
  return lines;
}

export async function outputOf(client: Client, id: string, path: string): Promise<string> {
  const parts: Uint8Array[] = [];
  const { body } = await client.jobs.output(id, path);
  if (body !== null) for await (const part of body) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** What a settled job's lines add up to, and what was held for it. */
export function settled(job: JobView): {
  readonly sum: bigint;
  readonly hold: bigint;
  readonly roles: readonly string[];
} {
  return {
    sum: job.settlement.lines.reduce((sum, line) => sum + BigInt(line.amount.amount), 0n),
    hold: BigInt(job.settlement.hold.amount),
    roles: job.settlement.lines.map((line) => line.role),
  };
}

/** What a consumer can spend now, in micro-units of USD. */
export async function available(client: Client): Promise<bigint> {
  const wallet = await client.wallet.get();
  return BigInt(wallet.balances.find((balance) => balance.currency === "USD")?.available ?? "0");
}
