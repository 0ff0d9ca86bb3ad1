// Containers that the agent makes to try what this machine can do. Their image is empty and made on the spot: the program they run is the Engine's own init.
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import type Docker from "dockerode";
import { CHANGE_TIMEOUT_MS, type Engine, LOOK_TIMEOUT_MS } from "./engine.ts";

/** Two empty blocks: a tar archive without files. */
const EMPTY_TAR_BYTES = 1024;
const LABEL_PROBE = "qubix.probe";
/** Prints its version and ends. It is a static program, which the Engine puts into every container with an init. */
const INIT_VERSION = ["/sbin/docker-init", "--version"];

/** Makes a container that is never started, unless `use` does, and removes it and its image. */
export async function withProbe<T>(
  engine: Engine,
  hostConfig: Docker.ContainerCreateOptions["HostConfig"],
  use: (container: Docker.Container) => Promise<T>,
  command: readonly string[] = INIT_VERSION,
): Promise<T> {
  const { docker } = engine;
  // A name of its own for each: several agents may share an Engine.
  const name = `qubix-probe-${randomBytes(6).toString("hex")}`;
  await engine.call("make an empty image", CHANGE_TIMEOUT_MS, async () => {
    const stream = await docker.importImage(Readable.from([Buffer.alloc(EMPTY_TAR_BYTES)]), {
      repo: name,
      tag: "local",
    });
    await new Promise<void>((resolve, reject) =>
      docker.modem.followProgress(stream, (error: Error | null) => (error === null ? resolve() : reject(error))),
    );
  });
  try {
    const container = await engine.call("make a container to try", CHANGE_TIMEOUT_MS, () =>
      docker.createContainer({
        name,
        Image: `${name}:local`,
        Cmd: [...command],
        Labels: { [LABEL_PROBE]: "1" },
        NetworkDisabled: true,
        HostConfig: {
          CapDrop: ["ALL"],
          SecurityOpt: ["no-new-privileges:true"],
          ReadonlyRootfs: true,
          NetworkMode: "none",
          Init: true,
          ...hostConfig,
        },
      }),
    );
    try {
      return await use(container);
    } finally {
      await engine.call("remove a container", CHANGE_TIMEOUT_MS, () => container.remove({ force: true, v: true }));
    }
  } finally {
    await engine
      .call("remove an empty image", LOOK_TIMEOUT_MS, () => docker.getImage(`${name}:local`).remove({ force: true }))
      .catch(() => undefined);
  }
}
