// A graphics card as it was measured, and what of it can be offered.
import type { Gpu } from "@qubix/shared/protocol";

/** A process that holds memory of a card. */
export interface GpuProcess {
  readonly pid: number;
  /** It computes, it draws, or both. */
  readonly kind: "C" | "G" | "C+G";
  readonly name: string;
  readonly memoryMiB?: number | undefined;
  /** In which partition of a card it runs. */
  readonly gpuInstance?: number | undefined;
}

/** A partition of a card in MIG mode that jobs can be given. */
export interface GpuPartition {
  readonly uuid: string;
  /** `3g.20gb`; undefined where only its memory is known. */
  readonly profile?: string | undefined;
  readonly gpuInstance: number;
  readonly memoryMiB: number;
}

/** What changes from one moment to the next. */
export interface GpuNow {
  readonly gpuPercent?: number | undefined;
  readonly memoryUsedMiB?: number | undefined;
  readonly temperatureC?: number | undefined;
  readonly powerW?: number | undefined;
  readonly graphicsMHz?: number | undefined;
  readonly memoryMHz?: number | undefined;
}

export interface GpuCard {
  /** The whole card, as it would be offered. */
  readonly gpu: Gpu;
  readonly busId?: string | undefined;
  /** In MIG mode a card is offered as its partitions, not as itself. */
  readonly isPartitioned: boolean;
  readonly partitions: readonly GpuPartition[];
  readonly now: GpuNow;
  readonly processes: readonly GpuProcess[];
}

/** A card that is there and of no use: lost, fallen off the bus, in need of a reset. */
export interface GpuTrouble {
  readonly busId?: string | undefined;
  readonly uuid?: string | undefined;
  readonly model?: string | undefined;
  /** What the driver says of it. */
  readonly message: string;
}

/** `absent`: no NVIDIA driver here. `broken`: there is one, and it does not work; `message` is what it said. */
export type GpuDetection =
  | { readonly kind: "gpus"; readonly gpus: readonly Gpu[] }
  | { readonly kind: "absent" }
  | { readonly kind: "broken"; readonly message: string };

/** All that one look at the machine's cards tells. */
export interface GpuInspection {
  /** What can be offered. */
  readonly detection: GpuDetection;
  /** Those that work. */
  readonly cards: readonly GpuCard[];
  readonly troubles: readonly GpuTrouble[];
}

/** What of working cards can be offered: whole ones, and the partitions of those that are partitioned. */
export function offeredOf(cards: readonly GpuCard[]): Gpu[] {
  return cards.flatMap((card) => {
    if (!card.isPartitioned) return [card.gpu];
    const { uuid: migParentUuid, model, powerLimitW: _ofTheWholeCard, ...shared } = card.gpu;
    return card.partitions.map(({ uuid, profile, memoryMiB }) => ({
      ...shared,
      uuid,
      memoryMiB,
      migParentUuid,
      model: `${model} MIG ${profile ?? `${Math.round(memoryMiB / 1024)}gb`}`,
    }));
  });
}

/** The UUIDs under which jobs may hold this card. */
export function uuidsOf(card: GpuCard): readonly string[] {
  return [card.gpu.uuid, ...card.partitions.map(({ uuid }) => uuid)];
}

/** Bus addresses are written with four or eight digits of the domain, and in either case: `0000:0A:00.0`. */
export function sameBus(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && plainBus(a) === plainBus(b);
}

function plainBus(busId: string): string {
  const [domain = "", ...rest] = busId.toLowerCase().split(":");
  return [domain.slice(-4).padStart(4, "0"), ...rest].join(":");
}
