import { type Receipt, receiptSchema } from "@qubix/shared/protocol";
import pc from "picocolors";
import { expect, test } from "vitest";
import { receiptText } from "./receipt.ts";

const plain = pc.createColors(false);

const attempt = {
  id: "job-a/0/1",
  replica: 0,
  epoch: 1,
  workerId: "wrk-a",
  providerId: "acc-a",
  publicKey: "k",
  phase: "ended",
  ratePerHour: "1000000",
  adoptedEpoch: 0,
  baseRanMs: 0,
  creditedMs: 36_000,
  charge: "15000",
  ticks: [],
  ticksLeftOut: 0,
};

function receiptOf(egress: object | undefined, agreed: object | undefined): Receipt {
  return receiptSchema.parse({
    version: 1,
    orchestratorId: "orc",
    jobId: "job-a",
    view: "consumer",
    phase: "running",
    final: false,
    currency: "USD",
    createdAt: "2026-11-28T00:00:00Z",
    startedAt: null,
    endedAt: null,
    feeBasisPoints: 500,
    heldShort: false,
    agreed: {
      accountId: "acc-c",
      priceMaxPerHour: "2000000",
      durationMaxS: 3600,
      hold: "4000000",
      mirror: false,
      ...(agreed === undefined ? {} : { egress: agreed }),
    },
    attempts: [{ ...attempt, ...(egress === undefined ? {} : { egress }) }],
    standbys: [],
    totals: { gross: "15000", fee: null, refund: null },
    lines: [],
    transfers: [],
    digest: "d",
  });
}

test("a receipt shows what was paid for what was sent, only where that has a price of its own", () => {
  const egress = { pricePerGiB: "1024000", baseBytes: 0, bytes: 5_242_880, charge: "5000" };
  const text = receiptText(receiptOf(egress, { bytesMax: 2 ** 31, priceMaxPerGiB: "2000000" }), plain, false);
  expect(text).toContain("at most 2.00 USD a GiB for 2 GiB sent; held 4.00 USD");
  expect(text).toMatch(/PER GIB SENT +PAID BYTES +EGRESS/);
  expect(text).toMatch(/1\.024 USD +5242880 +0\.005 USD/);
  expect(receiptText(receiptOf(undefined, undefined), plain, false)).not.toMatch(/GIB SENT|EGRESS|a GiB/);
});
