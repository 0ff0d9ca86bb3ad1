// Two workers on the loopback with real libp2p nodes: what goes straight from one to the other, and that the orchestrator's store makes up for whatever does not.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { cidOf } from "@qubix/shared/chunks";
import { createKey, type WorkerKey } from "../link/keys.ts";
import { createUplinkPacer, type Pacer } from "../link/pacer.ts";
import { createDirect, type Direct } from "./direct.ts";
import type { DirectOrder } from "./peer.ts";

const JOB = "job-0000001-k3f9" as JobId;
const OTHER_JOB = "job-0000002-k3f9" as JobId;
const LISTEN = { host: "127.0.0.1", port: 0 };
const never = new AbortController().signal;

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

interface Side {
  readonly direct: Direct;
  readonly key: WorkerKey;
  readonly folder: string;
  readonly addresses: () => readonly string[];
}

function portOf(address = ""): number {
  return Number(address.split("/").at(-1));
}

function makeSide(
  options: { port?: number; pacer?: Pacer; key?: WorkerKey; idleMs?: number; confirmMs?: number; tendMs?: number } = {},
): Side {
  const folder = mkdtempSync(join(tmpdir(), "qubix-direct-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  let addresses: readonly string[] = [];
  const key = options.key ?? createKey(join(folder, "key.pem"));
  const direct = createDirect(
    {
      key,
      logger: createLogger("test", "silent"),
      pacer: options.pacer ?? createUplinkPacer(() => null),
      reachable: (now) => void (addresses = now),
      nowMs: () => performance.now(),
      times: {
        idleMs: options.idleMs ?? 60_000,
        confirmMs: options.confirmMs ?? 60_000,
        tendMs: options.tendMs ?? 60_000,
      },
    },
    { ...LISTEN, port: options.port ?? 0 },
  );
  cleanups.push(() => direct.stop());
  return { direct, key, folder, addresses: () => addresses };
}

function name(
  side: Side,
  as: "primary" | "standby",
  publicKey: string,
  addresses: readonly string[],
  jobId = JOB,
): void {
  const order: DirectOrder = {
    kind: "direct.peer",
    jobId,
    peer: { as, publicKey, addresses: [...addresses] },
    relays: [],
  };
  expect(side.direct.order(order)).toBe(true);
}

function unname(side: Side, jobId = JOB): void {
  side.direct.order({ kind: "direct.peer", jobId, peer: null, relays: [] } as DirectOrder);
}

/** As the orchestrator does it: both are named, and named again when they are known to listen. */
async function introduce(primary: Side, standby: Side, jobId = JOB): Promise<void> {
  name(primary, "primary", standby.key.publicKey, standby.addresses(), jobId);
  await primary.direct.settled();
  name(standby, "standby", primary.key.publicKey, primary.addresses(), jobId);
  await standby.direct.settled();
}

/** The orchestrator's store. */
function makeStore() {
  const chunks = new Map<ChunkCid, Uint8Array>();
  return {
    chunks,
    gets: [] as ChunkCid[],
    async missing(cids: readonly ChunkCid[]) {
      return new Set(cids.filter((cid) => !chunks.has(cid)));
    },
    async put(cid: ChunkCid, stored: Uint8Array) {
      chunks.set(cid, Uint8Array.from(stored));
    },
    async get(cid: ChunkCid) {
      this.gets.push(cid);
      const bytes = chunks.get(cid);
      if (bytes === undefined) throw new Error(`no chunk ${cid}`);
      return Uint8Array.from(bytes);
    },
  };
}

function makeChunks(count: number, bytes = 100_000, salt = 0) {
  return Array.from({ length: count }, (_, index) => {
    const stored = new Uint8Array(bytes).map((_byte, at) => (at * 31 + index * 7 + salt) & 0xff);
    stored.set(new Uint8Array(Uint32Array.of(index, salt).buffer));
    return { cid: cidOf(stored), stored };
  });
}

async function ship(
  side: Side,
  store: ReturnType<typeof makeStore>,
  chunks: ReturnType<typeof makeChunks>,
  jobId = JOB,
) {
  const port = side.direct.checkpoints(jobId, side.folder, store);
  for (const { cid, stored } of chunks) {
    const memory = Uint8Array.from(stored);
    await port.put(cid, memory, never);
    // The memory of a piece is used again as soon as it is stored.
    memory.fill(0);
  }
}

async function fetchAll(
  side: Side,
  store: ReturnType<typeof makeStore>,
  chunks: ReturnType<typeof makeChunks>,
  jobId = JOB,
) {
  const port = side.direct.checkpoints(jobId, side.folder, store);
  const got = await Promise.all(chunks.map(({ cid }) => port.get(cid, never)));
  for (const [index, { stored }] of chunks.entries())
    expect(Buffer.compare(got[index] ?? new Uint8Array(), stored)).toBe(0);
  return port.fetched();
}

describe("the direct path", () => {
  it("brings a standby what the newest tree moved, and leaves the store alone", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const chunks = makeChunks(20);
    await ship(primary, store, chunks);
    expect(await fetchAll(standby, store, chunks)).toEqual({ direct: 2_000_000, relay: 0, orchestrator: 0 });
    expect(store.gets).toEqual([]);
    expect(standby.direct.fetched().direct).toBe(2_000_000);
    expect(primary.direct.served()).toBe(2_000_000);
  });

  it("is there whichever of the two can be reached", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    // The standby's address alone is known: the primary dials.
    name(standby, "standby", primary.key.publicKey, []);
    await standby.direct.settled();
    name(primary, "primary", standby.key.publicKey, standby.addresses());
    await primary.direct.settled();
    const chunks = makeChunks(3);
    await ship(primary, store, chunks);
    await expect
      .poll(async () => (await fetchAll(standby, store, chunks)).direct, { timeout: 15_000, interval: 300 })
      .toBe(300_000);
  });

  it("comes back after the standby's agent was away, where only the primary can dial", async () => {
    const [primary, store] = [makeSide({ tendMs: 200 }), makeStore()];
    const before = makeSide();
    name(before, "standby", primary.key.publicKey, []);
    await before.direct.settled();
    const addresses = before.addresses();
    name(primary, "primary", before.key.publicKey, addresses);
    await primary.direct.settled();
    const chunks = makeChunks(3);
    await ship(primary, store, chunks);
    await before.direct.stop();
    const after = makeSide({ key: before.key, port: portOf(addresses[0]), tendMs: 200 });
    name(after, "standby", primary.key.publicKey, []);
    await expect
      .poll(async () => (await fetchAll(after, store, chunks)).direct, { timeout: 20_000, interval: 300 })
      .toBe(300_000);
  }, 30_000);

  it("fetches from the store what the primary does not have", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const [older, newer] = [makeChunks(30, 1_000, 1), makeChunks(5, 1_000, 2)];
    for (const { cid, stored } of older) await store.put(cid, stored);
    await ship(primary, store, newer);
    expect(await fetchAll(standby, store, [...older.slice(0, 3), ...newer])).toEqual({
      direct: 5_000,
      relay: 0,
      orchestrator: 3_000,
    });
    // It does not ask for each of many in vain.
    const port = standby.direct.checkpoints(JOB, standby.folder, store);
    for (const { cid } of older) await port.get(cid, never);
    expect(port.fetched()).toEqual({ direct: 0, relay: 0, orchestrator: 30_000 });
  });

  it("keeps two trees, and what is too much for memory on disk", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const trees = [1, 2, 3].map((salt) => makeChunks(22, 1_000_000, salt));
    for (const tree of trees) await ship(primary, store, tree);
    expect((await fetchAll(standby, store, trees[2] ?? [])).direct).toBe(22_000_000);
    expect((await fetchAll(standby, store, trees[1] ?? [])).direct).toBe(22_000_000);
    expect((await fetchAll(standby, store, trees[0] ?? [])).direct).toBe(0);
  });

  it("is not open to a worker that was not named", async () => {
    const [primary, named, stranger, store] = [makeSide(), makeSide(), makeSide(), makeStore()];
    await introduce(primary, named);
    const chunks = makeChunks(3);
    await ship(primary, store, chunks);
    // The stranger knows where the primary is and believes that it may.
    name(stranger, "standby", primary.key.publicKey, primary.addresses());
    await stranger.direct.settled();
    expect((await fetchAll(stranger, store, chunks)).direct).toBe(0);
    expect((await fetchAll(named, store, chunks)).direct).toBe(300_000);
  });

  it("is not used with a worker whose key is another than the one that was named", async () => {
    const [primary, impostor, standby, store] = [makeSide(), makeSide(), makeSide(), makeStore()];
    await introduce(impostor, standby, OTHER_JOB);
    const chunks = makeChunks(3);
    await ship(impostor, store, chunks, OTHER_JOB);
    // Whoever listens at the primary's address does not hold its key.
    name(standby, "standby", primary.key.publicKey, impostor.addresses());
    await standby.direct.settled();
    expect((await fetchAll(standby, store, chunks)).direct).toBe(0);
  });

  it("gives nothing of a job for which the peer was not named", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const secret = makeChunks(3, 100_000, 9);
    name(primary, "primary", makeSide().key.publicKey, [], OTHER_JOB);
    await ship(primary, store, secret, OTHER_JOB);
    // Neither under the other job's name nor under its own.
    name(standby, "standby", primary.key.publicKey, primary.addresses(), OTHER_JOB);
    await standby.direct.settled();
    expect((await fetchAll(standby, store, secret, OTHER_JOB)).direct).toBe(0);
    expect((await fetchAll(standby, store, secret)).direct).toBe(0);
    expect(primary.direct.served()).toBe(0);
  });

  it("ends for a peer that is not named any more", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const chunks = makeChunks(4);
    await ship(primary, store, chunks);
    expect((await fetchAll(standby, store, chunks)).direct).toBe(400_000);
    unname(primary);
    expect((await fetchAll(standby, store, chunks)).direct).toBe(0);
  });

  it("does not believe wrong bytes, and is not used again with who sent them", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const chunks = makeChunks(6);
    const port = primary.direct.checkpoints(JOB, primary.folder, { ...makeStore(), put: async () => undefined });
    for (const [index, { cid, stored }] of chunks.entries()) {
      await store.put(cid, stored);
      await port.put(cid, index === 2 ? stored.toReversed() : stored, never);
    }
    const fetched = await fetchAll(standby, store, chunks);
    expect(fetched.orchestrator).toBeGreaterThanOrEqual(100_000);
    await standby.direct.settled();
    expect((await fetchAll(standby, store, chunks)).direct).toBe(0);
  });

  it("falls back within a transfer that is cut in the middle", async () => {
    const [primary, standby, store] = [makeSide(), makeSide(), makeStore()];
    await introduce(primary, standby);
    const chunks = makeChunks(40, 500_000);
    await ship(primary, store, chunks);
    const port = standby.direct.checkpoints(JOB, standby.folder, store);
    for (const [index, { cid, stored }] of chunks.entries()) {
      const coming = port.get(cid, never);
      if (index === 20) void primary.direct.stop();
      expect(Buffer.compare(await coming, stored)).toBe(0);
    }
    const { direct, orchestrator } = port.fetched();
    expect(direct).toBeGreaterThanOrEqual(10_000_000);
    expect(orchestrator).toBeGreaterThan(0);
    expect(direct + orchestrator).toBe(20_000_000);
  });

  it("falls back from a primary that falls silent", async () => {
    const silent: Pacer = { take: () => new Promise(() => undefined) };
    const [primary, standby, store] = [makeSide({ pacer: silent }), makeSide(), makeStore()];
    await introduce(primary, standby);
    const chunks = makeChunks(3);
    await ship(primary, store, chunks);
    const begunMs = performance.now();
    expect(await fetchAll(standby, store, chunks)).toEqual({ direct: 0, relay: 0, orchestrator: 300_000 });
    expect(performance.now() - begunMs).toBeLessThan(8_000);
  });

  it("stops listening when no job has a peer, and takes the same port again", async () => {
    const [primary, standby] = [makeSide({ idleMs: 50 }), makeSide()];
    await introduce(primary, standby);
    const before = primary.addresses();
    expect(before).toHaveLength(1);
    unname(primary);
    await expect.poll(() => primary.addresses()).toEqual([]);
    await introduce(primary, standby);
    expect(primary.addresses()).toEqual(before);
  });

  it("forgets peers that a new session does not name again", async () => {
    const [primary, standby, store] = [makeSide({ confirmMs: 300 }), makeSide(), makeStore()];
    await introduce(primary, standby);
    await introduce(primary, standby, OTHER_JOB);
    const chunks = makeChunks(2);
    await ship(primary, store, chunks);
    await ship(primary, store, chunks, OTHER_JOB);
    primary.direct.opened();
    name(primary, "primary", standby.key.publicKey, standby.addresses());
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await fetchAll(standby, store, chunks)).direct).toBe(200_000);
    expect((await fetchAll(standby, store, chunks, OTHER_JOB)).direct).toBe(0);
  });
});
