import { describe, expect, it } from "vitest";
import { workerOfferSchema } from "@qubix/shared/protocol";
import { renderMetrics } from "@qubix/shared/runtime";
import { attemptOf } from "../../runner/testing.ts";
import { createCounters } from "./counters.ts";
import { figuresOf } from "./figures.ts";
import { parseMetrics } from "./testing.ts";

describe("the worker's figures", () => {
  let nowMs = 0;
  const counters = createCounters(
    () => nowMs,
    () => 1_000,
  );

  it("count what happened", () => {
    counters.opened();
    counters.sent({ kind: "heartbeat" }, 5_000);
    nowMs = 5_400;
    counters.sent({ kind: "heartbeat" }, 5_000);
    const ended = { kind: "ended", attempt: attemptOf("job-a"), ranMs: 1 } as const;
    counters.acknowledged({ ...ended, outcome: { kind: "stopped" } });
    counters.acknowledged({ ...ended, outcome: { kind: "failed", code: "exit_code", exitCode: 3, message: "" } });
    counters.acknowledged({ ...ended, outcome: { kind: "failed", code: "exit_code", exitCode: 1, message: "" } });
    counters.logged("häm");
    expect(counters).toMatchObject({ sessions: 1, connectedAtMs: 1_000, heartbeats: 2, logBytes: 4 });
    expect([...counters.ends]).toEqual([
      ["stopped", 1],
      ["failed exit_code", 2],
    ]);
    counters.closed();
    expect(counters.connectedAtMs).toBeNull();
    expect(counters.takeLatenessMs()).toBe(400);
    expect(counters.takeLatenessMs()).toBe(0);
  });

  it("are what Prometheus reads, whatever a card is called", () => {
    const offer = workerOfferSchema.parse({
      gpus: [],
      cpus: 1.5,
      memoryMiB: 2,
      diskMiB: 3,
      pricePerCpuHour: { amount: "1", currency: "USD" },
      features: ["egress"],
    });
    const text = renderMetrics(
      figuresOf({
        version: "0.1.0",
        connected: false,
        counters,
        direct: { fetched: { direct: 7, relay: 0, orchestrator: 5 }, served: 3 },
        slotPhases: ["running", "running", "ready"],
        offer,
        pauses: ["quiet_hours"],
        gpus: [
          {
            uuid: "GPU-1",
            model: 'Odd "card" \\ of\nold',
            state: "offered",
            gpuPercent: 50,
            memoryMiB: 1,
            processes: [],
            usedBy: [],
          },
          { uuid: "GPU-2", state: "lost", processes: [], usedBy: [] },
        ],
        earned: [{ amount: "1250000", currency: "USD" }],
        diskBytesFree: 1e12,
        residentBytes: 1,
        cpuSeconds: 0.5,
        uptimeSeconds: 1e21,
        loopLagMaxSeconds: Number.NaN,
        heartbeatLateMaxSeconds: 0.0000001,
      }),
    );
    const values = parseMetrics(text);
    expect(values.get('qubix_worker_slots{phase="running"}')).toBe(2);
    expect(values.get('qubix_worker_paused{reason="quiet_hours"}')).toBe(1);
    expect(values.get('qubix_worker_gpu_state{uuid="GPU-2",state="lost"}')).toBe(1);
    expect(values.get('qubix_worker_gpu_utilisation_ratio{uuid="GPU-1",model="Odd \\"card\\" \\\\ of\\nold"}')).toBe(
      0.5,
    );
    expect(values.get('qubix_worker_attempts_ended_total{outcome="failed",code="exit_code"}')).toBe(2);
    expect(values.get('qubix_worker_checkpoint_fetched_bytes_total{path="direct"}')).toBe(7);
    expect(values.get("qubix_worker_checkpoint_served_bytes_total")).toBe(3);
    expect(values.get("qubix_worker_process_uptime_seconds")).toBe(1e21);
    expect(values.has("qubix_worker_event_loop_lag_max_seconds")).toBe(false);
    expect(() => parseMetrics(text.replace("# TYPE qubix_worker_slots gauge\n", ""))).toThrow(/slots/);
  });
});
