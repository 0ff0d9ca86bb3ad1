// The containers of one worker: made, started, followed to their end, stopped, removed. Each agent touches only what bears its own label,
// because several may share one Docker Engine.
import { mkdir } from "node:fs/promises";
import type { Readable } from "node:stream";
import type Docker from "dockerode";
import type { SlotId } from "../core/index.ts";
import { cgroupOf, isFrozen, killAll, signalIn, thaw } from "../guard/freezer.ts";
import type { ContainerProblem } from "./container-problem.ts";
import { CHANGE_TIMEOUT_MS, type Engine, EngineError, isNotFound, LOOK_TIMEOUT_MS } from "./engine.ts";
import {
  type ContainerInput,
  containerOptions,
  LABEL_SLOT,
  LABEL_WORKER,
  MEMORY_RUNTIME_DEFAULT,
  SANDBOX_RUNTIME_DEFAULT,
} from "./host-config.ts";
import { lookAtImage } from "./image-facts.ts";
import { firstFileOfTar, needsFiles, type NumericUser, resolveUser } from "./image-user.ts";
import { reapSandbox } from "./sandbox-orphans.ts";
import { slotFileName } from "./slot-folders.ts";
import { type Ended, untilEnded } from "./container-end.ts";

export interface ContainerView {
  /** The Engine's name for it. */
  readonly id: string;
  readonly state: "created" | "running" | "exited";
  readonly exitCode: number | null;
  readonly oomKilled: boolean;
  /** As the Engine's wall clock saw it, for a length of time only. */
  readonly wallRanMs: number;
}

export type EndedView = ContainerView & Ended;

/** `image`: what to create from, where it is not what the run calls it. */
export type ContainerOrder = Omit<
  ContainerInput,
  "workerId" | "containerName" | "image" | "sandboxRuntime" | "memoryRuntime"
> & {
  readonly image?: string | undefined;
};

export interface Containers {
  /** Makes the container of a slot, unless it is there. `id`: the Engine's name for it. */
  create(input: ContainerOrder): Promise<{ kind: "created"; id: string } | ContainerProblem>;
  /** The numbers of the user the image runs as; `container` must be made. */
  userOf(slotId: SlotId, imageUser: string): Promise<NumericUser | ContainerProblem>;
  start(slotId: SlotId): Promise<{ kind: "started" } | ContainerProblem>;
  /** Undefined where there is none. */
  inspect(slotId: SlotId): Promise<ContainerView | undefined>;
  /** Resolves when the container has ended, through restarts of the Engine; undefined when it is gone. */
  ended(slotId: SlotId, signal: AbortSignal): Promise<EndedView | undefined>;
  /** The multiplexed log stream with time stamps; ends with the container. */
  logs(slotId: SlotId, since: string | undefined, signal: AbortSignal): Promise<Readable>;
  /** SIGTERM, then SIGKILL after `graceS`; one that is held by the guard is killed at once. */
  stop(slotId: SlotId, graceS: number): Promise<void>;
  kill(slotId: SlotId): Promise<void>;
  /** Sends a signal that a program which does not know it ignores; one that is held gets it when it is let go. Nothing happens where none runs. */
  signal(slotId: SlotId, signal: "SIGURG"): Promise<void>;
  /** Kills and deletes it; nothing happens where there is none. */
  remove(slotId: SlotId): Promise<void>;
  /** The slots for which this worker has containers. */
  list(): Promise<readonly SlotId[]>;
  stats(slotId: SlotId): Promise<ContainerStats | undefined>;
  /** The sandbox of a running container that can be saved: the Engine's name for it, and the process. */
  sandboxOf(slotId: SlotId): Promise<{ readonly id: string; readonly pid: number } | undefined>;
}

export interface ContainerStats {
  /** CPU time used so far. */
  readonly cpuMs: number;
  readonly memoryMiB: number;
  /** Bytes that went to and from disks and networks so far. */
  readonly ioBytes: number;
}

const MIB = 1024 * 1024;
const NS_PER_MS = 1_000_000;

export function createContainers(
  engine: Engine,
  workerId: string,
  sandboxRuntime: string = SANDBOX_RUNTIME_DEFAULT,
  memoryRuntime: string = MEMORY_RUNTIME_DEFAULT,
): Containers {
  const { docker } = engine;
  const nameOf = (slotId: SlotId) => `qubix-${workerId}-${slotFileName(slotId)}`;
  const containerOf = (slotId: SlotId) => docker.getContainer(nameOf(slotId));

  async function inspect(slotId: SlotId): Promise<ContainerView | undefined> {
    const info = await inspectRaw(slotId);
    return info === undefined ? undefined : toView(info);
  }

  /**
   * All of a container that stands still dies where it stands: thawed to be stopped, as the Engine would have it, it would run on for a moment.
   * True when it did stand still.
   */
  async function killHeld(slotId: SlotId): Promise<boolean> {
    const view = await inspectRaw(slotId);
    const cgroup = view?.State.Running === true ? cgroupOf(view.Id, view.State.Pid) : undefined;
    if (view === undefined || cgroup === undefined || !isFrozen(cgroup)) return false;
    killAll(cgroup);
    // Frozen without the Engine's knowledge, it would wait for ever for the end of what it kills.
    if (!view.State.Paused) thaw(cgroup);
    return true;
  }

  /**
   * What stands still gets a signal past the Engine, which would let it go on: it resumes a container that it signals, unless the image names another
   * signal to stop by. It comes to the program when its guard lets it go. One that is paused within this very call is held again by the guard's next look,
   * well within the margin of its lease. True when it did stand still.
   */
  async function signalHeld(slotId: SlotId, signal: "SIGURG"): Promise<boolean> {
    const view = await inspectRaw(slotId);
    if (view?.State.Running !== true) return false;
    const { Pid: pid, Paused: isPaused } = view.State;
    const cgroup = cgroupOf(view.Id, pid);
    if (cgroup === undefined || !isFrozen(cgroup)) return isPaused;
    // Where it may not be signalled it has the file of the request all the same.
    signalIn(cgroup, pid, signal);
    return true;
  }

  async function inspectRaw(slotId: SlotId): Promise<Docker.ContainerInspectInfo | undefined> {
    try {
      return await engine.call("look at a container", LOOK_TIMEOUT_MS, () => containerOf(slotId).inspect());
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async function kill(slotId: SlotId): Promise<void> {
    await killHeld(slotId);
    await ignoring([404, 409], () =>
      engine.call("kill the container", CHANGE_TIMEOUT_MS, () => containerOf(slotId).kill({ signal: "SIGKILL" })),
    );
  }

  /** The Engine's name for the container, where it is a sandboxed one. */
  async function sandboxedId(slotId: SlotId): Promise<string | undefined> {
    const info = await inspectRaw(slotId);
    const runtime = info?.HostConfig.Runtime;
    return runtime === sandboxRuntime || runtime === memoryRuntime ? info?.Id : undefined;
  }

  return {
    inspect,
    async create(input) {
      const { slotId } = input;
      const [there, image] = await Promise.all([inspect(slotId), lookAtImage(engine, input.image ?? input.run.image)]);
      if (there !== undefined) return { kind: "created", id: there.id };
      if ("kind" in image) return image;
      const options = containerOptions({
        ...input,
        workerId,
        containerName: nameOf(slotId),
        image,
        sandboxRuntime,
        memoryRuntime,
      });
      await makeImageVolumes(options.HostConfig.Mounts, input.folders.disk);
      try {
        const made = await engine.call("create the container", CHANGE_TIMEOUT_MS, () =>
          docker.createContainer(options),
        );
        return { kind: "created", id: made.id };
      } catch (error) {
        return toProblem(error);
      }
    },
    async userOf(slotId, imageUser) {
      if (!needsFiles(imageUser)) return resolveUser(imageUser, "", "") ?? unknownUser(imageUser);
      const [passwd, group] = await Promise.all([
        readFileOf(engine, containerOf(slotId), "/etc/passwd"),
        readFileOf(engine, containerOf(slotId), "/etc/group"),
      ]);
      return resolveUser(imageUser, passwd, group) ?? unknownUser(imageUser);
    },
    async start(slotId) {
      try {
        await engine.call("start the container", CHANGE_TIMEOUT_MS, () => containerOf(slotId).start());
        return { kind: "started" };
      } catch (error) {
        // 304: it runs already.
        if (error instanceof EngineError && error.statusCode === 304) return { kind: "started" };
        const sandboxed = await sandboxedId(slotId);
        if (sandboxed === undefined) return toProblem(error);
        await reapSandbox(sandboxed);
        const said = error instanceof Error ? error.message : String(error);
        return { kind: "problem", code: "isolation_failed", message: `The sandbox did not start. ${said}` };
      }
    },
    ended: (slotId, signal) => untilEnded(engine, nameOf(slotId), () => inspect(slotId), signal),
    async logs(slotId, since, signal) {
      const options = {
        follow: true,
        stdout: true,
        stderr: true,
        timestamps: true,
        ...(since === undefined ? {} : { since }),
      };
      // The types know `since` as a number only, which has not the digits for nanoseconds.
      const stream = await engine.call("read a container's output", LOOK_TIMEOUT_MS, (timeout) => {
        const whole = { ...options, abortSignal: AbortSignal.any([signal, timeout]) };
        return containerOf(slotId).logs(whole as unknown as Docker.ContainerLogsOptions & { follow: true });
      });
      return stream as unknown as Readable;
    },
    async stop(slotId, graceS) {
      if (await killHeld(slotId)) return kill(slotId);
      await ignoring([304, 404, 409], () =>
        engine.call("stop the container", CHANGE_TIMEOUT_MS + graceS * 1000, () =>
          containerOf(slotId).stop({ t: graceS }),
        ),
      );
    },
    kill,
    async signal(slotId, signal) {
      if (await signalHeld(slotId, signal)) return;
      await ignoring([404, 409], () =>
        engine.call("signal the container", CHANGE_TIMEOUT_MS, () => containerOf(slotId).kill({ signal })),
      );
    },
    async remove(slotId) {
      await killHeld(slotId);
      const sandboxed = await sandboxedId(slotId);
      // 409: its removal is already under way.
      await ignoring([404, 409], () =>
        engine.call("remove the container", CHANGE_TIMEOUT_MS, () =>
          containerOf(slotId).remove({ force: true, v: true }),
        ),
      );
      if (sandboxed !== undefined) await reapSandbox(sandboxed);
    },
    async list() {
      const found = await engine.call("list containers", LOOK_TIMEOUT_MS, () =>
        docker.listContainers({ all: true, filters: { label: [`${LABEL_WORKER}=${workerId}`] } }),
      );
      return found.flatMap((container) => container.Labels[LABEL_SLOT] ?? []);
    },
    async sandboxOf(slotId) {
      const info = await engine.call("look at a container", LOOK_TIMEOUT_MS, () => containerOf(slotId).inspect());
      return info.State.Running && info.HostConfig.Runtime === memoryRuntime
        ? { id: info.Id, pid: info.State.Pid }
        : undefined;
    },
    async stats(slotId) {
      try {
        const stats = await engine.call("measure a container", LOOK_TIMEOUT_MS, (signal) =>
          containerOf(slotId).stats({ stream: false, "one-shot": true, abortSignal: signal } as { stream: false }),
        );
        return {
          cpuMs: (stats.cpu_stats.cpu_usage?.total_usage ?? 0) / NS_PER_MS,
          memoryMiB: Math.round(((stats.memory_stats.usage ?? 0) / MIB) * 10) / 10,
          ioBytes: ioBytesOf(stats),
        };
      } catch {
        // Measures are for people to look at: no answer is no measure.
        return undefined;
      }
    },
  };
}

/** Either part is missing where the Engine does not count it. */
function ioBytesOf({ blkio_stats: disks, networks }: Partial<Docker.ContainerStats>): number {
  let bytes = 0;
  for (const { value } of disks?.io_service_bytes_recursive ?? []) bytes += value;
  for (const { rx_bytes: received, tx_bytes: sent } of Object.values(networks ?? {})) bytes += received + sent;
  return bytes;
}

/** The folders that take the place of the image's own volumes are known only now. */
async function makeImageVolumes(mounts: readonly { readonly Source: string }[], disk: string): Promise<void> {
  for (const { Source: folder } of mounts) if (folder.startsWith(`${disk}/`)) await mkdir(folder, { recursive: true });
}

function toView(info: Docker.ContainerInspectInfo): ContainerView {
  const { State: state } = info;
  const running = state.Running || state.Paused || state.Restarting;
  const view = { id: info.Id, exitCode: null, oomKilled: false, wallRanMs: 0 };
  if (running) return { ...view, state: "running" };
  if (state.Status === "created") return { ...view, state: "created" };
  const wallRanMs = Date.parse(state.FinishedAt) - Date.parse(state.StartedAt);
  return {
    id: info.Id,
    state: "exited",
    exitCode: state.ExitCode,
    oomKilled: state.OOMKilled,
    wallRanMs: Number.isFinite(wallRanMs) ? Math.max(0, wallRanMs) : 0,
  };
}

/** What the job's author got wrong (no such program, impossible mounts) is told apart from what is wrong with the machine. */
export function toProblem(error: unknown): ContainerProblem {
  if (!(error instanceof EngineError)) throw error;
  const said = error.message;
  // The runtime was there when the sandbox was offered.
  if (/unknown runtime/i.test(said)) return { kind: "problem", code: "isolation_failed", message: said };
  const ownFault =
    error.statusCode === 400 ||
    /executable file not found|no such file or directory|permission denied|exec format error|is a directory|no command specified|invalid mount|duplicate mount point|mountpoint|unable to find (user|group)|not a directory/i.test(
      said,
    );
  return { kind: "problem", code: ownFault ? "start_failed" : "docker_error", message: said };
}

function unknownUser(user: string): ContainerProblem {
  return {
    kind: "problem",
    code: "start_failed",
    message: `The image runs as "${user}", which its /etc/passwd and /etc/group do not know.`,
  };
}

/** A tar of one small file; an image whose file is larger is not read further. */
const USER_FILE_BYTES_MAX = MIB;

async function readFileOf(engine: Engine, container: Docker.Container, path: string): Promise<string> {
  try {
    return await engine.call(`read ${path} of the image`, LOOK_TIMEOUT_MS, async (signal) => {
      const stream = (await container.getArchive({ path, abortSignal: signal })) as Readable;
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const part of stream as AsyncIterable<Buffer>) {
        bytes += part.length;
        if (bytes > USER_FILE_BYTES_MAX) break;
        parts.push(part);
      }
      return firstFileOfTar(Buffer.concat(parts));
    });
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}

async function ignoring(statusCodes: readonly number[], run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof EngineError && statusCodes.includes(error.statusCode))) throw error;
  }
}
