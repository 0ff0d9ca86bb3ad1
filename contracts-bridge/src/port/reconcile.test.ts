import type { JobId } from "@qubix/shared/domain";
import { expect, it } from "vitest";
import type { EscrowState, ExpectedJob } from "./intents.ts";
import { compare } from "./reconcile.ts";

const jobId = "job-1" as JobId;
const held = (over: Partial<EscrowState> = {}): EscrowState => ({
  status: "held",
  payer: "me",
  amount: 100n,
  paid: 0n,
  deadlineMs: 1,
  ...over,
});
const look = (
  escrows: readonly (EscrowState | null)[],
  {
    expects = "held",
    owed = 100n,
    own = 0n,
    isOneState = true,
  }: Partial<ExpectedJob & { owed: bigint; own: bigint; isOneState: boolean }> = {},
) =>
  compare(
    { owed, jobs: escrows.map(() => ({ jobId, expects, amount: 100n })) },
    { place: 7, escrows, own, isOneState, signer: "me" },
  );

it("agrees where each job is held whole and all that is owed is there", () => {
  expect(look([held()])).toEqual({ place: 7, jobs: 1, underWay: 0, differences: [], sum: { owed: 100n, there: 100n } });
  expect(look([held()], { owed: 150n, own: 60n }).differences).toEqual([]);
});

it.each([
  ["nothing is held", null],
  ["status", held({ status: "disputed" })],
  ["amount", held({ amount: 101n })],
  ["payer", held({ payer: "somebody" })],
])("a job: %s", (what, escrow) => {
  expect(look([escrow], { owed: 0n }).differences).toMatchObject([{ jobId, what }]);
});

it("what is under way may be on either side, and is owed until it is posted", () => {
  const underWay = { expects: "underWay" } as const;
  expect(look([null], { ...underWay, own: 100n }).differences).toEqual([]);
  expect(look([held({ status: "settled", paid: 40n })], { ...underWay, own: 60n }).differences).toEqual([]);
  expect(look([held({ status: "refunded" })], { ...underWay, own: 100n }).differences).toEqual([]);
  expect(look([held({ status: "settled", paid: 40n })], { ...underWay, own: 59n }).differences).toMatchObject([
    { jobId: null, what: "less is there than is owed", ledger: "100", chain: "99" },
  ]);
});

it("sums that were not read of one state are compared only while nothing is under way", () => {
  const apart = { isOneState: false, owed: 1_000n };
  expect(look([held()], { ...apart, expects: "underWay" }).differences).toEqual([]);
  expect(look([held()], apart).differences).toMatchObject([{ jobId: null }]);
});
