import { describe, expect, it } from "vitest";
import type { Receipt } from "../protocol/receipts.ts";
import { verifySignature } from "../runtime/signatures.ts";
import { egressReceipt, sealed } from "./testing/sample.ts";
import { verifyReceipt } from "./verify.ts";

const codesOf = (value: unknown) =>
  [...new Set(verifyReceipt(value, verifySignature).problems.map(({ code }) => code))].toSorted();

type Open = { -readonly [K in keyof Receipt]: Receipt[K] };

function forged(change: (receipt: Open) => void): Receipt {
  const copy = structuredClone<Open>(egressReceipt());
  change(copy);
  return sealed(copy);
}

/** What the attempt of an epoch is paid for sending. */
function egressOf(receipt: Receipt, epoch: number): NonNullable<Receipt["attempts"][number]["egress"]> {
  const found = receipt.attempts.find((one) => one.epoch === epoch)?.egress;
  if (found === undefined) throw new Error(`no egress of ${epoch}`);
  return found;
}

describe("a receipt of a job that paid for egress", () => {
  it("verifies: bytes over two epochs of one container, its charges, and a hold with all of it", () => {
    expect(verifyReceipt(egressReceipt(), verifySignature)).toMatchObject({ verified: true, problems: [] });
  });

  it.each<readonly [string, readonly string[], (receipt: Open) => void]>([
    ["a charge", ["egress_differs"], (r) => (egressOf(r, 1).charge = "1")],
    [
      "more bytes than were signed",
      ["charge_differs", "egress_differs", "egress_unsigned", "gross_differs", "share_differs"],
      (r) => (egressOf(r, 3).bytes += 30_000),
    ],
    [
      "a price",
      ["charge_differs", "egress_differs", "gross_differs", "share_differs"],
      (r) => (egressOf(r, 1).pricePerGiB = "59999"),
    ],
    [
      "a price beyond what was agreed",
      ["egress_exceeds_agreed", "hold_differs"],
      (r) => {
        if (r.agreed?.egress !== undefined) r.agreed.egress.priceMaxPerGiB = "51233";
      },
    ],
    [
      "more bytes than were agreed",
      ["egress_exceeds_agreed", "hold_differs"],
      (r) => {
        if (r.agreed?.egress !== undefined) r.agreed.egress.bytesMax = 1_700_000_007;
      },
    ],
    ["bytes where none were agreed", ["egress_exceeds_agreed", "hold_differs"], (r) => delete r.agreed?.egress],
    ["bytes paid twice over one container", ["egress_counted_twice"], (r) => (egressOf(r, 3).baseBytes -= 1)],
    [
      "what a tick tells of traffic",
      ["chain_broken", "signature_invalid"],
      (r) => {
        const [tick] = r.attempts[0]?.ticks ?? [];
        if (tick?.usage !== undefined) tick.usage["egressBytes"] = 700_000_002;
      },
    ],
  ])("does not verify with %s changed", (_what, codes, change) => {
    expect(codesOf(forged(change))).toEqual(expect.arrayContaining([...codes]));
  });

  it.each<readonly [string, (receipt: Open) => void]>([
    ["bytes", (r) => (egressOf(r, 3).bytes = Number.MAX_SAFE_INTEGER)],
    ["time", (r) => Object.assign(r.attempts[2] ?? {}, { baseRanMs: 2 ** 52, creditedMs: 2 ** 52 })],
  ])("does not verify, and throws nothing, with more %s than can be counted", (_what, change) => {
    expect(codesOf(forged(change))).toEqual(["malformed"]);
  });

  it("does not verify where a tick tells of less than the one before it", () => {
    const fallen = forged((r) => {
      const tick = r.attempts[2]?.ticks[0];
      if (tick?.usage !== undefined) tick.usage["egressBytes"] = 5;
    });
    expect(codesOf(fallen)).toContain("tick_falls");
  });

  it("verifies for a provider, who sees his own part alone", () => {
    const own = forged((r) => {
      r.view = "provider";
      r.agreed = null;
      r.totals = null;
      r.attempts = r.attempts.filter(({ workerId }) => workerId === "wrk-1");
      r.standbys = [];
      r.lines = r.lines.filter(({ account }) => account === "provider:acc-one");
      r.transfers = r.transfers
        .filter(({ kind }) => kind === "settlement")
        .map((one) => ({ ...one, postings: one.postings.filter(({ account }) => account === "pending:acc-one") }));
    });
    expect(codesOf(own)).toEqual([]);
  });
});
