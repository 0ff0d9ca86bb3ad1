import type { EventView } from "@qubix/shared/protocol";
import pc from "picocolors";
import { expect, test } from "vitest";
import { createTimelineFormatter, describeEvent } from "./timeline.ts";

const plain = pc.createColors(false);

function event(seq: number, clockMs: number, kind: string, data: Record<string, unknown> = {}): EventView {
  return {
    seq,
    time: "2026-01-01T00:00:00.000Z",
    clockMs,
    channel: "jobs",
    kind,
    jobId: "job-1",
    workerId: null,
    data,
  };
}

const RATE = { ratePerHour: "120000", currency: "USD" };
const STORY: readonly EventView[] = [
  event(1, 5_000, "queued"),
  event(2, 5_002, "matched", { workerId: "wrk-a", epoch: 1, fromSeq: 0, ...RATE }),
  event(3, 5_004, "standby_reserved", { workerId: "wrk-b", ratePerHour: "30000", currency: "USD" }),
  event(4, 5_250, "started", { workerId: "wrk-a", epoch: 1, fromSeq: 0 }),
  event(5, 6_100, "standby_ready", { workerId: "wrk-b", checkpointSeq: 0 }),
  event(6, 15_300, "checkpoint", { seq: 1, epoch: 1, bytes: 67_108_864, bytesMoved: 12_582_912 }),
  event(7, 17_010, "suspect", { workerId: "wrk-a", epoch: 1, why: "closed", silentMs: 400 }),
  event(8, 17_011, "promoted", { workerId: "wrk-b", epoch: 2, fromSeq: 1, workLostMs: 1_200, why: "worker_closed" }),
  event(9, 17_600, "started", { workerId: "wrk-b", epoch: 2, fromSeq: 1 }),
  event(10, 17_700, "standby_unavailable"),
  event(11, 30_000, "exited", { epoch: 2, ranMs: 12_400 }),
  event(12, 30_100, "completed", { reason: "completed", message: null }),
  event(13, 30_100, "settled", { currency: "USD", hold: "600000", gross: "1033", lines: [] }),
];

test("the story of a failed-over job, in plain words", () => {
  const timeline = createTimelineFormatter("USD", plain);
  expect(STORY.map((entry) => timeline.line(entry)).join("\n")).toBe(
    [
      "    +0.000 s  queued",
      "    +0.002 s  matched to worker wrk-a at 0.12 USD/h (epoch 1)",
      "    +0.004 s  standby reserved on wrk-b at 0.03 USD/h",
      "    +0.250 s  started on wrk-a (epoch 1)",
      "    +1.100 s  standby ready on wrk-b",
      "   +10.300 s  checkpoint 1 (64 MiB, 12 MiB moved)",
      "   +12.010 s  primary wrk-a is suspect: its socket closed",
      "   +12.011 s  standby promoted on wrk-b (epoch 2) from checkpoint 1, work lost 1.2 s",
      "   +12.600 s  started on wrk-b (epoch 2), resuming from checkpoint 1",
      "   +12.700 s  no other machine is free for a standby now; the job runs without one",
      "   +25.000 s  container ended after 12 s",
      "   +25.100 s  completed",
      "   +25.100 s  settled: 0.001033 USD of 0.60 USD held, 0.598967 USD refunded",
    ].join("\n"),
  );
});

test.each([
  [
    event(1, 0, "suspect", { workerId: "w", why: "silent", silentMs: 2_050 }),
    "primary w is suspect: it fell silent, no sign of life for 2.0 s",
  ],
  [
    event(1, 0, "requeued", { why: "worker_lost", workLostMs: 900, fromSeq: 0 }),
    "waits for another place: the primary's machine was lost; goes on from the beginning, work lost 900 ms",
  ],
  [event(1, 0, "undone", { workerId: "w", epoch: 3 }), "the earlier primary w is back and goes on (epoch 3)"],
  [
    event(1, 0, "lease_wait", { workerId: "w", why: "worker_lost", waitMs: 12_000, workLostMs: 900, fromSeq: 0 }),
    "waits for at most 12 s: the primary's machine was lost; its container on w may still run, so nobody else starts before its lease is over, work lost 900 ms",
  ],
  [
    event(1, 0, "lease_over", { workerId: "w", by: "time", fromSeq: 2 }),
    "the lease of w is over; the job goes on from checkpoint 2",
  ],
  [
    event(1, 0, "lease_over", { workerId: "w", by: "stopped", fromSeq: 0 }),
    "w confirms that its container is over; the job goes on from the beginning",
  ],
  [event(1, 0, "stopping", { reason: "deadline" }), "stopping: its duration is used up"],
  [event(1, 0, "failed", { reason: "exit_code", message: "Exit code 3." }), "failed: Exit code 3."],
  [event(1, 0, "checkpoint", {}), "checkpoint ?"],
  [event(1, 0, "checkpoint", { seq: 2, bytes: 1_048_576, shipMs: 300 }), "checkpoint 2 (1 MiB, in 300 ms)"],
  [
    event(1, 0, "checkpoint_interval", { askedS: 30, effectiveS: 60, why: "uplink_slow", shipMs: 41_000 }),
    "checkpoints every 60 s from here on instead of 30 s: the machine's line does not keep up, the last one took 41 s",
  ],
  [
    event(1, 0, "checkpoint_interval", { askedS: 30, effectiveS: 30, why: "uplink_quick", shipMs: 900 }),
    "checkpoints every 30 s from here on, as asked for, the last one took 900 ms",
  ],
  [
    event(1, 0, "standby_checkpoint", { workerId: "w", seq: 2, behindMs: 400 }),
    "standby on w has checkpoint 2, 400 ms after its commit",
  ],
  [
    event(1, 0, "queued", { fromCheckpoint: { jobId: "job-1", seq: 3 } }),
    "queued, to begin from checkpoint 3 of job-1",
  ],
  [event(1, 0, "settled", {}), "settled"],
])("%#", (entry, text) => expect(describeEvent(entry, "USD")).toBe(text));

test("a kind that is not known is shown with its data", () => {
  expect(describeEvent(event(1, 0, "moon_landed", { on: "moon", n: 1 }), "USD")).toBe("moon landed, on moon, n 1");
});

test("whatever an event carries, its line has no control characters", () => {
  const timeline = createTimelineFormatter("USD", plain);
  expect(timeline.line(event(1, 0, "failed", { message: "a\u001b[2Jb\nc" }))).toBe("    +0.000 s  failed: a?[2Jb?c");
});
