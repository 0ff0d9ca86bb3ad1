// What the machine does beside the worker: keeps its clock, and its NVIDIA driver works.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { createInspector } from "../../../gpu/nvidia-smi.ts";
import { createNvidiaSmi } from "../../../gpu/smi-process.ts";
import { type Check, type DoctorContext, fail, ok, skip, warn } from "../check.ts";

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 5_000;
/** Written by systemd-timesyncd whenever it has set the clock. */
const TIMESYNC_STAMP = "/run/systemd/timesync/synchronized";

export async function checkTime(_context: DoctorContext): Promise<readonly Check[]> {
  const name = "Time synchronisation";
  const needed = "a clock that is kept right";
  if (existsSync(TIMESYNC_STAMP)) return [ok(name, "systemd-timesyncd", needed)];
  try {
    const { stdout } = await run("timedatectl", ["show", "--property=NTPSynchronized", "--value"], {
      timeout: COMMAND_TIMEOUT_MS,
    });
    if (stdout.trim() === "yes") return [ok(name, "on", needed)];
    return [warn(name, "the clock is not synchronised", needed, "timedatectl set-ntp true")];
  } catch {
    return [skip(name, "no systemd to ask here", needed)];
  }
}

export async function checkGpus({ config }: DoctorContext): Promise<readonly Check[]> {
  const name = "NVIDIA driver";
  const needed = "a driver that answers, where there are NVIDIA GPUs";
  const { detection, troubles } = await createInspector(createNvidiaSmi()).inspect();
  if (detection.kind === "absent") return [skip(name, "no nvidia-smi: this machine offers its cores", needed)];
  if (detection.kind === "broken") {
    return [
      fail(
        name,
        detection.message.split("\n")[0] ?? "",
        needed,
        "Reinstall the driver, or restart the machine after an upgrade of it",
      ),
    ];
  }
  const lost = troubles.map(({ model, busId, message }) =>
    warn(
      "GPU",
      `${model ?? busId ?? "a card"}: ${message}`,
      "a card that answers",
      "Restart the machine; look at dmesg for Xid errors",
    ),
  );
  const [first] = detection.gpus;
  const models = detection.gpus.map(({ model, memoryMiB }) => `${model} (${memoryMiB} MiB)`).join(", ");
  const found = first === undefined ? "no GPU that can be offered" : `${first.driverVersion ?? "unknown"}: ${models}`;
  const price =
    first !== undefined && config.pricePerGpuHour === undefined
      ? [skip("GPU price", "none given to doctor", "start or set --price-per-gpu-hour: without it no GPU is offered")]
      : [];
  return [
    first === undefined
      ? warn(name, found, needed, "nvidia-smi -L shows what the driver sees")
      : ok(name, found, needed),
    ...lost,
    ...price,
  ];
}

/** Only that a registry is there: what may be pulled is decided when a job comes. */
export async function checkRegistries({ config, signal }: DoctorContext): Promise<readonly Check[]> {
  const needed = "registries that images are pulled from can be reached";
  const unreached = await Promise.all(
    config.registry.map(async (registry) => {
      const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
      try {
        const timeout = AbortSignal.any([signal, AbortSignal.timeout(COMMAND_TIMEOUT_MS)]);
        const response = await fetch(`https://${host}/v2/`, { signal: timeout, redirect: "manual" });
        await response.body?.cancel();
        return [];
      } catch (error) {
        const { cause, message } = error as { cause?: { code?: string }; message: string };
        return [`${registry} (${cause?.code ?? message})`];
      }
    }),
  );
  const problems = unreached.flat();
  if (config.registry.length === 0) return [skip("Registries", "none is allowed: only local images run", needed)];
  if (problems.length === 0) return [ok("Registries", config.registry.join(", "), needed)];
  const remedy =
    "Jobs with images from there fail here, unless the image is local already; let the machine out to port 443";
  return [warn("Registries", `no answer of ${problems.join(", ")}`, needed, remedy)];
}
