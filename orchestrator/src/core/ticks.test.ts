import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { TickMoment } from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import { describe, expect, test } from "vitest";
import type { TickFacts } from "./model.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { save, start, succeed } from "./testing/words.ts";

const SIGNS = offerOf({ features: ["ticks"] });

/** A job that runs on a worker that signs, or on one that does not. */
function running(offer = SIGNS) {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const worker = net.worker(provider, "first", offer);
  const id = net.submit(consumer);
  start(net, id);
  return { net, provider, consumer, worker, id };
}

interface Line {
  readonly n: number;
  readonly ranMs: number;
  readonly prev: string | null;
  readonly moment?: TickMoment;
  readonly epoch?: number;
}

/** Tells a tick; its hash. */
function tick(net: Network, id: JobId, line: Line, facts?: TickFacts): string {
  const attempt = net.attempt(id);
  const { moment = "checkpoint", epoch = attempt.epoch, ...rest } = line;
  const body = { attempt: { ...refOf(attempt), epoch: epoch as typeof attempt.epoch }, moment, ...rest };
  const message = { kind: "tick", ...body, signature: "signature", msg: 900 } as const;
  const { workerId } = attempt;
  net.step({
    kind: "worker.message",
    workerId,
    sessionId: net.sessionOf(workerId),
    message,
    ...(facts === undefined ? {} : { tick: facts }),
  });
  return tickHash(body);
}

const refusals = (net: Network, worker: WorkerId) => net.sentTo(worker).filter((message) => message.kind === "refused");

describe("a worker's own account", () => {
  test("is asked for where the worker can give it", () => {
    const { net, worker } = running();
    expect(net.last(worker, "assign")?.run.ticks).toBe(true);
    const older = running(offerOf());
    expect(older.net.last(older.worker, "assign")?.run.ticks).toBeUndefined();
  });

  test("is kept in order, and the same line again changes nothing", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    const first = tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    save(net, id, 1, 9_000);
    tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    const second = tick(net, id, { n: 2, ranMs: 15_000, prev: first, moment: "end" });
    expect(net.kept.ticks).toMatchObject([
      { jobId: id, epoch: 1, workerId: worker, n: 1, hash: first, signature: "signature" },
      { n: 2, hash: second, prev: first },
    ]);
    expect(refusals(net, worker)).toEqual([]);
    succeed(net, id, 15_000);
    expect(net.attempt(id).creditedMs).toBe(15_000);
  });

  test("is what time is credited by, where there is one", () => {
    const { net, id } = running();
    net.pass(20_000);
    tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    save(net, id, 1, 12_000);
    expect(net.attempt(id).creditedMs).toBe(9_000);
    succeed(net, id, 18_000);
    expect(net.attempt(id).creditedMs).toBe(9_000);
  });

  test("is not waited for where its worker has gone back to a version without", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    net.say(worker, { kind: "offer", offer: offerOf() });
    save(net, id, 1, 12_000);
    expect(net.attempt(id).creditedMs).toBe(12_000);
  });

  test("costs nothing where it was never begun", () => {
    const { net, id } = running(offerOf());
    net.pass(20_000);
    succeed(net, id, 18_000);
    expect(net.attempt(id).creditedMs).toBe(18_000);
  });

  test("that is not signed credits nothing, and the next good line makes it good", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    tick(net, id, { n: 1, ranMs: 9_000, prev: null }, { signed: false });
    save(net, id, 1, 9_000);
    expect(net.attempt(id).creditedMs).toBe(0);
    expect(refusals(net, worker)).toMatchObject([{ code: "signature_invalid", head: { n: 0, hash: null } }]);
    expect(net.event(id, "tick_refused")).toMatchObject({ epoch: 1, n: 1, code: "signature_invalid" });
    tick(net, id, { n: 2, ranMs: 15_000, prev: null });
    save(net, id, 2, 15_000);
    expect(net.attempt(id).creditedMs).toBe(15_000);
    expect(net.timeline(id).filter((kind) => kind === "tick_refused")).toHaveLength(1);
  });

  test("goes on from the newest line that was taken when one was lost", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    const first = tick(net, id, { n: 1, ranMs: 3_000, prev: null });
    tick(net, id, { n: 3, ranMs: 9_000, prev: "b".repeat(64) });
    expect(refusals(net, worker)).toMatchObject([{ code: "tick_out_of_chain", head: { n: 1, hash: first } }]);
    tick(net, id, { n: 4, ranMs: 9_000, prev: first });
    save(net, id, 1, 9_000);
    expect(net.attempt(id).creditedMs).toBe(9_000);
    expect(net.kept.ticks.map(({ n }) => n)).toEqual([1, 4]);
  });

  test("cannot take back time", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    const first = tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    tick(net, id, { n: 2, ranMs: 8_000, prev: first });
    expect(refusals(net, worker)).toMatchObject([{ code: "tick_falls", head: { n: 1, hash: first } }]);
  });

  test("is refused under an epoch that is over", () => {
    const { net, provider, id, worker } = running();
    net.worker(provider, "second", SIGNS);
    net.pass(5_000);
    net.silence(worker);
    net.pass(10_000);
    expect(net.attempt(id)).toMatchObject({ epoch: 2 });
    const message = { kind: "tick", msg: 1, attempt: { jobId: id, replica: 0, epoch: 1 as never }, n: 1 } as const;
    const line = { moment: "checkpoint", ranMs: 4_000, prev: null, signature: "signature" } as const;
    net.beating.set(worker, net.sessionOf(worker));
    net.step({
      kind: "worker.message",
      workerId: worker,
      sessionId: net.sessionOf(worker),
      message: { ...message, ...line },
    });
    expect(net.kept.ticks).toEqual([]);
  });

  test("goes on over an undone failover, also with lines signed before it", () => {
    const { net, id, worker } = running();
    net.pass(20_000);
    const first = tick(net, id, { n: 1, ranMs: 9_000, prev: null });
    save(net, id, 1, 9_000);
    net.silence(worker);
    net.pass(10_000);
    const lost = net.attempts(id)[0];
    if (lost === undefined) throw new Error("no attempt");
    net.connect(worker, SIGNS, {
      attempts: [{ attempt: refOf(lost), phase: "running", ranMs: 29_000, checkpointSeq: 1, progress: null }],
      standbys: [],
    });
    const adopting = net.attempt(id);
    expect(adopting).toMatchObject({ adoptedEpoch: 1, baseRanMs: 9_000, ticks: { n: 1, hash: first } });
    const second = tick(net, id, { n: 2, ranMs: 20_000, prev: first, epoch: 1 });
    tick(net, id, { n: 3, ranMs: 25_000, prev: second });
    save(net, id, 2, 25_000);
    expect(net.attempt(id)).toMatchObject({ creditedMs: 16_000 });
    expect(net.kept.ticks.map(({ n, epoch }) => [n, epoch])).toEqual([
      [1, 1],
      [2, 1],
      [3, adopting.epoch],
    ]);
  });
});

describe("two lines of one number", () => {
  /** Two lines were taken, of which the store has the first. */
  function told() {
    const made = running();
    const { net, id } = made;
    net.pass(20_000);
    const first = tick(net, id, { n: 1, ranMs: 3_000, prev: null });
    tick(net, id, { n: 2, ranMs: 6_000, prev: first });
    const known = net.kept.ticks[0];
    if (known === undefined) throw new Error("nothing was kept");
    return { ...made, known };
  }

  test("are both kept, and are evidence, once", () => {
    const { net, id, worker, known } = told();
    for (const ranMs of [5_000, 6_000]) tick(net, id, { n: 1, ranMs, prev: null }, { signed: true, known });
    expect(net.kept.ticks.map(({ n, ranMs, contradicts = false }) => [n, ranMs, contradicts])).toEqual([
      [1, 3_000, false],
      [2, 6_000, false],
      [1, 5_000, true],
    ]);
    const slashes = net.kept.all("cases");
    expect(slashes).toMatchObject([{ kind: "slash", offence: "contradiction", workerId: worker, jobId: id }]);
    const [slash] = slashes;
    const { statements } = JSON.parse(slash?.kind === "slash" ? slash.evidence : "{}") as {
      statements: { text: string }[];
    };
    expect(statements.map(({ text }) => text.split("\n").slice(0, 7))).toEqual([
      ["qubix-tick-v1", id, "0", "1", "1", "checkpoint", "3000"],
      ["qubix-tick-v1", id, "0", "1", "1", "checkpoint", "5000"],
    ]);
    expect(refusals(net, worker).map((message) => message.kind === "refused" && message.head?.n)).toEqual([2, 2]);
  });

  test("that are the same line are none, however late", () => {
    const { net, id, worker, known } = told();
    tick(net, id, { n: 1, ranMs: 3_000, prev: null }, { signed: true, known });
    expect(refusals(net, worker)).toEqual([]);
    expect(net.kept.all("cases")).toEqual([]);
  });
});
