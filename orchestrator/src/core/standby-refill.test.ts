// A hot standby that was promoted leaves a gap: another is reserved, on another provider, within 30 s if the market has one.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import { expect, test } from "vitest";
import type { Actor } from "./events.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { standbyReady, start } from "./testing/words.ts";

/** The promise. */
const REFILLED_MS = 30_000;
const price = (amount: bigint) => offerOf({ pricePerCpuHour: { amount, currency: "USD" } });

/** A hot job whose primary has died and whose standby has taken over, at a provider with another worker, the cheapest of all. */
function promoted(prepare: (net: Network) => void = () => {}) {
  const net = new Network();
  const [first, second] = [net.account("provider"), net.account("provider")];
  const consumer = net.account("consumer", 100n);
  const primary = net.worker(first, "primary", price(1_000_000n));
  const standby = net.worker(second, "standby", price(1_100_000n));
  const id = net.submit(consumer, { standby: "hot" });
  startOn(net, id, primary);
  ready(net, id, standby);
  const sibling = net.worker(second, "sibling", price(100_000n));
  prepare(net);
  net.pass(10_000);
  net.close(primary);
  startOn(net, id, standby);
  return { net, id, second, standby, sibling };
}

function startOn(net: Network, id: JobId, worker: WorkerId): void {
  expect(net.attempt(id).workerId).toBe(worker);
  start(net, id);
}

function ready(net: Network, id: JobId, worker: WorkerId): void {
  expect(net.standby(id)).toMatchObject({ workerId: worker, phase: "preparing" });
  standbyReady(net, id);
}

const anotherProviders = (net: Network, name: string, provider: Actor = net.account("provider")) =>
  net.worker(provider, name, price(2_000_000n));

test("on another provider, though one of the same provider costs less", () => {
  let third: WorkerId | undefined;
  const { net, id } = promoted((made) => {
    third = anotherProviders(made, "third");
  });
  net.pass(REFILLED_MS);
  expect(net.standby(id)).toMatchObject({ workerId: third, phase: "preparing" });
});

test("of the same provider where there is no other, since a machine may die alone", () => {
  const { net, id, sibling } = promoted();
  net.pass(REFILLED_MS);
  expect(net.standby(id)).toMatchObject({ workerId: sibling, phase: "preparing" });
});

test("after each promotion anew", () => {
  const { net, id } = promoted((made) => {
    for (const name of ["third", "fourth", "fifth"]) anotherProviders(made, name);
  });
  for (let round = 0; round < 2; round += 1) {
    net.pass(REFILLED_MS);
    const standby = net.standby(id);
    const before = net.attempt(id);
    expect(standby?.phase).toBe("preparing");
    expect(standby?.providerId).not.toBe(before.providerId);
    if (standby === undefined) return;
    ready(net, id, standby.workerId);
    net.close(before.workerId);
    startOn(net, id, standby.workerId);
  }
  expect(net.attempts(id)).toHaveLength(4);
});

test("when an offer appears that was not there at first", () => {
  const { net, id, sibling } = promoted((made) => {
    made.do({ kind: "worker.drain", actor: ADMIN, workerId: siblingOf(made), draining: true });
  });
  net.pass(60_000);
  expect(net.standby(id)?.phase).toBe("promoted");
  expect(net.timeline(id).filter((kind) => kind === "standby_unavailable")).toHaveLength(1);
  const late = anotherProviders(net, "late");
  expect(net.standby(id)).toMatchObject({ workerId: late, phase: "preparing" });
  expect(late).not.toBe(sibling);
});

test("elsewhere when the first that was chosen cannot prepare it", () => {
  const { net, id } = promoted((made) => {
    for (const name of ["third", "fourth"]) anotherProviders(made, name);
  });
  net.pass(5_000);
  const failed = net.standby(id);
  expect(failed?.phase).toBe("preparing");
  if (failed === undefined) return;
  net.say(failed.workerId, { kind: "standby.failed", standbyId: failed.id, code: "image_pull_failed", message: "" });
  net.pass(REFILLED_MS - 5_000);
  expect(net.standby(id)).toMatchObject({ phase: "preparing" });
  expect(net.standby(id)?.workerId).not.toBe(failed.workerId);
});

test("after a restart of the orchestrator in between", () => {
  let third: WorkerId | undefined;
  const { net, id, standby } = promoted((made) => {
    third = anotherProviders(made, "third");
  });
  const attempt = {
    attempt: refOf(net.attempt(id)),
    phase: "running",
    ranMs: 10,
    checkpointSeq: 0,
    progress: null,
  } as const;
  net.restart(500);
  net.connect(standby, price(1_100_000n), { attempts: [attempt], standbys: [] });
  net.connect(third as WorkerId, price(2_000_000n));
  net.pass(REFILLED_MS);
  expect(net.standby(id)).toMatchObject({ workerId: third, phase: "preparing" });
});

const ADMIN = { accountId: "acc-admin" as Actor["accountId"], role: "admin" } as const;

function siblingOf(net: Network): WorkerId {
  const found = net.kept.all("workers").find(({ name }) => name === "sibling");
  if (found === undefined) throw new Error("there is no sibling");
  return found.id;
}
