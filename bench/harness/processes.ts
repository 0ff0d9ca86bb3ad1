// What a benchmark set up is undone whatever happens, and its processes are measured through /proc.
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monotonicMs } from "./clock.ts";

/** USER_HZ on Linux: the unit of the CPU times in /proc. */
const CLOCK_TICKS_PER_S = 100;
const PAGE_BYTES = 4096;

/** Undoes what was set up, newest first; each thing once. */
export interface Cleanup {
  add(undo: () => Promise<void> | void): void;
  run(): Promise<void>;
}

export function createCleanup(): Cleanup {
  const undos: (() => Promise<void> | void)[] = [];
  return {
    add: (undo) => undos.push(undo),
    async run() {
      for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) {
        try {
          await undo();
        } catch (error) {
          process.stderr.write(`clean-up: ${String(error)}\n`);
        }
      }
    },
  };
}

/** A folder that is removed at the end. */
export async function scratchFolder(cleanup: Cleanup, name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `qubix-bench-${name}-`));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** CPU time a process has used so far, all its threads, user and system; in milliseconds, to 10 ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / CLOCK_TICKS_PER_S;
}

/** Memory a process holds now, in MB (10^6 bytes). */
export function rssMb(pid: number): number {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
  return (pages * PAGE_BYTES) / 1e6;
}

/** Share of one core that a process used while `work` went on, in percent. */
export async function cpuShareWhile<T>(pid: number, work: () => Promise<T>): Promise<{ percent: number; result: T }> {
  const [cpuBefore, before] = [cpuMs(pid), monotonicMs()];
  const result = await work();
  return { percent: (100 * (cpuMs(pid) - cpuBefore)) / (monotonicMs() - before), result };
}
