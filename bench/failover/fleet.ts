// A real worker agent of a provider of its own on each of the machines that fail.
import { join } from "node:path";
import { unmountBelow } from "../../scripts/lib/network.ts";
import { type Program, runProgram, startProgram } from "../../scripts/lib/processes.ts";
import { waitFor } from "../harness/clock.ts";
import { type Api, createAccount } from "../harness/network.ts";
import type { Cleanup } from "../harness/processes.ts";
import { type Moment, type Node, runningWith } from "./nodes.ts";

const ONLINE_TIMEOUT_MS = 60_000;

/** What happens to a machine; `agent` also to its agent, in the same moment. */
export type Fault = "kill" | "cable" | "cable, agent killed" | "cable, agent stopped" | "agent killed";

export interface Fleet {
  /** The running container on this worker, and its machine. */
  container(workerId: string): Promise<{ readonly node: Node; readonly id: string }>;
  strike(workerId: string, fault: Fault): Promise<Moment>;
  /** Undoes a fault and waits until the worker is online and has no container left. */
  mend(workerId: string, fault: Fault): Promise<void>;
  /** Stops the agents, and removes what they have left. */
  stop(): Promise<void>;
}

interface Agent {
  readonly node: Node;
  readonly dataDir: string;
  program: Program;
}

export async function startFleet(
  cleanup: Cleanup,
  options: {
    readonly admin: Api;
    readonly url: URL;
    readonly folder: string;
    readonly nodes: readonly Node[];
    readonly image: string;
  },
): Promise<Fleet> {
  const { admin, url, folder, image, nodes } = options;
  const agents = new Map<string, Agent>();
  const start = (node: Node, dataDir: string) =>
    startProgram("worker", {
      args: [
        "start",
        "--data-dir",
        dataDir,
        "--docker-socket",
        node.socket,
        "--cpus",
        "1",
        "--memory-mib",
        "1024",
        "--disk-mib",
        "4096",
        "--price-per-cpu-hour",
        "0.10",
        "--no-egress",
        "--local-image",
        image,
      ],
      logFile: `${dataDir}.log`,
      enter: node.enter,
    });
  const online = (workerId: string) =>
    waitFor(`${workerId} online`, ONLINE_TIMEOUT_MS, async () => {
      const { phase } = await admin.call<{ phase: string }>("GET", `/v1/workers/${workerId}`);
      return phase === "online" ? true : undefined;
    });
  const removeContainers = async (workerId: string, node: Node) => {
    const ids = await node.docker(["ps", "--all", "--quiet", "--filter", `label=qubix.worker=${workerId}`]);
    if (ids !== "") await node.docker(["rm", "--force", ...ids.split("\n")]);
  };
  const stop = async () => {
    await Promise.all([...agents.values()].map(({ program }) => program.stop()));
    // Agents leave their containers running when they stop; nobody will come back for these.
    for (const [workerId, { node }] of agents) await removeContainers(workerId, node).catch(() => undefined);
    agents.clear();
    await unmountBelow(folder);
  };
  cleanup.add(stop);
  for (const [n, node] of nodes.entries()) {
    const provider = await createAccount(admin, `provider-${n}`, "provider");
    const { token } = await admin.call<{ token: string }>("POST", "/v1/enrolments", { accountId: provider.accountId });
    const dataDir = join(folder, `worker-${n}`);
    const enrolled = await runProgram("worker", [
      "enrol",
      "--url",
      url.href,
      "--token",
      token,
      "--name",
      `bench-${n}`,
      "--data-dir",
      dataDir,
    ]);
    if (enrolled.code !== 0) throw new Error(`enrol: ${enrolled.stderr}`);
    const program = await start(node, dataDir);
    agents.set(String(program.ready["workerId"]), { node, dataDir, program });
  }
  for (const workerId of agents.keys()) await online(workerId);
  const agentOf = (workerId: string) => {
    const agent = agents.get(workerId);
    if (agent === undefined) throw new Error(`${workerId} is none of ours`);
    return agent;
  };
  return {
    stop,
    container: async (workerId) => {
      const { node } = agentOf(workerId);
      const [id] = await runningWith(node, `qubix.worker=${workerId}`);
      if (id === undefined) throw new Error(`no container runs on ${workerId}`);
      return { node, id };
    },
    strike: async (workerId, fault) => {
      const { node, program } = agentOf(workerId);
      if (fault === "kill") return node.crash();
      if (fault === "agent killed") {
        const moment = { atMs: Number(process.hrtime.bigint()) / 1e6, wallMs: Date.now() };
        process.kill(program.pid, "SIGKILL");
        return moment;
      }
      const cut = node.cut();
      if (fault === "cable, agent killed") process.kill(program.pid, "SIGKILL");
      if (fault === "cable, agent stopped") process.kill(program.pid, "SIGSTOP");
      return cut;
    },
    mend: async (workerId, fault) => {
      const agent = agentOf(workerId);
      if (fault === "kill") await agent.node.revive();
      else await agent.node.heal();
      if (fault === "cable, agent stopped") process.kill(agent.program.pid, "SIGCONT");
      if (fault !== "cable" && fault !== "cable, agent stopped") {
        await agent.program.kill();
        agent.program = await start(agent.node, agent.dataDir);
      }
      await online(workerId);
      await waitFor(`${workerId} to let go`, ONLINE_TIMEOUT_MS, async () =>
        (await runningWith(agent.node, `qubix.worker=${workerId}`)).length === 0 ? true : undefined,
      );
    },
  };
}
