// The environment of a container: what the job asks for, without the names that reach beyond it. Images and jobs are strangers' work, and parts of the
// Engine's own machinery (the NVIDIA hooks above all, CVE-2025-23266) run on the host with the container's environment before the container begins.
import type { RunSpec } from "@qubix/shared/protocol";

/** The network's own: set by the agent, refused by the orchestrator in a job. */
const OWN_PREFIX = "QUBIX_";
/** The dynamic loader's, and the orders to NVIDIA's runtime. */
const RESERVED_PREFIXES = ["LD_", "NVIDIA_", OWN_PREFIX];
/** What the C library itself ignores in programs with rights of their own (glibc's unsecure_envvars), and what a Go program obeys. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "GCONV_PATH",
  "GETCONF_DIR",
  "GLIBC_TUNABLES",
  "HOSTALIASES",
  "LOCALDOMAIN",
  "LOCPATH",
  "MALLOC_TRACE",
  "NIS_PATH",
  "NLSPATH",
  "RESOLV_HOST_CONF",
  "RES_OPTIONS",
  "GODEBUG",
  "GOTRACEBACK",
]);
/** What a container without a GPU is told: NVIDIA's runtime, where it is the Engine's default, then hands out nothing. */
const NO_GPUS = "void";

/** True for a variable that neither an image nor a job can set. */
export function isReservedVariable(name: string): boolean {
  return RESERVED_NAMES.has(name) || RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** Which of a job's variables its containers do not get. */
export function reservedVariables(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.keys(env).filter(isReservedVariable);
}

/**
 * As the Engine takes it: `NAME=value` sets, a bare `NAME` takes one of the image's away. `own` are the agent's variables, `imageEnv` what the image sets
 * (`NAME=value` each).
 */
export function containerEnvironment(
  run: Pick<RunSpec, "env" | "gpuUuids">,
  own: Readonly<Record<string, string>>,
  imageEnv: readonly string[],
): string[] {
  const set: Record<string, string> = {
    ...Object.fromEntries(Object.entries(run.env).filter(([name]) => !isReservedVariable(name))),
    ...own,
    ...gpuVariables(run.gpuUuids),
  };
  const removed = imageEnv
    .map((line) => line.split("=", 1)[0] ?? "")
    .filter((name) => isReservedVariable(name) && !Object.hasOwn(set, name));
  return [...Object.entries(set).map(([name, value]) => `${name}=${value}`), ...new Set(removed)];
}

function gpuVariables(gpuUuids: readonly string[]): Readonly<Record<string, string>> {
  if (gpuUuids.length === 0) return { NVIDIA_VISIBLE_DEVICES: NO_GPUS };
  // `compute` is CUDA, `utility` is nvidia-smi; displays and video encoders are no part of the offer.
  return { NVIDIA_VISIBLE_DEVICES: gpuUuids.join(","), NVIDIA_DRIVER_CAPABILITIES: "compute,utility" };
}
