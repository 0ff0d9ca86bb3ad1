// What `status` shows: the agent's own account of itself, without asking anybody.
import type { Money } from "@qubix/shared/domain";
import type { WireMoney } from "@qubix/shared/protocol";
import { toWireMoney } from "@qubix/shared/protocol";
import { ranMsOf, type Slot, type WorkerState } from "../../core/index.ts";
import type { GpuStatus } from "../../gpu/status.ts";
import type { Identity } from "../identity.ts";
import type { Counters } from "../metrics/counters.ts";
import type { OfferKeeper, PauseReason } from "../offer.ts";
import type { EarningsView } from "./earnings.ts";
import type { SlotRates } from "./rates.ts";
import type { SettingName } from "./settings.ts";

export interface SlotStatus {
  readonly id: string;
  readonly jobId: string;
  readonly role: "attempt" | "standby";
  readonly phase: string;
  /** What goes on in that phase, e.g. `pulling 40%`. */
  readonly activity: string | null;
  readonly epoch: number | null;
  readonly image: string;
  readonly gpus: number;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly checkpointSeq: number;
  readonly progress: number | null;
  readonly ranMs: number;
  /** As agreed when it came, fee included; null where it came before rates were kept. */
  readonly ratePerHour: WireMoney | null;
}

export interface AgentStatus {
  readonly workerId: string;
  readonly name: string;
  readonly url: string;
  readonly version: string;
  readonly startedAt: string;
  readonly connected: boolean;
  readonly connectedSince: string | null;
  /** No new work is taken. */
  readonly draining: boolean;
  /** What runs here is being moved elsewhere, and why; null for no. */
  readonly leaving: "drain" | "maintenance" | null;
  /** Why: each with when it ends, where that is known. */
  readonly pauses: readonly { readonly reason: PauseReason; readonly until: string | null }[];
  readonly gpus: readonly string[];
  /** Every card and partition of the machine, also those that are not offered. */
  readonly gpuStates: readonly GpuStatus[];
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
  readonly region: string;
  readonly pricePerGpuHour: WireMoney | null;
  readonly pricePerCpuHour: WireMoney;
  /** Null where it is in the price of the GPU, or in the others. */
  readonly pricePerGpuJobCpuHour: WireMoney | null;
  readonly pricePerMemoryGiBHour: WireMoney | null;
  readonly pricePerDiskGiBHour: WireMoney | null;
  readonly pricePerEgressGiB: WireMoney | null;
  readonly standbyPercent: number;
  readonly features: readonly string[];
  /** The owner's cap on bulk outwards, in megabits (10⁶) a second; null for none. */
  readonly uplinkMbpsMax: number | null;
  /** Settings that `set` holds. */
  readonly set: readonly SettingName[];
  readonly metricsUrl: string | null;
  readonly earnings: EarningsView;
  readonly slots: readonly SlotStatus[];
}

export interface StatusPorts {
  readonly identity: Identity;
  readonly version: string;
  readonly state: WorkerState;
  readonly connected: boolean;
  readonly keeper: OfferKeeper;
  readonly gpuStates: readonly GpuStatus[];
  readonly counters: Counters;
  readonly rates: SlotRates;
  readonly earnings: EarningsView;
  readonly uplinkMbpsMax: number | null;
  readonly set: readonly SettingName[];
  readonly quietUntil: string | null;
  readonly maintenanceUntil: string | null;
  readonly metricsUrl: string | null;
  /** On the machine's boot-time clock. */
  readonly nowMs: number;
}

export function statusOf(ports: StatusPorts): AgentStatus {
  const { identity, state, keeper, counters } = ports;
  const offer = keeper.offer();
  return {
    workerId: identity.workerId,
    name: identity.name,
    url: identity.url,
    version: ports.version,
    startedAt: new Date(counters.startedAtMs).toISOString(),
    connected: ports.connected,
    connectedSince: counters.connectedAtMs === null ? null : new Date(counters.connectedAtMs).toISOString(),
    draining: offer.draining,
    leaving: offer.leaving ?? null,
    pauses: [...keeper.parts().pauses].map((reason) => ({
      reason,
      until: untilOf(reason, ports),
    })),
    gpus: offer.gpus.map((gpu) => gpu.model),
    gpuStates: ports.gpuStates,
    cpus: offer.cpus,
    memoryMiB: offer.memoryMiB,
    diskMiB: offer.diskMiB,
    region: offer.region,
    pricePerGpuHour: priceView(offer.pricePerGpuHour),
    pricePerCpuHour: toWireMoney(offer.pricePerCpuHour.amount, offer.pricePerCpuHour.currency),
    pricePerGpuJobCpuHour: priceView(offer.pricePerGpuJobCpuHour),
    pricePerMemoryGiBHour: priceView(offer.pricePerMemoryGiBHour),
    pricePerDiskGiBHour: priceView(offer.pricePerDiskGiBHour),
    pricePerEgressGiB: priceView(offer.pricePerEgressGiB),
    standbyPercent: offer.standbyPercent,
    features: offer.features ?? [],
    uplinkMbpsMax: ports.uplinkMbpsMax,
    set: ports.set,
    metricsUrl: ports.metricsUrl,
    earnings: ports.earnings,
    slots: [...state.slots.values()].map((slot) => slotStatus(slot, ports)),
  };
}

function priceView(price: Money | undefined): WireMoney | null {
  return price === undefined ? null : toWireMoney(price.amount, price.currency);
}

function untilOf(reason: PauseReason, { quietUntil, maintenanceUntil }: StatusPorts): string | null {
  if (reason === "quiet_hours") return quietUntil;
  return reason === "maintenance" ? maintenanceUntil : null;
}

function slotStatus(slot: Slot, { state, rates, nowMs }: StatusPorts): SlotStatus {
  const live = state.live.get(slot.id);
  return {
    id: slot.id,
    jobId: slot.jobId,
    role: slot.attempt === null ? "standby" : "attempt",
    phase: slot.phase,
    activity: live?.activity ?? null,
    epoch: slot.attempt?.epoch ?? null,
    image: slot.run.image,
    gpus: slot.run.gpuUuids.length,
    cpus: slot.run.cpus,
    memoryMiB: slot.run.memoryMiB,
    checkpointSeq: slot.committedSeq,
    progress: live?.progress ?? null,
    ranMs: ranMsOf(state, slot, nowMs),
    ratePerHour: rates.of(slot),
  };
}
