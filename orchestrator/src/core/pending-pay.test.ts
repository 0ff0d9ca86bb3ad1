import type { AccountId, JobId, WorkerId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { describe, expect, test } from "vitest";
import { disputableUntilMs, payAccount, returnPending, type Share, takePending } from "./pending-pay.ts";
import { transfer } from "./ledger.ts";
import type { LedgerAccount } from "./model.ts";
import type { Actor } from "./events.ts";
import { Network } from "./testing/kit.ts";
import { work } from "./testing/words.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A minute of one core at 1 USD an hour, less the fee. */
const SHARE = 15_833n;

interface Scene {
  readonly net: Network;
  readonly provider: Actor;
  readonly consumer: Actor;
  readonly worker: WorkerId;
}

function scene(config: ConstructorParameters<typeof Network>[0] = {}): Scene {
  const net = new Network(config);
  const provider = net.account("provider");
  const consumer = net.account("consumer", 100n);
  return { net, provider, consumer, worker: net.worker(provider, "alpha") };
}

/** A job that is paid a minute. */
function workAMinute({ net, consumer }: Scene): JobId {
  const id = net.submit(consumer);
  work(net, id, 60_000);
  return id;
}

function pay({ net, provider }: Scene) {
  const { accountId } = provider;
  return [net.balance(`pending:${accountId}`), net.balance(`provider:${accountId}`)];
}

describe("a provider's pay", () => {
  test("is pending in one row an hour, and payable a dispute window after the hour's end, in one transfer", () => {
    const at = scene();
    const { net } = at;
    for (let jobs = 0; jobs < 5; jobs += 1) workAMinute(at);
    expect(net.kept.all("releases")).toMatchObject([{ amount: 5n * SHARE, endsAtMs: HOUR_MS }]);
    net.pass(HOUR_MS - net.nowMs);
    workAMinute(at);
    expect(net.kept.all("releases")).toHaveLength(2);
    expect(pay(at)).toEqual([6n * SHARE, 0n]);
    net.silence(at.worker);
    net.pass(HOUR_MS + DAY_MS - net.nowMs - 1);
    expect(pay(at)).toEqual([6n * SHARE, 0n]);
    net.pass(1);
    expect(pay(at)).toEqual([SHARE, 5n * SHARE]);
    expect(net.kept.transfers.filter(({ kind }) => kind === "release")).toMatchObject([{ jobId: null }]);
    expect(net.kept.events.at(-1)).toMatchObject({ kind: "released", providerId: at.provider.accountId });
    net.pass(HOUR_MS);
    expect(pay(at)).toEqual([0n, 6n * SHARE]);
    expect(net.kept.all("releases")).toEqual([]);
  });

  test("is released by an orchestrator that was away when it was due", () => {
    const at = scene();
    workAMinute(at);
    at.net.restart(2 * DAY_MS);
    at.net.pass(1);
    expect(pay(at)).toEqual([0n, SHARE]);
  });

  test("is payable at once without a dispute window", () => {
    const at = scene({ disputeWindowMs: 0 });
    workAMinute(at);
    expect(pay(at)).toEqual([0n, SHARE]);
    expect(payAccount(at.net.state, "acc-1")).toBe("provider:acc-1");
    expect(at.net.kept.all("releases")).toEqual([]);
  });

  test("follows the window that is in force when it ends, not the one it was earned under", () => {
    const at = scene();
    workAMinute(at);
    const shorter = new Network({ disputeWindowMs: 0 });
    Object.assign(shorter, { kept: at.net.kept, nowMs: at.net.nowMs });
    shorter.restart();
    shorter.pass(HOUR_MS - shorter.nowMs);
    expect(pay({ ...at, net: shorter })).toEqual([0n, SHARE]);
  });
});

describe("a share", () => {
  const shareOf = ({ net, provider }: Scene, id: JobId, amount = SHARE): Share => ({
    providerId: provider.accountId,
    currency: "USD",
    amount,
    settledAtMs: net.job(id).endedAtMs ?? 0,
  });

  /** As a dispute does it: what `change` says within a step, with its posting. */
  function within(at: Scene, change: () => void): void {
    const { net } = at;
    const handled = net.state.rows.accounts.size;
    change();
    net.do({
      kind: "account.create",
      actor: { accountId: "acc-admin" as AccountId, role: "admin" },
      name: "x",
      role: "consumer",
    });
    assert(net.state.rows.accounts.size === handled + 1, "the step did not end");
  }

  function freeze(at: Scene, share: Share): boolean {
    let taken = false;
    within(at, () => {
      taken = takePending(at.net.state, share);
      if (taken) move(at, `pending:${share.providerId}`, "disputed:job-x", share.amount);
    });
    return taken;
  }

  function unfreeze(at: Scene, share: Share): void {
    within(at, () => move(at, "disputed:job-x", returnPending(at.net.state, share), share.amount));
  }

  function move({ net }: Scene, from: LedgerAccount, to: LedgerAccount, amount: bigint): void {
    const postings = [
      { account: from, amount: -amount },
      { account: to, amount },
    ];
    transfer(net.state, { kind: "freeze", jobId: null, currency: "USD", postings, memo: "" });
  }

  test("that is taken out of its hour is not released; put back in time it is released with the rest", () => {
    const at = scene();
    const [first] = [workAMinute(at), workAMinute(at)];
    const share = shareOf(at, first);
    expect(freeze(at, share)).toBe(true);
    expect(at.net.balance("disputed:job-x")).toBe(SHARE);
    unfreeze(at, share);
    expect(pay(at)).toEqual([2n * SHARE, 0n]);
    at.net.restart(HOUR_MS + DAY_MS);
    at.net.pass(1);
    expect(pay(at)).toEqual([0n, 2n * SHARE]);
  });

  test("that comes back after its window is payable at once", () => {
    const at = scene();
    const share = shareOf(at, workAMinute(at));
    expect(freeze(at, share)).toBe(true);
    expect(at.net.kept.all("releases")).toEqual([]);
    at.net.restart(HOUR_MS + DAY_MS);
    unfreeze(at, share);
    expect(pay(at)).toEqual([0n, SHARE]);
  });

  test("is taken from nobody once it is payable, nor more than there is", () => {
    const at = scene();
    const id = workAMinute(at);
    expect(freeze(at, shareOf(at, id, SHARE + 1n))).toBe(false);
    expect(disputableUntilMs(at.net.state, at.net.job(id).endedAtMs ?? 0)).toBe(HOUR_MS + DAY_MS);
    at.net.restart(HOUR_MS + DAY_MS);
    at.net.pass(1);
    expect(freeze(at, shareOf(at, id))).toBe(false);
    expect(pay(at)).toEqual([0n, SHARE]);
  });
});
