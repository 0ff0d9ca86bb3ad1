// The machine's cards for its owner to see.
import type { Gpu } from "@qubix/shared/protocol";
import type { GpuCard, GpuNow, GpuProcess } from "./cards.ts";
import type { GpuView } from "./watch.ts";

/**
 * offered: jobs may get it. withheld: it works and is not offered (no price for GPUs, or containers cannot be given it safely). in_use: somebody else uses it, or did until a moment ago.
 * lost: it was there and is of no use. partitioned: its partitions are offered instead, if it has any.
 */
export type GpuState = "offered" | "withheld" | "in_use" | "lost" | "partitioned";

export interface GpuStatus extends Partial<Gpu>, GpuNow {
  readonly uuid: string;
  readonly state: GpuState;
  readonly busId?: string | undefined;
  /** What the driver says of a lost one. */
  readonly message?: string | undefined;
  readonly processes: readonly GpuProcess[];
  /** Those for whose sake it is not offered. */
  readonly usedBy: readonly GpuProcess[];
}

/** Every card and partition that was seen, and where it stands. */
export function gpuStatusOf(view: GpuView, offered: readonly Gpu[]): readonly GpuStatus[] {
  const { inspection, lost } = view;
  const cards = inspection.cards.flatMap((card) => [
    statusOf(card, card.gpu, view, offered),
    ...partitionsOf(card, view, offered),
  ]);
  const shown = new Set(cards.map(({ uuid }) => uuid));
  const gone = [...lost].filter(([uuid]) => !shown.has(uuid));
  return [
    ...cards,
    ...gone.map(([uuid, message]) => ({ uuid, state: "lost" as const, message, processes: [], usedBy: [] })),
  ];
}

function statusOf(card: GpuCard, gpu: Gpu, view: GpuView, offered: readonly Gpu[]): GpuStatus {
  const pulse = view.pulses.find(({ uuid }) => uuid === card.gpu.uuid);
  const message = view.lost.get(gpu.uuid);
  return {
    ...gpu,
    ...card.now,
    // Fresher than the last whole report.
    ...(pulse === undefined
      ? {}
      : { gpuPercent: pulse.gpuPercent, memoryUsedMiB: pulse.memoryUsedMiB, temperatureC: pulse.temperatureC }),
    busId: card.busId,
    state: stateOf(card, gpu, view, offered),
    ...(message === undefined ? {} : { message }),
    processes: card.processes,
    usedBy: view.inUse.get(gpu.uuid) ?? [],
  };
}

function partitionsOf(card: GpuCard, view: GpuView, offered: readonly Gpu[]): readonly GpuStatus[] {
  if (!card.isPartitioned) return [];
  const { detection } = view.inspection;
  const gpus = detection.kind === "gpus" ? detection.gpus : [];
  return card.partitions.flatMap(({ uuid, gpuInstance }) => {
    const gpu = gpus.find((one) => one.uuid === uuid);
    if (gpu === undefined) return [];
    const processes = card.processes.filter((one) => one.gpuInstance === gpuInstance);
    const state = stateOf({ ...card, isPartitioned: false }, gpu, view, offered);
    return { ...gpu, state, processes, usedBy: view.inUse.get(uuid) ?? [] };
  });
}

function stateOf(card: GpuCard, { uuid }: Gpu, view: GpuView, offered: readonly Gpu[]): GpuState {
  if (view.lost.has(uuid)) return "lost";
  if (card.isPartitioned) return "partitioned";
  if (view.inUse.has(uuid)) return "in_use";
  return offered.some((gpu) => gpu.uuid === uuid) ? "offered" : "withheld";
}
