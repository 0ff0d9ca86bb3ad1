// Tries whether this machine can bound what a job writes by a volume: made, mounted, of the right size, and seen by the Engine (which does not see it
// where the agent's own service hides its mounts).
import { mkdir, readlink, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Journal } from "../../journal/journal.ts";
import { type Engine, LOOK_TIMEOUT_MS } from "../engine.ts";
import { firstFileOfTar } from "../image-user.ts";
import { withProbe } from "../probe-container.ts";
import { foldersAt } from "../slot-folders.ts";
import { createVolumes, type DiskBound } from "./volumes.ts";

const PROBE_MIB = 16;
const MIB = 1024 * 1024;
/** Between what a job asks for and what it can write. */
const TOLERANCE = 0.05;
const MARKER = "seen";
const INSIDE = "/qubix/probe";

/** The journal's word on what was found last. */
export const KEY_DISK_BOUND = "diskBound";

interface Found {
  readonly where: string;
  readonly bound: DiskBound;
}

/** As {@link chooseDiskBound}; what was found before is taken for true in the same mount namespace of the same boot, so that an agent is soon back. */
export async function knownDiskBound(
  engine: Engine,
  memory: Pick<Journal, "get" | "set">,
  folder: string,
  bootId: string,
): Promise<DiskBound> {
  const where = `${bootId} ${await readlink("/proc/self/ns/mnt").catch(() => "")}`;
  const before = memory.get(KEY_DISK_BOUND) as Found | undefined;
  if (before?.where === where && before.bound.kind === "volumes") return before.bound;
  const bound = await chooseDiskBound(engine, folder);
  memory.set(KEY_DISK_BOUND, { where, bound } satisfies Found);
  return bound;
}

/** Chooses how the disk of jobs is bounded here. `folder`: somewhere on the disk that jobs' files will be on; deleted afterwards. */
export async function chooseDiskBound(engine: Engine, folder: string): Promise<DiskBound> {
  if (process.getuid?.() !== 0) return watched("the agent does not run as root");
  const bound: DiskBound = { kind: "volumes" };
  const volumes = createVolumes(bound);
  const folders = foldersAt(folder);
  try {
    await volumes.release(folders);
    await rm(folder, { recursive: true, force: true });
    await volumes.open(folders, PROBE_MIB);
    const { bavail, bsize } = await statfs(folders.disk);
    const share = (bavail * bsize) / (PROBE_MIB * MIB);
    if (Math.abs(share - 1) > TOLERANCE) return watched(`a volume has ${Math.round(share * 100)}% of its size`);
    await mkdir(folders.work);
    await writeFile(join(folders.work, "marker"), MARKER);
    if ((await readThroughEngine(engine, folders.work)) !== MARKER) {
      return watched("the Docker Engine does not see what the agent mounts; their mount namespaces are separate");
    }
    return bound;
  } catch (error) {
    return watched(whyOf(error));
  } finally {
    await volumes.release(folders).catch(() => undefined);
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** What the tool said, where one failed. */
function whyOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { stderr } = (error.cause ?? {}) as { stderr?: string };
  return stderr === undefined || stderr.trim() === "" ? error.message : stderr.trim();
}

function watched(why: string): DiskBound {
  return { kind: "watched", why };
}

async function readThroughEngine(engine: Engine, source: string): Promise<string> {
  const mount = { Type: "bind", Source: source, Target: INSIDE, ReadOnly: true } as const;
  return withProbe(engine, { Mounts: [mount] }, (container) =>
    engine.call("read a file of a container", LOOK_TIMEOUT_MS, async (signal) => {
      const path = `${INSIDE}/marker`;
      const stream = (await container.getArchive({ path, abortSignal: signal })) as Readable;
      const parts: Buffer[] = [];
      for await (const part of stream as AsyncIterable<Buffer>) parts.push(part);
      return firstFileOfTar(Buffer.concat(parts));
    }),
  );
}
