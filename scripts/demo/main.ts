// The demonstration: a paid training job survives the death of its provider. Exit code 0 only if everything it claims held.
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createHash } from "node:crypto";
import type { Client, JobSpec, JobView } from "@qubix/client/sdk";
import { parse } from "yaml";
import { type Network, startNetwork } from "../lib/network.ts";
import { sleep } from "../lib/processes.ts";
import { check, failed, say, showSettlement, tell, title } from "./show.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const WORKERS = ["anna", "bruno", "chiara"];
/** Each worker offers one core, so that three of them share a small machine. */
const WORKER_ARGS = [
  "--cpus",
  "1",
  "--memory-mib",
  "1024",
  "--disk-mib",
  "4096",
  "--price-per-cpu-hour",
  "0.10",
  "--local-image",
  "qubix/train:local",
];
/** 25 USD of credit, in micro-units. */
const CREDIT = "25000000";
/** The worker is killed when at least this share of the work is done. */
const KILL_AT = 0.5;
/** A job that has not come this far by then never will. */
const STEP_TIMEOUT_MS = 240_000;
const POLL_MS = 100;

const { values: flags } = parseArgs({ options: { exit: { type: "boolean", default: false } } });
const stayUp = !flags.exit && process.stdin.isTTY && process.stdout.isTTY;
const folder = mkdtempSync(join(ROOT, ".qubix-quickstart-"));

let network: Network | undefined;
const stopped = onSignal();
try {
  await Promise.race([demonstrate(), stopped]);
  if (stayUp && network !== undefined) await stay(network);
} catch (error) {
  failed(error instanceof Error ? error.message : String(error));
} finally {
  await network?.stop();
  if (process.exitCode === undefined || process.exitCode === 0) rmSync(folder, { recursive: true, force: true });
  else say(`the logs are in ${folder}/logs`);
}
// After a signal the demonstration still waits for answers that nobody will give.
process.exit();

async function demonstrate(): Promise<void> {
  title("A network on this machine");
  network = await startNetwork({ folder });
  say(`orchestrator at ${network.url}`);
  for (const name of WORKERS) {
    const worker = await network.addWorker({ name, args: WORKER_ARGS });
    say(`worker ${name} (${worker.id}), owned by ${worker.providerId}`);
  }
  await network.listed();
  say("the workers have proven their cores and memory, and are on the market");
  const consumer = await network.addConsumer("Demo consumer", CREDIT);
  say("a consumer with 25.00 USD of credit");

  title("A training job with a hot standby, and the same job undisturbed beside it");
  const spec: JobSpec = parse(await readFile(join(ROOT, "examples/train/job.yaml"), "utf8"));
  const job = await consumer.client.jobs.create({ ...spec, name: "train" });
  const disturbed = await readyToFail(consumer.client, job.id);
  const control = await consumer.client.jobs.create({ ...spec, name: "train, undisturbed", standby: "cold" });
  say(
    `job ${job.id} runs on ${nameOf(disturbed.workerId)}; its standby on ${nameOf(disturbed.standby?.workerId ?? null)} is ready`,
  );
  say(`job ${control.id} is the same without a fault`);
  say(`the timeline of ${job.id}:`);
  const story = awaitedLater(tell(consumer.client.jobs.followEvents(job.id), named));

  const atKill = await until(
    consumer.client,
    job.id,
    (view) => (view.progress ?? 0) >= KILL_AT && view.standby?.phase === "ready",
  );
  const primary = network.workers.find((worker) => worker.id === atKill.workerId);
  if (primary === undefined) throw new Error(`worker ${atKill.workerId} is not one of ours`);
  title(
    `At ${Math.round((atKill.progress ?? 0) * 100)}%: kill -9 of worker ${primary.name} (process ${primary.program().pid}) and of its container`,
  );
  const step = awaitedLater(firstStepAfter(consumer.client, job.id, atKill.epoch));
  const killedAt = await primary.die();
  const { at: steppedAt, text } = await step;
  const ended = await consumer.client.jobs.wait(job.id);
  const reference = await consumer.client.jobs.wait(control.id);
  await story;

  title("What it cost");
  say(`without progress: ${((steppedAt - killedAt) / 1000).toFixed(2)} s, from the kill to "${text}"`);
  say(
    `work lost: ${(ended.workLostMs / 1000).toFixed(1)} s of container time, with a checkpoint each ${spec.checkpoint?.intervalS ?? 30} s`,
  );

  title("What was promised, and held");
  check(ended.phase === "succeeded", `the job succeeded under its own id (${ended.phase})`);
  check(reference.phase === "succeeded", `so did the undisturbed one (${reference.phase})`);
  check(
    ended.failoversUsed === 1 && ended.workerId !== primary.id,
    `it was failed over once, to ${nameOf(ended.workerId)}`,
  );
  const [model, expected] = await Promise.all([
    modelHash(consumer.client, ended),
    modelHash(consumer.client, reference),
  ]);
  check(model === expected, `the model is byte for byte the undisturbed one: sha256 ${model}`);
  check(showSettlement(ended, nameOf), "the settlement adds up to what was held, to the last unit");
}

/** The primary runs, has committed a checkpoint, and the standby is ready. */
function readyToFail(client: Client, id: string): Promise<JobView> {
  return until(
    client,
    id,
    (view) => view.phase === "running" && view.checkpoint !== null && view.standby?.phase === "ready",
  );
}

async function until(client: Client, id: string, reached: (view: JobView) => boolean): Promise<JobView> {
  const deadline = performance.now() + STEP_TIMEOUT_MS;
  for (;;) {
    const view = await client.jobs.get(id);
    if (reached(view)) return view;
    if (view.endedAt !== null)
      throw new Error(`job ${id} ended too early: ${view.phase}, ${view.reason ?? ""} ${view.message ?? ""}`);
    if (performance.now() > deadline) throw new Error(`job ${id} did not get there in time: ${view.phase}`);
    await sleep(POLL_MS);
  }
}

/** When the first line of an epoch after this one tells a step through the log, and which. */
async function firstStepAfter(
  client: Client,
  id: string,
  epoch: number,
): Promise<{ readonly at: number; readonly text: string }> {
  for await (const line of client.jobs.logs(id, { follow: true })) {
    if (line.epoch > epoch && line.stream === "stdout" && /^step /m.test(line.text)) {
      return { at: performance.now(), text: /^step .*$/m.exec(line.text)?.[0] ?? line.text };
    }
  }
  throw new Error("the log ended before the standby made a step");
}

async function modelHash(client: Client, job: JobView): Promise<string> {
  const [output] = await client.jobs.outputs(job.id);
  if (output === undefined) throw new Error(`job ${job.id} has no outputs`);
  const hash = createHash("sha256");
  const { body } = await client.jobs.output(job.id, output.path);
  if (body !== null) for await (const part of body) hash.update(part);
  return hash.digest("hex");
}

function nameOf(workerId: string | null): string {
  return network?.workers.find((worker) => worker.id === workerId)?.name ?? workerId ?? "nobody";
}

/** For a promise that is awaited further down: if it fails before, the process must live on to clean up. */
function awaitedLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Workers by their names. */
function named(text: string): string {
  return (network?.workers ?? []).reduce((line, worker) => line.replaceAll(worker.id, worker.name), text);
}

async function stay(running: Network): Promise<void> {
  const consumer = await running.addConsumer("You", CREDIT);
  title("The network stays up. In another terminal:");
  say(`cd ${ROOT}`);
  say(`export PATH="$PWD/node_modules/.bin:$PATH" QUBIX_URL=${running.url} QUBIX_API_KEY=${consumer.apiKey}`);
  say("qubix run examples/train/job.yaml --wait");
  say(`the admin's key: ${running.adminKey}; the API for people: ${running.url}/docs`);
  say("Ctrl-C here stops everything.");
  await stopped;
}

function onSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      // Told again it goes on stopping: what it started must not be left behind.
      process.on(signal, () => {
        if (stopping) return;
        stopping = true;
        say(`${signal}: stopping everything`);
        if (!stayUp) process.exitCode = 1;
        resolve();
      });
    }
  });
}
