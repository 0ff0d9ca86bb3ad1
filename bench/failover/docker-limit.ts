// The limit beside the failover: the same container, hardened the same way, with the same checkpoint before it, started by nobody but Docker.
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import Docker from "dockerode";
import { monotonicMs } from "../harness/clock.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";

const LABEL = "qubix.bench";
const MIB = 1024 * 1024;
/** Steps and checkpoint of the run that makes the checkpoint to resume from. */
const FIRST_STEPS = 4;
const FIRST_CHECKPOINT = 3;
const STEPS_LONG = 900_000;
const STEP_TIMEOUT_MS = 60_000;

export interface DockerLimit {
  /** Milliseconds from the call to its return, and to the first step line. */
  measure(): Promise<{ readonly startMs: number; readonly firstStepMs: number }>;
}

/** Makes a checkpoint with `image` and readies the measurement; containers are removed after each. */
export async function createDockerLimit(cleanup: Cleanup, image: string): Promise<DockerLimit> {
  const docker = new Docker();
  const folder = await scratchFolder(cleanup, "docker");
  for (const name of ["checkpoint", "out", "work"]) {
    await mkdir(join(folder, name));
    // The image's user is not ours.
    await chmod(join(folder, name), 0o777);
  }
  await chmod(folder, 0o755);
  cleanup.add(() => removeLeft(docker));
  const run = async (environment: readonly string[]) => {
    const container = await docker.createContainer(containerOptions(image, folder, environment));
    try {
      return await startAndWatch(container);
    } finally {
      await container.remove({ force: true });
    }
  };
  await run([`STEPS=${FIRST_STEPS}`, `CHECKPOINT_EVERY=${FIRST_CHECKPOINT}`, "WAIT=1"]);
  return { measure: () => run([`STEPS=${STEPS_LONG}`, `CHECKPOINT_EVERY=${STEPS_LONG}`]) };
}

async function startAndWatch(container: Docker.Container): Promise<{ startMs: number; firstStepMs: number }> {
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  const output = new PassThrough();
  container.modem.demuxStream(stream, output, output);
  let text = "";
  const firstStep = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no step within ${STEP_TIMEOUT_MS} ms: ${text}`)), STEP_TIMEOUT_MS);
    output.on("data", (data: Buffer) => {
      text += data.toString("utf8");
      if (!/^step \d+\//m.test(text)) return;
      clearTimeout(timer);
      resolve(monotonicMs());
    });
  });
  const begun = monotonicMs();
  await container.start();
  const startMs = monotonicMs() - begun;
  const firstStepMs = (await firstStep) - begun;
  // The run that makes the checkpoint ends by itself; the measured ones would go on for long.
  const config = await container.inspect();
  if (config.Config.Env.includes("WAIT=1")) await container.wait();
  return { startMs, firstStepMs };
}

function containerOptions(
  image: string,
  folder: string,
  environment: readonly string[],
): Docker.ContainerCreateOptions {
  return {
    Image: image,
    Env: ["QUBIX_CHECKPOINT_DIR=/qubix/checkpoint", ...environment],
    Labels: { [LABEL]: String(process.pid) },
    HostConfig: {
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      ReadonlyRootfs: true,
      NetworkMode: "none",
      PidsLimit: 1024,
      Memory: 512 * MIB,
      MemorySwap: 512 * MIB,
      NanoCpus: 1e9,
      Init: true,
      Tmpfs: { "/tmp": "size=64m" },
      Binds: [
        `${join(folder, "checkpoint")}:/qubix/checkpoint`,
        `${join(folder, "out")}:/out`,
        `${join(folder, "work")}:/work`,
      ],
    },
  };
}

async function removeLeft(docker: Docker): Promise<void> {
  const left = await docker.listContainers({ all: true, filters: { label: [`${LABEL}=${process.pid}`] } });
  await Promise.all(left.map(({ Id }) => docker.getContainer(Id).remove({ force: true })));
}
