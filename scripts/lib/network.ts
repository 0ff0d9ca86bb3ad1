// A whole network on this machine: an orchestrator and workers as processes of their own, a provider each, a consumer with credit.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Client, createClient } from "@qubix/client/sdk";
import { type Program, runProgram, sleep, startProgram } from "./processes.ts";

const run = promisify(execFile);
/** A Docker call that takes longer is stuck. */
const DOCKER_TIMEOUT_MS = 30_000;
/** A challenge takes its worker a second or two; a busy machine takes longer, and a failure is repeated after a minute. */
const LISTED_TIMEOUT_MS = 180_000;
const LISTED_POLL_MS = 100;

export interface NetworkOptions {
  /** Everything lives below this folder: `orchestrator/`, `workers/NAME/`, `logs/`. */
  readonly folder: string;
  readonly listen?: string;
  /** Added to `qubix-orchestrator start`. */
  readonly orchestratorArgs?: readonly string[];
  readonly orchestratorEnv?: Readonly<Record<string, string>>;
}

export interface WorkerOptions {
  readonly name: string;
  /** Added to `qubix-worker start`. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Put before the command of its agent, e.g. to run it in another network namespace. */
  readonly enter?: readonly string[];
  /** A worker of this provider; without it the worker gets a provider of its own. */
  readonly providerId?: string;
}

export interface RunningWorker {
  readonly id: string;
  readonly name: string;
  readonly providerId: string;
  readonly dataDir: string;
  program(): Program;
  /** Starts it again with the same data and settings. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** SIGKILL of the agent and of every container of it: the machine is gone, as far as anybody can tell. Resolves to the moment before the kill (ms, monotonic). */
  die(): Promise<number>;
  /** Names of its containers that run now. */
  containers(): Promise<readonly string[]>;
  /** Names of all its containers, also of those that have ended or were never started. */
  allContainers(): Promise<readonly string[]>;
}

export interface Network {
  readonly url: string;
  readonly admin: Client;
  readonly adminKey: string;
  readonly workers: readonly RunningWorker[];
  /** Where the orchestrator keeps its data. */
  readonly dataDir: string;
  orchestrator(): Program;
  /** Starts the orchestrator again on the same data and address. */
  restartOrchestrator(): Promise<void>;
  addWorker(options: WorkerOptions): Promise<RunningWorker>;
  /** Waits until every worker has proven its hardware and is on the market. Jobs need not wait for that: they queue. */
  listed(): Promise<void>;
  /** An account with credit (decimal micro-units) and a client of its own. */
  addConsumer(
    name: string,
    amount: string,
  ): Promise<{ readonly id: string; readonly apiKey: string; readonly client: Client }>;
  /** Stops every process, removes every container of the workers and unmounts their disks. Can be called twice. */
  stop(): Promise<void>;
}

/** Starts an orchestrator on an empty folder. */
export async function startNetwork(options: NetworkOptions): Promise<Network> {
  const logs = join(options.folder, "logs");
  const dataDir = join(options.folder, "orchestrator");
  const startOrchestrator = (listen: string) =>
    startProgram("orchestrator", {
      args: ["start", "--data-dir", dataDir, "--listen", listen, ...(options.orchestratorArgs ?? [])],
      logFile: join(logs, "orchestrator.log"),
      env: options.orchestratorEnv ?? {},
    });
  let orchestrator = await startOrchestrator(options.listen ?? "127.0.0.1:0");
  const url = String(orchestrator.ready["url"]);
  const adminKey = String(orchestrator.ready["adminKey"]);
  const admin = createClient({ url, apiKey: adminKey });
  const workers: RunningWorker[] = [];
  return {
    url,
    admin,
    adminKey,
    workers,
    dataDir,
    orchestrator: () => orchestrator,
    restartOrchestrator: async () => {
      await orchestrator.stop();
      orchestrator = await startOrchestrator(new URL(url).host);
    },
    addWorker: async (worker) => {
      const started = await startWorker(admin, url, options.folder, worker);
      workers.push(started);
      return started;
    },
    listed: async () => {
      const deadline = performance.now() + LISTED_TIMEOUT_MS;
      for (;;) {
        const states = await Promise.all(workers.map(({ id }) => admin.workers.get(id)));
        if (states.every(({ phase, verified }) => phase === "online" && verified)) return;
        if (performance.now() > deadline) throw new Error(`not on the market: ${JSON.stringify(states)}`);
        await sleep(LISTED_POLL_MS);
      }
    },
    addConsumer: async (name, amount) => {
      const account = await admin.accounts.create({ name, role: "consumer" });
      const { key } = await admin.apiKeys.create({ accountId: account.id, name: "key" });
      if (key === undefined) throw new Error("the answer to a new API key has no key");
      await admin.wallet.deposit({ accountId: account.id, amount: { amount, currency: "USD" }, reference: "credit" });
      return { id: account.id, apiKey: key, client: createClient({ url, apiKey: key }) };
    },
    stop: async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
      await Promise.all(workers.map((worker) => removeContainers(worker.id)));
      await unmountBelow(options.folder);
      await orchestrator.stop();
    },
  };
}

async function startWorker(admin: Client, url: string, folder: string, options: WorkerOptions): Promise<RunningWorker> {
  const providerId =
    options.providerId ?? (await admin.accounts.create({ name: `${options.name}'s owner`, role: "provider" })).id;
  const { token } = await admin.enrolments.create({ accountId: providerId });
  const dataDir = join(folder, "workers", options.name);
  const enrolled = await runProgram("worker", [
    "enrol",
    "--url",
    url,
    "--token",
    token,
    "--name",
    options.name,
    "--data-dir",
    dataDir,
  ]);
  if (enrolled.code !== 0) throw new Error(`enrolling ${options.name} did not work: ${enrolled.stderr}`);
  const start = () =>
    startProgram("worker", {
      args: ["start", "--data-dir", dataDir, ...options.args],
      logFile: join(folder, "logs", `${options.name}.log`),
      env: options.env ?? {},
      enter: options.enter ?? [],
    });
  let program = await start();
  const id = String(program.ready["workerId"]);
  return {
    id,
    name: options.name,
    providerId,
    dataDir,
    program: () => program,
    start: async () => {
      program = await start();
    },
    stop: async () => {
      await program.stop();
    },
    die: async () => {
      const ids = await containersOf(id, "{{.ID}}");
      const at = performance.now();
      const dead = program.kill();
      if (ids.length > 0) await docker(["kill", ...ids]);
      await dead;
      return at;
    },
    containers: () => containersOf(id, "{{.Names}}"),
    allContainers: () => containersOf(id, "{{.Names}}", true),
  };
}

async function containersOf(workerId: string, format: string, all = false): Promise<readonly string[]> {
  const list = await docker([
    "ps",
    ...(all ? ["--all"] : []),
    "--filter",
    `label=qubix.worker=${workerId}`,
    "--format",
    format,
  ]);
  return list.split("\n").filter((line) => line !== "");
}

async function removeContainers(workerId: string): Promise<void> {
  const ids = await containersOf(workerId, "{{.ID}}", true);
  if (ids.length > 0) await docker(["rm", "--force", ...ids]);
}

/** The disks of jobs that nobody ended are mounted still. */
export async function unmountBelow(folder: string): Promise<void> {
  const table = await readFile("/proc/self/mounts", "utf8").catch(() => "");
  const mounted = table.split("\n").map((line) => line.split(" ")[1] ?? "");
  for (const path of mounted.filter((one) => one.startsWith(`${folder}/`))) await run("umount", ["--lazy", path]);
}

async function docker(args: readonly string[]): Promise<string> {
  const { stdout } = await run("docker", [...args], { timeout: DOCKER_TIMEOUT_MS });
  return stdout;
}
