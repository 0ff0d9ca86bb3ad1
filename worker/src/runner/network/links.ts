// The machine's interfaces and routes, in the network namespace of the agent.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { runTool } from "./command.ts";
import { BRIDGE_PREFIX } from "./names.ts";

interface Route {
  readonly type?: string;
  readonly dst?: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: unknown;
  readonly nexthops?: unknown;
}

export interface Routes {
  /** Networks this machine is itself part of, whatever their addresses; job networks left out. */
  readonly connected: readonly string[];
  /** Wherever a route leads. */
  readonly all: readonly string[];
}

/** IPv4 routes of all tables. */
export async function readRoutes(): Promise<Routes> {
  const routes = JSON.parse(await runTool("ip", ["-json", "-4", "route", "show", "table", "all"])) as Route[];
  const unicast = routes.filter(({ type, dst }) => (type ?? "unicast") === "unicast" && dst !== "default");
  const direct = unicast.filter(
    ({ gateway, via, nexthops, dev }) =>
      gateway === undefined && via === undefined && nexthops === undefined && dev?.startsWith(BRIDGE_PREFIX) !== true,
  );
  return { connected: direct.flatMap(({ dst }) => dst ?? []), all: unicast.flatMap(({ dst }) => dst ?? []) };
}

/** The files under /proc/net and /proc/sys/net are those of the namespace of the process that reads; /sys is that of its mounts. */
export function linkExists(name: string): boolean {
  return countersOf(name) !== undefined;
}

/**
 * Bytes that came into the machine over a link since it was made, link headers left out; of a job's bridge that is what its container sent.
 * Undefined where there is no such link. Counted by the kernel: it never falls, whatever becomes of the agent or the firewall.
 */
export function receivedBytes(name: string): number | undefined {
  // Only on Linux do jobs have networks.
  const counters = existsSync("/proc/net/dev") ? countersOf(name) : undefined;
  return counters === undefined ? undefined : receivedIn(counters);
}

/** The first of the counters behind an interface's name in /proc/net/dev. Pure. */
export function receivedIn(counters: string): number | undefined {
  const digits = /^\s*(\d+)(\s|$)/.exec(counters)?.[1];
  const bytes = Number(digits ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function countersOf(name: string): string | undefined {
  const lines = readFileSync("/proc/net/dev", "utf8").split("\n");
  const line = lines.find((each) => each.trimStart().startsWith(`${name}:`));
  return line?.slice(line.indexOf(":") + 1);
}

/** Cuts a link at once, or opens it again; addresses and what is connected stay. */
export async function setLink(name: string, state: "up" | "down"): Promise<void> {
  await runTool("ip", ["link", "set", "dev", name, state]);
}

/** Makes the kernel drop all IPv6 that arrives over a link. False where that cannot be. */
export function disableIpv6(name: string): boolean {
  if (!existsSync("/proc/sys/net/ipv6")) return true;
  const file = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
  try {
    if (readFileSync(file, "utf8").trim() !== "1") writeFileSync(file, "1");
    return readFileSync(file, "utf8").trim() === "1";
  } catch {
    return false;
  }
}
