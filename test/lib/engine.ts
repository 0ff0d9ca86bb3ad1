// A second, real Docker Engine for tests, in a network namespace of its own: its bridges, iptables chains and settings are not those of the
// machine's Engine, and whoever runs in its namespace takes it for a machine of its own. Needs root, docker.io, iptables and iproute2.
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
/** Takes about 2 s here; a busy machine many times that. */
const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 100;
/** What is asked of the kernel is done at once. */
const COMMAND_TIMEOUT_MS = 20_000;
/** A docker command that takes longer is stuck. */
const DOCKER_TIMEOUT_MS = 120_000;
const LOG_LINES_SHOWN = 25;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** Names say whose they are, so that those of a run that was killed can be told from those of one that goes on. */
const PREFIX = "qubix-engine";
const NAME = new RegExp(`^${PREFIX}-(\\d+)-(\\d+)-[0-9a-f]{6}(-[a-z0-9]+)?$`);
/** Where every containerd and shim has its sockets: the Engine gets one of its own there. */
const CONTAINERD_DIR = "/run/containerd";
const CGROUPS = "/sys/fs/cgroup";

export interface TestEngineOptions {
  /** More runtimes, by name, as in `daemon.json`. */
  readonly runtimes?: Readonly<Record<string, { readonly path: string; readonly runtimeArgs?: readonly string[] }>>;
  /** More of `daemon.json`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** For the process `dockerd`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with the namespace's name before the Engine starts there, to make interfaces, addresses, routes. */
  readonly network?: (namespace: string) => Promise<void>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestEngine {
  /** Path of its socket. */
  readonly socket: string;
  /** Name of its network namespace, as `ip netns` knows it. Namespaces whose names are this one, `-` and a word are removed with it. */
  readonly namespace: string;
  /** What to put before a command so that it runs in the namespace. */
  readonly enter: readonly string[];
  /** Folder of its own for whatever belongs to it; removed with it. */
  readonly folder: string;
  readonly logFile: string;
  pid(): number;
  /** Runs the docker client against it; resolves to its output, trimmed. Throws with what it said when it fails. */
  docker(args: readonly string[], timeoutMs?: number): Promise<string>;
  /** Runs a command in the namespace, with the machine's own files and processes. Never throws for an exit code. */
  exec(command: readonly string[], timeoutMs?: number): Promise<CommandResult>;
  /** Copies an image of the machine's Engine. */
  loadImage(name: string): Promise<void>;
  /** Stops the Engine's own process in good order and waits until it is gone. It takes its containers with it, unless `live-restore` is on. */
  halt(): Promise<void>;
  /**
   * Loses power: SIGKILL to everything in the namespace and below it, programs of others there included. Resolves when nothing of it runs any more, to
   * the moment before the first kill (ms, monotonic); what a reboot would forget is gone, what is on its disk stays.
   */
  crash(): Promise<number>;
  /** Starts it again after {@link TestEngine.halt} or {@link TestEngine.crash}; resolves when it answers. */
  resume(): Promise<void>;
  /** Ends the Engine, its containers and whatever else runs in the namespace, and removes all that it had. Can be called twice. */
  stop(): Promise<void>;
}

/** Why tests that need an Engine of their own cannot run here; undefined where they can. To be printed by those that are skipped. */
export function whyNoTestEngine(): string | undefined {
  if (process.platform !== "linux") return "an Engine in a network namespace of its own needs Linux";
  return process.getuid?.() === 0 ? undefined : "an Engine in a network namespace of its own needs root";
}

/** Starts an Engine. Throws with the end of its log when it does not answer in time. */
export async function startTestEngine(options: TestEngineOptions = {}): Promise<TestEngine> {
  await removeLeftovers();
  const name = ownName();
  const folder = folderOf(name);
  try {
    return await start(name, folder, options);
  } catch (error) {
    await tearDown(name);
    throw error;
  }
}

/** A new name that says whose it is: a namespace of it, and those with `-` and a word behind it, are removed by a later run if this one does not live to do so. */
export function ownName(): string {
  return `${PREFIX}-${process.pid}-${startedAt(process.pid)}-${randomBytes(3).toString("hex")}`;
}

async function start(name: string, folder: string, options: TestEngineOptions): Promise<TestEngine> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await command(["ip", "netns", "add", name]);
  const enter = ["nsenter", `--net=/run/netns/${name}`, "--"];
  await command([...enter, "ip", "link", "set", "lo", "up"]);
  await options.network?.(name);
  const socket = join(folder, "docker.sock");
  const logFile = join(folder, "dockerd.log");
  let pid = await startDaemon(name, folder, enter, options, logFile);
  let stopped: Promise<void> | null = null;
  const docker = (args: readonly string[], timeoutMs = DOCKER_TIMEOUT_MS) =>
    command(["docker", "--host", `unix://${socket}`, ...args], timeoutMs);
  await untilReady(docker, pid, logFile);
  return {
    socket,
    namespace: name,
    enter,
    folder,
    logFile,
    pid: () => pid,
    docker,
    exec: (args, timeoutMs = COMMAND_TIMEOUT_MS) => attempt([...enter, ...args], timeoutMs),
    loadImage: async (image) => {
      const client = `docker --host "unix://$SOCKET"`;
      await command(["bash", "-c", `set -o pipefail; docker save "$IMAGE" | ${client} load`], DOCKER_TIMEOUT_MS, {
        IMAGE: image,
        SOCKET: socket,
      });
    },
    halt: async () => {
      kill(pid, "SIGTERM");
      const deadline = performance.now() + READY_TIMEOUT_MS;
      while (isRunning(pid)) {
        if (performance.now() > deadline) throw new Error(`the test's dockerd did not stop`);
        await sleep(READY_POLL_MS);
      }
    },
    crash: async () => {
      const at = await killAll(name);
      for (const left of ["exec", "dockerd.pid", "holder.pid", "docker.sock"])
        rmSync(join(folder, left), { recursive: true, force: true });
      return at;
    },
    resume: async () => {
      pid = await startDaemon(name, folder, enter, options, logFile);
      await untilReady(docker, pid, logFile);
    },
    stop: () => (stopped ??= tearDown(name)),
  };
}

/** Its mounts are its own too, so that they go when it goes, however it ends; those of the machine are seen in it. */
async function startDaemon(
  name: string,
  folder: string,
  enter: readonly string[],
  options: TestEngineOptions,
  logFile: string,
): Promise<number> {
  const configFile = join(folder, "daemon.json");
  const config = {
    hosts: [`unix://${join(folder, "docker.sock")}`],
    "data-root": join(folder, "data"),
    "exec-root": join(folder, "exec"),
    pidfile: join(folder, "dockerd.pid"),
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "cgroup-parent": `/${name}`,
    iptables: true,
    "shutdown-timeout": 5,
    ...(options.runtimes === undefined ? {} : { runtimes: options.runtimes }),
    ...options.config,
  };
  writeFileSync(configFile, JSON.stringify(config, null, 2));
  // A process that does nothing keeps the mounts while the Engine is down.
  const holderFile = join(folder, "holder.pid");
  const holder = readText(holderFile).trim();
  const prepare = `mkdir -p ${CONTAINERD_DIR} && mount -t tmpfs tmpfs ${CONTAINERD_DIR} || exit 1
    sleep infinity & echo $! > "$0"; exec "$@"`;
  const inOwnMounts =
    holder === ""
      ? ["unshare", "--mount", "--propagation", "slave", "sh", "-c", prepare, holderFile]
      : ["nsenter", `--mount=/proc/${holder}/ns/mnt`, "--"];
  const [file, ...args] = [...enter, ...inOwnMounts, "dockerd", "--config-file", configFile];
  const log = openSync(logFile, "a");
  try {
    const env = {
      ...process.env,
      PATH: `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`,
      ...options.env,
    };
    const child = spawn(file, args, { stdio: ["ignore", log, log], detached: true, env });
    child.unref();
    await new Promise((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    if (child.pid === undefined) throw new Error("dockerd has no process id");
    return child.pid;
  } finally {
    closeSync(log);
  }
}

async function untilReady(
  docker: (args: readonly string[], timeoutMs: number) => Promise<string>,
  pid: number,
  logFile: string,
): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    try {
      await docker(["version", "--format", "{{.Server.Version}}"], COMMAND_TIMEOUT_MS);
      return;
    } catch (error) {
      const gone = !isRunning(pid);
      if (gone || performance.now() > deadline) {
        const why = gone ? "has ended" : `did not answer within ${READY_TIMEOUT_MS / 1000} s`;
        const tail = readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-LOG_LINES_SHOWN).join("\n");
        throw new Error(`the test's dockerd ${why}; the end of its log:\n${tail}`, { cause: error });
      }
    }
    await sleep(READY_POLL_MS);
  }
}

/** Removes what earlier runs left that did not live to do so themselves. */
export async function removeLeftovers(): Promise<void> {
  for (const name of new Set([...namesIn("/run/netns"), ...namesIn(tmpdir())])) {
    const [, pid, begun] = NAME.exec(name) ?? [];
    if (pid === undefined || startedAt(Number(pid)) === begun) continue;
    // Another run may be removing it as well.
    await tearDown(name).catch(() => undefined);
  }
}

/** Kills what runs in the namespace and below it (nothing of a test's Engine is worth a stop in good order), and removes namespace, mounts, control groups and folder. */
export async function tearDown(name: string): Promise<void> {
  if (namesIn("/run/netns").includes(name)) {
    await killAll(name);
    await attempt(["ip", "netns", "delete", name], COMMAND_TIMEOUT_MS);
  }
  const neighbours = namesIn("/run/netns").filter((other) => other.startsWith(`${name}-`));
  for (const neighbour of neighbours) await tearDown(neighbour);
  // Where the Engine's mounts were not its own: nothing is left to do.
  const folder = folderOf(name);
  for (const path of mountsBelow(folder)) await attempt(["umount", "--lazy", path], COMMAND_TIMEOUT_MS);
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  for (const hierarchy of ["", ...namesIn(CGROUPS)]) removeControlGroups(join(CGROUPS, hierarchy, name));
}

/** Resolves to the moment before the first kill. */
async function killAll(name: string): Promise<number> {
  let at: number | undefined;
  for (let round = 0; round < 50; round += 1) {
    const pids = await processesOf(name);
    if (pids.length === 0) break;
    at ??= performance.now();
    for (const pid of pids) kill(pid, "SIGKILL");
    await sleep(READY_POLL_MS);
  }
  return at ?? performance.now();
}

/** All processes in the namespace, and the containers of its shims, whose namespaces are their own. */
async function processesOf(name: string): Promise<number[]> {
  const { stdout } = await attempt(["ip", "netns", "pids", name], COMMAND_TIMEOUT_MS);
  const found = new Set(stdout.split("\n").filter(Boolean).map(Number));
  const parents = new Map<number, number>();
  for (const entry of namesIn("/proc")) {
    const pid = Number(entry);
    if (Number.isInteger(pid)) parents.set(pid, Number(statOf(pid)?.[1] ?? 0));
  }
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  // Those in the control groups whose shim is gone already.
  for (const hierarchy of ["", ...namesIn(CGROUPS)]) {
    for (const pid of controlGroupPids(join(CGROUPS, hierarchy, name))) found.add(pid);
  }
  found.delete(process.pid);
  return [...found].filter(isRunning);
}

function controlGroupPids(path: string): number[] {
  const own = readText(join(path, "cgroup.procs")).split("\n").filter(Boolean).map(Number);
  return [...own, ...foldersIn(path).flatMap((child) => controlGroupPids(join(path, child)))];
}

function removeControlGroups(path: string): void {
  for (const child of foldersIn(path)) removeControlGroups(join(path, child));
  try {
    rmdirSync(path);
  } catch {
    // Not there in this hierarchy.
  }
}

function mountsBelow(folder: string): string[] {
  const paths = readText("/proc/self/mounts")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
  return paths.filter((path) => path.startsWith(`${folder}/`)).toReversed();
}

function folderOf(name: string): string {
  return join(tmpdir(), name);
}

/** State, parent and start time of a process; undefined when there is none. */
function statOf(pid: number): readonly [state: string, parent: string, started: string] | undefined {
  const text = readText(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return text === "" ? undefined : [fields[0] ?? "", fields[1] ?? "", fields[19] ?? ""];
}

/** When a process began, in the kernel's ticks: with its id it names one process of this boot. */
function startedAt(pid: number): string | undefined {
  return statOf(pid)?.[2];
}

/** An ended process that nobody has waited for yet does not run. */
export function isRunning(pid: number): boolean {
  const state = statOf(pid)?.[0];
  return state !== undefined && state !== "Z";
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

async function command(
  args: readonly string[],
  timeoutMs = COMMAND_TIMEOUT_MS,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, stdout, stderr } = await attempt(args, timeoutMs, env);
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}: ${stderr.trim() || stdout.trim()}`);
  return stdout.trim();
}

/** Exit code 124 for one that took too long, 127 for one that could not be run. */
async function attempt(
  args: readonly string[],
  timeoutMs: number,
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  const [file = "", ...rest] = args;
  try {
    const options = { timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX, env: { ...process.env, ...env } };
    const { stdout, stderr } = await run(file, rest, options);
    return { code: 0, stdout, stderr };
  } catch (error) {
    const failed = error as { code?: number | string; killed?: boolean; stdout?: string; stderr?: string };
    const code = failed.killed === true ? 124 : typeof failed.code === "number" ? failed.code : 127;
    return { code, stdout: failed.stdout ?? "", stderr: failed.stderr ?? String(error) };
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
