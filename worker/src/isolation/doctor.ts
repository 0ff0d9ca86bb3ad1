// The doctor on isolation: what bounds a job's disk here, whether jobs can be sandboxed, and whether GPUs may be handed to containers.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Check, type CheckRun, fail, ok, skip, warn } from "../app/doctor/check.ts";
import { detectGpus } from "../gpu/nvidia-smi.ts";
import { chooseDiskBound } from "../runner/volumes/self-test.ts";
import type { Engine } from "../runner/engine.ts";
import type { DiskBound } from "../runner/volumes/volumes.ts";
import { checkMemoryImages, type MemoryCheck } from "./memory-images.ts";
import { checkSandbox, SANDBOX_VERSION_MIN, type SandboxCheck } from "./sandbox.ts";
import { checkToolkit, TOOLKIT_VERSION_MIN, type ToolkitCheck } from "./toolkit.ts";

export const checkIsolation: CheckRun = async ({ config, engine }) => {
  const folder = await mkdtemp(join(config.dataDir ?? tmpdir(), "doctor-")).catch(() =>
    mkdtemp(join(tmpdir(), "doctor-")),
  );
  try {
    const disk = await chooseDiskBound(engine, join(folder, "volume"));
    const sandbox = await checkSandbox(engine, config.sandboxRuntime);
    const memory = await checkMemory(engine, config.memoryRuntime, disk, folder);
    const [toolkit, detection] = await Promise.all([checkToolkit(), detectGpus()]);
    return [
      judgeDisk(disk),
      judgeSandbox(sandbox, config.sandboxRuntime),
      judgeMemoryImages(memory, config.memoryRuntime),
      judgeToolkitHere(toolkit, detection.kind),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

async function checkMemory(engine: Engine, runtime: string, disk: DiskBound, folder: string): Promise<MemoryCheck> {
  const check = await checkMemoryImages(engine, runtime, join(folder, "memory"));
  if (check.kind !== "ready" || disk.kind === "volumes") return check;
  return { kind: "unfit", found: "they hold here, but the disks of jobs are no volumes" };
}

export function judgeDisk(bound: DiskBound): Check {
  const needed = "volumes: the file system itself bounds what a job writes";
  if (bound.kind === "volumes") return ok("Disk limit", "volumes", needed);
  const remedy =
    "Run the worker as root on a kernel with loop devices and ext4; until then folders are watched, and a job over its limit is killed";
  return warn("Disk limit", `watched folders (${bound.why})`, needed, remedy);
}

export function judgeSandbox(check: SandboxCheck, runtime: string): Check {
  const name = "Sandbox";
  const needed = `gVisor of ${SANDBOX_VERSION_MIN} or later, for jobs that ask for it`;
  if (check.kind === "ready") return ok(name, `gVisor of ${check.version} (${runtime})`, needed);
  if (check.kind === "absent")
    return skip(name, `the Engine has no runtime ${runtime}; see docs/worker.md to add it`, needed);
  return warn(name, check.found, needed, "Mend or upgrade it (docs/worker.md); until then sandboxed jobs go elsewhere");
}

export function judgeMemoryImages(check: MemoryCheck, runtime: string): Check {
  const name = "Transparent checkpoints";
  const needed = "a counter saved under gVisor goes on in another container, for jobs that ask for it";
  if (check.kind === "ready") return ok(name, `class ${check.memoryClass} (${runtime})`, needed);
  if (check.kind === "absent")
    return skip(name, `the Engine has no runtime ${runtime}; see docs/worker.md to add it`, needed);
  return warn(name, check.found, needed, "See docs/worker.md; until then jobs that ask for them go elsewhere");
}

export function judgeToolkitHere(check: ToolkitCheck, gpus: "gpus" | "absent" | "broken"): Check {
  const name = "NVIDIA container toolkit";
  const needed = `${TOOLKIT_VERSION_MIN} or later (CVE-2025-23266)`;
  if (check.kind === "good") return ok(name, check.version, needed);
  if (gpus !== "gpus") return skip(name, "no GPUs to hand out", needed);
  const found = check.kind === "old" ? check.version : "not installed";
  return fail(name, found, needed, "Install or upgrade nvidia-container-toolkit; until then no GPU is offered");
}
