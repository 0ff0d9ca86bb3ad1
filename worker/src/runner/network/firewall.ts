// The rules of job networks on the real firewall: read, mended and taken away with the iptables of the kind that the Docker Engine uses.
import { QubixError } from "@qubix/shared/runtime";
import { runTool } from "./command.ts";
import { disableIpv6 } from "./links.ts";
import { forbiddenOn } from "./ranges.ts";
import {
  DOCKER_USER,
  type FirewallPlan,
  faultsOf,
  type JobNetwork,
  parseSaved,
  planIpv4,
  planIpv6,
  removalScript,
  repairScript,
  type SavedRules,
} from "./rules.ts";

export interface Firewall {
  /**
   * What is not as it must be, in words; empty when all is well. Throws when the rules cannot be read. Unless it is to be `thorough`, the rules for IPv6
   * are left out as long as IPv6 is off on every bridge.
   */
  faults(thorough: boolean): Promise<readonly string[]>;
  /** Makes the rules stand, and reads them back. Throws `firewall_failed` when they do not. */
  repair(): Promise<void>;
  /** Which networks there are. */
  setNetworks(networks: readonly JobNetwork[]): void;
  /** Which networks the machine is itself part of. */
  setConnected(connected: readonly string[]): void;
  /** Takes all rules of this worker away. */
  clear(): Promise<void>;
  /** For people, e.g. `iptables and ip6tables`. */
  readonly tools: string;
}

/** Seconds that another change of the firewall is waited for. */
const LOCK_WAIT_S = "5";
/** Somebody may change the rules between reading and mending them. */
const REPAIR_TRIES = 3;
const SUFFIXES = ["", "-nft", "-legacy"] as const;

/** Finds the iptables in which the Docker Engine keeps its rules. Throws `firewall_failed` and says why when there is none. */
export async function openFirewall(workerId: string): Promise<Firewall> {
  const suffix = await findSuffix();
  const four = `iptables${suffix}`;
  const six = `ip6tables${suffix}`;
  const sixWorks = await read(six).then(
    () => true,
    () => false,
  );
  const planSix = planIpv6(workerId);
  let networks: readonly JobNetwork[] = [];
  let connected: readonly string[] = [];
  let planFour = planIpv4(workerId, networks, forbiddenOn(connected));

  /** Rules are the second line for IPv6: the first is that it is off on each bridge. One of both must hold. */
  async function faultsOfSix(thorough = true): Promise<readonly string[]> {
    const open = networks.filter(({ bridge }) => !disableIpv6(bridge));
    if (!thorough && open.length === 0) return [];
    if (!sixWorks) return open.map(({ bridge }) => `IPv6 cannot be switched off on ${bridge}`);
    try {
      return faultsOf(await read(six), planSix);
    } catch (error) {
      if (open.length > 0) throw error;
      return [];
    }
  }

  return {
    tools: sixWorks ? `${four} and ${six}` : `${four}, without ${six}`,
    setNetworks(next) {
      networks = next;
      planFour = planIpv4(workerId, networks, forbiddenOn(connected));
    },
    setConnected(next) {
      connected = next;
      planFour = planIpv4(workerId, networks, forbiddenOn(connected));
    },
    async faults(thorough) {
      const [ofFour, ofSix] = await Promise.all([
        read(four).then((saved) => faultsOf(saved, planFour)),
        faultsOfSix(thorough),
      ]);
      return [...ofFour, ...ofSix];
    },
    async repair() {
      await mend(four, planFour);
      if (sixWorks && (await faultsOfSix()).length > 0) await mend(six, planSix);
      const left = await faultsOfSix();
      if (left.length > 0) throw failed(left.join("; "));
    },
    async clear() {
      for (const [tool, plan] of [[four, planFour] as const, ...(sixWorks ? [[six, planSix] as const] : [])]) {
        const script = removalScript(await read(tool), plan);
        if (script !== undefined) await restore(tool, script);
      }
    },
  };
}

async function findSuffix(): Promise<string> {
  const said: string[] = [];
  for (const suffix of SUFFIXES) {
    try {
      const saved = await read(`iptables${suffix}`);
      if (saved.get("filter")?.has(DOCKER_USER) === true) return suffix;
      said.push(`iptables${suffix}: no chain ${DOCKER_USER}`);
    } catch (error) {
      said.push((error as Error).message);
    }
  }
  throw failed(`the Docker Engine's chain ${DOCKER_USER} is in no iptables of this machine (${said.join("; ")})`);
}

async function mend(tool: string, plan: FirewallPlan): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      const saved = await read(tool);
      if (faultsOf(saved, plan).length === 0) return;
      await restore(tool, repairScript(saved, plan));
      const left = faultsOf(await read(tool), plan);
      if (left.length === 0) return;
      throw failed(left.join("; "));
    } catch (error) {
      if (tries >= REPAIR_TRIES) throw error;
    }
  }
}

async function read(tool: string): Promise<SavedRules> {
  return parseSaved(await runTool(`${tool}-save`, []));
}

async function restore(tool: string, script: string): Promise<void> {
  await runTool(`${tool}-restore`, ["--wait", LOCK_WAIT_S, "--noflush"], script);
}

function failed(why: string): QubixError {
  return new QubixError("firewall_failed", why, { category: "provider", retryable: true });
}
