// Docker Swarm on the same three machines: a manager and two workers, one replica of the same program in the same image. What it does when the machine
// of that replica dies, or its cable is pulled.
import { monotonicMs, sleepMs, waitFor } from "../harness/clock.ts";
import { type Moment, type Node, runningWith, stepTimes } from "./nodes.ts";
import type { Cleanup } from "../harness/processes.ts";

const SERVICE = "bench";
const LABEL = `com.docker.swarm.service.name=${SERVICE}`;
const READY_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** Heartbeats are up to five seconds apart: a fault may fall anywhere between two. */
const STRIKE_WITHIN_MS = 5_000;
/** How long the old replica is watched beside the new one. */
export const WATCH_MS = 5_000;

export interface SwarmRun {
  readonly firstStepMs: number;
  /** Steps that the old replica wrote after the new one's first. */
  readonly staleLines: number;
}

export interface Swarm {
  failOnce(fault: "kill" | "cable"): Promise<SwarmRun>;
  stop(): Promise<void>;
}

/** `initArgs` are added to `docker swarm init`. */
export async function startSwarm(
  cleanup: Cleanup,
  nodes: readonly Node[],
  image: string,
  initArgs: readonly string[],
): Promise<Swarm> {
  const [manager, ...workers] = nodes;
  if (manager === undefined) throw new Error("a Swarm needs a manager");
  let isUp = true;
  const stop = async () => {
    if (!isUp) return;
    isUp = false;
    for (const node of workers) await node.docker(["swarm", "leave", "--force"]).catch(() => "");
    await manager.docker(["swarm", "leave", "--force"]).catch(() => "");
    await waitFor("Swarm's containers to be gone", READY_TIMEOUT_MS, async () => {
      const left = await Promise.all(nodes.map((node) => runningWith(node, LABEL)));
      return left.flat().length === 0 ? true : undefined;
    });
  };
  cleanup.add(stop);
  await manager.docker(["swarm", "init", "--advertise-addr", manager.address, ...initArgs]);
  const token = await manager.docker(["swarm", "join-token", "--quiet", "worker"]);
  for (const node of workers) await node.docker(["swarm", "join", "--token", token, `${manager.address}:2377`]);
  await manager.docker([...SERVICE_CREATE, image]);
  const ready = () =>
    waitFor("every node and the replica to be ready", READY_TIMEOUT_MS, async () => {
      const states = await manager.docker(["node", "ls", "--format", "{{.Status}}"]);
      if (states.split("\n").some((state) => state !== "Ready")) return undefined;
      const running = await Promise.all(workers.map((node) => runningWith(node, LABEL)));
      const at = running.findIndex((ids) => ids.length === 1);
      const [node, container] = [workers[at], running[at]?.[0]];
      if (running.flat().length !== 1 || node === undefined || container === undefined) return undefined;
      return (await stepTimes(node, container)).length > 0 ? { node, container } : undefined;
    });
  return {
    stop,
    failOnce: async (fault) => {
      const old = await ready();
      await sleepMs(Math.random() * STRIKE_WITHIN_MS);
      const struck = fault === "kill" ? await old.node.crash() : await old.node.cut();
      try {
        const others = workers.filter((node) => node !== old.node);
        const firstMs = await firstStepAfter(others, struck);
        let staleLines = 0;
        if (fault === "cable") {
          await sleepMs(WATCH_MS);
          const times = await stepTimes(old.node, old.container);
          staleLines = times.filter((time) => time > firstMs).length;
        }
        return { firstStepMs: firstMs - struck.wallMs, staleLines };
      } finally {
        if (fault === "kill") await old.node.revive();
        else await old.node.heal();
      }
    },
  };
}

const SERVICE_CREATE = [
  "service",
  "create",
  "--detach",
  "--name",
  SERVICE,
  "--no-resolve-image",
  // By default Swarm waits five seconds more before it starts a replacement: that is left out, so that detection and start are compared.
  "--restart-delay",
  "0s",
  "--constraint",
  "node.role==worker",
  "--cap-drop",
  "ALL",
  "--read-only",
  "--init",
  "--limit-cpu",
  "1",
  "--limit-memory",
  "512m",
  "--mount",
  "type=tmpfs,dst=/tmp",
  "--env",
  "STEPS=900000",
];

/** By the wall clock. */
async function firstStepAfter(nodes: readonly Node[], struck: Moment): Promise<number> {
  const begun = monotonicMs();
  return waitFor(
    "the replacement's first step",
    READY_TIMEOUT_MS,
    async () => {
      for (const node of nodes) {
        for (const id of await runningWith(node, LABEL)) {
          const first = (await stepTimes(node, id))[0];
          if (first === undefined) continue;
          if (first < struck.wallMs)
            throw new Error(`a replica ran beside the one that failed ${monotonicMs() - begun} ms ago`);
          return first;
        }
      }
      return undefined;
    },
    POLL_MS,
  );
}
