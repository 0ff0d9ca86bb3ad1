// NVIDIA GPUs as `nvidia-smi --query-gpu --format=csv,noheader,nounits` tells of them. Fields it cannot give read "[N/A]" or "[Not Supported]".
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Gpu } from "@qubix/shared/protocol";

const run = promisify(execFile);
/** A driver in trouble can hang for minutes. */
const TIMEOUT_MS = 20_000;
/** Cards that are initialised for the first time take some seconds each. */
const OUTPUT_BYTES_MAX = 1024 * 1024;
const FIELDS = ["uuid", "name", "memory.total", "driver_version", "compute_cap"] as const;

/** `absent`: no NVIDIA driver here. `broken`: there is one, and it does not work; `message` is what it said. */
export type GpuDetection =
  | { readonly kind: "gpus"; readonly gpus: readonly Gpu[] }
  | { readonly kind: "absent" }
  | { readonly kind: "broken"; readonly message: string };

export async function detectGpus(command = "nvidia-smi"): Promise<GpuDetection> {
  const args = [`--query-gpu=${FIELDS.join(",")}`, "--format=csv,noheader,nounits"];
  try {
    const { stdout } = await run(command, args, { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX });
    return parseGpus(stdout);
  } catch (error) {
    const { code, stdout, stderr, message } = error as {
      code?: unknown;
      stdout?: string;
      stderr?: string;
      message: string;
    };
    if (code === "ENOENT") return { kind: "absent" };
    const said = `${stdout ?? ""}${stderr ?? ""}`.trim();
    if (/no devices were found/i.test(said)) return { kind: "gpus", gpus: [] };
    return { kind: "broken", message: said === "" ? message : said };
  }
}

/** Reads the CSV. A line without a usable UUID or name makes the whole answer `broken`: half a list would offer the wrong cards. */
export function parseGpus(csv: string): GpuDetection {
  const lines = csv
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (lines.some((line) => /no devices were found/i.test(line))) return { kind: "gpus", gpus: [] };
  const gpus: Gpu[] = [];
  for (const line of lines) {
    const gpu = parseLine(line);
    if (gpu === undefined) return { kind: "broken", message: line.slice(0, 500) };
    gpus.push(gpu);
  }
  return { kind: "gpus", gpus };
}

function parseLine(line: string): Gpu | undefined {
  // Only a name could hold a comma, and none does; counted from both ends it would not matter.
  const parts = line.split(",").map((part) => part.trim());
  if (parts.length < FIELDS.length) return undefined;
  const [uuid = ""] = parts;
  const [memory, driver, capability] = parts.slice(-3).map(known);
  const model = parts.slice(1, -3).join(", ");
  if (!/^(GPU|MIG)-[0-9a-zA-Z-]+/.test(uuid) || known(model) === undefined) return undefined;
  const memoryMiB = Number(memory ?? 0);
  if (!Number.isInteger(memoryMiB) || memoryMiB < 0) return undefined;
  return {
    uuid,
    model: model.replace(/^NVIDIA /, ""),
    memoryMiB,
    ...(driver === undefined ? {} : { driverVersion: driver }),
    ...(capability === undefined ? {} : { computeCapability: capability }),
  };
}

function known(field: string): string | undefined {
  return field === "" || /^\[.*\]$/.test(field) ? undefined : field;
}
