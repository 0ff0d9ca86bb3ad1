// Figures for Prometheus: the process and its event loop, requests by status, the core's counts, the writer's, and what the composition root adds.
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { counts } from "../core/index.ts";
import type { ApiContext } from "./context.ts";

const LOOP_RESOLUTION_MS = 10;
const NS_PER_S = 1e9;
const MS_PER_S = 1000;
const US_PER_S = 1e6;

export interface Metrics {
  start(): void;
  stop(): void;
  /** Counts one answered request. */
  answered(status: number): void;
  /** Prometheus text format 0.0.4. */
  render(): string;
}

/** `own` gives figures of the API itself. */
export function createMetrics(ctx: Omit<ApiContext, "watch">, own: () => Readonly<Record<string, number>>): Metrics {
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  const requests = new Map<string, number>();
  return {
    start: () => void loop.enable(),
    stop: () => void loop.disable(),
    answered(status) {
      const group = `${Math.floor(status / 100)}xx`;
      requests.set(group, (requests.get(group) ?? 0) + 1);
    },
    render() {
      const lines = [...processLines(), ...loopLines(loop)];
      lines.push("# TYPE qubix_http_requests_total counter");
      for (const [group, value] of requests) lines.push(`qubix_http_requests_total{status="${group}"} ${value}`);
      lines.push(...figureLines("qubix_http_", own()));
      lines.push(...figureLines("qubix_writer_", { ...ctx.writer.metrics() }));
      lines.push(...figureLines("qubix_", flatten(counts(ctx.writer.state()))));
      lines.push(...figureLines("qubix_", ctx.gauges()));
      loop.reset();
      return `${lines.join("\n")}\n`;
    },
  };
}

function processLines(): readonly string[] {
  const cpu = process.cpuUsage();
  const memory = process.memoryUsage();
  return figureLines("qubix_process_", {
    cpuSecondsTotal: (cpu.user + cpu.system) / US_PER_S,
    residentBytes: memory.rss,
    heapUsedBytes: memory.heapUsed,
    uptimeSeconds: performance.now() / MS_PER_S,
  });
}

/** Since the last look. */
function loopLines(loop: ReturnType<typeof monitorEventLoopDelay>): readonly string[] {
  return figureLines("qubix_event_loop_lag_", {
    meanSeconds: lagSeconds(loop.mean),
    p99Seconds: lagSeconds(loop.percentile(99)),
    maxSeconds: lagSeconds(loop.max),
  });
}

/** The histogram holds the time between two looks; what is beyond the time they are apart is lag. */
function lagSeconds(betweenNs: number): number {
  return Number.isNaN(betweenNs) ? 0 : Math.max(0, betweenNs / NS_PER_S - LOOP_RESOLUTION_MS / MS_PER_S);
}

function figureLines(prefix: string, figures: Readonly<Record<string, number>>): string[] {
  return Object.entries(figures)
    .filter(([, value]) => Number.isFinite(value))
    .map(([name, value]) => `${prefix}${snakeCase(name)} ${value}`);
}

/** `{ jobs: { queued: 1 } }` → `{ jobs_queued: 1 }`. */
function flatten(figures: object, prefix = ""): Record<string, number> {
  return Object.fromEntries(
    Object.entries(figures).flatMap(([name, value]): [string, number][] => {
      if (typeof value === "number") return [[`${prefix}${name}`, value]];
      return typeof value === "object" && value !== null ? Object.entries(flatten(value, `${prefix}${name}_`)) : [];
    }),
  );
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/[^a-z0-9_]/g, "_");
}
