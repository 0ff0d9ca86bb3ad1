// What the tests of isolation share: the program of probes in an image made on the spot, a process of the host to look for, and containers without any wall.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type Docker from "dockerode";
import { sleep } from "../../scripts/lib/processes.ts";
import { createEngine } from "../../worker/src/runner/engine.ts";
import { DOCKER_SOCKET } from "../../worker/src/runner/testing.ts";

const run = promisify(execFile);
/** As root, who has the most to lose; and as the usual nobody. */
export const PROBES_AS_ROOT = "qubix-test/probes-root:local";
export const PROBES_AS_NOBODY = "qubix-test/probes:local";
/** What `probes.c` looks for in /proc. */
const MARKER = "qubix-host-marker";
const TOOL_TIMEOUT_MS = 60_000;
const PROBE_TIMEOUT_MS = 60_000;

/** All that Linux has, but the one over limits, which some machines keep from their Engine. */
const CAPABILITIES = [
  ..."CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE".split(
    " ",
  ),
  ..."NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT".split(
    " ",
  ),
  ..."SYS_ADMIN SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP".split(" "),
  ..."MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ".split(" "),
];

/** Compiles the probes and makes their images. */
export async function makeProbeImages(): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "qubix-probes-"));
  try {
    const root = join(scratch, "root");
    for (const folder of ["tmp", "work", "out", "etc", "qubix"]) await mkdir(join(root, folder), { recursive: true });
    await chmod(join(root, "tmp"), 0o1777);
    await run("gcc", ["-O1", "-static", "-o", join(root, "probes"), join(import.meta.dirname, "probes.c")], {
      timeout: TOOL_TIMEOUT_MS,
    });
    await copyFile(join(root, "probes"), join(root, "probes-setuid"));
    await chmod(join(root, "probes-setuid"), 0o4755);
    await writeFile(join(root, "etc/passwd"), "root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n");
    const tar = join(scratch, "probes.tar");
    await run("tar", ["--owner=0", "--group=0", "-C", root, "-cf", tar, "."], { timeout: TOOL_TIMEOUT_MS });
    await importImage(tar, PROBES_AS_ROOT, "USER 0:0");
    await importImage(tar, PROBES_AS_NOBODY, "USER 65534:65534");
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function importImage(tar: string, name: string, user: string): Promise<void> {
  const { docker } = createEngine(DOCKER_SOCKET);
  const [repo, tag] = name.split(":");
  const options = { repo, tag, changes: [user, 'CMD ["/probes"]'] } as object;
  const stream = await docker.importImage(createReadStream(tar), options);
  await new Promise<void>((resolve, reject) =>
    docker.modem.followProgress(stream, (error: Error | null) => (error === null ? resolve() : reject(error))),
  );
}

/** A process outside of every container; to be killed. */
export function startMarker(): ChildProcess {
  return spawn("sleep", ["300"], { argv0: MARKER, stdio: "ignore" });
}

/** Runs the probes without any wall between them and the machine, `disk` being their folder for /work and /out. Returns what they say, and their log's size. */
export async function runUnhardened(args: readonly string[], disk: string): Promise<Unhardened> {
  const { docker } = createEngine(DOCKER_SOCKET);
  for (const name of ["work", "out"]) await mkdir(join(disk, name), { recursive: true });
  const container = await docker.createContainer({
    Image: PROBES_AS_ROOT,
    Cmd: ["/probes", ...args],
    HostConfig: { ...unhardened(disk), ...(args[0] === "escape" ? { PidMode: "host" } : {}) },
  });
  try {
    await container.start();
    if (args[0] === "cpu-hog") await sleep(1_500);
    const throttled = args[0] === "cpu-hog" ? await throttledPeriods(container) : 0;
    const timer = setTimeout(() => void container.kill().catch(() => undefined), PROBE_TIMEOUT_MS);
    await container.wait().finally(() => clearTimeout(timer));
    const info = await container.inspect();
    const logBytes = await sizeOfLogs((info as { LogPath?: string }).LogPath ?? "");
    const log = args[0] === "log-flood" ? Buffer.alloc(0) : await container.logs({ stdout: true, stderr: true });
    // Each piece of the stream has 8 bytes before it.
    const text = log.toString("latin1").replace(/[\x00-\x02]\x00{3}[\s\S]{4}/g, "");
    return { text, logBytes, throttled };
  } finally {
    await container.remove({ force: true, v: true });
  }
}

export interface Unhardened {
  readonly text: string;
  readonly logBytes: number;
  readonly throttled: number;
}

/** How often the kernel held this running container back from more of the cores. */
export async function throttledPeriods(container: Docker.Container): Promise<number> {
  const stats = await container.stats({ stream: false, "one-shot": true } as { stream: false });
  return stats.cpu_stats.throttling_data.throttled_periods;
}

function unhardened(disk: string): NonNullable<Docker.ContainerCreateOptions["HostConfig"]> & Record<string, unknown> {
  const seen = ["/sys/fs/cgroup", "/sys/kernel", DOCKER_SOCKET].map((path) => `${path}:${path}`);
  return {
    CapAdd: CAPABILITIES,
    SecurityOpt: ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
    MaskedPaths: [],
    ReadonlyPaths: [],
    DeviceCgroupRules: ["a *:* rwm"],
    Devices: [{ PathOnHost: "/dev/kmsg", PathInContainer: "/dev/kmsg", CgroupPermissions: "rwm" }],
    NetworkMode: "host",
    CgroupnsMode: "host",
    ShmSize: 256 * 1024 * 1024,
    // Nothing of it is on a disk for longer than the test.
    Tmpfs: { "/tmp": "exec,dev,suid" },
    Binds: [...seen, `${join(disk, "work")}:/work`, `${join(disk, "out")}:/out`],
    // The default of the Engine: no end.
    LogConfig: { Type: "json-file", Config: {} },
  };
}

/** Of a container's log and its turned-over files, where the Engine's folder can be read. */
export async function sizeOfLogs(path: string): Promise<number> {
  const { stdout } = await run("sh", ["-c", 'cat "$0"* | wc -c', path], { timeout: TOOL_TIMEOUT_MS });
  return Number(stdout.trim());
}

/** `name succeeded` / `name refused` lines → the names that succeeded, and all. */
export function readProbes(text: string): { readonly succeeded: readonly string[]; readonly all: readonly string[] } {
  const lines = [...text.matchAll(/^([a-z-]+) (succeeded|refused)$/gm)];
  return {
    all: lines.map(([, name = ""]) => name),
    succeeded: lines.filter(([, , how]) => how === "succeeded").map(([, name = ""]) => name),
  };
}

/** `word 12` or `word path 12` → 12; 0 where it was not said. The last one counts. */
export function readFigure(text: string, word: string): number {
  return Number([...text.matchAll(new RegExp(`^${word}(?: \\S+)? ([0-9]+)$`, "gm"))].at(-1)?.[1] ?? 0);
}

/** A folder whose mounts are passed on to whoever has a copy of this mount namespace. */
export async function sharedFolder(): Promise<{ readonly path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "qubix-shared-"));
  await run("mount", ["--bind", path, path], { timeout: TOOL_TIMEOUT_MS });
  await run("mount", ["--make-shared", path], { timeout: TOOL_TIMEOUT_MS });
  return {
    path,
    async remove() {
      await run("umount", ["--recursive", "--lazy", path], { timeout: TOOL_TIMEOUT_MS });
      await rm(path, { recursive: true, force: true });
    },
  };
}
