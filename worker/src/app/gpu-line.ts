// One card in one line, for its owner.
import type { GpuStatus } from "../gpu/status.ts";
import { programOf } from "../gpu/usage.ts";

/** `RTX 4090  offered  3% of its time, 823 of 24564 MiB, 38 °C`. */
export function gpuLine(gpu: GpuStatus): string {
  const { gpuPercent, memoryUsedMiB, memoryMiB, temperatureC } = gpu;
  const measures = [
    gpuPercent === undefined ? null : `${gpuPercent}% busy`,
    memoryUsedMiB === undefined ? null : `${memoryUsedMiB} of ${memoryMiB} MiB`,
    temperatureC === undefined ? null : `${temperatureC} °C`,
  ].filter((part) => part !== null);
  return [gpu.model ?? gpu.uuid, stateText(gpu), measures.join(", ")].filter((part) => part !== "").join("  ");
}

function stateText({ state, message, usedBy }: GpuStatus): string {
  switch (state) {
    case "offered":
      return "offered";
    case "withheld":
      return "not offered: it has no price (--price-per-gpu-hour), or the container toolkit is too old (see doctor)";
    case "in_use":
      return `not offered: in use by ${[...new Set(usedBy.map(({ name }) => programOf(name)))].join(", ")}`;
    case "lost":
      return `lost: ${message ?? "the driver does not say why"}`;
    case "partitioned":
      return "offered as its partitions";
    default:
      return state satisfies never;
  }
}
