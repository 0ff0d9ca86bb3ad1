// The firewall of job networks as text: what must stand, whether it does, and the script that makes it so. Pure.
//
// IPv4 has two layers, so that no single mistake opens a machine. In `raw`, before anything is routed or translated, whatever comes from a job
// and is meant for the machine itself or a forbidden range is dropped. In `filter`, INPUT drops everything from a job, and FORWARD lets through
// only what has the address of the job's own network, is not translated to a service of the machine, and goes to the public internet; towards
// a job only answers pass. Rules on ranges stand before those on connections: a connection made while rules were missing does not go on.
// IPv6 is dropped altogether, both ways.
//
// Rules are written as `iptables-save` prints them, so that what stands can be compared with what must.
import { BRIDGE_PREFIX, bridgePattern, CHAIN_PREFIX, chainNames } from "./names.ts";

export interface JobNetwork {
  readonly bridge: string;
  readonly subnet: string;
}

/** A rule that leads from a chain of the system into ours, and has to come first there. `rule` is without `-A CHAIN`. */
interface Hook {
  readonly table: string;
  /** It must be in one of these; the first that counts is used. */
  readonly chains: readonly string[];
  readonly rule: string;
}

export interface FirewallPlan {
  readonly chains: readonly { readonly table: string; readonly name: string; readonly rules: readonly string[] }[];
  readonly hooks: readonly Hook[];
}

/** The Engine leads FORWARD into it first, and leaves it to its owner. */
export const DOCKER_USER = "DOCKER-USER";

export function planIpv4(
  workerId: string,
  networks: readonly JobNetwork[],
  forbidden: readonly string[],
): FirewallPlan {
  const names = chainNames(workerId);
  const pattern = bridgePattern(workerId);
  const drops = (side: "-s" | "-d") => forbidden.map((range) => `${side} ${range} -j DROP`);
  return {
    chains: [
      { table: "raw", name: names.raw, rules: ["-m addrtype --dst-type LOCAL -j DROP", ...drops("-d")] },
      {
        table: "filter",
        name: names.destination,
        rules: [
          "-m conntrack --ctstate INVALID,DNAT -j DROP",
          `-o ${BRIDGE_PREFIX}+ -j DROP`,
          ...drops("-d"),
          "-j RETURN",
        ],
      },
      {
        table: "filter",
        name: names.out,
        rules: [
          ...networks.map(({ bridge, subnet }) => `-s ${subnet} -i ${bridge} -g ${names.destination}`),
          "-j DROP",
        ],
      },
      {
        table: "filter",
        name: names.into,
        rules: [
          // A router's word that a packet was too large comes from a private address in many homes.
          "-p icmp -m conntrack --ctstate RELATED -j RETURN",
          ...drops("-s"),
          "-m conntrack --ctstate ESTABLISHED -j RETURN",
          "-j DROP",
        ],
      },
    ],
    hooks: [
      { table: "raw", chains: ["PREROUTING"], rule: `-i ${pattern} -j ${names.raw}` },
      { table: "filter", chains: ["INPUT"], rule: `-i ${pattern} -j DROP` },
      { table: "filter", chains: [DOCKER_USER, "FORWARD"], rule: `-i ${pattern} -j ${names.out}` },
      { table: "filter", chains: [DOCKER_USER, "FORWARD"], rule: `-o ${pattern} -j ${names.into}` },
    ],
  };
}

export function planIpv6(workerId: string): FirewallPlan {
  const pattern = bridgePattern(workerId);
  return {
    chains: [],
    hooks: [
      { table: "filter", chains: ["INPUT"], rule: `-i ${pattern} -j DROP` },
      { table: "filter", chains: ["FORWARD"], rule: `-i ${pattern} -j DROP` },
      { table: "filter", chains: ["FORWARD"], rule: `-o ${pattern} -j DROP` },
    ],
  };
}

/** Rules by table and chain, in order. */
export type SavedRules = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** Reads the output of `iptables-save`. */
export function parseSaved(text: string): SavedRules {
  const tables = new Map<string, Map<string, string[]>>();
  let table = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      table = new Map();
      tables.set(line.slice(1).trim(), table);
    } else if (line.startsWith(":")) {
      table.set(line.slice(1).split(" ")[0] ?? "", []);
    } else if (line.startsWith("-A ")) {
      const end = line.indexOf(" ", 3);
      table.get(line.slice(3, end))?.push(line.slice(end + 1).trimEnd());
    }
  }
  return tables;
}

/** What is missing or not as it must be, in words; empty when all is well. */
export function faultsOf(saved: SavedRules, plan: FirewallPlan): readonly string[] {
  const faults: string[] = [];
  for (const { table, name, rules } of plan.chains) {
    const found = saved.get(table)?.get(name);
    if (found === undefined) faults.push(`chain ${name} of table ${table} is missing`);
    else if (found.join("\n") !== rules.join("\n")) faults.push(`chain ${name} of table ${table} has other rules`);
  }
  for (const hook of plan.hooks) {
    if (!hook.chains.some((chain) => isHooked(saved, hook, chain))) {
      faults.push(`${hook.chains[0]} of table ${hook.table} does not begin with "${hook.rule}"`);
    }
  }
  return faults;
}

/** The script for `iptables-restore --noflush` that makes it so: each table changes at once or not at all. */
export function repairScript(saved: SavedRules, plan: FirewallPlan): string {
  const hooks = plan.hooks.map((hook) => ({ ...hook, chain: chainFor(saved, hook) }));
  return tablesOf(plan)
    .map((table) => {
      const own = plan.chains.filter((chain) => chain.table === table);
      const lines = [
        ...own.map(({ name }) => `:${name} - [0:0]`),
        ...own.flatMap(({ name, rules }) => rules.map((rule) => `-A ${name} ${rule}`)),
        ...plan.hooks.filter((hook) => hook.table === table).flatMap((hook) => unhook(saved, hook)),
        ...hooks.filter((hook) => hook.table === table).map(({ chain, rule }) => `-I ${chain} ${rule}`),
      ];
      return `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
    })
    .join("");
}

/** The script that takes away all that is there of the plan; undefined when nothing is. */
export function removalScript(saved: SavedRules, plan: FirewallPlan): string | undefined {
  const parts: string[] = [];
  for (const table of tablesOf(plan)) {
    const own = plan.chains.filter(({ table: of, name }) => of === table && saved.get(table)?.has(name) === true);
    const lines = [
      ...plan.hooks.filter((hook) => hook.table === table).flatMap((hook) => unhook(saved, hook)),
      ...own.map(({ name }) => `-F ${name}`),
      ...own.map(({ name }) => `-X ${name}`),
    ];
    if (lines.length > 0) parts.push(`*${table}\n${lines.join("\n")}\nCOMMIT\n`);
  }
  return parts.length === 0 ? undefined : parts.join("");
}

function tablesOf(plan: FirewallPlan): readonly string[] {
  return [...new Set([...plan.chains, ...plan.hooks].map(({ table }) => table))];
}

function unhook(saved: SavedRules, { table, chains, rule }: Hook): string[] {
  return chains.flatMap((chain) =>
    (saved.get(table)?.get(chain) ?? []).filter((found) => found === rule).map(() => `-D ${chain} ${rule}`),
  );
}

function chainFor(saved: SavedRules, { table, chains }: Hook): string {
  const good = chains.find((chain) => isReached(saved, table, chain));
  return good ?? chains.at(-1) ?? "";
}

function isHooked(saved: SavedRules, { table, rule }: Hook, chain: string): boolean {
  const rules = saved.get(table)?.get(chain) ?? [];
  const at = rules.indexOf(rule);
  return at >= 0 && rules.slice(0, at).every(isHarmless) && isReached(saved, table, chain);
}

/** Packets come to DOCKER-USER only as long as FORWARD leads there before it accepts anything. */
function isReached(saved: SavedRules, table: string, chain: string): boolean {
  if (chain !== DOCKER_USER) return true;
  if (saved.get(table)?.has(DOCKER_USER) !== true) return false;
  const forward = saved.get(table)?.get("FORWARD") ?? [];
  const at = forward.indexOf(`-j ${DOCKER_USER}`);
  return at >= 0 && forward.slice(0, at).every(isHarmless);
}

/** A rule that no packet gets past us by: it only drops, notes, or belongs to an agent. */
function isHarmless(rule: string): boolean {
  const target = / ?-[jg] (\S+)/.exec(rule)?.[1];
  if (target === undefined) return true;
  return ["DROP", "REJECT", "LOG", "NFLOG"].includes(target) || target.startsWith(CHAIN_PREFIX);
}
