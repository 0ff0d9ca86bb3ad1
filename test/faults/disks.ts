// A disk of a fixed size: an ext4 in a file. It can be filled, and be made slow for one program.
import { execFile, execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 20_000;
const MIB = 1024 * 1024;
const FILLER = "filler";
/** What the filler itself needs for its tables; they are used up by writing. */
const SPARE_BLOCKS = 64;
const CGROUPS = "/sys/fs/cgroup";

export interface Disk {
  /** Leaves not one block free. */
  fill(): void;
  /** Undoes {@link fill}. */
  free(): void;
  /** Lets the process `pid` write so many times a second. Resolves to the way back. */
  slowFor(pid: number, writesPerS: number): () => void;
  /** Unmounts it and removes its file. Can be called twice. */
  remove(): Promise<void>;
}

/** Makes a disk and mounts it at `folder`, which is made. */
export async function makeDisk(folder: string, sizeMiB: number): Promise<Disk> {
  const file = `${folder}.img`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, "");
  truncateSync(file, sizeMiB * MIB);
  // No blocks are kept back for root, who is the one that fills it.
  await command("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1", file);
  await command("mount", "-o", "loop", file, folder);
  rmSync(join(folder, "lost+found"), { recursive: true });
  return {
    fill: () => fill(join(folder, FILLER), statfsSync(folder)),
    free: () => rmSync(join(folder, FILLER), { force: true }),
    slowFor: (pid, writesPerS) => slowFor(pid, folder, writesPerS),
    remove: async () => {
      await command("umount", "--lazy", folder).catch(() => undefined);
      rmSync(file, { force: true });
    },
  };
}

/** The blocks are taken without being written: the disk is full, and not busy. */
function fill(path: string, { bavail, bsize }: { readonly bavail: number; readonly bsize: number }): void {
  execFileSync("fallocate", ["--length", String(Math.max(1, bavail - SPARE_BLOCKS) * bsize), path]);
  const descriptor = openSync(path, "a");
  try {
    for (;;) writeSync(descriptor, Buffer.alloc(bsize, 1));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** By the kernel's own means: a control group that may write so often to this device. What others write to it goes as before. */
function slowFor(pid: number, folder: string, writesPerS: number): () => void {
  const { dev } = statSync(folder);
  const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  const isSecondVersion = readFileSync("/proc/self/cgroup", "utf8").trim().startsWith("0::");
  const root = isSecondVersion ? CGROUPS : join(CGROUPS, "blkio");
  const group = join(root, `qubix-slow-${pid}`);
  const before = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .split("\n")
    .map((line) => line.split(":"))
    .find(([, name]) => (isSecondVersion ? name === "" : name === "blkio"))?.[2];
  if (isSecondVersion) writeFileSync(join(root, "cgroup.subtree_control"), "+io");
  mkdirSync(group);
  if (isSecondVersion) writeFileSync(join(group, "io.max"), `${device} wiops=${writesPerS}`);
  else writeFileSync(join(group, "blkio.throttle.write_iops_device"), `${device} ${writesPerS}`);
  writeFileSync(join(group, "cgroup.procs"), String(pid));
  return () => {
    const back = join(root, before ?? "", "cgroup.procs");
    for (const left of readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
      writeFileSync(back, left);
    rmdirSync(group);
  };
}

async function command(file: string, ...args: readonly string[]): Promise<void> {
  const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  await run(file, [...args], { timeout: COMMAND_TIMEOUT_MS, env: { ...process.env, PATH: path } });
}
