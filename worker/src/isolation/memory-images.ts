// Transparent checkpoints are offered only where one has held: a counter that knows nothing of it is saved under the Engine as it is, and goes on from its
// count in another container. What one gVisor has saved only the same gVisor may restore, on a processor that can do the same: that is the class.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import type { Journal } from "../journal/journal.ts";
import { CHANGE_TIMEOUT_MS, type Engine, LOOK_TIMEOUT_MS } from "../runner/engine.ts";
import { findSandbox, saveMemory } from "../runner/memory/sandbox.ts";
import { withProbe } from "../runner/probe-container.ts";
import { reapSandbox } from "../runner/sandbox-orphans.ts";
import { sleep } from "../runner/waiting.ts";
import { parseSandboxVersion, type RuntimeEntry, runtimeOf, SANDBOX_VERSION_MIN, versionText } from "./sandbox.ts";

const KEY_MEMORY = "memory-images";
const PROBE_PIDS = 512;
/** Of the class, beside the version's date: with the feature's name before it, it fits what an offer takes. */
const SUM_LENGTH = 8;
/** A start under gVisor takes half a second on an idle machine. */
const COUNT_TIMEOUT_MS = 30_000;
const POLL_MS = 100;
/** So far the counter is let come: no new one would be there at once. */
const COUNT_MIN = 20;
const NEVER = new AbortController().signal;
/** The machine's own shell counts; its folders are seen read-only. */
const HOST_FOLDERS = ["/bin", "/lib", "/lib64", "/usr"];
const COUNTER = ["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"];

export type MemoryCheck =
  /** `memoryClass`: only workers of the same one restore what it has saved. */
  | { readonly kind: "ready"; readonly memoryClass: string }
  /** The Engine does not know the runtime. */
  | { readonly kind: "absent" }
  | { readonly kind: "unfit"; readonly found: string };

/** Saves and restores a counter, unless the journal says that this very runtime has passed. `folder`: for what it writes; on a disk that the Engine sees. */
export async function checkMemoryImages(
  engine: Engine,
  runtime: string,
  folder: string,
  memory?: Pick<Journal, "get" | "set">,
): Promise<MemoryCheck> {
  const entry = await runtimeOf(engine, runtime);
  if (entry === undefined) return { kind: "absent" };
  const said = await versionText(entry.path);
  const version = parseSandboxVersion(said);
  if (version === undefined) return { kind: "unfit", found: `${entry.path} does not say that it is gVisor (${said})` };
  if (version < SANDBOX_VERSION_MIN) return { kind: "unfit", found: `gVisor of ${version}` };
  const memoryClass = classOf(version, said, entry, await processorOf());
  const tried = JSON.stringify([memoryClass, entry]);
  if (memory?.get(KEY_MEMORY) === tried) return { kind: "ready", memoryClass };
  const problem = await tryCounter(engine, runtime, entry.path, folder);
  memory?.set(KEY_MEMORY, problem === undefined ? tried : undefined);
  return problem === undefined ? { kind: "ready", memoryClass } : { kind: "unfit", found: problem };
}

/** Pure. `processor`: what of /proc/cpuinfo gVisor compares before it restores. */
export function classOf(version: number, said: string, { runtimeArgs }: RuntimeEntry, processor: string): string {
  const sum = createHash("sha256").update(JSON.stringify([said, runtimeArgs ?? [], process.arch, processor]));
  return `${version}.${sum.digest("hex").slice(0, SUM_LENGTH)}`;
}

async function processorOf(): Promise<string> {
  const lines = (await readFile("/proc/cpuinfo", "utf8").catch(() => "")).split("\n");
  const flags = lines.find((line) => /^(flags|Features)\s*:/.test(line)) ?? "";
  return flags.split(/\s+/).sort().join(" ");
}

/** What went wrong; undefined when it held. */
async function tryCounter(
  engine: Engine,
  runtime: string,
  program: string,
  folder: string,
): Promise<string | undefined> {
  const image = join(folder, "image");
  const ids: string[] = [];
  try {
    await mkdir(image, { recursive: true, mode: 0o700 });
    const saved = await withCounter(engine, runtime, join(folder, "first"), null, async (container, id) => {
      ids.push(id);
      return saveCounter(engine, program, container, id, image);
    });
    if (typeof saved === "string") return saved;
    const first = await withCounter(engine, runtime, join(folder, "second"), image, async (container, id) => {
      ids.push(id);
      return firstCount(engine, container);
    });
    return first === saved.count + 1 ? undefined : `saved at ${saved.count}, a counter went on at ${first}`;
  } catch (error) {
    for (const id of ids) await reapSandbox(id);
    return error instanceof Error ? error.message : String(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** As a slot's container: the runtime finds what to restore beside the folder that is seen as `/qubix/control`. */
async function withCounter<T>(
  engine: Engine,
  runtime: string,
  slot: string,
  image: string | null,
  use: (container: Docker.Container, id: string) => Promise<T>,
): Promise<T> {
  await mkdir(join(slot, "control"), { recursive: true });
  await mkdir(join(slot, "own"), { recursive: true });
  if (image !== null) await writeFile(join(slot, "own/restore"), image);
  const hostConfig: Docker.HostConfig = {
    Runtime: runtime,
    PidsLimit: PROBE_PIDS,
    Mounts: [
      mountOf(join(slot, "control"), "/qubix/control"),
      ...HOST_FOLDERS.filter((path) => existsSync(path)).map((path) => mountOf(path, path)),
    ],
  };
  return withProbe(
    engine,
    hostConfig,
    async (container) => {
      await engine.call("start a sandboxed container", CHANGE_TIMEOUT_MS, () => container.start());
      return use(container, container.id);
    },
    COUNTER,
  );
}

function mountOf(source: string, target: string) {
  return { Type: "bind", Source: source, Target: target, ReadOnly: true } as const;
}

/** Lets it count, saves it, and tells the last number it wrote. */
async function saveCounter(
  engine: Engine,
  program: string,
  container: Docker.Container,
  id: string,
  image: string,
): Promise<{ readonly count: number } | string> {
  await untilCounts(engine, container, COUNT_MIN);
  const { State: state } = await engine.call("look at a container", LOOK_TIMEOUT_MS, () => container.inspect());
  const sandbox = await findSandbox(id, state.Pid);
  if (sandbox === undefined) return "the agent cannot look at sandboxes (it needs root)";
  const saved = await saveMemory(program, sandbox, image);
  if (saved.kind === "failed") return saved.said;
  await engine.call("wait for a sandboxed container", CHANGE_TIMEOUT_MS, () => container.wait());
  return { count: (await countsOf(engine, container)).at(-1) ?? 0 };
}

async function firstCount(engine: Engine, container: Docker.Container): Promise<number> {
  await untilCounts(engine, container, 1);
  return (await countsOf(engine, container))[0] ?? 0;
}

async function untilCounts(engine: Engine, container: Docker.Container, count: number): Promise<void> {
  const deadline = performance.now() + COUNT_TIMEOUT_MS;
  while (((await countsOf(engine, container)).at(-1) ?? 0) < count) {
    if (performance.now() > deadline) throw new Error(`a counter under it did not come to ${count}`);
    await sleep(POLL_MS, NEVER);
  }
}

async function countsOf(engine: Engine, container: Docker.Container): Promise<readonly number[]> {
  const text = await engine.call("read a container's output", LOOK_TIMEOUT_MS, async () =>
    (await container.logs({ stdout: true, stderr: false })).toString("latin1"),
  );
  // A header of 8 bytes stands before each piece.
  return [...text.matchAll(/([0-9]+)\n/g)].map(([, digits]) => Number(digits));
}
