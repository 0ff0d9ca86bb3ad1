import type { JobId, WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import type { Actor } from "./events.ts";
import { explainPlacement } from "./explain.ts";
import { Network, offerOf, refOf, specOf, USD } from "./testing/kit.ts";

const { longWaitMs, longWaitLookMs } = new Network().config;
/** By then whoever has waited long has a machine kept, if there is one. */
const LONG_MS = longWaitMs + longWaitLookMs;
const SMALL = { resources: { cpus: 1 } };
const BIG = { resources: { cpus: 4 } };

function network(config: ConstructorParameters<typeof Network>[0] = {}) {
  const net = new Network(config);
  const provider = net.account("provider");
  const [small, big] = [net.account("consumer", 100_000n), net.account("consumer", 100_000n)];
  return { net, provider, small, big };
}

function started(net: Network, id: JobId): JobId {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
  return id;
}

function end(net: Network, id: JobId): void {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, {
    kind: "ended",
    attempt: refOf(attempt),
    ranMs: 0,
    outcome: { kind: "succeeded", outputs: null },
  });
}

/** Small jobs come one after the other, as each ends, and the big one is in line from the start. */
function churn(net: Network, small: Actor, rounds: number, big: JobId): void {
  let running = [...net.state.rows.jobs.values()];
  for (let round = 0; round < rounds && net.job(big).phase === "queued"; round += 1) {
    net.pass(10_000);
    const first = running.find(({ id }) => net.job(id).phase === "running");
    if (first !== undefined) end(net, first.id);
    const next = net.submit(small, SMALL);
    if (net.job(next).phase === "starting") started(net, next);
    running = [...net.state.rows.jobs.values()];
  }
}

/** The worker is full of small jobs, and a big one waits. */
function full(net: Network, provider: Actor, small: Actor, big: Actor) {
  const worker = net.worker(provider, "only");
  const one = () => started(net, net.submit(small, SMALL));
  const running: readonly [JobId, ...JobId[]] = [one(), one(), one(), one()];
  return { worker, running, waiting: net.submit(big, BIG) };
}

describe("a job that needs much", () => {
  test("is served although small ones would take each gap as it opens", () => {
    const { net, provider, small, big } = network();
    const { waiting } = full(net, provider, small, big);
    churn(net, small, 40, waiting);
    expect(net.job(waiting).phase).toBe("starting");
    expect(net.timeline(waiting)).toContain("place_kept");
  });

  test("waits as long as it takes where nothing is kept for it: small ones take each gap", () => {
    const { net, provider, small, big } = network({ keptPlacesMax: 0 });
    const { waiting } = full(net, provider, small, big);
    churn(net, small, 40, waiting);
    expect(net.job(waiting).phase).toBe("queued");
  });

  test("has a machine kept for it after so long, not before, and is told which", () => {
    const { net, provider, small, big } = network();
    const { worker, running, waiting } = full(net, provider, small, big);
    net.pass(longWaitMs - longWaitLookMs);
    expect(net.timeline(waiting)).not.toContain("place_kept");
    net.pass(2 * longWaitLookMs);
    expect(net.event(waiting, "place_kept")).toMatchObject({ workerId: worker });
    end(net, running[0]);
    const kept = net.submit(small, SMALL);
    expect(net.job(kept).phase).toBe("queued");
    expect(explainPlacement(net.state, specOf(SMALL)).filters).toContainEqual(
      expect.objectContaining({ filter: "kept", removed: 1 }),
    );
    for (const id of running.slice(1)) end(net, id);
    expect(net.attempt(waiting).workerId).toBe(worker);
    end(net, waiting);
    expect(net.job(kept).phase).toBe("starting");
  });

  test("that gives up soon has one kept sooner", () => {
    const { net, provider, small, big } = network();
    full(net, provider, small, big);
    const hasty = net.submit(net.account("consumer", 1_000n), { ...BIG, queueS: 60 });
    net.pass(15_000 + longWaitLookMs);
    expect(net.timeline(hasty)).toContain("place_kept");
  });

  test("that gives up soon is looked at again soon where nobody could take it", () => {
    const { net, provider, small, big } = network();
    const { worker } = full(net, provider, small, big);
    const drain = (draining: boolean) => net.do({ kind: "worker.drain", actor: provider, workerId: worker, draining });
    drain(true);
    const hasty = net.submit(net.account("consumer", 1_000n), { ...BIG, queueS: 60 });
    net.pass(15_000 + longWaitLookMs);
    drain(false);
    net.pass(15_000 + longWaitLookMs);
    expect(net.timeline(hasty)).toContain("place_kept");
  });

  test("does not wait behind a job of the same consumer that lost its place just now", () => {
    const { net, provider, small, big } = network();
    const other = net.worker(provider, "other", offerOf({ cpus: 2 }));
    const older = started(net, net.submit(big, { resources: { cpus: 2 } }));
    const { waiting } = full(net, provider, small, big);
    net.pass(longWaitMs - 20_000);
    net.silence(other);
    net.pass(30_000);
    expect([net.attempt(older).workerId, net.job(older).phase]).toEqual([other, "queued"]);
    expect([...net.state.volatile.keptPlaces.keys()]).toEqual([waiting]);
  });

  test("leaves the machine to everybody when it is cancelled, and when the machine's owner lets it take nothing", () => {
    const { net, provider, small, big } = network();
    const { worker, running, waiting } = full(net, provider, small, big);
    net.pass(LONG_MS);
    end(net, running[0]);
    const next = net.submit(small, SMALL);
    expect(net.job(next).phase).toBe("queued");
    net.do({ kind: "job.cancel", actor: big, jobId: waiting });
    expect(net.job(next).phase).toBe("starting");

    const other = net.submit(big, BIG);
    net.pass(LONG_MS);
    expect(net.state.volatile.keptPlaces.has(other)).toBe(true);
    net.do({ kind: "worker.drain", actor: provider, workerId: worker, draining: true });
    net.pass(longWaitLookMs);
    expect(net.state.volatile.keptPlaces.size).toBe(0);
    expect(net.event(other, "place_freed")).toEqual({ workerId: worker });
  });

  test("has the machine kept again after a restart", () => {
    const { net, provider, small, big } = network();
    const { worker, running, waiting } = full(net, provider, small, big);
    net.pass(LONG_MS);
    net.restart();
    const told = { phase: "running", ranMs: 0, checkpointSeq: 0, progress: null } as const;
    const attempts = running.map((id) => ({ attempt: refOf(net.attempt(id)), ...told }));
    net.connect(worker, offerOf(), { attempts, standbys: [] });
    expect(net.state.volatile.keptPlaces.size).toBe(0);
    net.pass(longWaitLookMs);
    expect([...net.state.volatile.keptPlaces.keys()]).toEqual([waiting]);
  });
});

describe("a machine that is kept", () => {
  test("may have all its GPUs in use, also where the job must have those of the model that its other run had", () => {
    const { net, small, big } = network();
    const rig = (uuid: string) =>
      offerOf({ gpus: [{ uuid, model: "NVIDIA A100", memoryMiB: 40_000 }], pricePerGpuHour: USD(1_000_000n) });
    const gpus = { resources: { gpus: { count: 1 } } };
    const first = net.worker(net.account("provider"), "first", rig("a"));
    const second = net.worker(net.account("provider"), "second", rig("b"));
    started(net, net.submit(small, { ...gpus, placement: { workers: [second] } }));
    const mirrored = started(net, net.submit(big, { ...gpus, standby: "mirror" }));
    expect(net.attempt(mirrored).workerId).toBe(first);
    end(net, mirrored);
    expect(net.job(mirrored).phase).toBe("queued");
    net.pass(LONG_MS);
    expect(net.state.volatile.keptPlaces.get(mirrored)?.id).toBe(second);
  });

  test("takes a job that lost its place, before the one that waits", () => {
    const { net, provider, small, big } = network();
    const { worker, running, waiting } = full(net, provider, small, big);
    const second = net.worker(net.account("provider"), "second", offerOf({ cpus: 1 }));
    const lost = started(net, net.submit(small, SMALL));
    expect(net.attempt(lost).workerId).toBe(second);
    net.pass(LONG_MS);
    end(net, running[0]);
    expect(net.attempt(lost).workerId).toBe(second);
    net.silence(second);
    net.pass(10_000);
    expect(net.attempt(lost).workerId).toBe(worker);
    expect(net.job(waiting).phase).toBe("queued");
    expect(net.state.volatile.keptPlaces.get(waiting)?.id).toBe(worker);
  });

  test("takes no standby of another job", () => {
    const { net, provider, small, big } = network();
    const { running, waiting } = full(net, provider, small, big);
    net.worker(net.account("provider"), "second", offerOf({ cpus: 1 }));
    const hot = started(net, net.submit(small, { ...SMALL, standby: "hot" }));
    net.pass(LONG_MS);
    for (const id of running.slice(1)) end(net, id);
    expect(net.standby(hot)).toBeUndefined();
    end(net, running[0]);
    expect(net.job(waiting).phase).toBe("starting");
  });

  test("is the one that will have room first; one with GPUs only where no other will do", () => {
    const { net, provider, small, big } = network({ keptPlacesShare: 1 });
    const price = USD(1_000_000n);
    const gpus = [{ uuid: "g", model: "NVIDIA A100", memoryMiB: 40_000 }];
    const [soon, late, rig] = [
      net.worker(provider, "soon"),
      net.worker(provider, "late"),
      net.worker(provider, "rig", offerOf({ gpus, pricePerGpuHour: price })),
    ];
    const on = (worker: WorkerId, durationMaxS: number) =>
      started(net, net.submit(small, { ...BIG, durationMaxS, placement: { workers: [worker] } }));
    on(soon, 5_000);
    on(late, 9_000);
    on(rig, 1_000);
    const [first, second, third] = [big, small, net.account("consumer", 1_000n)].map((actor) => net.submit(actor, BIG));
    net.pass(LONG_MS + 2 * longWaitLookMs);
    const kept = (id?: JobId) => net.state.volatile.keptPlaces.get(id as JobId)?.id;
    // Whoever has less in use goes first.
    expect([kept(first), kept(third), kept(second)]).toEqual([soon, late, rig]);
  });

  test("is one of a few: most of the fleet goes on for everybody, and no consumer has two", () => {
    const { net, provider, small, big } = network();
    for (let n = 0; n < 20; n += 1) {
      net.worker(provider, `worker-${n}`, offerOf({ cpus: 1 }));
      started(net, net.submit(small, SMALL));
    }
    for (const actor of [big, big, big, small, net.account("consumer", 1_000n)]) net.submit(actor, SMALL);
    net.pass(LONG_MS + 10 * longWaitLookMs);
    const kept = [...net.state.volatile.keptPlaces.keys()];
    expect(kept).toHaveLength(2);
    expect(new Set(kept.map((id) => net.job(id).accountId)).size).toBe(2);
  });

  test("is none where nobody is large enough, and others that wait do not wait for that", () => {
    const { net, provider, small, big } = network();
    const { waiting } = full(net, provider, small, big);
    const giant = net.submit(net.account("consumer", 100_000n), { resources: { cpus: 64 } });
    net.pass(LONG_MS + longWaitLookMs);
    expect([...net.state.volatile.keptPlaces.keys()]).toEqual([waiting]);
    expect(net.timeline(giant)).not.toContain("place_kept");
  });
});
