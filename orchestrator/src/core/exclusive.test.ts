// Exclusive jobs: a successor may not start before the lease of a lost attempt is surely over, by time or by its worker's signed word.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { leaseOverAtMs } from "./lease-wait.ts";
import { Network, offerOf, refOf, type specOf } from "./testing/kit.ts";
import { start } from "./testing/words.ts";

const GUARDED = offerOf({ features: ["exclusive"] });
/** Lease and margin. */
const WHOLE_MS = 17_000;

/** An exclusive job that runs on `primary` since ten seconds; hot: with a standby that is ready on `second`. */
function exclusive(spec: Parameters<typeof specOf>[0] = {}) {
  const net = new Network();
  const first = net.account("provider");
  const other = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const primary = net.worker(first, "primary", GUARDED);
  const second = net.worker(other, "second", GUARDED);
  const id = net.submit(consumer, { failover: "exclusive", ...spec });
  startOn(net, id, primary);
  const standbyId = net.standby(id)?.id;
  if (standbyId !== undefined) net.say(second, { kind: "standby.ready", standbyId, checkpointSeq: 0 });
  net.pass(10_000);
  return { net, consumer, primary, second, id };
}

function startOn(net: Network, id: JobId, worker: WorkerId): void {
  expect(net.attempt(id).workerId).toBe(worker);
  start(net, id);
}

const journalOf = (net: Network, id: JobId, phase: "running" | "preparing" | "ended" = "running") => ({
  attempts: [{ attempt: refOf(net.attempt(id)), phase, ranMs: 9_000, checkpointSeq: 0, progress: null }],
  standbys: [],
});

const stopped = (net: Network, id: JobId) =>
  ({ kind: "stopped", attempt: refOf(net.attempt(id)), signature: "c2lnbmVk" }) as const;

describe("a worker that is lost", () => {
  test.each([["hot"], ["cold"]] as const)("%s: nobody starts before its lease is over, and then at once", (standby) => {
    const { net, primary, second, id } = exclusive({ standby });
    const heardMs = net.nowMs;
    net.close(primary);
    net.pass(heardMs + WHOLE_MS - 1 - net.nowMs);
    expect(net.job(id)).toMatchObject({ phase: "queued", epoch: 1, failoversUsed: 1 });
    expect(net.job(id).leaseWait).toMatchObject({ epoch: 1, workerId: primary, untilMs: heardMs + WHOLE_MS });
    expect(net.event(id, "lease_wait")).toMatchObject({ epoch: 1, workerId: primary, why: "worker_lost" });
    net.pass(1);
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2, leaseWait: null });
    expect(net.attempt(id).workerId).toBe(second);
    expect(net.event(id, "lease_over")).toMatchObject({ by: "time" });
    const kind = standby === "hot" ? "promote" : "assign";
    expect(net.last(second, kind)).toMatchObject({ attempt: { epoch: 2 } });
    expect(net.timeline(id).includes("promoted")).toBe(standby === "hot");
  });

  test("counts from its last sign of life, not from when it was given up", () => {
    const { net, primary, id } = exclusive();
    const heardMs = net.nowMs;
    net.silence(primary);
    net.pass(6_000);
    expect(net.job(id).leaseWait?.untilMs).toBe(heardMs + WHOLE_MS);
  });

  test("comes back in that time: it simply goes on, and nobody else ever started", () => {
    const { net, primary, second, id } = exclusive({ standby: "hot" });
    net.close(primary);
    net.pass(14_000);
    net.connect(primary, GUARDED, journalOf(net, id));
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 2, failoversUsed: 0, leaseWait: null });
    expect(net.last(primary, "adopt")).toMatchObject({ attempt: { epoch: 2 }, from: 1 });
    net.pass(30_000);
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 2 });
    expect(net.last(second, "promote")).toBeUndefined();
    expect(net.standby(id)).toMatchObject({ phase: "ready", workerId: second });
  });

  test("comes back after another has been chosen: it is fenced, whatever that one has done", () => {
    const { net, primary, second, id } = exclusive({ standby: "hot" });
    const lost = journalOf(net, id);
    net.close(primary);
    net.pass(WHOLE_MS);
    expect(net.attempt(id)).toMatchObject({ epoch: 2, phase: "assigned", workerId: second });
    net.connect(primary, GUARDED, lost);
    expect(net.last(primary, "fence")).toMatchObject({ attempt: { epoch: 1 } });
    expect(net.job(id)).toMatchObject({ epoch: 2, phase: "starting" });
  });

  test("and nobody else fits: it goes on there, however late", () => {
    const { net, primary, second, id } = exclusive();
    net.close(second);
    const lost = journalOf(net, id);
    net.close(primary);
    net.pass(60_000);
    expect(net.job(id)).toMatchObject({ phase: "queued", epoch: 1, leaseWait: null });
    net.connect(primary, GUARDED, lost);
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 2 });
  });

  test("a job that has to wait counts queueS from the end of the lease, and ends", () => {
    const { net, primary, second, id } = exclusive({ queueS: 5 });
    net.close(second);
    net.close(primary);
    net.pass(WHOLE_MS + 4_900);
    expect(net.job(id).phase).toBe("queued");
    net.pass(200);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "no_offer" });
  });

  test("a job that waits can be cancelled", () => {
    const { net, consumer, primary, id } = exclusive({ standby: "hot" });
    net.close(primary);
    net.pass(5_000);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    expect(net.job(id).phase).toBe("cancelled");
    net.pass(60_000);
    expect(net.attempts(id)).toHaveLength(1);
  });
});

describe("the signed word that a container is over", () => {
  test("ends the wait at once", () => {
    const { net, primary, second, id } = exclusive({ standby: "hot" });
    const lost = journalOf(net, id, "preparing");
    net.close(primary);
    net.pass(3_000);
    net.connect(primary, GUARDED, lost);
    expect(net.last(primary, "fence")).toMatchObject({ attempt: { epoch: 1 } });
    expect(net.job(id)).toMatchObject({ phase: "queued", epoch: 1 });
    net.say(primary, stopped(net, id));
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2 });
    expect(net.attempt(id).workerId).toBe(second);
    expect(net.event(id, "lease_over")).toMatchObject({ by: "stopped" });
    expect(net.attempts(id)[0]).toMatchObject({ stopped: "c2lnbmVk" });
  });

  test("is worth nothing from anybody else, or of another attempt", () => {
    const { net, primary, second, id } = exclusive();
    net.close(primary);
    net.pass(3_000);
    net.say(second, stopped(net, id));
    net.say(second, { kind: "stopped", attempt: { ...refOf(net.attempt(id)), epoch: 7 as never }, signature: "c2ln" });
    expect(net.job(id)).toMatchObject({ phase: "queued", epoch: 1 });
    expect(net.job(id).leaseWait).not.toBeNull();
  });

  test("comes before the end of a failed container, which is tried again at once", () => {
    const { net, primary, id } = exclusive();
    const attempt = refOf(net.attempt(id));
    const outcome = { kind: "failed", code: "exit_code", exitCode: 1, message: "" } as const;
    net.say(primary, stopped(net, id));
    net.say(primary, { kind: "ended", attempt, ranMs: 5_000, outcome });
    expect(net.job(id)).toMatchObject({ epoch: 2, phase: "starting", retriesUsed: 1 });
  });

  test("without it an end is waited for as a loss is", () => {
    const { net, primary, id } = exclusive();
    const attempt = refOf(net.attempt(id));
    const heardMs = net.nowMs;
    const outcome = { kind: "worker_failed", code: "docker_error", message: "" } as const;
    net.say(primary, { kind: "ended", attempt, ranMs: 5_000, outcome });
    expect(net.job(id)).toMatchObject({ epoch: 1, phase: "queued" });
    net.pass(heardMs + WHOLE_MS - 1 - net.nowMs);
    expect(net.job(id).epoch).toBe(1);
    net.pass(1);
    expect(net.job(id).epoch).toBe(2);
  });
});

describe("the orchestrator starts anew", () => {
  test("a whole lease passes, for a job that waited and for one whose worker does not come back", () => {
    const { net, consumer, primary, second, id } = exclusive();
    const other = net.submit(consumer, { failover: "exclusive", placement: { workers: [second] } });
    startOn(net, other, second);
    net.close(primary);
    net.pass(16_000);
    expect(net.job(id).leaseWait).not.toBeNull();
    net.restart(60_000);
    const bootMs = net.nowMs;
    const third = net.worker(net.account("provider"), "third", GUARDED);
    net.pass(WHOLE_MS - 1);
    expect(net.job(id)).toMatchObject({ phase: "queued", epoch: 1 });
    expect(net.job(other)).toMatchObject({ phase: "queued", epoch: 1 });
    const wait = net.job(other).leaseWait;
    expect(wait === null || wait === undefined ? 0 : leaseOverAtMs(net.state, wait)).toBe(bootMs + WHOLE_MS);
    net.pass(1);
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2 });
    expect(net.attempt(id).workerId).toBe(third);
    expect(net.job(other)).toMatchObject({ phase: "queued", leaseWait: null });
  });
});

describe("heartbeats", () => {
  test("are answered after the fence of what they list in vain, so that the answer renews nothing of it", () => {
    const { net, primary, id } = exclusive();
    const stale = refOf(net.attempt(id));
    net.close(primary);
    net.pass(WHOLE_MS);
    net.connect(primary, GUARDED);
    net.sentTo(primary).length = 0;
    net.say(primary, { kind: "heartbeat", attempts: [{ attempt: stale, ranMs: 1, progress: null }] });
    expect(net.sentTo(primary).map(({ kind }) => kind)).toEqual(["fence", "ack"]);
  });
});

describe("a specification", () => {
  test("is placed only on workers with a guard, and told to them", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    net.worker(provider, "plain");
    const id = net.submit(consumer, { failover: "exclusive" });
    expect(net.job(id).phase).toBe("queued");
    const guarded = net.worker(provider, "guarded", GUARDED);
    expect(net.last(guarded, "assign")).toMatchObject({ run: { failover: "exclusive" } });
    const plain = net.submit(consumer);
    expect(net.attempt(plain)).toBeDefined();
  });

  test("with a mirror is refused: it would act twice", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    for (const spec of [{ failover: "exclusive" }, { network: "egress", failover: "speculative" }] as const) {
      expect(() => net.submit(consumer, { standby: "mirror", ...spec })).toThrow(/twice/);
    }
  });
});
