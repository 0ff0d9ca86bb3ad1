// What a container uses, for people to see: processor, memory and its GPUs.
import type { MonotonicClock } from "@qubix/shared/runtime";
import type { Look, Measures } from "../core/index.ts";
import type { GpuUse } from "../gpu/usage.ts";
import type { ContainerStats } from "./containers.ts";

export interface UseMeterPorts {
  readonly clock: MonotonicClock;
  readonly stats: () => Promise<ContainerStats | undefined>;
  readonly gpuUse: (uuids: readonly string[]) => GpuUse | undefined;
}

export interface UseMeter {
  /** Measures since the last call, the processor from the second call on; undefined where the Engine does not tell. */
  measure(gpuUuids: readonly string[]): Promise<Measures | undefined>;
  /** What the last answer of the Engine said it used in all; undefined before the first. */
  used(): Look["use"];
}

export function createUseMeter({ clock, stats, gpuUse }: UseMeterPorts): UseMeter {
  let last: { readonly cpuMs: number; readonly atMs: number } | null = null;
  let used: Look["use"];
  return {
    used: () => used,
    async measure(gpuUuids) {
      const now = await stats();
      if (now === undefined) return undefined;
      const gpus = gpuUse(gpuUuids);
      used = { cpuMs: now.cpuMs, ioBytes: now.ioBytes, gpuPercent: gpus?.gpuPercent ?? null };
      const atMs = clock.nowMs();
      const spanMs = last === null ? 0 : atMs - last.atMs;
      const cpuPercent = last === null || spanMs <= 0 ? undefined : ((now.cpuMs - last.cpuMs) / spanMs) * 100;
      last = { cpuMs: now.cpuMs, atMs };
      return {
        memoryMiB: now.memoryMiB,
        ...(cpuPercent === undefined ? {} : { cpuPercent: Math.max(0, Math.round(cpuPercent * 10) / 10) }),
        ...gpus,
      };
    },
  };
}
