import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Receipt } from "../protocol/receipts.ts";
import { verifySignature } from "../runtime/signatures.ts";
import { receiptDigest } from "./digest.ts";
import { createSigner, sampleReceipt, sealed, signChain } from "./testing/sample.ts";
import { verifyReceipt } from "./verify.ts";

const verify = (value: unknown) => verifyReceipt(value, verifySignature);
const codesOf = (value: unknown) => [...new Set(verify(value).problems.map(({ code }) => code))].toSorted();

/** Something that can be changed in place. */
type Open = { -readonly [K in keyof Receipt]: Receipt[K] };

/** A copy with a change, under a digest of its own: whoever forges it makes that anew. */
function forged(change: (receipt: Open) => void): Receipt {
  const copy = structuredClone<Open>(sampleReceipt());
  change(copy);
  return sealed(copy);
}

const attempt = (receipt: Receipt, epoch: number) => {
  const found = receipt.attempts.find((one) => one.epoch === epoch);
  if (found === undefined) throw new Error(`no attempt ${epoch}`);
  return found;
};

describe("a receipt", () => {
  it("verifies with everything it has: ticks over two epochs of one container, a standby, the books", () => {
    const { verified, problems, figures } = verify(sampleReceipt());
    expect(problems).toEqual([]);
    expect(verified).toBe(true);
    expect(figures).toEqual({ ticks: 4, signedMs: 77_777, unsignedMs: 0, contradictions: 0 });
  });

  it("verifies as JSON gives it, whatever the order of its keys, and with fields that are not known here", () => {
    const receipt = sampleReceipt();
    const reversed = Object.fromEntries(Object.entries(receipt).toReversed());
    expect(verify(JSON.parse(JSON.stringify(reversed))).verified).toBe(true);
    expect(verify(sealed({ ...receipt, later: { field: 1 } })).verified).toBe(true);
  });

  it("verifies where the worker signs nothing, and says how much time that is", () => {
    const receipt = forged(({ attempts }) => {
      for (const one of attempts) one.ticks = [];
    });
    expect(verify(receipt)).toMatchObject({ verified: true, figures: { ticks: 0, signedMs: 0, unsignedMs: 77_777 } });
  });

  it("verifies over a gap of ticks that were not kept", () => {
    const receipt = forged((copy) => {
      const last = attempt(copy, 3);
      last.ticks = last.ticks.slice(1);
      last.ticksLeftOut = 1;
      attempt(copy, 1).ticksLeftOut = 1;
    });
    expect(verify(receipt)).toMatchObject({ verified: true, problems: [], figures: { unsignedMs: 0 } });
  });

  it("verifies where an attempt was taken back by two others, of which its worker heard of the last alone", () => {
    const unheard = (creditedMs: number) =>
      forged((copy) => {
        const heard = attempt(copy, 3);
        const at = copy.attempts.indexOf(heard);
        copy.attempts.splice(at, 0, { ...heard, id: "unheard", epoch: 9, creditedMs, charge: "0", ticks: [] });
      });
    expect(verify(unheard(0))).toMatchObject({ verified: true, problems: [] });
    expect(codesOf(unheard(1))).toContain("attempts_confused");
  });

  it("tells of a worker that has signed two statements of one number", () => {
    const signer = createSigner();
    const [honest] = signChain(signer, [{ epoch: 1, n: 1, ranMs: 30_017 }]);
    const [other] = signChain(signer, [{ epoch: 1, n: 1, ranMs: 29_000 }]);
    if (honest === undefined || other === undefined) throw new Error("no ticks");
    const both = forged((copy) => {
      const first = attempt(copy, 1);
      first.publicKey = signer.publicKey;
      first.ticks = [honest, { ...other, contradicts: true }];
      attempt(copy, 3).ticks = [];
    });
    expect(verify(both)).toMatchObject({ verified: true, figures: { contradictions: 1 } });
    const same = forged((copy) => {
      const first = attempt(copy, 1);
      first.publicKey = signer.publicKey;
      first.ticks = [honest, { ...honest, contradicts: true }];
      attempt(copy, 3).ticks = [];
    });
    expect(codesOf(same)).toEqual(["contradiction_unfounded"]);
  });

  const forgeries: readonly (readonly [string, readonly string[], (receipt: Open) => void])[] = [
    [
      "another signature",
      ["signature_invalid"],
      (r) => (attempt(r, 1).ticks.at(0)!.signature = attempt(r, 2).ticks.at(0)!.signature),
    ],
    ["more time in a tick", ["chain_broken", "signature_invalid"], (r) => (attempt(r, 1).ticks.at(0)!.ranMs += 1)],
    ["a tick left out", ["chain_broken"], (r) => (attempt(r, 3).ticks = attempt(r, 3).ticks.slice(1))],
    ["the first tick left out", ["chain_broken"], (r) => (attempt(r, 1).ticks = [])],
    [
      "ticks in another order",
      ["chain_broken", "tick_falls"],
      (r) => (attempt(r, 3).ticks = attempt(r, 3).ticks.toReversed()),
    ],
    [
      "a tick under another epoch",
      ["attempts_confused", "signature_invalid"],
      (r) => (attempt(r, 2).ticks.at(0)!.epoch = 4),
    ],
    ["another worker's key", ["signature_invalid"], (r) => (attempt(r, 1).publicKey = attempt(r, 2).publicKey)],
    ["an attempt twice", ["attempts_confused"], (r) => r.attempts.push(structuredClone(attempt(r, 4)))],
    ["an attempt that goes on from itself", ["attempts_confused"], (r) => (attempt(r, 4).adoptedEpoch = 4)],
    ["time paid twice over one container", ["time_counted_twice"], (r) => (attempt(r, 3).baseRanMs -= 1)],
    ["a charge", ["charge_differs"], (r) => (attempt(r, 1).charge = "10295")],
    ["a rate", ["charge_differs", "gross_differs", "share_differs"], (r) => (attempt(r, 1).ratePerHour = "1300000")],
    ["a rate beyond what was agreed", ["rate_exceeds_agreed"], (r) => (attempt(r, 4).ratePerHour = "2000001")],
    ["an outvoted attempt that is paid", ["refused_paid"], (r) => (attempt(r, 1).refused = true)],
    ["parts of a rate that sum to more", ["parts_differ"], (r) => (attempt(r, 1).parts = partsOf(r, 1n, 0n))],
    ["a part of a charge", ["parts_differ"], (r) => (attempt(r, 1).parts = partsOf(r, 0n, 1n))],
    ["gross", ["gross_differs"], (r) => (r.totals!.gross = "1")],
    ["the fee", ["fee_differs"], (r) => (r.totals!.fee = "1")],
    ["the refund", ["refund_differs"], (r) => (r.totals!.refund = "1")],
    ["what is said to be held", ["hold_differs"], (r) => (r.agreed!.hold = "333335")],
    ["a longer time that was agreed", ["hold_differs"], (r) => (r.agreed!.durationMaxS = 601)],
    [
      "a budget below what it cost",
      ["gross_exceeds_cap"],
      (r) => (r.agreed!.cap = String(BigInt(r.totals!.gross) - 1n)),
    ],
    ["a budget beyond the hold", ["hold_differs"], (r) => (r.agreed!.cap = String(BigInt(r.agreed!.hold) + 1n))],
    [
      "a hold beyond the price cap, with a budget",
      ["hold_differs"],
      (r) => {
        r.agreed!.cap = r.agreed!.hold;
        r.agreed!.durationMaxS -= 1;
      },
    ],
    ["less time agreed than is paid", ["time_exceeds_agreed"], (r) => (r.agreed!.durationMaxS = 60)],
    ["a unit from one share to the other", ["share_differs"], (r) => shift(r.lines, 0, 1)],
    ["a unit from a share to the fee", ["fee_differs", "share_differs"], (r) => shift(r.lines, 0, r.lines.length - 2)],
    ["a share for another provider", ["shares_differ"], (r) => (r.lines.at(0)!.account = "provider:acc-two")],
    ["a share for other time", ["shares_differ"], (r) => (r.lines.at(0)!.ms = 1)],
    ["a share left out", ["shares_differ", "sum_differs"], (r) => r.lines.shift()],
    ["a hold that was said to be short", ["hold_not_short"], (r) => (r.heldShort = true)],
    ["a posting", ["transfer_unbalanced"], (r) => (r.transfers.at(1)!.postings.at(1)!.amount = "1")],
    [
      "a posting to somebody else",
      ["posting_differs"],
      (r) => (r.transfers.at(1)!.postings.at(1)!.account = "pending:acc-thief"),
    ],
    ["a settlement that was not posted", ["settlement_not_posted"], (r) => r.transfers.pop()],
    ["a settlement that was posted twice", ["settlement_not_posted"], (r) => r.transfers.push(r.transfers.at(1)!)],
    ["a hold that was not posted", ["hold_not_posted"], (r) => r.transfers.shift()],
    ["the account of a running job with shares", ["lines_unexpected"], (r) => (r.final = false)],
  ];
  it.each(forgeries)("is not verified with %s", (_what, codes, change) => {
    const receipt = forged(change);
    const found = codesOf(receipt);
    expect(found).toEqual(expect.arrayContaining([...codes]));
    expect(verify(receipt).verified).toBe(false);
  });

  it("says where and what it is, in words", () => {
    const [problem] = verify(forged((receipt) => (attempt(receipt, 1).charge = "10295"))).problems;
    expect(problem).toEqual({
      code: "charge_differs",
      at: "job-0000001-k3f9/0/1",
      message: "is charged 10295 for 30017 ms at 1234567 an hour, which is 10293",
    });
  });

  it("is seen to be changed by any flipped bit of its file", () => {
    const text = JSON.stringify(sampleReceipt());
    const bytes = Buffer.from(text);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const flipped = Buffer.from(bytes);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        expect(verify(parsed(flipped)).verified).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  it("is nothing that throws, whatever it is given", () => {
    for (const value of [null, undefined, 1, "text", [], {}, { version: 1 }]) {
      expect(verify(value)).toMatchObject({ verified: false, receipt: null, problems: [{ code: "malformed" }] });
    }
    const receipt = sampleReceipt() as unknown as Record<string, unknown>;
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(receipt)), fc.jsonValue(), (key, value) => {
        const { verified } = verify({ ...receipt, [key]: value });
        expect(verified).toBe(JSON.stringify(value) === JSON.stringify(receipt[key]));
      }),
      { numRuns: 500 },
    );
  });
});

describe("a provider's view", () => {
  const providerView = (change: (receipt: Open) => void = () => {}) =>
    forged((receipt) => {
      const own = (one: { readonly providerId: string }) => one.providerId === "acc-one";
      receipt.view = "provider";
      receipt.agreed = null;
      receipt.totals = null;
      receipt.attempts = receipt.attempts.filter(own);
      receipt.standbys = receipt.standbys.filter(own);
      receipt.lines = receipt.lines.filter(({ account }) => account === "provider:acc-one");
      receipt.transfers = receipt.transfers.slice(1).map((transfer) => ({
        ...transfer,
        postings: transfer.postings.filter(({ account }) => account === "pending:acc-one"),
      }));
      change(receipt);
    });

  it("verifies by itself", () => {
    expect(verify(providerView())).toMatchObject({ verified: true, problems: [] });
  });

  it("is not verified where a share is less than the charge without the fee, or the posting is another", () => {
    const less = providerView((receipt) => (receipt.lines.at(0)!.amount = "9000"));
    expect(codesOf(less)).toEqual(["posting_differs", "share_differs"]);
    const unposted = providerView((receipt) => (receipt.transfers.at(0)!.postings.at(0)!.amount = "1"));
    expect(codesOf(unposted)).toEqual(["posting_differs"]);
  });
});

describe("a digest", () => {
  it("is of everything but itself", () => {
    const { digest, ...receipt } = sampleReceipt();
    expect(receiptDigest(receipt)).toBe(digest);
    expect(receiptDigest({ ...receipt, digest: "other" })).toBe(digest);
    expect(receiptDigest({ ...receipt, endedAt: null })).not.toBe(digest);
  });
});

function shift(lines: Receipt["lines"], from: number, to: number): void {
  const [a, b] = [lines[from], lines[to]];
  if (a === undefined || b === undefined) throw new Error("no such line");
  a.amount = (BigInt(a.amount) - 1n).toString();
  b.amount = (BigInt(b.amount) + 1n).toString();
}

/** As the command line reads a file. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

/** All of it memory but one unit; with something wrong in the rates, or in the charges. */
function partsOf(receipt: Open, more: bigint, shifted: bigint): Open["attempts"][number]["parts"] {
  const { ratePerHour, charge } = attempt(receipt, 1);
  const part = (name: "cpu" | "memory", rate: bigint, due: bigint) => ({
    part: name,
    ratePerHour: rate.toString(),
    charge: due.toString(),
  });
  return [part("memory", BigInt(ratePerHour) - 1n + more, BigInt(charge) - shifted), part("cpu", 1n, shifted)];
}
