// The agent's side of the guard: starts it, tells it which container may run until when, and makes sure that it is there. A container of an exclusive job is
// started only once the guard has said that it knows it. Where the guard dies it is started again; until it is there, the agent does its work itself.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Logger, type MonotonicClock, QubixError } from "@qubix/shared/runtime";
import { sleep } from "../runner/waiting.ts";
import { createEnforcer, type Enforcer } from "./enforcer.ts";
import { createGuardEngine } from "./engine-calls.ts";
import { type GuardStatus, type LeaseEntry, readLeases, readStatus, writeLeases } from "./files.ts";

export interface Guard {
  /** A container of an exclusive job is about to be made: the guard is started meanwhile. */
  want(slotId: string): void;
  /** Resolves when the guard has the container, and its lease is good for a start. Throws `guard_failed`. */
  arm(slotId: string, containerId: string, signal: AbortSignal): Promise<void>;
  /** Resolves when the guard runs. Throws `guard_failed`. */
  check(signal: AbortSignal): Promise<void>;
  /** For one that runs already: without a lease that is known, it has none. */
  adopt(slotId: string, containerId: string): void;
  /** The container may run until then. */
  extend(slotId: string, untilMs: number): void;
  /** What is left of its lease, in milliseconds; not above zero: it may not run. */
  leaseLeftMs(slotId: string): number;
  /** How long its container was held so far, in all. */
  heldMs(slotId: string): number;
  /** The container is gone, or never will be. */
  release(slotId: string): void;
  /** Forgets whatever belongs to other slots than these. */
  keepOnly(slotIds: ReadonlySet<string>): void;
  /** Lets go of the guard, which goes on as long as there is something to guard. */
  stop(): void;
}

export interface GuardPorts {
  readonly clock: MonotonicClock;
  readonly logger: Logger;
}

export interface GuardConfig {
  /** In memory, and the agent's alone. */
  readonly folder: string;
  readonly dockerSocket: string;
  /** Where the guard writes down what it does. */
  readonly record: string;
}

/** A guard that was not heard for this long is not there: it beats more than twice a second. */
const BEAT_MS_MAX = 2_000;
const CHECK_EVERY_MS = 500;
/** A new process on a busy machine. */
const ARM_TIMEOUT_MS = 10_000;
const ARM_POLL_MS = 20;
/** A container is not started on less: the Engine takes its time for that. */
const START_LEASE_MS_MIN = 3_000;
/** A guard that was just started is given this long before another is. */
const SPAWN_PATIENCE_MS = 5_000;
/** Stands for a slot while it is tried whether a guard runs. */
const CHECK = "check";
/** How often the agent looks where it stands in for the guard. */
const STAND_IN_EVERY_MS = 100;

export function createGuard({ clock, logger }: GuardPorts, config: GuardConfig): Guard {
  const { folder } = config;
  const before = readLeases(folder);
  const entries = new Map<string, LeaseEntry>((before?.entries ?? []).map((entry) => [entry.slotId, entry]));
  const leases = new Map<string, number>([...entries.values()].map(({ slotId, untilMs }) => [slotId, untilMs]));
  const wanted = new Set<string>(entries.keys());
  let generation = before?.generation ?? 0;
  let spawnedAtMs = -Infinity;
  let timer: NodeJS.Timeout | null = null;
  let standIn: { readonly enforcer: Enforcer; readonly timer: NodeJS.Timeout } | null = null;
  let stopped = false;

  if (wanted.size > 0) watch();

  function write(): void {
    try {
      writeLeases(folder, {
        generation,
        stay: wanted.size > 0 && !stopped,
        agentPid: process.pid,
        entries: [...entries.values()],
      });
    } catch (error) {
      // Not told, a lease is not renewed: the container is held, which is the safe side.
      logger.error({ event: "lease_not_written", err: error }, "the guard cannot be told of leases");
    }
  }

  /** The guard's word, if it is fresh. */
  function heard(): GuardStatus | undefined {
    const status = readStatus(folder);
    if (status === undefined || status.generation !== generation) return undefined;
    return clock.nowMs() - status.beatMs <= BEAT_MS_MAX ? status : undefined;
  }

  function watch(): void {
    if (stopped) return;
    check();
    timer ??= setInterval(check, CHECK_EVERY_MS);
  }

  function check(): void {
    if (wanted.size === 0) return rest();
    if (heard() !== undefined) return standDown();
    if (clock.nowMs() - spawnedAtMs < SPAWN_PATIENCE_MS) return;
    if (spawnedAtMs > -Infinity) logger.error({ event: "guard_lost" }, "the guard is gone; starting another");
    start();
    if (entries.size > 0) standUp();
  }

  function rest(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
    spawnedAtMs = -Infinity;
    standDown();
  }

  function start(): void {
    spawnedAtMs = clock.nowMs();
    generation += 1;
    write();
    const { command, args } = guardProgram(config, generation);
    const child = spawn(command, args, { detached: true, stdio: "ignore", cwd: "/", env: {} });
    child.on("error", (error) => logger.error({ event: "guard_not_started", err: error }, "the guard did not start"));
    child.unref();
    logger.info({ event: "guard_started", pid: child.pid, generation }, "the guard of exclusive jobs was started");
  }

  function standUp(): void {
    if (standIn !== null) return;
    const record = (entry: object) => logger.warn({ event: "guard_stands_in", ...entry }, "done in the guard's place");
    const enforcer = createEnforcer(
      { nowMs: () => clock.nowMs(), engine: createGuardEngine(config.dockerSocket), record },
      readStatus(folder)?.wards,
    );
    standIn = { enforcer, timer: setInterval(() => enforcer.tick([...entries.values()]), STAND_IN_EVERY_MS) };
  }

  function standDown(): void {
    if (standIn !== null) clearInterval(standIn.timer);
    standIn = null;
  }

  function put(slotId: string, containerId: string): void {
    wanted.add(slotId);
    entries.set(slotId, { slotId, containerId, untilMs: leases.get(slotId) ?? 0 });
    write();
    watch();
  }

  function want(slotId: string): void {
    if (wanted.has(slotId)) return;
    wanted.add(slotId);
    write();
    watch();
  }

  function release(slotId: string): void {
    leases.delete(slotId);
    const isKnown = wanted.delete(slotId);
    if (entries.delete(slotId) || isKnown) write();
  }

  async function until(isSo: () => boolean, signal: AbortSignal): Promise<void> {
    const untilMs = performance.now() + ARM_TIMEOUT_MS;
    while (!isSo()) {
      if (performance.now() > untilMs) throw failed("the process that would pause its container does not run");
      await sleep(ARM_POLL_MS, signal);
      signal.throwIfAborted();
    }
  }

  const leaseLeftMs = (slotId: string) => (leases.get(slotId) ?? 0) - clock.nowMs();

  return {
    want,
    async arm(slotId, containerId, signal) {
      put(slotId, containerId);
      await until(() => heard()?.wards[containerId] !== undefined, signal);
      if (leaseLeftMs(slotId) < START_LEASE_MS_MIN) throw failed("its lease ran out before its container was started");
    },
    async check(signal) {
      want(CHECK);
      try {
        await until(() => heard() !== undefined, signal);
      } finally {
        release(CHECK);
      }
    },
    adopt: put,
    extend(slotId, untilMs) {
      if (untilMs <= (leases.get(slotId) ?? 0)) return;
      leases.set(slotId, untilMs);
      const entry = entries.get(slotId);
      if (entry === undefined) return;
      entries.set(slotId, { ...entry, untilMs });
      write();
    },
    leaseLeftMs,
    heldMs(slotId) {
      const entry = entries.get(slotId);
      const ward = entry === undefined ? undefined : readStatus(folder)?.wards[entry.containerId];
      if (ward === undefined) return 0;
      return ward.heldMs + (ward.hold === null ? 0 : Math.max(0, clock.nowMs() - ward.sinceMs));
    },
    release,
    keepOnly(slotIds) {
      const others = [...wanted].filter((slotId) => !slotIds.has(slotId));
      for (const slotId of others) {
        leases.delete(slotId);
        entries.delete(slotId);
        wanted.delete(slotId);
      }
      if (others.length > 0) write();
    },
    stop() {
      rest();
      stopped = true;
      if (before !== undefined || generation > 0) write();
    },
  };
}

/** Whatever this file runs as, the guard does too: TypeScript from the sources, JavaScript once built. */
function guardProgram({ folder, dockerSocket, record }: GuardConfig, generation: number) {
  const fromSources = import.meta.url.endsWith(".ts");
  const file = fileURLToPath(new URL(fromSources ? "./main.ts" : "./main.js", import.meta.url));
  const args = ["--folder", folder, "--docker-socket", dockerSocket, "--record", record];
  return {
    command: process.execPath,
    args: [...MEMORY_FLAGS, file, ...args, "--generation", String(generation)],
  };
}

/** It holds a few numbers. */
const MEMORY_FLAGS = ["--max-old-space-size=16", "--max-semi-space-size=1", "--v8-pool-size=1"];

function failed(why: string): QubixError {
  return new QubixError("guard_failed", `An exclusive job runs only under a guard: ${why}.`, {
    category: "provider",
    retryable: true,
  });
}
