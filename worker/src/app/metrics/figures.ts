// The worker's figures for Prometheus, each with what it means. Pure: what was measured comes in, families come out.
import type { WireMoney, WorkerOffer } from "@qubix/shared/protocol";
import type { MetricFamily, MetricSample, MetricType } from "@qubix/shared/runtime";
import type { SlotPhase } from "../../core/index.ts";
import type { BytesByPath } from "../../direct/chunk-port.ts";
import type { GpuStatus } from "../../gpu/status.ts";
import type { PauseReason } from "../offer.ts";
import type { Counters } from "./counters.ts";

export interface Measured {
  readonly version: string;
  readonly connected: boolean;
  readonly counters: Counters;
  /** Null where the owner keeps to the orchestrator's line alone. */
  readonly direct: { readonly fetched: BytesByPath; readonly served: number } | null;
  readonly slotPhases: readonly SlotPhase[];
  readonly offer: WorkerOffer;
  readonly pauses: readonly PauseReason[];
  readonly gpus: readonly GpuStatus[];
  readonly earned: readonly WireMoney[];
  readonly diskBytesFree: number;
  readonly residentBytes: number;
  readonly cpuSeconds: number;
  readonly uptimeSeconds: number;
  readonly loopLagMaxSeconds: number;
  readonly heartbeatLateMaxSeconds: number;
}

const PHASES: readonly SlotPhase[] = ["preparing", "ready", "starting", "running", "collecting", "ended", "removing"];
const PAUSES: readonly PauseReason[] = ["drained", "quiet_hours", "gpu_in_use", "maintenance"];
const MIB = 1024 * 1024;
const MICRO = 1e6;

export function figuresOf(of: Measured): readonly MetricFamily[] {
  return [
    ...lifeFigures(of),
    ...workFigures(of),
    ...offerFigures(of),
    ...(of.gpus.length > 0 ? gpuFigures(of.gpus) : []),
    ...processFigures(of),
  ];
}

function lifeFigures({ version, connected, counters, heartbeatLateMaxSeconds }: Measured): readonly MetricFamily[] {
  return [
    family("up", "gauge", "1 while the agent runs", [{ labels: { version }, value: 1 }]),
    one("connected", "gauge", "1 while there is a session with the orchestrator", connected ? 1 : 0),
    one("sessions_total", "counter", "Sessions with the orchestrator since the agent started", counters.sessions),
    one("heartbeats_total", "counter", "Heartbeats sent", counters.heartbeats),
    one(
      "heartbeat_late_max_seconds",
      "gauge",
      "The latest that a heartbeat was sent after its time since the last scrape",
      heartbeatLateMaxSeconds,
    ),
  ];
}

function workFigures({ counters, direct, slotPhases, earned }: Measured): readonly MetricFamily[] {
  const phases = PHASES.map((phase) => ({
    labels: { phase },
    value: slotPhases.filter((one) => one === phase).length,
  }));
  const ends = [...counters.ends].map(([name, value]) => {
    const [outcome = "", code = ""] = name.split(" ");
    return { labels: { outcome, code }, value };
  });
  return [
    family("slots", "gauge", "Attempts and standbys here, by phase", phases),
    family("attempts_ended_total", "counter", "Attempts whose end the orchestrator has, by outcome", ends),
    one("checkpoints_total", "counter", "Checkpoints committed", counters.checkpoints),
    one("checkpoint_bytes_total", "counter", "Plain bytes of the checkpoints committed", counters.checkpointBytes),
    one("checkpoint_moved_bytes_total", "counter", "Bytes of them that had to be sent", counters.checkpointBytesMoved),
    ...(direct === null
      ? []
      : [
          family(
            "checkpoint_fetched_bytes_total",
            "counter",
            "Bytes of checkpoints fetched for standbys and restarts, by the way they came",
            Object.entries(direct.fetched).map(([path, value]) => ({ labels: { path }, value })),
          ),
          one(
            "checkpoint_served_bytes_total",
            "counter",
            "Bytes of checkpoints given straight to standbys",
            direct.served,
          ),
        ]),
    one("log_bytes_total", "counter", "Bytes of jobs' output sent", counters.logBytes),
    family(
      "earned",
      "gauge",
      "Shares of settled jobs so far, in units of the currency, as the orchestrator last told",
      earned.map(({ amount, currency }) => ({ labels: { currency }, value: Number(amount) / MICRO })),
    ),
  ];
}

function offerFigures({ offer, pauses }: Measured): readonly MetricFamily[] {
  return [
    family(
      "paused",
      "gauge",
      "1 for each reason for which no new work is taken now",
      PAUSES.map((reason) => ({ labels: { reason }, value: pauses.includes(reason) ? 1 : 0 })),
    ),
    family(
      "feature",
      "gauge",
      "1 for each feature that is offered now",
      (offer.features ?? []).map((feature) => ({ labels: { feature }, value: 1 })),
    ),
    one("offered_gpus", "gauge", "GPUs on offer", offer.gpus.length),
    one("offered_cpus", "gauge", "Cores on offer", offer.cpus),
    one("offered_memory_bytes", "gauge", "Memory on offer", offer.memoryMiB * MIB),
    one("offered_disk_bytes", "gauge", "Disk on offer", offer.diskMiB * MIB),
  ];
}

function gpuFigures(gpus: readonly GpuStatus[]): readonly MetricFamily[] {
  const of = (value: (gpu: GpuStatus) => number | undefined): readonly MetricSample[] =>
    gpus.flatMap((gpu) => {
      const measured = value(gpu);
      return measured === undefined ? [] : [{ labels: { uuid: gpu.uuid, model: gpu.model ?? "" }, value: measured }];
    });
  return [
    family(
      "gpu_state",
      "gauge",
      "1 for the state each card is in",
      gpus.map(({ uuid, state }) => ({ labels: { uuid, state }, value: 1 })),
    ),
    family(
      "gpu_utilisation_ratio",
      "gauge",
      "Share of the time in which the card computed, 0 to 1",
      of(({ gpuPercent: percent }) => (percent === undefined ? undefined : percent / 100)),
    ),
    family(
      "gpu_temperature_celsius",
      "gauge",
      "Temperature of the card",
      of(({ temperatureC }) => temperatureC),
    ),
    family(
      "gpu_power_watts",
      "gauge",
      "Power that the card draws",
      of(({ powerW }) => powerW),
    ),
    family(
      "gpu_memory_used_bytes",
      "gauge",
      "Memory of the card in use",
      of(({ memoryUsedMiB: mib }) => (mib === undefined ? undefined : mib * MIB)),
    ),
    family(
      "gpu_memory_bytes",
      "gauge",
      "Memory of the card",
      of(({ memoryMiB: mib }) => (mib === undefined ? undefined : mib * MIB)),
    ),
  ];
}

function processFigures(of: Measured): readonly MetricFamily[] {
  return [
    one("disk_free_bytes", "gauge", "Free in the file system of the data directory", of.diskBytesFree),
    one("process_resident_bytes", "gauge", "Memory of the agent itself", of.residentBytes),
    one("process_cpu_seconds_total", "counter", "CPU time of the agent itself", of.cpuSeconds),
    one("process_uptime_seconds", "gauge", "Since the agent started", of.uptimeSeconds),
    one(
      "event_loop_lag_max_seconds",
      "gauge",
      "The longest that the agent was held up since the last scrape",
      of.loopLagMaxSeconds,
    ),
  ];
}

function one(name: string, type: MetricType, help: string, value: number): MetricFamily {
  return family(name, type, help, [{ value }]);
}

function family(name: string, type: MetricType, help: string, samples: readonly MetricSample[]): MetricFamily {
  return { name: `qubix_worker_${name}`, type, help, samples };
}
