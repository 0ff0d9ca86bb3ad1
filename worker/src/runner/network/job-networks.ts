// Networks of jobs that may reach the internet: a bridge for each slot, behind rules that keep it from the machine, its neighbours and other jobs.
// No rules, no job: they are checked before every start, and every second while such a job runs.
import { randomInt } from "node:crypto";
import type Docker from "dockerode";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { SlotId } from "../../core/index.ts";
import { CHANGE_TIMEOUT_MS, type Engine, EngineError, isNotFound, LOOK_TIMEOUT_MS } from "../engine.ts";
import { LABEL_SLOT, LABEL_WORKER } from "../host-config.ts";
import { type Firewall, openFirewall } from "./firewall.ts";
import { disableIpv6, linkExists, readRoutes, receivedBytes, setLink } from "./links.ts";
import { bridgeName, networkName } from "./names.ts";
import { freeSubnet } from "./ranges.ts";
import type { JobNetwork } from "./rules.ts";

/** Who is told while a job runs. */
export interface NetworkWatcher {
  /** A line for the job's log. */
  told(text: string): void;
  /** The job must be stopped: its network cannot be made safe again. `isCutOff`: nothing of it passes any more. */
  lost(why: string, isCutOff: boolean): void;
}

/** What goes wrong is thrown as `isolation_failed`, with words for the consumer. */
export interface JobNetworks {
  /** Makes the network of a slot, unless it is there. */
  prepare(slotId: SlotId): Promise<void>;
  /** Makes sure that the network and its rules stand. To be called right before a start, and when a running job is taken up again. */
  secure(slotId: SlotId): Promise<void>;
  /** From now on the rules are looked after; `secure` comes first. */
  watch(slotId: SlotId, watcher: NetworkWatcher): void;
  unwatch(slotId: SlotId): void;
  /** Bytes that the slot's container has sent since its network was made; undefined where that cannot be told. */
  sentBytes(slotId: SlotId): number | undefined;
  /** Removes the network of a slot; nothing happens where there is none. Its container goes first. */
  remove(slotId: SlotId): Promise<void>;
  /** Removes the networks that no slot knows, and all rules where none is left. */
  reap(known: ReadonlySet<SlotId>): Promise<void>;
  /** Lets go; networks and rules stay as they are. */
  stop(): void;
}

/** A flush of the firewall is noticed within this; one look takes about 17 ms of one core. */
const WATCH_EVERY_MS = 1_000;
/** Addresses of the machine change seldom, and the rules for IPv6 are the second lock on that door. */
const THOROUGH_EVERY_LOOKS = 10;
/** Tries, a look apart, to make the rules stand again before the jobs, cut off meanwhile, are stopped. */
const MEND_TRIES = 3;
/** Subnets that another network takes in the same moment. */
const SUBNET_TRIES = 5;

export interface JobNetworksPorts {
  readonly engine: Engine;
  readonly logger: Logger;
  /** A network could not be made safe: such jobs had better not be offered. */
  readonly failed?: () => void;
}

/** `isAllowed`: whether the machine's owner takes such jobs at all; those that run already go on. */
export function createJobNetworks(ports: JobNetworksPorts, workerId: string, isAllowed = true): JobNetworks {
  const { engine, logger } = ports;
  const watchers = new Map<SlotId, NetworkWatcher>();
  let firewall: Firewall | null = null;
  let networks: readonly JobNetwork[] = [];
  let timer: NodeJS.Timeout | null = null;
  let looks = 0;
  let failures = 0;
  let cut = false;
  let looking = false;
  /** A network has gone whose rules may still stand. */
  let untrimmed = false;
  let chain: Promise<unknown> = Promise.resolve();

  async function orRefuse(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      ports.failed?.();
      if (error instanceof QubixError && error.code === "isolation_failed") throw error;
      throw refused(error instanceof Error ? error.message : String(error), error);
    }
  }

  /** One thing after the other: each reads the rules and changes them. */
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const next = chain.then(work);
    chain = next.catch(() => undefined);
    return next;
  }

  async function wall(): Promise<Firewall> {
    firewall ??= await openFirewall(workerId);
    return firewall;
  }

  async function listNetworks(): Promise<readonly Docker.NetworkInspectInfo[]> {
    const filters = JSON.stringify({ label: [`${LABEL_WORKER}=${workerId}`] });
    return engine.call("list networks", LOOK_TIMEOUT_MS, () => engine.docker.listNetworks({ filters }));
  }

  /** Asks the Engine which networks there are, and brings the plan of the rules up to date. */
  async function refresh(open: Firewall): Promise<readonly Docker.NetworkInspectInfo[]> {
    const [found, { connected }] = await Promise.all([listNetworks(), readRoutes()]);
    networks = found.flatMap((network) => jobNetworkOf(network) ?? []);
    open.setNetworks(networks);
    open.setConnected(connected);
    return found;
  }

  async function prepare(slotId: SlotId): Promise<void> {
    if (!isAllowed) throw refused("its owner takes only jobs without a network");
    const existing = (await listNetworks()).find((network) => network.Labels?.[LABEL_SLOT] === slotId);
    if (existing !== undefined) return;
    const { all } = await readRoutes();
    for (let tries = 1; ; tries += 1) {
      const subnet = freeSubnet(all, randomInt);
      if (subnet === undefined) throw refused("no private range is free on this machine for the job's network");
      try {
        await createNetwork(slotId, subnet);
        return;
      } catch (error) {
        const overlaps = error instanceof EngineError && /overlaps/i.test(error.message);
        if (!overlaps || tries >= SUBNET_TRIES) throw error;
      }
    }
  }

  async function createNetwork(slotId: SlotId, subnet: string): Promise<void> {
    const options = networkOptions(workerId, slotId, subnet);
    await engine.call("create the job's network", CHANGE_TIMEOUT_MS, () => engine.docker.createNetwork(options));
  }

  async function secure(slotId: SlotId): Promise<void> {
    const open = await wall();
    const found = (await refresh(open)).find((network) => network.Labels?.[LABEL_SLOT] === slotId);
    const own = found === undefined ? undefined : jobNetworkOf(found);
    if (found === undefined || own === undefined) throw refused("the job's network is gone");
    if (own.bridge !== bridgeName(workerId, slotId) || found.EnableIPv6) {
      throw refused("the job's network is not as it was made");
    }
    if (!linkExists(own.bridge)) {
      throw refused("the Docker Engine's bridges are not on this machine, so its firewall cannot hold a job back");
    }
    disableIpv6(own.bridge);
    await open.repair();
    if (cut) await setLinks("up");
    // An agent that died while the network was cut has left it so.
    else await setLink(own.bridge, "up");
    cut = false;
  }

  /** What a look finds broken is mended at once. Until it is, no job has a network. */
  async function look(): Promise<void> {
    if (watchers.size === 0) return;
    looks += 1;
    const open = await wall();
    const thorough = looks % THOROUGH_EVERY_LOOKS === 0;
    if (thorough) await followRoutes(open);
    const faults = await open.faults(thorough).catch((error: unknown) => [(error as Error).message]);
    if (faults.length === 0 && !cut) return;
    await mend(open, faults);
  }

  async function followRoutes(open: Firewall): Promise<void> {
    const before = await open.faults(true);
    open.setConnected((await readRoutes()).connected);
    if (before.length === 0) await open.repair();
  }

  async function mend(open: Firewall, faults: readonly string[]): Promise<void> {
    logger.error({ event: "firewall_broken", faults }, "the rules around job networks are gone; jobs are cut off");
    const isCut = await setLinks("down");
    cut = true;
    try {
      await open.repair();
      await setLinks("up");
      cut = false;
      failures = 0;
    } catch (error) {
      failures += 1;
      logger.error({ event: "firewall_not_mended", failures, err: error }, "the rules could not be set again");
      if (!isCut || failures >= MEND_TRIES) giveUp((error as Error).message, isCut);
      return;
    }
    logger.warn({ event: "firewall_mended", faults }, "the rules around job networks stand again");
    tellAll(
      "qubix: the firewall rules around this job's network were changed on this machine. The network was cut off, the rules are set again, and it goes on.\n",
    );
  }

  async function setLinks(state: "up" | "down"): Promise<boolean> {
    const done = await Promise.allSettled(networks.map(({ bridge }) => setLink(bridge, state)));
    return done.every(({ status }) => status === "fulfilled");
  }

  function tellAll(text: string): void {
    for (const watcher of watchers.values()) watcher.told(text);
  }

  function giveUp(why: string, isCutOff: boolean): void {
    ports.failed?.();
    const lost = [...watchers.values()];
    watchers.clear();
    for (const watcher of lost) watcher.lost(isolationText(why), isCutOff);
  }

  function beginLooking(): void {
    timer ??= setInterval(() => {
      if (looking) return;
      looking = true;
      alone(look)
        .catch((error: unknown) => {
          logger.error({ event: "firewall_not_checked", err: error }, "the rules around job networks are not known");
          failures += 1;
          if (failures >= MEND_TRIES) giveUp((error as Error).message, false);
        })
        .finally(() => {
          looking = false;
        });
    }, WATCH_EVERY_MS);
  }

  function endLooking(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
  }

  async function removeNetwork(id: string): Promise<void> {
    try {
      await engine.call("remove a job's network", CHANGE_TIMEOUT_MS, () => engine.docker.getNetwork(id).remove());
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** After networks have gone: rules for those that are left, none at all where none is. */
  async function trimRules(): Promise<void> {
    const open = await wall();
    await refresh(open);
    if (networks.length === 0) await open.clear();
    else await open.repair();
    untrimmed = false;
  }

  return {
    prepare: (slotId) => alone(() => orRefuse(prepare(slotId))),
    secure: (slotId) => alone(() => orRefuse(secure(slotId))),
    watch(slotId, watcher) {
      watchers.set(slotId, watcher);
      beginLooking();
    },
    unwatch(slotId) {
      watchers.delete(slotId);
      if (watchers.size > 0) return;
      endLooking();
      failures = 0;
    },
    sentBytes(slotId) {
      try {
        return receivedBytes(bridgeName(workerId, slotId));
      } catch (error) {
        // Where the kernel does not tell, nothing is charged.
        logger.warn({ event: "egress_not_counted", err: error }, "what a job sends cannot be counted");
        return undefined;
      }
    },
    remove: (slotId) =>
      alone(async () => {
        const own = (await listNetworks()).filter((network) => network.Labels?.[LABEL_SLOT] === slotId);
        if (own.length === 0 && !untrimmed) return;
        untrimmed = true;
        for (const { Id } of own) await removeNetwork(Id);
        await trimRules();
      }),
    reap: (known) =>
      alone(async () => {
        const strangers = (await listNetworks()).filter(({ Labels }) => !known.has(Labels?.[LABEL_SLOT] ?? ""));
        for (const { Id, Name } of strangers) {
          logger.warn({ event: "network_reaped", network: Name }, "removing a network that no slot knows");
          await removeNetwork(Id);
        }
        // Where there is no firewall to speak to there are no rules to take away.
        await trimRules().catch((error: unknown) => {
          if (networks.length > 0 || strangers.length > 0) throw error;
        });
      }),
    stop() {
      endLooking();
      watchers.clear();
    },
  };
}

/** The request for a slot's network: no IPv6, no talk between containers, an address range of its own. Pure. */
export function networkOptions(workerId: string, slotId: SlotId, subnet: string): Docker.NetworkCreateOptions {
  return {
    Name: networkName(workerId, slotId),
    CheckDuplicate: true,
    Driver: "bridge",
    Internal: false,
    Attachable: false,
    EnableIPv6: false,
    IPAM: { Driver: "default", Config: [{ Subnet: subnet }] },
    Options: {
      "com.docker.network.bridge.name": bridgeName(workerId, slotId),
      "com.docker.network.bridge.enable_icc": "false",
      "com.docker.network.bridge.enable_ip_masquerade": "true",
    },
    Labels: { [LABEL_WORKER]: workerId, [LABEL_SLOT]: slotId },
  };
}

function jobNetworkOf(network: Docker.NetworkInspectInfo): JobNetwork | undefined {
  const bridge = network.Options?.["com.docker.network.bridge.name"];
  const subnet = network.IPAM?.Config?.[0]?.["Subnet"];
  return bridge === undefined || subnet === undefined ? undefined : { bridge, subnet };
}

function refused(why: string, cause?: unknown): QubixError {
  return new QubixError("isolation_failed", isolationText(why), { category: "provider", retryable: true, cause });
}

function isolationText(why: string): string {
  return `The worker could not keep the job's network apart from its own (${why}), so it does not run the job. Another worker is tried.`;
}
