// Machines of their own on a switch of its own, without virtual machines: a network namespace each, joined by a bridge in another namespace, which the
// test's own namespace is plugged into as well. Cables are pulled there, and packets of one direction are dropped. Needs root, iproute2 and iptables.
//
//   test 198.18.N.1 ──┐
//   machine  .2 ──────┼── bridge in the namespace NAME-hub
//   machine  .3 ──────┘
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { promisify } from "node:util";
import { ownName, removeLeftovers, tearDown } from "./engine.ts";

const run = promisify(execFile);
/** What is asked of the kernel is done at once. */
const COMMAND_TIMEOUT_MS = 20_000;
/** The network of RFC 2544 for tests of networks: nobody's. */
const NETWORK = "198.18";
const SUBNETS_MAX = 255;
const CABLE = "eth0";

export interface Lan {
  /** Namespaces whose names begin with it and `-` are removed with it. */
  readonly name: string;
  /** Where machines reach what listens in the test's own namespace. */
  readonly address: string;
  /** A new namespace, plugged in. */
  addMachine(): Promise<Machine>;
  /** Plugs in a namespace that is there. */
  plug(namespace: string): Promise<Machine>;
  stop(): Promise<void>;
}

export interface Machine {
  readonly namespace: string;
  readonly address: string;
  /** What to put before a command so that it runs on this machine. */
  readonly enter: readonly string[];
  /** Pulls the cable: neither side is told. Resolves to the moment before (ms, monotonic). */
  cut(): Promise<number>;
  /** Drops what goes into the machine, or out of it. Resolves to the moment before. */
  drop(direction: "in" | "out"): Promise<number>;
  /** Undoes {@link cut} and {@link drop}. */
  heal(): Promise<void>;
}

/** Why there can be none here; undefined where there can. */
export function whyNoMachines(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "network namespaces need Linux and root";
  const tools = ["ip", "iptables"].filter((tool) => !["/usr/sbin", "/sbin"].some((at) => existsSync(`${at}/${tool}`)));
  return tools.length > 0 ? `${tools.join(" and ")} not found` : undefined;
}

export async function createLan(): Promise<Lan> {
  await removeLeftovers();
  const name = ownName();
  const hub = `${name}-hub`;
  // An interface's name has at most 15 letters; that of the test's own goes when the hub goes.
  const own = `qx${name.slice(-6)}`;
  const subnet = freeSubnet();
  const address = `${subnet}.1`;
  let machines = 0;
  try {
    await ip("netns", "add", hub);
    await ip("-n", hub, "link", "add", "br0", "type", "bridge");
    await ip("-n", hub, "link", "set", "br0", "up");
    await ip("link", "add", own, "type", "veth", "peer", "name", "test", "netns", hub);
    await ip("address", "add", `${address}/24`, "dev", own);
    await ip("link", "set", own, "up");
    await ip("-n", hub, "link", "set", "test", "master", "br0", "up");
  } catch (error) {
    await tearDown(hub);
    throw error;
  }
  const plug = async (namespace: string): Promise<Machine> => {
    machines += 1;
    const socket = `p${machines}`;
    const theirs = `${subnet}.${machines + 1}`;
    await ip("link", "add", CABLE, "netns", namespace, "type", "veth", "peer", "name", socket, "netns", hub);
    await ip("-n", hub, "link", "set", socket, "master", "br0", "up");
    await ip("-n", namespace, "address", "add", `${theirs}/24`, "dev", CABLE);
    await ip("-n", namespace, "link", "set", CABLE, "up");
    await ip("-n", namespace, "link", "set", "lo", "up");
    return createMachine(hub, socket, namespace, theirs);
  };
  return {
    name,
    address,
    plug,
    addMachine: async () => {
      const namespace = `${name}-m${machines + 1}`;
      await ip("netns", "add", namespace);
      return plug(namespace);
    },
    stop: async () => {
      await tearDown(name);
    },
  };
}

function createMachine(hub: string, socket: string, namespace: string, address: string): Machine {
  const enter = ["nsenter", `--net=/run/netns/${namespace}`, "--"];
  const dropped: ("in" | "out")[] = [];
  const firewall = async (action: "-A" | "-D", direction: "in" | "out") => {
    const where = direction === "in" ? ["INPUT", "-i"] : ["OUTPUT", "-o"];
    await attempt([...enter, "iptables", "-w", "5", action, ...where, CABLE, "-j", "DROP"]);
  };
  return {
    namespace,
    address,
    enter,
    cut: async () => {
      const at = performance.now();
      await ip("-n", hub, "link", "set", socket, "down");
      return at;
    },
    drop: async (direction) => {
      const at = performance.now();
      dropped.push(direction);
      await firewall("-A", direction);
      return at;
    },
    heal: async () => {
      for (let direction = dropped.pop(); direction !== undefined; direction = dropped.pop())
        await firewall("-D", direction);
      await ip("-n", hub, "link", "set", socket, "up");
    },
  };
}

/** Runs of several tests at a time do not meet. */
function freeSubnet(): string {
  const used = new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address.replace(/\.\d+$/, ""))),
  );
  for (let n = 0; n < SUBNETS_MAX; n += 1) {
    const subnet = `${NETWORK}.${(process.pid + n) % SUBNETS_MAX}`;
    if (!used.has(subnet)) return subnet;
  }
  throw new Error(`no free network is left in ${NETWORK}.0.0/16`);
}

async function ip(...args: readonly string[]): Promise<void> {
  await attempt(["ip", ...args]);
}

async function attempt([file = "", ...args]: readonly string[]): Promise<void> {
  await run(file, args, { timeout: COMMAND_TIMEOUT_MS });
}
