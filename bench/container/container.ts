// What the walls around a job cost: create + start of a hardened container on a volume of its own, as the worker does it, beside `docker run` of the same
// container in the same run; and how exactly a job's disk is capped.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createContainers } from "../../worker/src/runner/containers.ts";
import { createEngine } from "../../worker/src/runner/engine.ts";
import { slotFolders } from "../../worker/src/runner/slot-folders.ts";
import {
  attemptOf,
  createBench,
  DOCKER_SOCKET,
  ensureTinyImage,
  RUN,
  shell,
  TINY_IMAGE,
} from "../../worker/src/runner/testing.ts";
import { unmountAll } from "../../worker/src/runner/volumes/mounts.ts";
import { createVolumes } from "../../worker/src/runner/volumes/volumes.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { percentile } from "../harness/statistics.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;
const DOCKER_TIMEOUT_MS = 60_000;
/** The bar: create + start against the same by `docker run`. */
const RATIO_BAR = 1.3;
/** Bytes that a job could write against what it asked for. */
const CAP_LOW = 0.95;
const CAP_HIGH = 1.05;
const CAP_DISKS_MIB = [32, 256, 1024];
const SLEEP = ["sleep", "60"];

export async function runContainer(
  report: Report,
  cleanup: Cleanup,
  options: { readonly runs: number },
): Promise<void> {
  await ensureTinyImage();
  const folder = await scratchFolder(cleanup, "container");
  await measureStarts(report, cleanup, folder, options.runs);
  for (const diskMiB of CAP_DISKS_MIB) await measureCap(report, diskMiB);
}

async function measureStarts(report: Report, cleanup: Cleanup, folder: string, runs: number): Promise<void> {
  const slotsDir = join(folder, "slots");
  const containers = createContainers(createEngine(DOCKER_SOCKET), `wrk-bench-${randomBytes(4).toString("hex")}`);
  const volumes = createVolumes({ kind: "volumes" });
  cleanup.add(async () => {
    for (const id of await containers.list()) await containers.remove(id);
    await unmountAll(slotsDir);
  });
  const times = { volume: [] as number[], ours: [] as number[], docker: [] as number[] };
  for (let n = 0; n <= runs; n += 1) {
    const folders = slotFolders(slotsDir, `s${n}`);
    const begun = performance.now();
    await volumes.open(folders, RUN.diskMiB);
    const opened = performance.now();
    const own = [folders.work, folders.out, folders.checkpoint, folders.progress, folders.control];
    for (const path of own) await mkdir(path, { recursive: true });
    const order = { slotId: `s${n}`, jobId: "job-bench", run: { ...RUN, command: SLEEP }, folders, hostCpus: 2 };
    must(await containers.create(order));
    must(await containers.start(`s${n}`));
    const ended = performance.now();
    await containers.remove(`s${n}`);
    await volumes.release(folders);
    await rm(folders.root, { recursive: true, force: true });
    const docker = await dockerRun(folder, n);
    // The first of each fills caches.
    if (n === 0) continue;
    times.volume.push(opened - begun);
    times.ours.push(ended - begun);
    times.docker.push(docker);
    report.progress(`${n}/${runs}: ${Math.round(ended - begun)} ms, docker run ${Math.round(docker)} ms`);
  }
  const [ours, docker] = [median(times.ours), median(times.docker)];
  const n = runs;
  report.row({ system: "qubix", metric: "volume + create + start, hardened: median", value: ours, unit: "ms", n });
  report.row({ system: "qubix", metric: "of it, the volume: median", value: median(times.volume), unit: "ms", n });
  report.row({
    system: "docker run",
    metric: "the same container on plain folders: median",
    value: docker,
    unit: "ms",
    n,
  });
  report.row(
    { system: "qubix", metric: "against docker run", value: ours / docker, unit: "×", n },
    { atMost: RATIO_BAR },
  );
}

/** The same walls, by the command line, with plain folders for a disk. */
async function dockerRun(folder: string, n: number): Promise<number> {
  const disk = join(folder, "plain", String(n));
  const binds: string[] = [];
  for (const [name, target] of [
    ["work", "/work"],
    ["out", "/out"],
    ["checkpoint", "/qubix/checkpoint"],
    ["progress", "/qubix/progress"],
  ] as const) {
    await mkdir(join(disk, name), { recursive: true });
    binds.push("-v", `${join(disk, name)}:${target}`);
  }
  const walls = [
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--read-only",
    "--network",
    "none",
    "--init",
  ];
  const bounds = [
    "--pids-limit",
    "2048",
    "--memory",
    "64m",
    "--memory-swap",
    "64m",
    "--cpus",
    "0.5",
    "--shm-size",
    "8m",
  ];
  const more = [
    "--ulimit",
    "nofile=16384",
    "--ulimit",
    "core=0",
    "--log-opt",
    "max-size=32m",
    "--log-opt",
    "max-file=2",
  ];
  const tmp = ["--tmpfs", "/tmp:rw,exec,nosuid,nodev,size=32m"];
  const args = ["run", "--detach", ...walls, ...bounds, ...more, ...tmp, ...binds, TINY_IMAGE, ...SLEEP];
  const begun = performance.now();
  const { stdout } = await run("docker", args, { timeout: DOCKER_TIMEOUT_MS });
  const tookMs = performance.now() - begun;
  await run("docker", ["rm", "--force", stdout.trim()], { timeout: DOCKER_TIMEOUT_MS });
  return tookMs;
}

async function measureCap(report: Report, diskMiB: number): Promise<void> {
  const bench = await createBench();
  try {
    const attempt = attemptOf("job-bench");
    const job = shell("cat /dev/zero > /work/a; cat /dev/zero > /out/b; cat /work/a /out/b | wc -c", { diskMiB });
    const slot = bench.slot("s1");
    await slot.prepare(attempt.jobId, job, null);
    await slot.start(attempt, job);
    await bench.event("exited", DOCKER_TIMEOUT_MS);
    const share = Number(bench.log().trim()) / (diskMiB * MIB);
    const metric = `bytes a job could write / disk asked for (${diskMiB} MiB)`;
    report.row({ system: "qubix", metric, value: share, unit: "×", n: 1 }, { atMost: CAP_HIGH });
    report.check(`a disk of ${diskMiB} MiB is capped within 5%`, share >= CAP_LOW && share <= CAP_HIGH, String(share));
  } finally {
    await bench.dispose();
  }
}

function median(values: readonly number[]): number {
  return percentile(values, 50);
}

function must(answer: { readonly kind: string; readonly message?: string }): void {
  if (answer.kind === "problem") throw new Error(answer.message);
}
