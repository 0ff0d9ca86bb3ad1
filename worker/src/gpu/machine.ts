// What this machine is made of.
import { statfs } from "node:fs/promises";
import { cpu, mem } from "systeminformation";

const MIB = 1024 * 1024;

export interface Machine {
  readonly cpus: number;
  readonly memoryMiB: number;
  /** Free now in the file system of the data directory. */
  readonly diskMiBFree: number;
}

export async function detectMachine(dataDir: string): Promise<Machine> {
  const [processor, memory, disk] = await Promise.all([cpu(), mem(), statfs(dataDir)]);
  return {
    cpus: Math.max(1, processor.cores),
    memoryMiB: Math.floor(memory.total / MIB),
    diskMiBFree: Math.floor((disk.bavail * disk.bsize) / MIB),
  };
}
