// What a job's GPUs are doing, for people to see.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
const TIMEOUT_MS = 5_000;

export interface GpuUse {
  /** 0 to 100, the mean over the cards. */
  readonly gpuPercent: number;
  /** The sum over the cards. */
  readonly gpuMemoryMiB: number;
}

/** Asks the driver about these cards; undefined where it does not say. */
export async function measureGpus(uuids: readonly string[], command = "nvidia-smi"): Promise<GpuUse | undefined> {
  const args = [
    "--query-gpu=uuid,utilization.gpu,memory.used",
    "--format=csv,noheader,nounits",
    `--id=${uuids.join(",")}`,
  ];
  try {
    const { stdout } = await run(command, args, { timeout: TIMEOUT_MS });
    return parseGpuUse(stdout, uuids);
  } catch {
    // Measures are for people to look at: no answer is no measure.
    return undefined;
  }
}

/** Reads the CSV; cards that are not asked for, or that do not say, are left out. */
export function parseGpuUse(csv: string, uuids: readonly string[]): GpuUse | undefined {
  const cards = csv
    .split("\n")
    .map((line) => line.split(",").map((part) => part.trim()))
    .filter(([uuid]) => uuid !== undefined && uuids.includes(uuid))
    .map(([, percent, memory]) => ({ percent: Number(percent), memory: Number(memory) }))
    .filter(({ percent, memory }) => percent >= 0 && percent <= 100 && memory >= 0);
  if (cards.length === 0) return undefined;
  return {
    gpuPercent: Math.round(cards.reduce((sum, card) => sum + card.percent, 0) / cards.length),
    gpuMemoryMiB: cards.reduce((sum, card) => sum + card.memory, 0),
  };
}
