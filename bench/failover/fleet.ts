// Three real worker agents of three providers on this machine's Docker Engine.
import { join } from "node:path";
import Docker from "dockerode";
import { type Program, runProgram, startProgram } from "../../scripts/lib/processes.ts";
import { waitFor } from "../harness/clock.ts";
import { type Api, createAccount } from "../harness/network.ts";
import type { Cleanup } from "../harness/processes.ts";

const ONLINE_TIMEOUT_MS = 30_000;

export interface Fleet {
  /** The process id of the container that runs on this worker. */
  containerPid(workerId: string): Promise<number>;
  /** SIGKILL to the agent and to `containerPid` in the same moment. */
  killWithContainer(workerId: string, containerPid: number): void;
  /** Starts a killed agent again on its own data folder and waits until it is online. */
  restart(workerId: string): Promise<void>;
}

export async function startFleet(
  cleanup: Cleanup,
  options: {
    readonly admin: Api;
    readonly url: URL;
    readonly folder: string;
    readonly count: number;
    readonly image: string;
  },
): Promise<Fleet> {
  const { admin, url, folder, image } = options;
  const docker = new Docker();
  const agents = new Map<string, { readonly dataDir: string; program: Program }>();
  const start = (dataDir: string) =>
    startProgram("worker", {
      args: [
        "start",
        "--data-dir",
        dataDir,
        "--cpus",
        "1",
        "--memory-mib",
        "1024",
        "--disk-mib",
        "4096",
        "--price-per-cpu-hour",
        "0.10",
        "--local-image",
        image,
      ],
      logFile: `${dataDir}.log`,
    });
  const online = (workerId: string) =>
    waitFor(`${workerId} online`, ONLINE_TIMEOUT_MS, async () => {
      const { phase } = await admin.call<{ phase: string }>("GET", `/v1/workers/${workerId}`);
      return phase === "online" ? true : undefined;
    });
  cleanup.add(async () => {
    const running = [...agents.values()].filter(({ program }) => program.running());
    await Promise.all(running.map(({ program }) => program.stop()));
    // Agents leave their containers running when they stop; nobody will come back for these.
    for (const workerId of agents.keys()) await removeContainers(docker, workerId);
  });
  for (let n = 1; n <= options.count; n++) {
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
    const program = await start(dataDir);
    agents.set(String(program.ready["workerId"]), { dataDir, program });
  }
  for (const workerId of agents.keys()) await online(workerId);
  const agentOf = (workerId: string) => {
    const agent = agents.get(workerId);
    if (agent === undefined) throw new Error(`${workerId} is none of ours`);
    return agent;
  };
  return {
    async containerPid(workerId) {
      const [running] = await docker.listContainers({ filters: { label: [`qubix.worker=${workerId}`] } });
      if (running === undefined) throw new Error(`no container runs on ${workerId}`);
      return (await docker.getContainer(running.Id).inspect()).State.Pid;
    },
    killWithContainer(workerId, containerPid) {
      process.kill(agentOf(workerId).program.pid, "SIGKILL");
      process.kill(containerPid, "SIGKILL");
    },
    async restart(workerId) {
      const agent = agentOf(workerId);
      await agent.program.kill();
      agent.program = await start(agent.dataDir);
      await online(workerId);
    },
  };
}

async function removeContainers(docker: Docker, workerId: string): Promise<void> {
  const left = await docker.listContainers({ all: true, filters: { label: [`qubix.worker=${workerId}`] } });
  await Promise.all(left.map(({ Id }) => docker.getContainer(Id).remove({ force: true })));
}
