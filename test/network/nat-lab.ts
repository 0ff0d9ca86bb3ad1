// The lab of the direct path: two workers in namespaces of their own, each behind a router that masquerades, and a relay on the internet between the routers.
//
//   worker a 192.168.101.2 ── router a 198.51.100.11 ──┐
//                                                      ├── internet: bridge, relay at 198.51.100.1
//   worker b 192.168.102.2 ── router b 198.51.100.12 ──┘
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 20_000;
const CALL_TIMEOUT_MS = 60_000;
const SCRIPT = fileURLToPath(new URL("nat-node.ts", import.meta.url));
export const RELAY_LISTEN = "/ip4/198.51.100.1/tcp/4001";

export interface NatNode {
  call<T>(name: string, ...args: readonly unknown[]): Promise<T>;
}

export interface NatLab {
  readonly relay: NatNode;
  readonly a: NatNode;
  readonly b: NatNode;
  /** A worker on the internet itself, at 198.51.100.1. */
  startPublic(): Promise<NatNode>;
  stop(): Promise<void>;
}

/** Why there can be no such lab here; undefined where there can. */
export function whyNoNatLab(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "network namespaces need Linux and root";
  const tools = ["ip", "iptables"].filter((tool) => !["/usr/sbin", "/sbin"].some((at) => existsSync(`${at}/${tool}`)));
  return tools.length > 0 ? `${tools.join(" and ")} not found` : undefined;
}

export async function createNatLab(): Promise<NatLab> {
  const prefix = `qxnat${process.pid}`;
  const [inet, routerA, routerB, a, b] = ["i", "ra", "rb", "a", "b"].map((name) => `${prefix}${name}`) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const folder = mkdtempSync(join(tmpdir(), "qubix-nat-"));
  const children: ChildProcess[] = [];
  const stop = async () => {
    for (const child of children) child.kill("SIGKILL");
    for (const name of [a, b, routerA, routerB, inet]) await ip("netns", "delete", name).catch(() => undefined);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const name of [inet, routerA, routerB, a, b]) {
      await ip("netns", "add", name);
      await ip("-n", name, "link", "set", "lo", "up");
    }
    await ip("-n", inet, "link", "add", "br0", "type", "bridge");
    await ip("-n", inet, "address", "add", "198.51.100.1/24", "dev", "br0");
    await ip("-n", inet, "link", "set", "br0", "up");
    await attach({ inet, router: routerA, worker: a, wan: "198.51.100.11", lan: "192.168.101" });
    await attach({ inet, router: routerB, worker: b, wan: "198.51.100.12", lan: "192.168.102" });
    const start = (namespace: string, ...args: readonly string[]) => startNode(namespace, args, folder, children);
    return {
      relay: await start(inet, "relay", RELAY_LISTEN),
      a: await start(a, "worker"),
      b: await start(b, "worker"),
      startPublic: () => start(inet, "worker"),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function attach(at: {
  readonly inet: string;
  readonly router: string;
  readonly worker: string;
  readonly wan: string;
  readonly lan: string;
}): Promise<void> {
  const { inet, router, worker, wan, lan } = at;
  const port = `p${wan.split(".").at(-1)}`;
  await ip("link", "add", "wan", "netns", router, "type", "veth", "peer", "name", port, "netns", inet);
  await ip("-n", inet, "link", "set", port, "master", "br0", "up");
  await ip("-n", router, "address", "add", `${wan}/24`, "dev", "wan");
  await ip("-n", router, "link", "set", "wan", "up");
  await ip("link", "add", "lan", "netns", router, "type", "veth", "peer", "name", "eth0", "netns", worker);
  await ip("-n", router, "address", "add", `${lan}.1/24`, "dev", "lan");
  await ip("-n", router, "link", "set", "lan", "up");
  await ip("-n", worker, "address", "add", `${lan}.2/24`, "dev", "eth0");
  await ip("-n", worker, "link", "set", "eth0", "up");
  await ip("-n", worker, "route", "add", "default", "via", `${lan}.1`);
  await ip("netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  const nat = ["-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE"];
  await ip("netns", "exec", router, "iptables", "-w", "5", ...nat);
  // As a home router does it: nothing comes in that was not asked for.
  const answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"];
  await ip("netns", "exec", router, "iptables", "-w", "5", "-A", "FORWARD", "-i", "wan", ...answers);
  await ip("netns", "exec", router, "iptables", "-w", "5", "-A", "FORWARD", "-i", "wan", "-j", "DROP");
}

async function startNode(
  namespace: string,
  args: readonly string[],
  folder: string,
  children: ChildProcess[],
): Promise<NatNode> {
  const program = [process.execPath, "--conditions=qubix-source", SCRIPT, ...args];
  const child = spawn("ip", ["netns", "exec", namespace, ...program], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: folder },
  });
  children.push(child);
  const waiting = new Map<number, (answer: { readonly result?: unknown; readonly error?: string }) => void>();
  let calls = 0;
  await new Promise<void>((ready, failed) => {
    child.once("exit", (code) => failed(new Error(`${args[0]} in ${namespace} ended with ${code}`)));
    createInterface(child.stdout).on("line", (line) => {
      const answer = JSON.parse(line) as { id?: number; ready?: true; result?: unknown; error?: string };
      if (answer.ready) ready();
      else waiting.get(answer.id ?? -1)?.(answer);
    });
  });
  return {
    call: (name, ...callArgs) =>
      new Promise((resolve, reject) => {
        const id = (calls += 1);
        const timer = setTimeout(() => reject(new Error(`${name} was not answered`)), CALL_TIMEOUT_MS);
        waiting.set(id, ({ result, error }) => {
          clearTimeout(timer);
          waiting.delete(id);
          if (error === undefined) resolve(result as never);
          else reject(new Error(`${name}: ${error}`));
        });
        child.stdin.write(`${JSON.stringify({ id, call: name, args: callArgs })}\n`);
      }),
  };
}

async function ip(...args: readonly string[]): Promise<void> {
  await run("ip", [...args], { timeout: COMMAND_TIMEOUT_MS });
}
