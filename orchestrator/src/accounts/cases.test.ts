import type { AccountId, JobId, WorkerId } from "@qubix/shared/domain";
import { expect, it } from "vitest";
import type { Actor, CaseOf } from "../core/index.ts";
import { viewDispute } from "./cases.ts";

const CONSUMER = "acc-consumer" as AccountId;
const ONE = "acc-one" as AccountId;
const OTHER = "acc-other" as AccountId;

function shareOf(providerId: AccountId, amount: bigint) {
  return { providerId, workerId: `wrk-${providerId}` as WorkerId, id: providerId, amount };
}

const DISPUTE: CaseOf<"dispute"> = {
  kind: "dispute",
  id: "dsp-1",
  phase: "open",
  parties: [CONSUMER, ONE, OTHER],
  createdAtMs: 1,
  endedAtMs: null,
  jobId: "job-1" as JobId,
  accountId: CONSUMER,
  reason: "it is wrong",
  currency: "USD",
  gross: 100n,
  fee: 5n,
  shares: [shareOf(ONE, 60n), shareOf(OTHER, 35n)],
  decideByMs: 9,
  decision: null,
};

it("a dispute shows a provider his own shares, and the consumer and admins all of them", () => {
  const seenBy = (accountId: AccountId, role: Actor["role"]) =>
    viewDispute(DISPUTE, String, { accountId, role }).shares.map(({ amount }) => amount.amount);
  expect(seenBy(CONSUMER, "consumer")).toEqual(["60", "35"]);
  expect(seenBy("acc-admin" as AccountId, "admin")).toEqual(["60", "35"]);
  expect([seenBy(ONE, "provider"), seenBy(OTHER, "provider")]).toEqual([["60"], ["35"]]);
});
