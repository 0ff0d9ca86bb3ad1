// What the tests of this folder share: a tiny image made on the spot, a chunk store in memory, and slots on the real Docker Engine.
import { execFile } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { AttemptRef, ChunkCid, Epoch, JobId } from "@qubix/shared/domain";
import type { RunSpec } from "@qubix/shared/protocol";
import { createLogger, QubixError } from "@qubix/shared/runtime";
import type { ChunkSink } from "../checkpoint/send.ts";
import type { ChunkSource } from "../checkpoint/unpack.ts";
import type { WorkerCoreEvent } from "../core/index.ts";
import type { Guard } from "../guard/guard.ts";
import { runtimeProgram } from "../isolation/sandbox.ts";
import { createBootClock } from "./boot-clock.ts";
import { createContainers } from "./containers.ts";
import { createEngine } from "./engine.ts";
import { MEMORY_RUNTIME_DEFAULT } from "./host-config.ts";
import { createImages, type ImagesConfig } from "./images/images.ts";
import type { LedgerContent } from "./images/ledger.ts";
import { createJobNetworks } from "./network/job-networks.ts";
import type { PumpPosition } from "./log-pump.ts";
import { createSecretStore, type SecretStore } from "../secrets/secret-store.ts";
import { makeMemoryFolder, memoryFolderCandidates } from "../secrets/memory-folder.ts";
import { createSlotRunner } from "./slot.ts";
import type { SlotRunner } from "./slot-port.ts";
import { unmountAll } from "./volumes/mounts.ts";
import { createVolumes, type DiskBound } from "./volumes/volumes.ts";
import { createThreads } from "../checkpoint/encode/threads.ts";
import { createCheckpointPort, NO_PEER } from "../direct/chunk-port.ts";

const run = promisify(execFile);
export const TINY_IMAGE = "qubix-test/tiny:local";
export const DOCKER_SOCKET = "/var/run/docker.sock";
export const NOBODY = 65_534;

/** Makes {@link TINY_IMAGE} (busybox, runs as `nobody`) from the distribution's package, unless it is there. */
export async function ensureTinyImage(): Promise<void> {
  const { docker } = createEngine(DOCKER_SOCKET);
  const there = await docker
    .getImage(TINY_IMAGE)
    .inspect()
    .then(
      () => true,
      () => false,
    );
  if (there) return;
  const scratch = await mkdtemp(join(tmpdir(), "qubix-tiny-"));
  try {
    const root = await makeRoot(scratch);
    const tar = join(scratch, "tiny.tar");
    await run("tar", ["--owner=0", "--group=0", "-C", root, "-cf", tar, "."]);
    const [repo, tag] = TINY_IMAGE.split(":");
    const changes = ["ENV PATH=/bin", "USER nobody", 'CMD ["/bin/true"]'];
    const stream = await docker.importImage(createReadStream(tar), { repo, tag, changes } as object);
    await new Promise<void>((resolve, reject) =>
      docker.modem.followProgress(stream, (error: Error | null) => (error === null ? resolve() : reject(error))),
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function makeRoot(scratch: string): Promise<string> {
  const options = { cwd: scratch };
  await run("apt-get", ["-q", "-o", "APT::Sandbox::User=root", "download", "busybox-static"], options);
  const [deb = ""] = (await readdir(scratch)).filter((name) => name.endsWith(".deb"));
  await run("dpkg-deb", ["-x", deb, "package"], options);
  const root = join(scratch, "root");
  for (const folder of ["bin", "etc", "tmp", "work", "out"]) await mkdir(join(root, folder), { recursive: true });
  await chmod(join(root, "tmp"), 0o1777);
  const { stdout: found } = await run("find", ["package", "-path", "*/bin/busybox", "-type", "f"], options);
  await copyFile(join(scratch, found.trim()), join(root, "bin/busybox"));
  const { stdout: applets } = await run(join(root, "bin/busybox"), ["--list"]);
  for (const applet of applets.trim().split("\n")) {
    if (applet !== "busybox") await symlink("busybox", join(root, "bin", applet));
  }
  await writeFile(join(root, "etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
  return root;
}

export interface MemoryChunks extends ChunkSink, ChunkSource {
  readonly stored: Map<ChunkCid, Uint8Array>;
  /** Chunks that were fetched. */
  readonly fetched: ChunkCid[];
}

export function createMemoryChunks(): MemoryChunks {
  const stored = new Map<ChunkCid, Uint8Array>();
  const fetched: ChunkCid[] = [];
  return {
    stored,
    fetched,
    missing: async (cids) => new Set(cids.filter((cid) => !stored.has(cid))),
    put: async (cid, bytes) => void stored.set(cid, Buffer.from(bytes)),
    async get(cid) {
      const bytes = stored.get(cid);
      if (bytes === undefined) throw new QubixError("chunk_missing", `no chunk ${cid}`, { category: "platform" });
      fetched.push(cid);
      return Uint8Array.from(bytes);
    },
  };
}

export const RUN: RunSpec = {
  image: TINY_IMAGE,
  command: ["true"],
  env: {},
  outputs: ["/out/**"],
  inputs: [],
  gpuUuids: [],
  cpus: 0.5,
  memoryMiB: 64,
  diskMiB: 64,
  shmMiB: 8,
  stopGraceS: 1,
  checkpointIntervalS: 1,
};

export function shell(script: string, patch: Partial<RunSpec> = {}): RunSpec {
  return { ...RUN, command: ["sh", "-c", script], ...patch };
}

export function attemptOf(jobId: string, epoch = 1): AttemptRef {
  return { jobId: jobId as JobId, replica: 0, epoch: epoch as Epoch };
}

export function imagesConfig(dir: string, patch: Partial<ImagesConfig> = {}): ImagesConfig {
  return {
    localImages: [TINY_IMAGE],
    registries: [],
    privateRegistries: [],
    dir: join(dir, "images"),
    room: { budgetBytes: 1024 ** 3, reserveBytes: 0, engineDir: null },
    ...patch,
  };
}

export function createMemoryLedger() {
  let kept: LedgerContent | undefined;
  return { load: () => kept, save: (content: LedgerContent) => void (kept = content) };
}

/** One worker's runner on the real Engine. `log` is what was sent of the output, by attempt and stream. */
export interface Bench {
  readonly dir: string;
  readonly workerId: string;
  readonly chunks: MemoryChunks;
  readonly containers: ReturnType<typeof createContainers>;
  readonly secrets: SecretStore;
  /** Where they lie. */
  readonly secretsDir: string;
  readonly events: WorkerCoreEvent[];
  readonly positions: Map<string, PumpPosition>;
  /** `guard`: of exclusive jobs. */
  slot(id: string, guard?: Guard): SlotRunner;
  /** What the Engine says of a slot's container. */
  describe(id: string): Promise<unknown>;
  /** The first event of this kind, now or soon. */
  event<K extends WorkerCoreEvent["kind"]>(kind: K, timeoutMs?: number): Promise<Extract<WorkerCoreEvent, { kind: K }>>;
  log(stream?: "stdout" | "stderr"): string;
  /** Output is answered at once, or not at all. */
  answerLogs(yes: boolean): void;
  /** Removes all containers and files. */
  dispose(): Promise<void>;
}

const EVENT_TIMEOUT_MS = 20_000;
/** What the benches' secrets are sealed to. */
export const SECRETS_KEY = generateKeyPairSync("x25519").privateKey;
export const SECRETS = { orchestratorId: "orc-test", key: SECRETS_KEY };
const VOLUMES: DiskBound = process.getuid?.() === 0 ? { kind: "volumes" } : { kind: "watched", why: "not root" };

/** `images`: other settings for images than that {@link TINY_IMAGE} may run, and nothing else. */
export async function createBench(
  bound: DiskBound = VOLUMES,
  images: Partial<ImagesConfig> = {},
  where: { readonly socket?: string; readonly parent?: string | undefined } = {},
): Promise<Bench> {
  const { socket = DOCKER_SOCKET, parent = tmpdir() } = where;
  const dir = await mkdtemp(join(parent, "qubix-runner-"));
  const workerId = `wrk-test-${randomBytes(4).toString("hex")}`;
  const engine = createEngine(socket);
  const containers = createContainers(engine, workerId);
  const chunks = createMemoryChunks();
  const ledger = createMemoryLedger();
  const events: WorkerCoreEvent[] = [];
  const positions = new Map<string, PumpPosition>();
  const slots: SlotRunner[] = [];
  const written = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  const listeners = new Set<() => void>();
  let answering = true;

  const logger = createLogger("test", "silent");
  const secretsDir = makeMemoryFolder(memoryFolderCandidates(process.env), `qubix-${workerId}`) ?? join(dir, "secrets");
  await mkdir(secretsDir, { recursive: true });
  const threads = createThreads();
  const ports = {
    engine,
    threads,
    containers,
    memoryProgram: () => runtimeProgram(engine, MEMORY_RUNTIME_DEFAULT),
    volumes: createVolumes(bound),
    guard: null,
    networks: createJobNetworks({ engine, logger }, workerId),
    images: createImages(
      { engine, logger: createLogger("test", "silent"), ledger, threads },
      imagesConfig(dir, images),
    ),
    clock: createBootClock(),
    logger,
    sendLog(body: { stream: "stdout" | "stderr"; offset: number; text: string }, answered: (taken: boolean) => void) {
      if (!answering) return true;
      // As the orchestrator does: what overlaps is written over, a gap would be seen as zeros.
      const text = Buffer.from(body.text);
      const end = Math.max(written[body.stream].length, body.offset + text.length);
      const next = Buffer.alloc(end);
      written[body.stream].copy(next);
      text.copy(next, body.offset);
      written[body.stream] = next;
      queueMicrotask(() => answered(true));
      return true;
    },
    positions: {
      load: (id: string) => positions.get(id),
      save: (id: string, position: PumpPosition) => void positions.set(id, position),
      forget: (id: string) => void positions.delete(id),
    },
    secrets: createSecretStore({ ...SECRETS, folder: secretsDir, workerId, logger }),
    chunks: () => chunks,
    checkpointChunks: () => createCheckpointPort(chunks, NO_PEER),
    emit(event: WorkerCoreEvent) {
      events.push(event);
      for (const listener of listeners) listener();
    },
  };
  const config = { slotsDir: join(dir, "slots"), hostCpus: 2 };
  await mkdir(config.slotsDir);

  return {
    dir,
    workerId,
    chunks,
    containers,
    secrets: ports.secrets,
    secretsDir,
    describe: (id) => engine.docker.getContainer(`qubix-${workerId}-${id}`).inspect(),
    events,
    positions,
    slot(id, guard) {
      const slot = createSlotRunner(id, guard === undefined ? ports : { ...ports, guard }, config, () => true);
      slots.push(slot);
      return slot;
    },
    event<K extends WorkerCoreEvent["kind"]>(kind: K, timeoutMs = EVENT_TIMEOUT_MS) {
      return new Promise<Extract<WorkerCoreEvent, { kind: K }>>((resolve, reject) => {
        const timer = setTimeout(() => {
          listeners.delete(look);
          reject(new Error(`no ${kind} among ${JSON.stringify(events)}; stderr: ${written.stderr.toString()}`));
        }, timeoutMs);
        const look = () => {
          const found = events.find((event) => event.kind === kind);
          if (found === undefined) return;
          clearTimeout(timer);
          listeners.delete(look);
          resolve(found as Extract<WorkerCoreEvent, { kind: K }>);
        };
        listeners.add(look);
        look();
      });
    },
    log: (stream = "stdout") => written[stream].toString(),
    answerLogs(yes) {
      answering = yes;
    },
    async dispose() {
      for (const slot of slots) slot.detach();
      for (const id of await containers.list()) await containers.remove(id);
      await rm(secretsDir, { recursive: true, force: true });
      await unmountAll(config.slotsDir);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
