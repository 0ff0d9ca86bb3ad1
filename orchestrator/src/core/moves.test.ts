import type { JobId, WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { DEFAULT_CORE_CONFIG } from "./config.ts";
import { ADMIN, Network, offerOf, refOf, type specOf } from "./testing/kit.ts";
import { end, save, standbyReady, start } from "./testing/words.ts";

const MOVES = offerOf({ features: ["moves"] });

/** A job that runs on `first`, with `second` and `third` idle. */
function running(spec: Parameters<typeof specOf>[0] = {}, config: ConstructorParameters<typeof Network>[0] = {}) {
  const net = new Network(config);
  const provider = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const first = net.worker(provider, "first", MOVES);
  const id = net.submit(consumer, spec);
  const second = net.worker(net.account("provider"), "second", MOVES);
  const third = net.worker(net.account("provider"), "third", MOVES);
  start(net, id);
  expect(net.attempt(id).workerId).toBe(first);
  return { net, provider, consumer, first, second, third, id };
}

function stopped(net: Network, id: JobId, ranMs: number, isSaved = true): void {
  end(net, id, ranMs, isSaved ? { kind: "stopped", saved: true } : { kind: "stopped" });
}

const move = (net: Network, id: JobId, to: WorkerId | null = null, force = false, actor = ADMIN) =>
  net.do({ kind: "job.move", actor, jobId: id, to, force });

describe("a move", () => {
  test("prepares its target first, then has the job save and stop, and loses nothing", () => {
    const { net, id, first, third, consumer } = running();
    net.pass(60_000);
    expect(move(net, id, third, false, consumer)).toMatchObject({ kind: "job" });
    expect(net.standby(id)).toMatchObject({ workerId: third, phase: "preparing" });
    expect(net.last(first, "save")).toBeUndefined();
    net.pass(5_000);
    standbyReady(net, id);
    expect(net.last(first, "save")).toMatchObject({ attempt: { epoch: 1 }, force: false });
    expect(net.event(id, "moving")).toMatchObject({ workerId: first, to: third, why: "asked" });
    net.pass(2_000);
    save(net, id, 1, 66_000);
    net.pass(1_000);
    stopped(net, id, 66_500);
    expect(net.last(third, "promote")).toMatchObject({ attempt: { epoch: 2 }, checkpoint: { seq: 1 } });
    net.pass(800);
    start(net, id);
    expect(net.event(id, "moved")).toMatchObject({
      fromWorkerId: first,
      workerId: third,
      fromSeq: 1,
      why: "asked",
      workLostMs: 0,
      downtimeMs: 68_800 - 66_500,
    });
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "running", workLostMs: 0, failoversUsed: 0, movesUsed: 1, standbyId: null });
    expect(job.move).toBeUndefined();
    expect(net.timeline(id).filter((kind) => kind.startsWith("mov"))).toEqual(["move_requested", "moving", "moved"]);
  });

  test("of a hot job uses the standby it has, and another is found afterwards", () => {
    const { net, id, first } = running({ standby: "hot" });
    const target = standbyReady(net, id);
    move(net, id);
    expect(net.last(first, "save")).toBeDefined();
    save(net, id, 1, 10);
    stopped(net, id, 10);
    start(net, id);
    expect(net.attempt(id).workerId).toBe(target);
    net.pass(DEFAULT_CORE_CONFIG.standbyAfterPromotionMs + 1);
    expect(net.standby(id)).toMatchObject({ phase: "preparing" });
    expect(net.job(id).standbyId).toBe(net.standby(id)?.id);
  });

  test("of a hot job to a worker that is not its standby reserves that one instead", () => {
    const { net, id, second, third } = running({ standby: "hot" });
    const before = standbyReady(net, id);
    const to = before === second ? third : second;
    move(net, id, to);
    expect(net.last(before, "release")).toBeDefined();
    expect(net.standby(id)).toMatchObject({ workerId: to, phase: "preparing" });
  });

  test("whose price cap has no room for a standby goes to the machine that was asked for all the same", () => {
    const { net, id, first, third } = running({ priceMaxPerHour: { amount: "1000000", currency: "USD" } });
    move(net, id, third);
    expect(net.standby(id)).toBeUndefined();
    expect(net.last(first, "save")).toBeDefined();
    save(net, id, 1, 10);
    stopped(net, id, 10);
    expect(net.attempt(id)).toMatchObject({ workerId: third, epoch: 2, fromSeq: 1 });
    start(net, id);
    expect(net.event(id, "moved")).toMatchObject({ workerId: third, workLostMs: 0 });
  });

  test("that the job does not answer is given up, and the job goes on where it is", () => {
    const { net, id, first, second } = running();
    move(net, id, second);
    standbyReady(net, id);
    const beat = () =>
      net.say(first, {
        kind: "heartbeat",
        attempts: [{ attempt: refOf(net.attempt(id)), ranMs: net.nowMs, progress: null, phase: "running" }],
      });
    beat();
    net.pass(DEFAULT_CORE_CONFIG.moveAnswerMs + 60_000);
    expect(net.event(id, "move_dropped")).toMatchObject({ why: "not_saved", phase: "saving" });
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1, standbyId: null });
    expect(net.last(second, "release")).toBeDefined();
    // And can be asked for again.
    expect(move(net, id, second)).toMatchObject({ kind: "job" });
  });

  test("that is shipping what was saved is waited for", () => {
    const { net, id, first, second } = running();
    move(net, id, second);
    standbyReady(net, id);
    net.say(first, {
      kind: "heartbeat",
      attempts: [{ attempt: refOf(net.attempt(id)), ranMs: 1, progress: null, phase: "collecting" }],
    });
    net.pass(20 * 60_000);
    expect(net.timeline(id)).not.toContain("move_dropped");
  });

  test("whose work was not saved tells what was lost", () => {
    const { net, id } = running();
    net.pass(40_000);
    save(net, id, 1, 30_000);
    move(net, id, null, true);
    standbyReady(net, id, 1);
    net.pass(20_000);
    stopped(net, id, 60_000, false);
    start(net, id);
    expect(net.event(id, "moved")).toMatchObject({ fromSeq: 1, workLostMs: 30_000 });
  });

  test("survives a restart of the orchestrator, and is asked for again", () => {
    const { net, id, first, second } = running();
    move(net, id, second);
    standbyReady(net, id);
    net.restart();
    const attempts = [
      { attempt: refOf(net.attempt(id)), phase: "running" as const, ranMs: 1, checkpointSeq: 0, progress: null },
    ];
    const asked = net.sentTo(first).length;
    net.connect(first, MOVES, { attempts, standbys: [] });
    expect(net.sentTo(first).slice(asked)).toContainEqual(expect.objectContaining({ kind: "save" }));
    save(net, id, 1, 5);
    stopped(net, id, 5);
    expect(net.job(id).move).toMatchObject({ phase: "placing" });
  });

  test("ends with its job, with its container's success, and with the loss of its machine", () => {
    const { net, id, consumer } = running();
    move(net, id);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    stopped(net, id, 5);
    expect(net.job(id).phase).toBe("cancelled");

    const done = running();
    move(done.net, done.id);
    done.net.say(done.first, { kind: "exited", attempt: refOf(done.net.attempt(done.id)), ranMs: 5 });
    expect(done.net.event(done.id, "move_dropped")).toMatchObject({ why: "finished" });
    expect(done.net.job(done.id).standbyId).toBeNull();

    const lost = running();
    move(lost.net, lost.id);
    const target = standbyReady(lost.net, lost.id);
    lost.net.close(lost.first);
    expect(lost.net.job(lost.id)).toMatchObject({ epoch: 2, failoversUsed: 1 });
    expect(lost.net.attempt(lost.id).workerId).toBe(target);
    expect(lost.net.event(lost.id, "move_dropped")).toMatchObject({ why: "worker_closed" });
  });

  test("off a worker that does not know the request stops the container, which is a request to save, too", () => {
    const { net, id, first, second } = running();
    net.say(first, { kind: "offer", offer: offerOf() });
    move(net, id, second);
    standbyReady(net, id);
    expect(net.last(first, "save")).toBeUndefined();
    expect(net.last(first, "stop")).toMatchObject({ reason: "drain" });
  });

  test("is bounded for a job, by a bound of its own", () => {
    const { net, id } = running({ failoversMax: 0 }, { movesPerJobMax: 1 });
    move(net, id);
    standbyReady(net, id);
    stopped(net, id, 1);
    start(net, id);
    expect(move(net, id)).toMatchObject({ kind: "refused", refusal: { code: "move_not_possible" } });
    // What its worker does all the same is a failover.
    stopped(net, id, 2);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "failovers_exhausted" });
  });
});

describe("a move is refused", () => {
  const codeOf = (reply: ReturnType<Network["do"]>) => (reply.kind === "refused" ? reply.refusal.code : reply.kind);

  test("for a worker that is unknown, the same, or does not fit", () => {
    const { net, id, first, second, provider } = running();
    expect(codeOf(move(net, id, "wrk-none" as WorkerId))).toBe("worker_not_found");
    expect(codeOf(move(net, id, first))).toBe("move_not_possible");
    const small = net.worker(provider, "small", offerOf({ cpus: 0.5 }));
    expect(codeOf(move(net, id, small))).toBe("move_not_possible");
    expect(codeOf(move(net, id, second))).toBe("job");
    expect(codeOf(move(net, id, second))).toBe("move_not_possible");
  });

  test("for a job of somebody else, one that waits, and where no other machine is", () => {
    const { net, id, consumer } = running();
    expect(codeOf(move(net, id, null, false, net.account("consumer")))).toBe("job_not_found");
    const waiting = net.submit(consumer, { resources: { cpus: 64 } });
    expect(codeOf(move(net, waiting))).toBe("job_not_running");
    const alone = new Network();
    alone.worker(alone.account("provider"), "only");
    const only = alone.submit(alone.account("consumer", 100n));
    start(alone, only);
    expect(codeOf(move(alone, only))).toBe("move_not_possible");
    expect(alone.timeline(only)).not.toContain("move_requested");
  });
});

describe("a machine that is left", () => {
  test("by its owner's word has its jobs moved and its standbys let go", () => {
    const { net, id, first, second, third } = running();
    const placement = { workers: [second, first] };
    const other = net.submit(net.account("consumer", 100n), { standby: "hot", placement });
    expect(net.attempt(other).workerId).toBe(second);
    expect(net.standby(other)?.workerId).toBe(first);
    net.say(first, { kind: "offer", offer: { ...MOVES, draining: true, leaving: "maintenance" } });
    expect(net.event(other, "standby_lost")).toMatchObject({ workerId: first, why: "leaving" });
    expect(net.event(id, "move_requested")).toMatchObject({ workerId: first, why: "maintenance", force: true });
    expect([second, third]).toContain(net.standby(id)?.workerId);
    standbyReady(net, id);
    expect(net.last(first, "save")).toMatchObject({ force: true });
  });

  test("over the API moves what runs, and waits for a place where there is none", () => {
    const net = new Network();
    const provider = net.account("provider");
    const first = net.worker(provider, "first", MOVES);
    const id = net.submit(net.account("consumer", 100n));
    start(net, id);
    net.do({ kind: "worker.drain", actor: provider, workerId: first, draining: true, move: true });
    expect(net.timeline(id)).toContain("move_requested");
    net.pass(60_000);
    expect(net.last(first, "save")).toBeUndefined();
    const second = net.worker(provider, "second", MOVES);
    net.pass(DEFAULT_CORE_CONFIG.moveLookMs);
    expect(net.standby(id)).toMatchObject({ workerId: second });
    standbyReady(net, id);
    save(net, id, 1, 10);
    stopped(net, id, 10);
    start(net, id);
    expect(net.attempt(id).workerId).toBe(second);
    // Not the other way round.
    net.do({ kind: "worker.drain", actor: provider, workerId: first, draining: false });
    expect(net.state.rows.workers.get(first)).not.toHaveProperty("leaving");
  });

  test("while a job is still starting there moves it once it runs", () => {
    const net = new Network();
    const provider = net.account("provider");
    const first = net.worker(provider, "first", MOVES);
    const id = net.submit(net.account("consumer", 100n));
    net.worker(provider, "second", MOVES);
    net.do({ kind: "worker.drain", actor: provider, workerId: first, draining: true, move: true });
    expect(net.timeline(id)).not.toContain("move_requested");
    start(net, id);
    expect(net.timeline(id)).toContain("move_requested");
  });

  test("because its owner takes the GPU back is no failover", () => {
    const { net, id, first } = running({ failoversMax: 0 });
    const attempt = net.attempt(id);
    save(net, id, 1, 900);
    net.say(first, {
      kind: "ended",
      attempt: refOf(attempt),
      ranMs: 1_000,
      outcome: { kind: "worker_failed", code: "owner_reclaimed", message: "he plays", saved: true },
    });
    expect(net.job(id)).toMatchObject({ failoversUsed: 0, movesUsed: 1, workLostMs: 0 });
    start(net, id);
    expect(net.event(id, "moved")).toMatchObject({ why: "owner_reclaimed", workLostMs: 0 });
  });
});
