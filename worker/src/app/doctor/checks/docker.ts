// The Docker Engine: reached, new enough, and able to keep jobs within their limits.
import { QubixError } from "@qubix/shared/runtime";
import { LOOK_TIMEOUT_MS } from "../../../runner/engine.ts";
import { type Check, type DoctorContext, fail, ok, warn } from "../check.ts";

/** The API of Engine 20.10: the oldest that the worker is tried on. */
const API_VERSION_MIN = "1.41";
/** CVE-2024-21626 (a container escapes by a leaked file handle) is mended from here on; distributions mend older ones in place. */
const RUNC_VERSION_GOOD = "1.1.12";

/** What the Engine says of itself, as far as it matters here. */
export interface EngineInfo {
  readonly ServerVersion?: string;
  readonly Driver?: string;
  readonly CgroupVersion?: string;
  readonly MemoryLimit?: boolean;
  readonly SwapLimit?: boolean;
  readonly PidsLimit?: boolean;
  readonly CpuCfsQuota?: boolean;
  readonly CPUCfsQuota?: boolean;
  readonly LiveRestoreEnabled?: boolean;
  readonly SecurityOptions?: readonly string[];
  readonly OSType?: string;
}

export interface EngineVersion {
  readonly ApiVersion?: string;
  readonly Components?: readonly { readonly Name: string; readonly Version: string }[];
}

export async function checkDocker({ config, engine }: DoctorContext): Promise<readonly Check[]> {
  try {
    const info = (await engine.call("tell about itself", LOOK_TIMEOUT_MS, () => engine.docker.info())) as EngineInfo;
    const version: EngineVersion = await engine.call("tell its version", LOOK_TIMEOUT_MS, () =>
      engine.docker.version(),
    );
    return judgeEngine(info, version);
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const unreachable = error instanceof QubixError && error.code === "docker_unreachable";
    const remedy = unreachable
      ? "Install it (apt-get install docker.io, or docs.docker.com/engine/install) and start it: systemctl enable --now docker"
      : "Look at its log (journalctl -u docker), and restart it";
    return [fail("Docker Engine", found, `an Engine that answers at ${config.dockerSocket}`, remedy)];
  }
}

/** Pure: what the Engine's own words mean for a worker. */
export function judgeEngine(info: EngineInfo, version: EngineVersion): readonly Check[] {
  return [
    judgeVersion(info, version),
    judgeStorage(info),
    ...judgeLimits(info),
    judgeSeccomp(info),
    judgeAppArmor(info),
    judgeRunc(version),
    judgeLiveRestore(info),
  ];
}

function judgeVersion(info: EngineInfo, version: EngineVersion): Check {
  const name = "Docker Engine";
  const needed = `a Linux Engine with API ${API_VERSION_MIN} (20.10) or later`;
  const found = `${info.ServerVersion ?? "unknown"}, API ${version.ApiVersion ?? "unknown"}, ${info.OSType ?? "linux"}`;
  if (info.OSType !== undefined && info.OSType !== "linux") {
    return fail(name, found, needed, "Switch Docker to Linux containers");
  }
  const fits = compareVersions(version.ApiVersion ?? "0", API_VERSION_MIN) >= 0;
  return fits ? ok(name, found, needed) : fail(name, found, needed, "Upgrade the Docker Engine");
}

function judgeStorage({ Driver: driver = "unknown" }: EngineInfo): Check {
  const name = "Storage driver";
  const needed = "one that shares layers (overlay2)";
  if (driver !== "vfs") return ok(name, driver, needed);
  return warn(name, driver, needed, "vfs copies whole images for every container: use overlay2 on ext4 or xfs");
}

/** What holds a job's memory, processes and cores within what it paid for. */
function judgeLimits(info: EngineInfo): readonly Check[] {
  const cgroup = `cgroup v${info.CgroupVersion ?? "1"}`;
  const cfs = info.CpuCfsQuota ?? info.CPUCfsQuota;
  const missing = [
    ...(info.MemoryLimit === false ? ["memory"] : []),
    ...(info.PidsLimit === false ? ["processes"] : []),
    ...(cfs === false ? ["cores"] : []),
  ];
  const needed = "limits of memory, processes and cores";
  const limits =
    missing.length === 0
      ? ok("Limits", `${cgroup}: memory, processes, cores`, needed)
      : fail(
          "Limits",
          `${cgroup} without a limit of ${missing.join(", ")}`,
          needed,
          "Enable these cgroup controllers in the kernel, and restart Docker",
        );
  const swapNeeded = "a job's swap is limited with its memory";
  const swap =
    info.SwapLimit === false
      ? warn(
          "Swap limit",
          `${cgroup}: swap is not limited`,
          swapNeeded,
          "Boot with swapaccount=1 (cgroup v1), or turn swap off: a job beyond its memory slows the machine down",
        )
      : ok("Swap limit", "limited", swapNeeded);
  return [limits, swap];
}

function judgeSeccomp({ SecurityOptions: options = [] }: EngineInfo): Check {
  const seccomp = options.find((option) => option.startsWith("name=seccomp"));
  const needed = "Docker's own seccomp profile";
  if (seccomp === undefined) return fail("seccomp", "not available", needed, "Use a kernel with CONFIG_SECCOMP_FILTER");
  if (!/profile=unconfined/.test(seccomp)) return ok("seccomp", seccomp.replace("name=seccomp,", ""), needed);
  return fail(
    "seccomp",
    "turned off in the Engine",
    needed,
    'Remove "seccomp-profile": "unconfined" from daemon.json, and restart Docker',
  );
}

function judgeAppArmor({ SecurityOptions: options = [] }: EngineInfo): Check {
  const needed = "a second wall around containers, where the kernel has one";
  const found = ["apparmor", "selinux"].find((wall) => options.some((option) => option.startsWith(`name=${wall}`)));
  if (found !== undefined) return ok("AppArmor", found, needed);
  return warn(
    "AppArmor",
    "neither AppArmor nor SELinux",
    needed,
    "Boot a kernel with AppArmor (Debian's and Ubuntu's have it); all other walls stand without it",
  );
}

function judgeRunc({ Components: components = [] }: EngineVersion): Check {
  const needed = `${RUNC_VERSION_GOOD} or later, or one with its distribution's fixes`;
  const version = components.find(({ Name: name }) => name === "runc")?.Version;
  if (version === undefined) return warn("runc", "the Engine does not say", needed, "Look with: runc --version");
  if (compareVersions(version, RUNC_VERSION_GOOD) >= 0) return ok("runc", version, needed);
  // Debian and Ubuntu mend security faults without a new version number.
  return warn("runc", version, needed, "Keep it current: apt-get update && apt-get upgrade (CVE-2024-21626)");
}

function judgeLiveRestore({ LiveRestoreEnabled: enabled = false }: EngineInfo): Check {
  const needed = "jobs that outlive a restart of Docker";
  if (enabled) return ok("Live restore", "on", needed);
  return warn(
    "Live restore",
    "off",
    needed,
    'Put "live-restore": true into /etc/docker/daemon.json, then: systemctl reload docker',
  );
}

/** Compares the leading numbers, part by part: `1.1.5+ds1` is 1.1.5. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [numbersOf(a), numbersOf(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function numbersOf(version: string): number[] {
  return (/\d+(\.\d+)*/.exec(version)?.[0] ?? "0").split(".").map(Number);
}
