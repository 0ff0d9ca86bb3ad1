import type { JobId } from "@qubix/shared/domain";
import type { JobSpecInput, WorkerOffer } from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explainPlacement } from "./explain.ts";
import { Network, offerOf, refOf, specOf, treeOf } from "./testing/kit.ts";
import { jobView } from "./views.ts";

const usd = (amount: number | bigint) => ({ amount: BigInt(amount), currency: "USD" });
const GIB = 2 ** 30;
const MIB = 2 ** 20;
const PRICE = 1_024_000;
const FEATURES = ["egress", "exclusive", "ticks", "usage"];
/** 1,000 a MiB, over a line that carries 200 MB/s by its measurement and twice as much at the most. */
const PRICED = offerOf({ pricePerEgressGiB: usd(PRICE), features: FEATURES, hardware: { uplinkMbps: 1_600 } });
const PAYS = {
  network: "egress",
  failover: "speculative",
  egressGiBMax: 1,
  egressPriceMaxPerGiB: { amount: String(2 * PRICE), currency: "USD" },
} as const satisfies Partial<JobSpecInput>;

/** The account that a worker keeps of one container. */
class Meter {
  #n = 0;
  #prev: string | null = null;
  readonly #net: Network;
  readonly #id: JobId;

  constructor(net: Network, id: JobId) {
    this.#net = net;
    this.#id = id;
  }

  tick(ranMs: number, egressBytes: number | null): void {
    const attempt = this.#net.attempt(this.#id);
    const usage = egressBytes === null ? {} : { usage: { egressBytes } };
    const line = {
      attempt: refOf(attempt),
      n: (this.#n += 1),
      moment: "checkpoint",
      ranMs,
      prev: this.#prev,
      ...usage,
    };
    this.#net.say(attempt.workerId, { kind: "tick", ...line, signature: "signature" } as never);
    this.#prev = tickHash(line);
  }

  save(seq: number, ranMs: number, egressBytes: number | null): void {
    this.tick(ranMs, egressBytes);
    const attempt = this.#net.attempt(this.#id);
    const checkpoint = { seq, parentSeq: seq - 1, tree: treeOf(`c${seq}`), ranMs, progress: null };
    this.#net.say(attempt.workerId, {
      kind: "checkpoint",
      attempt: refOf(attempt),
      ...checkpoint,
      signature: "signature",
    });
  }

  finish(ranMs: number, egressBytes: number | null): void {
    this.tick(ranMs, egressBytes);
    const attempt = this.#net.attempt(this.#id);
    const outcome = { kind: "succeeded", outputs: null } as const;
    this.#net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs, outcome });
  }
}

function running(input: Partial<JobSpecInput> = {}, offer: WorkerOffer = PRICED) {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 1_000n);
  const worker = net.worker(provider, "first", offer);
  const id = net.submit(consumer, { ...PAYS, ...input });
  begin(net, id);
  return { net, provider, consumer, worker, id, meter: new Meter(net, id) };
}

function begin(net: Network, id: JobId): void {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
}

const grossOf = (net: Network, id: JobId) => net.job(id).settlement.gross;
/** Of a whole hour at the kit's price of a core: 1,000,000. */
const timeOf = (ms: number) => (1_000_000n * BigInt(ms)) / 3_600_000n;
const view = (net: Network, id: JobId) =>
  jobView(null, { job: net.job(id), attempts: net.attempts(id), standbys: [] }, String);

describe("a job on an offer that prices egress", () => {
  it("locks all of it, pays the bytes that its worker signed for beside its time, and shows them", () => {
    const { net, id, meter } = running();
    expect(net.job(id).settlement.hold).toBe(10_000_000n + 2n * BigInt(PRICE));
    net.pass(36_000);
    meter.save(1, 18_000, 3 * MIB);
    expect(net.attempt(id).egress).toMatchObject({ pricePerGiB: BigInt(PRICE), baseBytes: 0, bytes: 3 * MIB });
    meter.finish(36_000, 5 * MIB + 1);
    expect(grossOf(net, id)).toBe(10_000n + 5_000n);
    const shown = view(net, id);
    expect(shown.attempts[0]?.egress).toEqual({
      pricePerGiB: { amount: String(PRICE), currency: "USD" },
      bytes: 5 * MIB + 1,
      charge: { amount: "5000", currency: "USD" },
    });
    expect(shown.settlement.parts?.map(({ part, amount }) => [part, amount.amount])).toEqual([
      ["cpu", "10000"],
      ["egress", "5000"],
    ]);
    expect(shown.spec["egressPriceMaxPerGiB"]).toEqual({ amount: String(2 * PRICE), currency: "USD" });
    const fee = (15_000n * 5n) / 100n;
    expect(net.balance("fee")).toBe(fee);
  });

  it("pays no byte beyond the newest checkpoint of a worker that dies", () => {
    const { net, id, meter, worker } = running();
    net.pass(20_000);
    meter.save(1, 10_000, 2 * MIB);
    meter.tick(19_000, 900 * MIB);
    net.close(worker);
    net.pass(60_000);
    expect(net.attempts(id)[0]).toMatchObject({ phase: "lost", creditedMs: 10_000, egress: { bytes: 2 * MIB } });
  });

  it("pays once for a container that was given up and came back", () => {
    const { net, id, meter, worker } = running({}, PRICED);
    net.pass(20_000);
    meter.save(1, 10_000, 2 * MIB);
    net.close(worker);
    net.pass(30_000);
    const lost = refOf(net.attempt(id));
    const journal = { attempt: lost, phase: "running", ranMs: 50_000, checkpointSeq: 1, progress: null } as const;
    net.connect(worker, PRICED, { attempts: [journal], standbys: [] });
    expect(net.attempt(id)).toMatchObject({ epoch: 2, adoptedEpoch: 1, egress: { baseBytes: 2 * MIB, bytes: 0 } });
    net.pass(10_000);
    meter.finish(55_000, 7 * MIB + 5);
    expect(net.attempt(id).egress).toMatchObject({ baseBytes: 2 * MIB, bytes: 5 * MIB + 5 });
    expect(grossOf(net, id)).toBe(timeOf(55_000) + 7_000n);
  });

  it("pays what was agreed when the place was taken, by a standby as well, which itself sends nothing", () => {
    const { net, id, meter, provider, worker } = running({ standby: "hot" });
    const second = net.worker(provider, "second", { ...PRICED, pricePerEgressGiB: usd(PRICE / 2) });
    net.dispatch();
    const standby = net.standby(id);
    expect(standby).toMatchObject({ workerId: second, egress: { pricePerGiB: BigInt(PRICE / 2) } });
    net.say(second, { kind: "standby.ready", standbyId: standby?.id as never, checkpointSeq: 0 });
    net.say(second, { kind: "offer", offer: { ...PRICED, pricePerEgressGiB: usd(2 * PRICE) } });
    net.pass(10_000);
    meter.save(1, 9_000, MIB);
    net.close(worker);
    net.pass(3_000);
    expect(net.attempt(id)).toMatchObject({ epoch: 2, workerId: second });
    net.restart(10);
    expect(net.state.rows.attempts.get(net.attempt(id).id)?.egress).toMatchObject({
      pricePerGiB: BigInt(PRICE / 2),
      baseBytes: 0,
      bytes: 0,
    });
  });
});

describe("what is paid of egress is bounded", () => {
  it("by egressGiBMax, over all attempts; that is told once, and the job goes on", () => {
    const { net, id, meter, provider, worker } = running({ egressGiBMax: 0.5 });
    const second = net.worker(provider, "second", PRICED);
    net.pass(20_000);
    meter.save(1, 10_000, 400 * MIB);
    net.close(worker);
    net.pass(10_000);
    expect(net.attempt(id)).toMatchObject({ epoch: 2, workerId: second });
    begin(net, id);
    const next = new Meter(net, id);
    net.pass(30_000);
    next.save(2, 10_000, 100 * MIB);
    next.save(3, 20_000, 112 * MIB);
    next.finish(30_000, 0.5 * GIB);
    const paid = net.attempts(id).reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
    expect(paid).toBe(0.5 * GIB);
    expect(net.job(id).phase).toBe("succeeded");
    expect(net.timeline(id).filter((kind) => kind === "egress_limit_reached")).toHaveLength(1);
    expect(net.event(id, "egress_limit_reached")).toMatchObject({ epoch: 2, bytes: 0.5 * GIB });
  });

  it("by what its worker's line could have carried in the time that is paid, which is told once", () => {
    const slow = { ...PRICED, hardware: { uplinkMbps: 8 } };
    const { net, id, meter } = running({}, slow);
    net.pass(20_000);
    meter.save(1, 10_000, GIB);
    // 8 Mbit/s are 1,000 bytes a millisecond; twice that is believed.
    expect(net.attempt(id).egress).toMatchObject({ bytes: 20_000_000, cut: true });
    meter.finish(20_000, GIB);
    expect(net.attempt(id).egress?.bytes).toBe(40_000_000);
    expect(net.timeline(id).filter((kind) => kind === "egress_cut")).toHaveLength(1);
    expect(net.event(id, "egress_cut")).toMatchObject({ toldBytes: GIB, paidBytes: 20_000_000 });
  });

  it("where no line was measured, by that of a good home", () => {
    const { hardware: _, ...unknown } = PRICED;
    const { net, id, meter } = running({}, unknown);
    net.pass(20_000);
    meter.finish(10_000, GIB);
    expect(net.attempt(id).egress?.bytes).toBe(250_000_000);
  });

  it("by the budget, and time goes first", () => {
    const { net, id, meter } = running({ budgetMax: { amount: "300000", currency: "USD" } });
    net.pass(36_000);
    meter.save(1, 36_000, 0.5 * GIB);
    expect(net.attempt(id).creditedMs).toBe(36_000);
    // Of 300,000 the time has taken 10,000; 290,000 pay 290,000 ÷ 1,000 MiB.
    expect(grossOfAttempt(net, id)).toBe(300_000n);
    net.pass(1_000);
    expect(net.job(id).intent).toBe("budget");
    meter.finish(60_000, 900 * MIB);
    expect(grossOf(net, id)).toBe(300_000n);
  });

  it("to nothing where its worker's ticks never told of traffic", () => {
    const { net, id, meter } = running();
    net.pass(20_000);
    meter.finish(18_000, null);
    expect(net.attempt(id).egress?.bytes).toBe(0);
    expect(grossOf(net, id)).toBe(timeOf(18_000));
  });

  it("to what was told before where a tick tells of less, which is refused", () => {
    const { net, id, meter } = running();
    net.pass(20_000);
    meter.save(1, 9_000, 5 * MIB);
    meter.tick(12_000, 4 * MIB);
    expect(net.event(id, "tick_refused")).toMatchObject({ code: "tick_falls" });
    expect(net.attempt(id).egress?.bytes).toBe(5 * MIB);
  });
});

function grossOfAttempt(net: Network, id: JobId): bigint {
  const { creditedMs, egress } = net.attempt(id);
  return timeOf(creditedMs) + (BigInt(PRICE) * BigInt(egress?.bytes ?? 0)) / BigInt(GIB);
}

describe("offers that price egress", () => {
  const place = (offer: WorkerOffer, input: Partial<JobSpecInput>) => {
    const net = new Network();
    net.worker(net.account("provider"), "w", offer);
    const id = net.submit(net.account("consumer", 1_000n), input);
    return { net, phase: net.job(id).phase, attempt: net.attempts(id)[0] };
  };
  const { egressGiBMax: _, egressPriceMaxPerGiB: __, ...silent } = PAYS;

  it("are taken only by jobs that say how much they pay for, at no higher price, in their currency", () => {
    expect(place(PRICED, PAYS).phase).toBe("starting");
    const { phase, net } = place(PRICED, silent);
    expect(phase).toBe("queued");
    const { filters } = explainPlacement(net.state, specOf(silent));
    expect(filters.find(({ filter }) => filter === "egress price")).toMatchObject({
      removed: 1,
      hint: expect.stringContaining("egressGiBMax"),
    });
    const dear = { ...PRICED, pricePerEgressGiB: usd(2 * PRICE + 1) };
    expect(place(dear, PAYS).phase).toBe("queued");
    const foreign = { ...PRICED, pricePerEgressGiB: { amount: 1n, currency: "EUR" } };
    expect(place(foreign, PAYS).phase).toBe("queued");
  });

  it("cost a job without a network nothing, and neither does one of no price or of an older agent", () => {
    expect(place(PRICED, {}).attempt).not.toHaveProperty("egress");
    const { pricePerEgressGiB: _none, ...free } = PRICED;
    expect(place(free, PAYS).attempt).not.toHaveProperty("egress");
    expect(place({ ...PRICED, pricePerEgressGiB: usd(0) }, silent).attempt).not.toHaveProperty("egress");
    const older = { ...PRICED, features: ["egress", "exclusive", "ticks"] };
    const { phase, attempt } = place(older, silent);
    expect([phase, attempt?.egress]).toEqual(["starting", undefined]);
  });

  it("are told of in a quote, with all that it may come to", () => {
    const { net } = place(PRICED, PAYS);
    expect(explainPlacement(net.state, specOf(PAYS))).toMatchObject({
      hold: 10_000_000n + 2n * BigInt(PRICE),
      egress: { pricePerGiB: BigInt(PRICE), costMax: BigInt(PRICE) },
      costMax: 1_000_000n + BigInt(PRICE),
    });
  });
});

describe("property: windows of egress", () => {
  const windows = fc.array(fc.record({ ms: fc.integer({ min: 1, max: 20_000 }), bytes: fc.nat({ max: 64 * MIB }) }), {
    minLength: 1,
    maxLength: 8,
  });

  it("total the same however the container's life is cut into checkpoints", () => {
    const totalOf = (
      price: number,
      cuts: readonly { readonly ms: number; readonly bytes: number }[],
      whole: boolean,
    ) => {
      const { net, id, meter } = running({}, { ...PRICED, pricePerEgressGiB: usd(price) });
      net.pass(cuts.reduce((sum, { ms }) => sum + ms, 0) + 1_000);
      let [ranMs, bytes] = [0, 0];
      for (const [at, cut] of cuts.entries()) {
        ranMs += cut.ms;
        bytes += cut.bytes;
        if (!whole) meter.save(at + 1, ranMs, bytes);
      }
      meter.finish(ranMs, bytes);
      return grossOf(net, id);
    };
    const run = fc.property(fc.integer({ min: 1, max: 2 * PRICE }), windows, (price, cuts) => {
      // No window is beyond the line: a cut in one of them is another matter.
      const slow = cuts.map(({ ms, bytes }) => ({ ms, bytes: Math.min(bytes, ms * 400_000) }));
      expect(totalOf(price, slow, false)).toBe(totalOf(price, slow, true));
    });
    fc.assert(run, { numRuns: 60 });
  });
});
