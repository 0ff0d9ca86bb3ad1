// Strangers' jobs against the walls, per isolation class: the real runner, the real Engine, a hostile program. The same program without walls shows that it
// would be seen to succeed.
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunSpec } from "@qubix/shared/protocol";
import { checkSandbox } from "../../worker/src/isolation/sandbox.ts";
import { createEngine } from "../../worker/src/runner/engine.ts";
import { attemptOf, type Bench, createBench, DOCKER_SOCKET, shell } from "../../worker/src/runner/testing.ts";
import { startTestEngine, type TestEngine, whyNoTestEngine } from "../lib/engine.ts";
import {
  makeProbeImages,
  PROBES_AS_NOBODY,
  PROBES_AS_ROOT,
  readFigure,
  readProbes,
  runUnhardened,
  sharedFolder,
  sizeOfLogs,
  startMarker,
  throttledPeriods,
} from "./lab.ts";

const RUNSC = "/usr/bin/runsc";
const WAYS_OUT = 34;
const DISK_MIB = 32;
const MEMORY_MIB = 128;
/** More than any of the limits below. */
const DISK_FILL_MIB = 80;
const MEMORY_FILL_MIB = 160;
const FORKS = 2200;
/** A job under its limits on a busy machine, under gVisor above all. */
const EXIT_TIMEOUT_MS = 60_000;
const PIDS_MAX = 2048;
const FILES = 6000;
/** Of a volume of {@link DISK_MIB}. */
const FILES_MAX = 2048;
const FLOOD_MIB = 80;
const LOG_BYTES_MAX = 66 * 1024 * 1024;
/** So little that also a busy machine would give more: the kernel has to hold the job back. */
const CPUS = 0.1;
/** Of one core, with the grain of the kernel's accounting. */
const CPU_PERCENT_MAX = 30;

let marker: ChildProcess;
beforeAll(async () => {
  await makeProbeImages();
  marker = startMarker();
}, 120_000);
afterAll(() => void marker.kill());

const walls = process.getuid?.() === 0 ? undefined : "volumes and sandboxes need root";
const sandboxMissing = existsSync(RUNSC) ? whyNoTestEngine() : `gVisor is not installed (${RUNSC})`;
if (sandboxMissing !== undefined) console.warn(`skipped: the sandboxed class, because ${sandboxMissing}`);
if (walls !== undefined) console.warn(`skipped: bounds of a job's disk, because ${walls}`);

describe("without walls", () => {
  let disk: string;
  beforeEach(async () => {
    disk = await mkdtemp(join(tmpdir(), "qubix-no-walls-"));
  });
  afterEach(() => rm(disk, { recursive: true, force: true }));

  it("every way out is seen to be open", async () => {
    const { all, succeeded } = readProbes((await runUnhardened(["escape"], disk)).text);
    // What the machine's kernel was built without is open to nobody.
    const absent = [
      ...(existsSync("/proc/sysrq-trigger") ? [] : ["sysrq"]),
      ...(existsSync("/proc/modules") ? [] : ["load-module"]),
    ];
    expect(all).toHaveLength(WAYS_OUT);
    expect(all.filter((name) => !succeeded.includes(name) && !absent.includes(name))).toEqual([]);
  });

  it("every kind of abuse is seen to go beyond the limits", async () => {
    const said = async (...args: string[]) => (await runUnhardened(args, disk)).text;
    expect(readFigure(await said("fork-bomb", String(FORKS)), "processes")).toBeGreaterThan(PIDS_MAX);
    expect(readFigure(await said("memory-hog", String(MEMORY_FILL_MIB)), "memory")).toBe(MEMORY_FILL_MIB);
    expect(readFigure(await said("memory-fill", String(MEMORY_FILL_MIB)), "filled")).toBe(MEMORY_FILL_MIB);
    expect(readFigure(await said("disk-fill", String(DISK_FILL_MIB)), "filled")).toBe(DISK_FILL_MIB);
    expect(readFigure(await said("file-fill", String(FILES)), "files")).toBe(FILES);
    const hog = await runUnhardened(["cpu-hog", "2"], disk);
    expect([readFigure(hog.text, "cpu") > 0, hog.throttled]).toEqual([true, 0]);
    expect((await runUnhardened(["log-flood", String(FLOOD_MIB)], disk)).logBytes).toBeGreaterThan(LOG_BYTES_MAX);
  }, 60_000);
});

describe.each([
  { name: "standard, as root", image: PROBES_AS_ROOT, isolation: undefined },
  { name: "standard, as nobody", image: PROBES_AS_NOBODY, isolation: undefined },
  { name: "sandboxed, as root", image: PROBES_AS_ROOT, isolation: "sandboxed" as const },
])("a job that is $name", ({ image, isolation }) => {
  const isSandboxed = isolation !== undefined;
  const skipped = isSandboxed && sandboxMissing !== undefined;
  let engine: TestEngine | undefined;
  let shared: Awaited<ReturnType<typeof sharedFolder>> | undefined;
  let bench: Bench;

  beforeAll(async () => {
    if (!isSandboxed || skipped) return;
    const runtimeArgs = ["--platform=ptrace", "--network=none"];
    // Where the machine's mounts are not shared, the Engine would not see those made after its start.
    shared = await sharedFolder();
    engine = await startTestEngine({ runtimes: { runsc: { path: RUNSC, runtimeArgs } } });
    await engine.loadImage(image);
  }, 120_000);
  afterAll(async () => {
    await engine?.stop();
    await shared?.remove();
  });
  beforeEach(async () => {
    bench = await newBench();
  });
  afterEach(() => bench.dispose());

  const containerOf = () =>
    createEngine(engine?.socket ?? DOCKER_SOCKET).docker.getContainer(`qubix-${bench.workerId}-s1`);
  const newBench = () =>
    createBench(
      undefined,
      { localImages: [PROBES_AS_ROOT, PROBES_AS_NOBODY] },
      {
        socket: engine?.socket ?? DOCKER_SOCKET,
        parent: shared?.path,
      },
    );

  /** Runs the probes as a job to their end. */
  async function run(args: readonly string[], patch: Partial<RunSpec> = {}) {
    const attempt = attemptOf("job-a");
    const spec: RunSpec = {
      ...shell("", { memoryMiB: MEMORY_MIB, diskMiB: DISK_MIB, ...patch }),
      image,
      command: ["/probes", ...args],
      ...(isolation === undefined ? {} : { isolation }),
    };
    const slot = bench.slot("s1");
    await slot.prepare(attempt.jobId, spec, null);
    await slot.start(attempt, spec);
    const exit = await bench.event("exited", EXIT_TIMEOUT_MS);
    return { text: bench.log(), exit };
  }

  it.skipIf(skipped)("finds no way out", async () => {
    const { all, succeeded } = readProbes((await run(["escape"])).text);
    expect(all).toHaveLength(WAYS_OUT);
    expect(succeeded.filter((name) => !(isSandboxed && INSIDE_THE_SANDBOX.includes(name)))).toEqual([]);
  });

  // Whose user it is makes no difference to these: once is enough.
  it.skipIf(skipped || image === PROBES_AS_NOBODY)(
    "stays within its processes, memory and cores",
    async () => {
      const said = async (args: readonly string[], patch?: Partial<RunSpec>) => {
        const ended = await run(args, patch);
        await bench.dispose();
        bench = await newBench();
        return ended;
      };
      const bomb = await said(["fork-bomb", String(FORKS)], { memoryMiB: 512 });
      expect(readFigure(bomb.text, "processes")).toBeLessThan(PIDS_MAX);
      const hog = await said(["memory-hog", String(MEMORY_FILL_MIB)]);
      expect(hog.exit.exitCode).not.toBe(0);
      expect(readFigure(hog.text, "memory")).toBeLessThan(MEMORY_MIB);
      const memory = await said(["memory-fill", String(MEMORY_FILL_MIB)]);
      expect(readFigure(memory.text, "filled")).toBeLessThan(MEMORY_MIB);
      const container = containerOf();
      const ended = said(["cpu-hog", "2"], { cpus: CPUS });
      const throttled = () => throttledPeriods(container).catch(() => 0);
      await expect.poll(throttled, { timeout: 60_000 }).toBeGreaterThan(0);
      const { text } = await ended;
      // gVisor's own accounts of time are rough; the kernel's word is above.
      if (!isSandboxed) expect(readFigure(text, "cpu")).toBeLessThan(CPU_PERCENT_MAX);
    },
    180_000,
  );

  it.skipIf(skipped || walls !== undefined)("stays within its disk and files", async () => {
    const { text } = await run(["disk-fill", String(DISK_FILL_MIB)]);
    const filled = [...text.matchAll(/^filled \S+ ([0-9]+)$/gm)].map(([, mib]) => Number(mib));
    expect(filled).toHaveLength(2);
    expect(filled.reduce((sum, mib) => sum + mib, 0)).toBeLessThanOrEqual(DISK_MIB);
    await bench.dispose();
    bench = await newBench();
    const files = readFigure((await run(["file-fill", String(FILES)])).text, "files");
    expect([files > FILES_MAX / 2, files <= FILES_MAX]).toEqual([true, true]);
  });

  it.skipIf(skipped || walls !== undefined)("cannot fill the machine's disk with its log", async () => {
    // Not waited for to its end, which comes when all of it is read.
    void run(["log-flood", String(FLOOD_MIB)]).catch(() => undefined);
    await expect
      .poll(async () => (await bench.containers.inspect("s1"))?.state, { timeout: 60_000, interval: 200 })
      .toBe("exited");
    const info = await containerOf().inspect();
    expect(await sizeOfLogs((info as { LogPath?: string }).LogPath ?? "")).toBeLessThan(LOG_BYTES_MAX);
  });

  it.skipIf(skipped || !isSandboxed)("is offered where a container has run under gVisor, and only there", async () => {
    const memory = new Map<string, unknown>();
    const journal = {
      get: (key: string) => memory.get(key),
      set: (key: string, value: unknown) => void memory.set(key, value),
    };
    const under = createEngine(engine?.socket ?? "");
    expect(await checkSandbox(under, "runsc", journal)).toMatchObject({ kind: "ready" });
    expect(memory.size).toBe(1);
    expect(await checkSandbox(under, "other", journal)).toEqual({ kind: "absent" });
    expect(await checkSandbox(under, "runc", journal)).toMatchObject({ kind: "unfit" });
    expect(await checkSandbox(createEngine(DOCKER_SOCKET), "runsc")).toEqual({ kind: "absent" });
  });
});

/** gVisor's kernel grants these to what is inside, where they reach nothing of the machine. */
const INSIDE_THE_SANDBOX = ["unshare-user", "unshare-mount", "better-nice", "device-null"];
