// Cases, payouts and what is to be paid on chains, as every store keeps them.
import type { AccountId } from "@qubix/shared/domain";
import { describe, expect, it } from "vitest";
import type { ChainPayRecord, PayoutRecord } from "../core/model.ts";
import type { Store } from "./index.ts";
import { aDispute, anUnstake, aRating, aSlash, resolved } from "./testing/cases.ts";
import { ACCOUNT, jobIdOf, PROVIDER, put } from "./testing/records.ts";
import { STORES, storePerTest } from "./testing/stores.ts";

describe.each(STORES)("the $name store", (kind) => {
  const at = storePerTest(kind);

  it("gives cases back as they were, and only the open ones at start", () => {
    const cases = [aRating(1), aDispute(2), resolved(aDispute(3)), aSlash(4), anUnstake(5)];
    at.commit({ puts: cases.map((each) => put("cases", each.id, each)) });
    const { rows } = at.reopen().load();
    expect(rows.cases).toEqual(cases.filter(({ endedAtMs }) => endedAtMs === null));
    for (const each of cases) expect(at.store.case(each.id)).toEqual(each);
    expect(at.store.case("dsp-9")).toBeUndefined();
  });

  it("lists cases by kind, party and whether they are open, newest first, in pages", () => {
    const others = aDispute(4, ["acc-other" as AccountId]);
    const cases = [aDispute(1), resolved(aDispute(2)), aDispute(3), others, aSlash(5)];
    at.commit({ puts: cases.map((each) => put("cases", each.id, each)) });
    const ids = (filter: Partial<Parameters<Store["cases"]>[0]>) =>
      at.store.cases({ kind: "dispute", limit: 100, ...filter }).map(({ id }) => id);
    expect(ids({})).toEqual(["dsp-4", "dsp-3", "dsp-2", "dsp-1"]);
    expect(ids({ account: PROVIDER })).toEqual(["dsp-3", "dsp-2", "dsp-1"]);
    expect(ids({ account: PROVIDER, open: true })).toEqual(["dsp-3", "dsp-1"]);
    expect(ids({ account: PROVIDER, limit: 2 })).toEqual(["dsp-3", "dsp-2"]);
    expect(ids({ account: PROVIDER, before: "dsp-2" })).toEqual(["dsp-1"]);
    expect(ids({ kind: "slash" })).toEqual(["slh-5"]);
    expect(ids({ account: "acc-nobody" as AccountId })).toEqual([]);
  });

  it("changes no case that has ended, but a rating, and removes none", () => {
    const dispute = aDispute(1);
    at.commit({ puts: [put("cases", dispute.id, dispute), put("cases", "rtg-1", aRating(1))] });
    at.commit({ puts: [put("cases", dispute.id, resolved(dispute)), put("cases", "rtg-1", aRating(1, 2))] });
    expect(at.store.case("rtg-1")).toEqual(aRating(1, 2));
    expect(() => at.commit({ puts: [put("cases", dispute.id, dispute)] })).toThrow(/has ended/);
    expect(() => at.commit({ puts: [put("cases", dispute.id, null)] })).toThrow(/removed/);
    expect(at.store.case(dispute.id)).toEqual(resolved(dispute));
  });

  it("lists payouts newest first, in pages, and loads those that wait", () => {
    const payout = (n: number, accountId: string, phase: PayoutRecord["phase"]): PayoutRecord => ({
      id: `pay-${n}`,
      accountId: accountId as AccountId,
      phase,
      by: "hand",
      driver: "ledger",
      currency: "USD",
      amount: 2n ** 60n + BigInt(n),
      destination: "IBAN",
      reference: "",
      requestedAtMs: n,
      endedAtMs: phase === "requested" ? null : n + 1,
    });
    const all = [1, 2, 3, 4].map((n) => payout(n, n % 2 === 0 ? "acc-a" : "acc-b", n < 3 ? "completed" : "requested"));
    at.commit({ puts: all.map((each) => put("payouts", each.id, each)) });
    at.reopen();
    expect(at.store.load().rows.payouts).toEqual(all.slice(2));
    expect(at.store.payout("pay-1")).toEqual(all[0]);
    expect(at.store.payout("pay-9")).toBeUndefined();
    const ids = (filter: Parameters<Store["payouts"]>[0]) => at.store.payouts(filter).map(({ id }) => id);
    expect(ids({ limit: 3 })).toEqual(["pay-4", "pay-3", "pay-2"]);
    expect(ids({ limit: 3, before: "pay-2" })).toEqual(["pay-1"]);
    expect(ids({ limit: 9, account: "acc-a" as AccountId })).toEqual(["pay-4", "pay-2"]);
    expect(ids({ limit: 1, account: "acc-b" as AccountId, before: "pay-3" })).toEqual(["pay-1"]);
  });

  it("gives back what is to be paid on chains, and where", () => {
    const pay: ChainPayRecord = {
      id: jobIdOf(1),
      accountId: ACCOUNT,
      currency: "TST",
      chain: { driver: "evm", deposit: "final", tries: 1 },
      phase: "paying",
      hold: 2n ** 60n,
      shares: [{ accountId: PROVIDER, amount: 7n, payable: 2n }],
      fee: 1n,
      settledAtMs: 5,
      dueAtMs: 9,
      tries: 2,
      payees: [{ accountId: PROVIDER, address: "0x1", amount: 7n }],
    };
    const address = { id: `evm ${PROVIDER}`, accountId: PROVIDER, driver: "evm", address: "0x1", setAtMs: 3 };
    const source = { ...address, id: "evm 0x1", accountId: ACCOUNT };
    at.commit({
      puts: [
        put("chainPays", pay.id, pay),
        put("payoutAddresses", address.id, address),
        put("depositAddresses", source.id, source),
      ],
    });
    const { rows } = at.reopen().load();
    expect([rows.chainPays, rows.payoutAddresses, rows.depositAddresses]).toEqual([[pay], [address], [source]]);
  });
});
