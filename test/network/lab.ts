// The network lab: an Engine and our programs on a "host" in a namespace of its own, with neighbours in theirs.
//
//   lan   192.168.77.2, fd77::2          a machine beside the host, with a name server
//   meta  169.254.169.254 and others     what a cloud serves to its machines
//   inet  93.184.216.34, 9.9.9.9, …      the internet, and at 81.2.69.20 another machine of the host's own public network
//
// Every packet that comes to a neighbour is counted there.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startTestEngine, type TestEngine } from "../lib/engine.ts";

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 20_000;
const READY_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 60_000;

export const HOST = { lan: "192.168.77.1", lan6: "fd77::1", public: "81.2.69.10", docker0: "172.17.0.1" };
export const LAN = { address: "192.168.77.2", address6: "fd77::2" };
export const META = ["169.254.169.254", "168.63.129.16", "100.100.100.200"];
export const META6 = "fd00:ec2::254";
export const NEIGHBOUR_PUBLIC = "81.2.69.20";
export const INTERNET = { address: "93.184.216.34", name: "internet.example", address6: "2606:2800:220:1::1" };
export const RESOLVERS = ["9.9.9.9", "1.1.1.1"];

/** All that a job without privileges can send; not what the host itself says of jobs that are gone: that nobody is there. */
const PACKETS = [
  ["-p", "tcp", "!", "--tcp-flags", "RST", "RST"],
  ["-p", "udp"],
  ["-p", "icmp", "--icmp-type", "echo-request"],
];

export interface Hit {
  readonly protocol: string;
  readonly at: string;
  readonly from: string;
  readonly name?: string;
}

export interface Lab {
  readonly engine: TestEngine;
  readonly workerId: string;
  /** Calls the consumer's client in the host's namespace, e.g. `jobs.get`. */
  call<T>(name: string, ...args: readonly unknown[]): Promise<T>;
  /** Those that came to the services of the host itself, or of a neighbour. */
  hits(where: "host" | "lan" | "meta" | "inet"): readonly Hit[];
  /** Packets that have come to where no job may reach. */
  forbiddenPackets(): Promise<number>;
  /** While it is broken the host's firewall takes no more rules. */
  breakFirewall(isBroken: boolean): void;
  stop(): Promise<void>;
}

/** `images`: of the machine's Engine, for jobs. */
export async function createLab(images: readonly string[], workerArgs: readonly string[]): Promise<Lab> {
  const engine = await startTestEngine({ network: makeNeighbours });
  const children: ChildProcess[] = [];
  const stop = async () => {
    for (const child of children) child.kill("SIGKILL");
    await engine.stop();
  };
  try {
    await Promise.all(images.map((image) => engine.loadImage(image)));
    const hits = new Map<string, Hit[]>();
    const serve = async (where: string, namespace: string, names: object, addresses: readonly string[]) => {
      const list: Hit[] = [];
      hits.set(where, list);
      const script = fileURLToPath(new URL("neighbour.ts", import.meta.url));
      const child = inNamespace(namespace, [process.execPath, script, JSON.stringify(names), ...addresses]);
      children.push(child);
      await lines(child, (line) => list.push(line as unknown as Hit));
    };
    const { namespace } = engine;
    const names = { [INTERNET.name]: INTERNET.address };
    const inet = [INTERNET.address, INTERNET.address6, ...RESOLVERS, NEIGHBOUR_PUBLIC];
    await Promise.all([
      serve("host", namespace, {}, [HOST.lan, HOST.lan6, HOST.public, HOST.docker0, "127.0.0.1"]),
      serve("lan", `${namespace}-lan`, { ...names, "secret.lan": LAN.address }, [LAN.address, LAN.address6]),
      serve("meta", `${namespace}-meta`, names, [...META, META6]),
      serve("inet", `${namespace}-inet`, names, inet),
    ]);
    const tools = join(engine.folder, "tools");
    const broken = join(engine.folder, "broken");
    makeFaultyTools(tools, broken);
    const inside = startInside(engine, tools, workerArgs);
    children.push(inside);
    const answers = new Map<number, (line: Record<string, unknown>) => void>();
    const first = await lines(inside, (line) => answers.get(Number(line["id"]))?.(line));
    let calls = 0;
    return {
      engine,
      workerId: String(first["workerId"]),
      call: (name, ...args) =>
        new Promise((resolve, reject) => {
          const id = (calls += 1);
          const timer = setTimeout(() => reject(new Error(`${name} was not answered`)), CALL_TIMEOUT_MS);
          answers.set(id, (line) => {
            clearTimeout(timer);
            answers.delete(id);
            if (line["error"] === undefined) resolve(line["result"] as never);
            else reject(new Error(`${name}: ${JSON.stringify(line["error"])}`));
          });
          inside.stdin?.write(`${JSON.stringify({ id, call: name, args })}\n`);
        }),
      hits: (where) => hits.get(where) ?? [],
      forbiddenPackets: () => countForbidden(namespace),
      breakFirewall: (isBroken) => (isBroken ? writeFileSync(broken, "") : rmSync(broken, { force: true })),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function makeNeighbours(host: string): Promise<void> {
  const [lan, meta, inet] = [`${host}-lan`, `${host}-meta`, `${host}-inet`];
  for (const name of [lan, meta, inet]) await ip("netns", "add", name);
  await link(host, "lan", lan, [`${HOST.lan}/24`, `${HOST.lan6}/64`], [`${LAN.address}/24`, `${LAN.address6}/64`]);
  await link(
    host,
    "meta",
    meta,
    ["169.254.169.1/32", "fe80::1/64"],
    [...META.map((address) => `${address}/32`), `${META6}/128`],
  );
  const others = [INTERNET.address, ...RESOLVERS].map((address) => `${address}/32`);
  const inets = ["81.2.69.1/24", `${NEIGHBOUR_PUBLIC}/24`, ...others, `${INTERNET.address6}/128`, "2a00::1/64"];
  await link(host, "wan", inet, [`${HOST.public}/24`, "2a00::10/64"], inets);
  for (const address of META) await ip("-n", host, "route", "add", `${address}/32`, "dev", "meta");
  await ip("-n", host, "-6", "route", "add", `${META6}/128`, "dev", "meta");
  await ip("-n", host, "route", "add", "default", "via", "81.2.69.1");
  await ip("-n", host, "-6", "route", "add", "default", "via", "2a00::1");
  for (const [name, gateway] of [[lan, HOST.lan] as const, [inet, HOST.public] as const]) {
    await ip("-n", name, "route", "add", "default", "via", gateway);
  }
  await ip("-n", meta, "route", "add", "default", "dev", "meta");
  await ip("-n", lan, "-6", "route", "add", "default", "via", HOST.lan6);
  await ip("-n", meta, "-6", "route", "add", "default", "via", "fe80::1", "dev", "meta");
  const forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
  await run("nsenter", [`--net=/run/netns/${host}`, "sh", "-c", forward], { timeout: COMMAND_TIMEOUT_MS });
  for (const packet of PACKETS) {
    for (const name of [lan, meta]) await count(name, "iptables", packet);
    await count(inet, "iptables", ["-d", "81.2.69.0/24", ...packet]);
  }
  for (const name of [lan, meta, inet]) {
    for (const protocol of ["tcp", "udp"]) await count(name, "ip6tables", ["-p", protocol]);
  }
}

async function link(
  host: string,
  device: string,
  neighbour: string,
  ours: readonly string[],
  theirs: readonly string[],
): Promise<void> {
  await ip("link", "add", device, "netns", host, "type", "veth", "peer", "name", device, "netns", neighbour);
  for (const [name, addresses] of [[host, ours] as const, [neighbour, theirs] as const]) {
    for (const address of addresses) {
      await ip("-n", name, "address", "add", address, "dev", device, ...(address.includes(":") ? ["nodad"] : []));
    }
    await ip("-n", name, "link", "set", device, "up");
    await ip("-n", name, "link", "set", "lo", "up");
  }
}

/** A rule without a target only counts. */
async function count(namespace: string, tool: string, matches: readonly string[]): Promise<void> {
  const args = ["-w", "5", "-t", "raw", "-A", "PREROUTING", "!", "-i", "lo", ...matches];
  await run("nsenter", [`--net=/run/netns/${namespace}`, tool, ...args], { timeout: COMMAND_TIMEOUT_MS });
}

async function countForbidden(host: string): Promise<number> {
  let packets = 0;
  for (const name of ["lan", "meta", "inet"]) {
    for (const tool of ["iptables", "ip6tables"]) {
      const list = [tool, "-w", "5", "-t", "raw", "-L", "PREROUTING", "-v", "-x", "-n"];
      const { stdout } = await run("nsenter", [`--net=/run/netns/${host}-${name}`, ...list], {
        timeout: COMMAND_TIMEOUT_MS,
      });
      for (const line of stdout.split("\n").slice(2)) packets += Number(/^\s*(\d+)/.exec(line)?.[1] ?? 0);
    }
  }
  return packets;
}

/** Stand before the real ones on the path of our programs, and do as they do until the file is there. */
function makeFaultyTools(folder: string, broken: string): void {
  mkdirSync(folder, { recursive: true });
  for (const tool of ["iptables-restore", "ip6tables-restore"]) {
    const script = `#!/bin/sh\n[ -e ${broken} ] && { echo "${tool}: the kernel says no" >&2; exit 4; }\nexec /usr/sbin/${tool} "$@"\n`;
    writeFileSync(join(folder, tool), script, { mode: 0o755 });
  }
}

function startInside(engine: TestEngine, tools: string, workerArgs: readonly string[]): ChildProcess {
  const script = fileURLToPath(new URL("inside.ts", import.meta.url));
  const folder = join(engine.folder, "network");
  const args = [script, folder, "--docker-socket", engine.socket, ...workerArgs];
  return inNamespace(engine.namespace, [process.execPath, "--conditions=qubix-source", ...args], {
    DOCKER_HOST: `unix://${engine.socket}`,
    PATH: `${tools}:${process.env["PATH"] ?? ""}`,
  });
}

function inNamespace(namespace: string, command: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawn("nsenter", [`--net=/run/netns/${namespace}`, "--", ...command], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
}

/** Reads lines of JSON; resolves to the first, and gives on those that follow. */
function lines(child: ChildProcess, next: (line: Record<string, unknown>) => void): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    let isFirst = true;
    const timer = setTimeout(() => reject(new Error("a program of the lab did not become ready")), READY_TIMEOUT_MS);
    child.once("exit", (code) => reject(new Error(`a program of the lab ended with ${code}`)));
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      if (!isFirst) return next(line);
      isFirst = false;
      clearTimeout(timer);
      resolve(line);
    });
  });
}

async function ip(...args: readonly string[]): Promise<void> {
  await run("ip", [...args], { timeout: COMMAND_TIMEOUT_MS });
}
