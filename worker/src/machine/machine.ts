// What this machine is made of.
import { statfs } from "node:fs/promises";
import { cpu, mem } from "systeminformation";

const MIB = 1024 * 1024;
const MODEL_LENGTH_MAX = 200;

export interface Machine {
  /** Cores that can be offered: the threads that run at once. */
  readonly cpus: number;
  readonly memoryMiB: number;
  /** Free now in the file system of the data directory. */
  readonly diskMiBFree: number;
  /** Size of that file system. */
  readonly diskMiB?: number | undefined;
  readonly cpuModel?: string | undefined;
  /** Cores that are really there; each may run two threads. */
  readonly cpuCores?: number | undefined;
}

export async function detectMachine(dataDir: string): Promise<Machine> {
  const [processor, memory, disk] = await Promise.all([cpu(), mem(), statfs(dataDir)]);
  const model = [processor.manufacturer, processor.brand].filter((part) => part !== "").join(" ");
  return {
    cpus: Math.max(1, processor.cores),
    memoryMiB: Math.floor(memory.total / MIB),
    diskMiBFree: Math.floor((disk.bavail * disk.bsize) / MIB),
    diskMiB: Math.floor((disk.blocks * disk.bsize) / MIB),
    cpuModel: model === "" ? undefined : model.slice(0, MODEL_LENGTH_MAX),
    cpuCores: processor.physicalCores >= 1 ? processor.physicalCores : undefined,
  };
}
