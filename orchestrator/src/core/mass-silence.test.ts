import type { WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { counts } from "./reads.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { start } from "./testing/words.ts";

const HOLD_MS = 30_000;

/** A fleet of workers of one core each, of which the first `busy` run a cold job each. */
function fleet(size: number, busy: number, networkOf: (n: number) => string | undefined = () => undefined) {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 1_000n);
  const workers = Array.from({ length: size }, (_, n) => {
    const id = net.enrol(provider, `worker${n}`);
    net.connect(id, offerOf({ cpus: 1 }), undefined, networkOf(n));
    return id;
  });
  const jobs = Array.from({ length: busy }, () => {
    const id = net.submit(consumer, { retries: 0 });
    const { workerId } = net.attempt(id);
    start(net, id);
    return { id, workerId };
  });
  net.pass(10_000);
  const idle = workers.filter((id) => !jobs.some(({ workerId }) => workerId === id));
  return { net, consumer, workers, jobs, idle };
}

/** The socket of a worker stays open, and it is heard again on it. */
function resume(net: Network, workerId: WorkerId): void {
  const { sessionId } = net.state.rows.workers.get(workerId) ?? {};
  if (sessionId === null || sessionId === undefined) throw new Error(`${workerId} has no session`);
  net.beating.set(workerId, sessionId);
  net.say(workerId, { kind: "heartbeat" });
}

const massEvents = (net: Network) =>
  net.kept.events
    .filter(({ channel, kind }) => channel === "system" && kind === "mass_silence")
    .map(({ data }) => data);
const phases = (net: Network, ids: readonly WorkerId[]) => ids.map((id) => net.state.rows.workers.get(id)?.phase);

describe("mass silence", () => {
  test("of the whole fleet holds every loss, and those who come back go on as if nothing had been", () => {
    const { net, workers, jobs } = fleet(12, 6);
    for (const id of workers) net.silence(id);
    net.pass(20_000);
    expect(massEvents(net)).toMatchObject([{ phase: "began", scope: "fleet", workers: 12 }]);
    expect(counts(net.state)).toMatchObject({
      massSilence: { holds: 1 },
      counters: { massSilences: 1, workersLost: 0 },
    });
    for (const { id } of jobs) {
      expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1, failoversUsed: 0 });
      expect(net.event(id, "held")).toMatchObject({ why: "mass_silence", epoch: 1 });
      expect(net.timeline(id).filter((kind) => kind === "held")).toHaveLength(1);
    }
    for (const id of workers) resume(net, id);
    net.pass(60_000);
    expect(phases(net, workers)).toEqual(workers.map(() => "online"));
    expect(massEvents(net)).toMatchObject([{ phase: "began" }, { phase: "ended", silent: 0 }]);
    expect(counts(net.state)).toMatchObject({ massSilence: { holds: 0, held: 0 }, counters: { workersLost: 0 } });
    for (const { id } of jobs) expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1, workLostMs: 0 });
  });

  test("that lasts is over after 30 s: what is silent still is lost as usual, and not held again", () => {
    const { net, workers, jobs } = fleet(12, 6);
    for (const id of workers) net.silence(id);
    net.pass(HOLD_MS);
    for (const { id } of jobs) expect(net.job(id).phase).toBe("running");
    net.pass(4_000);
    for (const { id } of jobs) expect(net.job(id)).toMatchObject({ phase: "queued", failoversUsed: 1 });
    net.pass(20_000);
    expect(phases(net, workers)).toEqual(workers.map(() => "offline"));
    expect(massEvents(net).filter(({ phase }) => phase === "began")).toHaveLength(1);
    expect(massEvents(net)).toMatchObject([{}, { phase: "ended", lastedMs: HOLD_MS }]);
  });

  test("holds the promotion of a hot standby that is alive", () => {
    const { net, consumer, idle } = fleet(8, 0);
    const id = net.submit(consumer, { standby: "hot" });
    const { workerId: primary } = net.attempt(id);
    start(net, id);
    const standby = net.standby(id);
    if (standby === undefined) throw new Error("no standby");
    net.say(standby.workerId, { kind: "standby.ready", standbyId: standby.id, checkpointSeq: 0 });
    net.pass(10_000);
    const silent = idle.filter((other) => other !== standby.workerId);
    for (const other of silent) net.silence(other);
    net.pass(15_000);
    expect(net.job(id)).toMatchObject({ epoch: 1, phase: "running" });
    resume(net, primary);
    net.pass(1_000);
    expect(net.timeline(id)).not.toContain("promoted");
  });

  test("is none where few are silent, or a small part of the fleet, or one after the other", () => {
    const few = fleet(6, 6);
    for (const { workerId } of few.jobs.slice(0, 4)) few.net.silence(workerId);
    few.net.pass(6_000);
    expect(massEvents(few.net)).toEqual([]);
    expect(few.jobs.slice(0, 4).map(({ id }) => few.net.job(id).failoversUsed)).toEqual([1, 1, 1, 1]);

    const part = fleet(40, 20);
    for (const { workerId } of part.jobs.slice(0, 8)) part.net.silence(workerId);
    part.net.pass(6_000);
    expect(massEvents(part.net)).toEqual([]);
    expect(part.jobs.slice(0, 8).every(({ id }) => part.net.job(id).failoversUsed === 1)).toBe(true);

    const slowly = fleet(12, 12);
    for (const { workerId } of slowly.jobs.slice(0, 10)) {
      slowly.net.silence(workerId);
      slowly.net.pass(5_000);
    }
    expect(massEvents(slowly.net)).toEqual([]);
    expect(counts(slowly.net.state).counters.workersLost).toBeGreaterThanOrEqual(9);
  });

  test("is not made by sockets that close: those are handled at once", () => {
    const { net, jobs } = fleet(12, 6);
    for (const { workerId } of jobs) net.close(workerId);
    net.pass(2_000);
    expect(massEvents(net)).toEqual([]);
    expect(jobs.every(({ id }) => net.job(id).failoversUsed === 1)).toBe(true);
  });

  test("does not keep a worker whose socket closes by itself meanwhile; one that was silent already stays held", () => {
    const { net, jobs, idle } = fleet(14, 7);
    const [alive, ...silent] = jobs;
    if (alive === undefined || silent[0] === undefined) throw new Error("no jobs");
    for (const { workerId } of silent) net.silence(workerId);
    for (const id of idle) net.silence(id);
    net.pass(6_000);
    expect(massEvents(net)).toHaveLength(1);
    net.close(alive.workerId);
    net.close(silent[0].workerId);
    net.pass(2_000);
    expect(net.job(alive.id)).toMatchObject({ failoversUsed: 1 });
    expect(net.job(silent[0].id)).toMatchObject({ phase: "running", failoversUsed: 0 });
  });

  test("sends new work to those who are heard, though the others do not count as suspect yet", () => {
    const { net, consumer, idle, jobs } = fleet(14, 6);
    const heard = idle.at(-1) as WorkerId;
    for (const id of idle) if (id !== heard) net.silence(id);
    for (const { workerId } of jobs) net.silence(workerId);
    net.pass(5_000);
    expect(massEvents(net)).toHaveLength(1);
    expect(phases(net, idle)).toEqual(idle.map(() => "online"));
    expect(net.attempt(net.submit(consumer)).workerId).toBe(heard);
  });

  test("of one network is found although a worker of another one falls silent at the same moment", () => {
    const networkOf = (n: number) => (n === 0 ? "198.51.100.0/24" : n <= 6 ? "192.0.2.0/24" : `203.0.113.${n}/32`);
    const { net, workers } = fleet(40, 0, networkOf);
    const silent = workers.slice(0, 7);
    for (const id of silent) net.silence(id);
    net.pass(25_000);
    expect(phases(net, silent)).toEqual(["offline", ...silent.slice(1).map(() => "suspect")]);
    expect(massEvents(net)).toMatchObject([{ phase: "began", scope: "192.0.2.0/24" }]);
  });

  test("is none of a few in each of many networks: they are given up, though not all are counted at the same moment", () => {
    const { net, workers } = fleet(80, 0, (n) => (n < 22 ? `192.0.2.${n % 11}/32` : `203.0.113.${n}/32`));
    const silent = workers.slice(0, 22);
    for (const id of silent) net.silence(id);
    net.pass(25_000);
    expect(phases(net, silent)).toEqual(silent.map(() => "offline"));
  });

  test("of one network holds its workers, and nobody else", () => {
    const { net, jobs } = fleet(40, 40, (n) => (n < 8 ? "192.0.2.0/24" : "198.51.100.0/24"));
    const inside = jobs.filter(({ workerId }) => net.state.ix.machines.get(workerId)?.network === "192.0.2.0/24");
    const outside = jobs.filter(({ workerId }) => net.state.ix.machines.get(workerId)?.network !== "192.0.2.0/24");
    expect(inside).toHaveLength(8);
    for (const { workerId } of [...inside, ...outside.slice(0, 1)]) net.silence(workerId);
    net.pass(10_000);
    expect(massEvents(net)).toMatchObject([{ phase: "began", scope: "192.0.2.0/24", workers: 8 }]);
    expect(inside.every(({ id }) => net.job(id).failoversUsed === 0)).toBe(true);
    expect(outside.filter(({ id }) => net.job(id).failoversUsed === 1)).toHaveLength(1);
  });

  test("does not wait 30 s for the last few when most are back", () => {
    const { net, jobs } = fleet(12, 12);
    for (const { workerId } of jobs) net.silence(workerId);
    net.pass(8_000);
    for (const { workerId } of jobs.slice(2)) resume(net, workerId);
    net.pass(6_500);
    expect(jobs.slice(0, 2).map(({ id }) => net.job(id).failoversUsed)).toEqual([0, 0]);
    net.pass(1_000);
    expect(jobs.slice(0, 2).map(({ id }) => net.job(id).failoversUsed)).toEqual([1, 1]);
    expect(massEvents(net)).toMatchObject([{}, { phase: "ended", silent: 2 }]);
  });

  test("gives nobody up who is back as soon as a worker can be once its line is", () => {
    const { net, jobs } = fleet(5, 5);
    const [late, ...others] = jobs;
    for (const { workerId } of jobs) net.silence(workerId);
    net.pass(8_000);
    for (const { workerId } of others) resume(net, workerId);
    net.pass(6_000);
    if (late !== undefined) resume(net, late.workerId);
    net.pass(10_000);
    for (const { id } of jobs) expect(net.timeline(id)).not.toContain("lost");
    expect(massEvents(net)).toMatchObject([{ phase: "began" }, { phase: "ended", silent: 0 }]);
  });

  test("fails no waiting job for want of offers, and ends no attempt for what it could not say", () => {
    const { net, consumer, workers } = fleet(12, 12);
    const waits = net.submit(consumer, { queueS: 20 });
    net.pass(10_000);
    for (const id of workers) net.silence(id);
    net.pass(15_000);
    expect(net.job(waits).phase).toBe("queued");
    net.pass(60_000);
    expect(net.job(waits)).toMatchObject({ phase: "failed", reason: "no_offer" });
  });

  // Found by the simulator: seed 27400.
  test("ends no job for the time in which nobody knows whether it runs", () => {
    const { net, consumer, workers } = fleet(12, 11);
    const id = net.submit(consumer, { durationMaxS: 30 });
    start(net, id);
    net.pass(10_000);
    for (const silent of workers) net.silence(silent);
    net.pass(25_000);
    expect(net.job(id)).toMatchObject({ phase: "running", intent: null });
    net.pass(15_000);
    expect(net.timeline(id)).toContain("lost");
    expect(net.job(id)).toMatchObject({ phase: "queued", intent: null });
  });

  test("after a start of ours is the same: while much of the fleet is not back, nobody is given up", () => {
    const { net, workers, jobs } = fleet(12, 6);
    net.restart(2_000);
    for (const id of workers.slice(0, 3)) net.connect(id, offerOf({ cpus: 1 }), journalOf(net, id));
    net.pass(15_000);
    expect(massEvents(net)).toMatchObject([{ phase: "began", scope: "fleet" }]);
    expect(jobs.every(({ id }) => net.job(id).failoversUsed === 0)).toBe(true);
    for (const id of workers.slice(3)) net.connect(id, offerOf({ cpus: 1 }), journalOf(net, id));
    net.pass(60_000);
    expect(jobs.every(({ id }) => net.job(id).epoch === 1)).toBe(true);
  });

  test("after a start of ours is not over while workers come back one after the other, and is none once they have", () => {
    const { net, workers, jobs } = fleet(40, 40);
    net.restart(1_000);
    const coming = workers.slice(0, 34);
    for (const id of coming.slice(0, 29)) net.connect(id, offerOf({ cpus: 1 }), journalOf(net, id));
    net.pass(8_500);
    for (const id of coming.slice(29)) {
      net.connect(id, offerOf({ cpus: 1 }), journalOf(net, id));
      net.pass(300);
    }
    // Six of forty are missing: no mass by their share.
    net.pass(3_000);
    expect(counts(net.state).counters.workersLost).toBe(0);
    for (const id of workers.slice(34)) net.connect(id, offerOf({ cpus: 1 }), journalOf(net, id));
    net.pass(40_000);
    expect(jobs.every(({ id }) => net.job(id).epoch === 1)).toBe(true);

    const dead = fleet(40, 40);
    dead.net.restart(1_000);
    for (const id of dead.workers.slice(0, 34)) dead.net.connect(id, offerOf({ cpus: 1 }), journalOf(dead.net, id));
    dead.net.pass(10_500);
    expect(massEvents(dead.net)).toEqual([]);
    expect(counts(dead.net.state).counters.workersLost).toBe(6);
  });

  test("is forgotten with the process that noticed it; the next one waits its own time for the fleet", () => {
    const { net, workers, jobs } = fleet(12, 6);
    for (const id of workers) net.silence(id);
    net.pass(20_000);
    net.restart(1_000);
    expect(counts(net.state).massSilence).toEqual({ holds: 0, held: 0 });
    net.pass(38_000);
    expect(jobs.every(({ id }) => net.job(id).failoversUsed === 0)).toBe(true);
    net.pass(5_000);
    expect(jobs.every(({ id }) => net.job(id).failoversUsed === 1)).toBe(true);
  });

  test("holds nobody for longer than its time, whoever falls silent and comes back when", () => {
    const move = fc.record({
      what: fc.constantFrom("silence", "silence", "silence", "close", "resume", "pass"),
      who: fc.nat(11),
      ms: fc.integer({ min: 1, max: 6_000 }),
    });
    fc.assert(
      fc.property(fc.array(move, { minLength: 5, maxLength: 60 }), (moves) => {
        const { net, workers } = fleet(12, 8);
        for (const { what, who, ms } of moves) {
          const id = workers[who];
          if (id === undefined) throw new Error(`no worker ${who}`);
          if (what === "pass") net.pass(ms);
          else if (what === "silence") net.silence(id);
          else if (what === "close" && net.beating.has(id)) net.close(id);
          else if (what === "resume" && !net.beating.has(id)) {
            if (net.state.rows.workers.get(id)?.sessionId === null) net.connect(id, offerOf({ cpus: 1 }));
            else resume(net, id);
          }
          for (const hold of net.state.volatile.mass.holds.values()) {
            expect(hold.untilMs - hold.beganAtMs).toBeLessThanOrEqual(HOLD_MS);
            for (const machine of hold.held) expect(machine.worker.phase).not.toBe("offline");
          }
        }
        // Whoever stays silent is given up in bounded time, and no hold is left.
        const silent = workers.filter((id) => !net.beating.has(id));
        net.pass(HOLD_MS + 20_000);
        expect(phases(net, silent)).toEqual(silent.map(() => "offline"));
        expect(counts(net.state).massSilence).toEqual({ holds: 0, held: 0 });
      }),
      { numRuns: 40 },
    );
  });
});

describe("our own lag", () => {
  test("is no silence of the workers: neither suspicion nor loss comes of it", () => {
    const { net, jobs } = fleet(3, 3);
    for (const { workerId } of jobs) net.silence(workerId);
    net.nowMs += 10_000;
    net.step({ kind: "lagged", ms: 10_000 });
    net.pass(1_500);
    expect(
      phases(
        net,
        jobs.map(({ workerId }) => workerId),
      ),
    ).toEqual(["online", "online", "online"]);
    net.pass(5_000);
    expect(
      phases(
        net,
        jobs.map(({ workerId }) => workerId),
      ),
    ).toEqual(["offline", "offline", "offline"]);
  });

  test("does not make the rhythm of a worker look uneven", () => {
    const { net, jobs } = fleet(1, 1);
    const [job] = jobs;
    if (job === undefined) throw new Error("no job");
    net.beating.clear();
    const session = net.sessionOf(job.workerId);
    net.nowMs += 5_000;
    net.step({ kind: "lagged", ms: 4_500 });
    net.beating.set(job.workerId, session);
    net.say(job.workerId, { kind: "heartbeat" });
    const gaps = net.state.ix.machines.get(job.workerId)?.beats?.gaps ?? [];
    expect(Math.max(...gaps)).toBeLessThanOrEqual(500);
  });

  test("is forgiven up to a bound: who is dead is found dead by a slow orchestrator too", () => {
    const { net, jobs } = fleet(1, 1);
    const [job] = jobs;
    if (job === undefined) throw new Error("no job");
    net.silence(job.workerId);
    for (let n = 0; n < 50; n += 1) {
      net.nowMs += 1_000;
      net.step({ kind: "lagged", ms: 1_000 });
      net.pass(1);
    }
    expect(net.job(job.id).failoversUsed).toBe(1);
  });
});

function journalOf(net: Network, workerId: WorkerId) {
  const held = net.kept
    .all("attempts")
    .filter((attempt) => attempt.workerId === workerId && attempt.endedAtMs === null);
  return {
    attempts: held.map((attempt) => ({
      attempt: refOf(attempt),
      phase: "running" as const,
      ranMs: 0,
      checkpointSeq: 0,
      progress: null,
    })),
    standbys: [],
  };
}
