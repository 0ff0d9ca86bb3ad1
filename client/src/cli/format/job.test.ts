import type { JobView } from "@qubix/shared/protocol";
import pc from "picocolors";
import { expect, test } from "vitest";
import { formatJob, formatJobs, formatSettlement } from "./job.ts";

const plain = pc.createColors(false);
const usd = (amount: string) => ({ amount, currency: "USD" });
const NOW = Date.parse("2026-01-01T00:01:00.000Z");

const QUEUED: JobView = {
  id: "job-000001-abcd",
  name: null,
  accountId: "acc-1",
  phase: "queued",
  reason: null,
  message: null,
  spec: { image: "qubix/tiny:local" },
  imageDigest: null,
  fromCheckpoint: null,
  epoch: 0,
  workerId: null,
  progress: null,
  retriesUsed: 0,
  failoversUsed: 0,
  movesUsed: 0,
  move: null,
  creditedMs: 0,
  checkpoint: null,
  checkpointIntervalS: 30,
  workAtRiskMs: 0,
  standby: null,
  leaseWait: null,
  attempts: [],
  outputs: null,
  workLostMs: 0,
  budget: null,
  settlement: { phase: "held", hold: usd("600000"), gross: null, lines: [] },
  createdAt: "2026-01-01T00:00:57.000Z",
  startedAt: null,
  endedAt: null,
};
const attempt = { replica: 0, providerId: "acc-2", ratePerHour: usd("120000"), exitCode: null };
const SUCCEEDED: JobView = {
  ...QUEUED,
  id: "job-000002-efgh",
  name: "train",
  phase: "succeeded",
  reason: "completed",
  epoch: 2,
  workerId: "wrk-b",
  progress: 1,
  failoversUsed: 1,
  creditedMs: 25_000,
  checkpoint: {
    seq: 7,
    epoch: 2,
    bytes: 67_108_864,
    bytesMoved: 1_048_576,
    committedAt: "2026-01-01T00:00:50.000Z",
    ageMs: null,
    shipMs: 800,
  },
  attempts: [
    { ...attempt, epoch: 1, workerId: "wrk-a", phase: "lost", creditedMs: 10_300, fromCheckpointSeq: 0 },
    { ...attempt, epoch: 2, workerId: "wrk-b", phase: "ended", creditedMs: 14_700, fromCheckpointSeq: 3, exitCode: 0 },
  ],
  outputs: { files: 1, bytes: 1_536 },
  workLostMs: 1_200,
  settlement: {
    phase: "settled",
    hold: usd("600000"),
    gross: usd("933"),
    lines: [
      { account: "provider:acc-2", role: "primary", amount: usd("326"), ms: 10_300, workerId: "wrk-a" },
      { account: "provider:acc-3", role: "primary", amount: usd("465"), ms: 14_700, workerId: "wrk-b" },
      { account: "provider:acc-3", role: "standby", amount: usd("96"), ms: 12_000, workerId: "wrk-b" },
      { account: "fee", role: "fee", amount: usd("46") },
      { account: "customer:acc-1", role: "refund", amount: usd("599067") },
    ],
  },
  startedAt: "2026-01-01T00:00:01.000Z",
  endedAt: "2026-01-01T00:00:59.000Z",
};

test("the table of jobs", () => {
  expect(formatJobs([SUCCEEDED, QUEUED], NOW, plain)).toBe(
    [
      "JOB              NAME   PHASE      PROGRESS  WORKER   RAN          COST  CREATED",
      "job-000002-efgh  train  succeeded      100%  wrk-b   25 s  0.000933 USD  3.0 s ago",
      "job-000001-abcd  -      queued            -  -       0 ms             -  3.0 s ago",
    ].join("\n"),
  );
});

const TABLE = [
  "SHARE    TO                    TIME       USD",
  "primary  wrk-a                 10 s  0.000326",
  "primary  wrk-b                 14 s  0.000465",
  "standby  wrk-b                 12 s  0.000096",
  "fee      fee                         0.000046",
  "refund   customer:acc-1              0.599067",
  "sum      = hold                      0.600000",
];

test("the settlement adds up to the hold, and would say so if it did not", () => {
  const lines = formatSettlement(SUCCEEDED, plain).split("\n");
  expect(lines.map((line) => line.replace(/ {2,}/g, "  "))).toEqual(TABLE.map((line) => line.replace(/ {2,}/g, "  ")));
  const broken = { ...SUCCEEDED, settlement: { ...SUCCEEDED.settlement, hold: usd("600001") } };
  expect(formatSettlement(broken, plain)).toContain("DIFFERS from the hold");
  expect(formatSettlement(QUEUED, plain)).toBe("Held: 0.60 USD; what is not used comes back at the end.");
});

test("what was paid for each resource is told where more than one had a price", () => {
  const gross = usd("930");
  const parts = [
    { part: "cpu", amount: usd("900") },
    { part: "memory", amount: usd("30") },
  ];
  const apart = { ...SUCCEEDED, settlement: { ...SUCCEEDED.settlement, gross, parts } };
  expect(formatSettlement(apart, plain)).toContain(
    "\n\nOf 0.00093 USD, fee included: 0.0009 USD for cpu, 0.00003 USD for memory",
  );
  const alone = { ...apart, settlement: { ...apart.settlement, parts: parts.slice(0, 1) } };
  expect(formatSettlement(alone, plain)).not.toContain("fee included");
});

test("a job with a budget says how far it has come", () => {
  const budget = { cap: usd("5000000"), source: "admin_month", used: usd("4100000"), warned: true } as const;
  const text = formatJob({ ...QUEUED, budget }, NOW, plain);
  expect(text).toContain("4.10 USD of 5.00 USD used (set by an admin), nearly all");
  expect(formatJob(QUEUED, NOW, plain)).not.toContain("Budget");
});

test("a job's page names what is known and leaves out what is not", () => {
  const text = formatJob(SUCCEEDED, NOW, plain);
  expect(text).toContain("Phase       succeeded (completed)");
  expect(text).toContain("Work lost   1.2 s");
  expect(text).toContain("Checkpoint  7 (64 MiB, 1 MiB moved in 800 ms, 10 s ago)");
  expect(text).toMatch(/2 {2}wrk-b {3}ended {2}0\.12 USD\/h {6}14 s {2}checkpoint 3 {3}0$/m);
  expect(formatJob(QUEUED, NOW, plain)).not.toMatch(/Work lost|Standby|Message|EPOCH/);
});

test("a running job's page says what would be lost now, and how far its standby is", () => {
  const running: JobView = {
    ...QUEUED,
    phase: "running",
    spec: { ...QUEUED.spec, checkpoint: { intervalS: 30, keep: 3 } },
    checkpoint: {
      seq: 4,
      epoch: 1,
      bytes: 1_048_576,
      bytesMoved: 0,
      committedAt: "2026-01-01T00:00:50.000Z",
      ageMs: 12_000,
      shipMs: null,
    },
    checkpointIntervalS: 60,
    workAtRiskMs: 13_000,
    leaseWait: { workerId: "wrk-a", epoch: 1, until: "2026-01-01T00:01:10.000Z" },
    standby: {
      id: "job-000001-abcd/s1",
      workerId: "wrk-b",
      providerId: "acc-3",
      phase: "ready",
      ratePerHour: usd("30000"),
      creditedMs: 0,
      checkpointSeq: 3,
      checkpointsBehind: 1,
      behindMs: 12_000,
    },
  };
  const text = formatJob(running, NOW, plain);
  expect(text).toContain("Checkpoint  4 (1 MiB, 0 B moved, 12 s ago)");
  expect(text).toContain("Interval    every 60 s, because the machine's line is too slow for every 30 s");
  expect(text).toContain(
    "for the lease of wrk-a, where it may still run: until 2026-01-01T00:01:10.000Z at the latest",
  );
  expect(text).toContain("At risk     13 s of work since the newest checkpoint");
  expect(text).toContain("Standby     ready on wrk-b at 0.03 USD/h, checkpoint 3, 1 behind for 12 s");
  const asked = formatJob({ ...running, checkpointIntervalS: 30 }, NOW, plain);
  expect(asked).toContain("Interval    every 30 s\n");
});

test("a mirror job's page shows both replicas, and whose work was refused", () => {
  const replica = { state: "ended", epoch: 1, providerId: "acc-2", progress: 1, checkpointSeq: 2 } as const;
  const sum = "0123456789abcdef".repeat(4);
  const job: JobView = {
    ...QUEUED,
    phase: "succeeded",
    mirror: {
      verified: true,
      third: true,
      checkpointsSame: 2,
      checkpointsDifferent: 1,
      replicas: [
        { ...replica, replica: 0, workerId: "wrk-a", result: sum },
        { ...replica, replica: 1, epoch: 2, workerId: "wrk-c", checkpointSeq: 0, result: sum },
      ],
    },
    attempts: [
      { ...attempt, epoch: 1, workerId: "wrk-a", phase: "ended", creditedMs: 2_000, fromCheckpointSeq: 0 },
      {
        ...attempt,
        replica: 1,
        epoch: 1,
        workerId: "wrk-b",
        phase: "ended",
        creditedMs: 0,
        fromCheckpointSeq: 0,
        refused: true,
      },
    ],
  };
  const text = formatJob(job, NOW, plain);
  expect(text).toContain(
    "Mirror   verified: two providers came to the same result; checkpoints compared: 2 equal, 1 different",
  );
  expect(text).toContain("      0  ended      1  wrk-a       100%           2  0123456789ab…");
  expect(text).toContain("      1  ended      2  wrk-c       100%           -  0123456789ab…");
  expect(text).toMatch(/ 1 +1 +wrk-b +ended .*refused/);
});

test.each([
  [{ verified: false, third: false }, null, "two replicas, whose results will be compared"],
  [{ verified: false, third: false }, "exit_code 3", "one result is there and waits for the other"],
  [{ verified: false, third: true }, null, "a third provider computes it again"],
])("a mirror %o with the result %s", (mirror, result, text) => {
  const replica = {
    state: "running",
    epoch: 1,
    workerId: "w",
    providerId: "p",
    progress: null,
    checkpointSeq: 0,
  } as const;
  const replicas = [
    { ...replica, replica: 0, result },
    { ...replica, replica: 1, result: null },
  ];
  expect(
    formatJob(
      { ...QUEUED, phase: "running", mirror: { ...mirror, checkpointsSame: 0, checkpointsDifferent: 0, replicas } },
      NOW,
      plain,
    ),
  ).toContain(text);
});
