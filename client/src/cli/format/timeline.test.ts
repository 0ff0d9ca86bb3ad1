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

test.each([
  ["deposited", "its hold lies in the contract on evm"],
  ["deposit_refused", "evm refused its hold: the operator has to look"],
  ["paid", "0.475 TST paid to its providers by the contract on evm"],
  ["pay_refused", "evm refused to pay: the operator has to look"],
  ["pay_released", "0.475 TST are payable to its providers by the operator's hand"],
])("%s on a chain", (kind, text) => {
  const data = { driver: "evm", currency: "TST", amount: "475000" };
  expect(describeEvent(event(1, 0, kind, data), "TST")).toBe(text);
});

test.each([
  ["budget_warning", { cap: "5000000", used: "4000001" }, "80% of its budget of 5.00 USD are used: 4.000001 USD"],
  ["budget_lowered", { cap: "5000000", currency: "EUR" }, "its budget was lowered: it may cost 5.00 EUR in all"],
  [
    "budget_saving",
    { cap: "5000000", answerMs: 30_000 },
    "asked to save: its budget of 5.00 USD is nearly used up, it is stopped within 30 s",
  ],
  ["lost", { workerId: "wrk-a", epoch: 1, silentMs: 2_160 }, "primary wrk-a is lost, no sign of life for 2.1 s"],
  [
    "held",
    { workerId: "wrk-a", epoch: 1, why: "mass_silence", forMs: 29_400 },
    "primary wrk-a is silent, but so is much of the network: nothing is moved for at most 29 s",
  ],
  [
    "egress_cut",
    { epoch: 1, workerId: "wrk-a", toldBytes: 3 * 2 ** 30, paidBytes: 2 ** 20 },
    "wrk-a told of 3 GiB sent, more than its line carries: 1 MiB are paid",
  ],
  [
    "egress_limit_reached",
    { epoch: 1, bytes: 2 ** 29 },
    "it has sent all that egressGiBMax pays for, 512 MiB: what it sends beyond is not charged",
  ],
  [
    "tick_refused",
    { epoch: 1, n: 3, code: "signature_invalid", headN: 2 },
    "a line of the worker's own account was refused, and credits nothing: signature invalid",
  ],
  [
    "resumed",
    {
      epoch: 2,
      kind: "hot",
      recoveryMs: 2_840,
      detectedMs: 1_560,
      promotedMs: 2_160,
      startedMs: 2_600,
      workLostMs: 900,
    },
    "first new step 2.8 s after the last sign of life (detected after 1.5 s, placed after 2.1 s, started after 2.6 s), work lost 900 ms",
  ],
])("%s in plain words", (kind, data, words) => {
  expect(describeEvent(event(1, 0, kind, data), "USD")).toBe(words);
});

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

const SUM = "0123456789abcdef".repeat(4);

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
  [
    event(1, 0, "matched", { workerId: "w", ratePerHour: "30000", currency: "USD", epoch: 1, replica: 1, fromSeq: 0 }),
    "matched to worker w at 0.03 USD/h (replica 1, epoch 1)",
  ],
  [event(1, 0, "checkpoint", { seq: 2, replica: 0 }), "checkpoint 2 of replica 0"],
  [
    event(1, 0, "replica_lost", { workerId: "w", replica: 1, why: "worker_lost", fromSeq: 2 }),
    "replica 1 on w is gone: its machine was lost; the other works on, it begins again from checkpoint 2",
  ],
  [
    event(1, 0, "verification_started", { kind: "spot-check", fromSeq: 2 }),
    "its result is checked from checkpoint 2; the pay waits for that",
  ],
  [
    event(1, 0, "verification_started", { kind: "majority", fromSeq: 0 }),
    "its result is checked by a majority; the pay waits for that",
  ],
  [
    event(1, 0, "verification_run", { run: 1, checkJobId: "job-2", fromSeq: 0 }),
    "run 1 that checks it: job-2 from the beginning",
  ],
  [
    event(1, 0, "verification_skipped", { kind: "spot-check", why: "gpu_models_mixed" }),
    "not checked: it ran on GPUs of several models",
  ],
  [
    event(1, 0, "verification_differs", {}),
    "a check came to another result: the whole job is run once more, to decide",
  ],
  [event(1, 0, "verified", { message: "Another did too." }), "verified: Another did too."],
  [event(1, 0, "verification_failed", { message: "Two differ." }), "wrong result: Two differ."],
  [event(1, 0, "verification_inconclusive", { message: "x" }), "the check decided nothing: x"],
  [event(1, 0, "mirror_unavailable", {}), "no machine of another provider is free now; the job runs once until one is"],
  [event(1, 0, "mirror_result", { workerId: "w", run: 2, result: SUM }), "the third result, of w: 0123456789ab…"],
  [event(1, 0, "mirror_agreed", { result: SUM }), "two providers came to the same result: 0123456789ab…"],
  [event(1, 0, "mirror_disagreed", {}), "the results differ"],
  [
    event(1, 0, "mirror_checkpoints_agree", { progress: 0.5, seqs: [2, 3] }),
    "checkpoints of both replicas are equal at 50%",
  ],
  [
    event(1, 0, "mirror_checkpoints_differ", { progress: 0.5, seqs: [2, 3] }),
    "checkpoints of both replicas differ at 50%; the results will tell whether it matters",
  ],
  [
    event(1, 0, "work_refused", { workerId: "w", result: "exit_code 3", agreed: SUM }),
    "the work of w is not paid: its result exit_code 3 was outvoted by 0123456789ab…",
  ],
  [
    event(1, 0, "place_kept", { workerId: "wrk-a", waitedMs: 120_000 }),
    "waited long: 2 min 00 s; wrk-a takes no other new job until this one fits there",
  ],
  [event(1, 0, "place_freed", { workerId: "wrk-a" }), "wrk-a, which was kept for it, takes it no more"],
  [event(1, 0, "settled", {}), "settled"],
])("%#", (entry, text) => expect(describeEvent(entry, "USD")).toBe(text));

test("a kind that is not known is shown with its data", () => {
  expect(describeEvent(event(1, 0, "moon_landed", { on: "moon", n: 1 }), "USD")).toBe("moon landed, on moon, n 1");
});

test("whatever an event carries, its line has no control characters", () => {
  const timeline = createTimelineFormatter("USD", plain);
  expect(timeline.line(event(1, 0, "failed", { message: "a\u001b[2Jb\nc" }))).toBe("    +0.000 s  failed: a?[2Jb?c");
});

test("moves and stalls", () => {
  const move = { workerId: "wrk-a", why: "drain" };
  const lines = [
    event(1, 0, "move_requested", { ...move, to: null, force: true }),
    event(2, 0, "moving", { ...move, to: "wrk-b" }),
    event(3, 0, "moved", {
      epoch: 2,
      workerId: "wrk-b",
      fromWorkerId: "wrk-a",
      fromSeq: 4,
      workLostMs: 0,
      downtimeMs: 1_900,
    }),
    event(4, 0, "move_dropped", { why: "not_saved", phase: "saving" }),
    event(5, 0, "stall_suspected", { workerId: "wrk-a", epoch: 1, signals: ["log"], silentMs: 301_000 }),
    event(6, 0, "stalled", { workerId: "wrk-a", epoch: 1, signals: ["progress", "idle"], silentMs: 302_000 }),
  ].map((entry) => describeEvent(entry, "USD"));
  expect(lines).toEqual([
    "to move off wrk-a: its worker is drained",
    "asked to save and stop, wrk-b is ready",
    "moved from wrk-a to wrk-b (epoch 2) from checkpoint 4, work lost 0 ms, stood still for 1.9 s",
    "the move is off: the job did not save when it was asked to, and goes on where it is",
    "perhaps stalled on wrk-a: no output for 5 min 01 s; it goes on",
    "stalled on wrk-a (epoch 1): no progress and no use of processor, disk, network or GPU for 5 min 02 s: it is taken off",
  ]);
});
