// Copies on a Kubo node, through the real kubo-rpc-client, against a simulator of the node.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { decode as decodeCbor } from "@ipld/dag-cbor";
import type { KeptTree, StoredCid } from "../checkpoints/index.ts";
import { createKubo } from "./kubo-client.ts";
import { createKuboPins, type KuboPins } from "./kubo-pins.ts";
import { startKuboSimulator } from "./testing/kubo-simulator.ts";
import { someContents, treeOf } from "./testing/large-tree.ts";
import { ALICE, openStoredTree, quiet, type StoredTree } from "./testing/stored-tree.ts";
import { buildTree } from "../checkpoints/testing/trees.ts";

const WAIT = { timeout: 20_000, interval: 20 };
vi.setConfig({ testTimeout: 60_000 });

let running: KuboPins[] = [];
afterEach(async () => {
  await Promise.all(running.map((pins) => pins.stop()));
  running = [];
});

function startPins(stored: StoredTree, url: string, compareMs = 3_600_000): KuboPins {
  const leaving = new AbortController();
  const pins = createKuboPins({
    kubo: createKubo(url, leaving.signal),
    chunks: stored.chunks,
    leaving,
    orchestratorId: "orc-test",
    // Waits half of the time before it tries again.
    random: () => 0,
    logger: quiet,
    compareMs,
  });
  running.push(pins);
  pins.start();
  return pins;
}

async function openWith(current: { pins?: KuboPins }): Promise<StoredTree> {
  return openStoredTree({
    fetchLost: async (stored) => current.pins?.fetch(stored),
    onTree: (tree: KeptTree) => current.pins?.changed(tree),
  });
}

const nameOf = (tree: { ref: { manifestCid: string } }) => `qubix/orc-test/${ALICE}/${tree.ref.manifestCid}`;

describe("copies on a Kubo node", () => {
  it("are made of every kept tree, under the same CIDs, and unpinned when it is let go", async () => {
    await using kubo = await startKuboSimulator();
    const current: { pins?: KuboPins } = {};
    await using stored = await openWith(current);
    const pins = (current.pins = startPins(stored, kubo.url));
    const contents = someContents();
    const tree = treeOf(contents);
    const cids = await stored.keep(tree);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toEqual([nameOf(tree)]), WAIT);
    await vi.waitFor(() => expect(pins.gauges()).toMatchObject({ ipfsPins: 1, ipfsPinsPending: 0 }), WAIT);
    for (const cid of cids) expect((await stored.file(cid)).equals(kubo.blocks.get(cid) ?? Buffer.alloc(0))).toBe(true);
    const root = decodeCbor<{ version: number; manifest: unknown; pieces: unknown[] }>(
      kubo.blocks.get(kubo.pins()[nameOf(tree)] ?? "") ?? Buffer.alloc(0),
    );
    expect([root.manifest, ...root.pieces].map(String)).toEqual(cids);

    // What is there is not sent again; what two trees have stays as long as one has it.
    const puts = kubo.calls["block/put"] ?? 0;
    const next = treeOf({ ...contents, "state/step": Buffer.from("18") });
    const nextCids = await stored.keep(next);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toHaveLength(2), WAIT);
    // One piece, the manifest and the root.
    expect((kubo.calls["block/put"] ?? 0) - puts).toBe(3);
    stored.drop(tree);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toEqual([nameOf(next)]), WAIT);
    kubo.collectGarbage();
    expect(kubo.blocks.size).toBe(nextCids.length + 1);
    expect(pins.gauges()).toMatchObject({ ipfsPinFailuresTotal: 0 });
  });

  it("are made up for after a restart: pins that were missed, and pins that should have gone", async () => {
    await using kubo = await startKuboSimulator();
    const current: { pins?: KuboPins } = {};
    await using stored = await openWith(current);
    const [gone, stays, missed] = ["1", "2", "3"].map((step) => buildTree({ step })) as [Built, Built, Built];
    current.pins = startPins(stored, kubo.url);
    await stored.keep(gone);
    await stored.keep(stays);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toHaveLength(2), WAIT);
    await current.pins.stop();
    delete current.pins;
    stored.drop(gone);
    await stored.keep(missed);
    const puts = kubo.calls["block/put"] ?? 0;
    current.pins = startPins(stored, kubo.url);
    const wanted = [nameOf(stays), nameOf(missed)].toSorted();
    await vi.waitFor(() => expect(Object.keys(kubo.pins()).toSorted()).toEqual(wanted), WAIT);
    expect((kubo.calls["block/put"] ?? 0) - puts).toBe(3);
  });

  it("wait for a node that is down or in trouble, and hold up nothing", async () => {
    const port = await freePort();
    const current: { pins?: KuboPins } = {};
    await using stored = await openWith(current);
    const pins = (current.pins = startPins(stored, `http://127.0.0.1:${port}`));
    const tree = buildTree({ step: "1" });
    await stored.keep(tree);
    await vi.waitFor(() => expect(pins.gauges()).toMatchObject({ ipfsPinsPending: 1, ipfsPins: 0 }), WAIT);
    await vi.waitFor(() => expect(pins.gauges()["ipfsPinFailuresTotal"]).toBeGreaterThan(0), WAIT);
    await using kubo = await startKuboSimulator(port);
    kubo.fail(["pin/add"]);
    await vi.waitFor(() => expect(kubo.calls["pin/add"]).toBeGreaterThan(0), WAIT);
    expect(pins.gauges()).toMatchObject({ ipfsPinsPending: 1 });
    kubo.fail([]);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toEqual([nameOf(tree)]), WAIT);
    kubo.fail(["pin/rm"]);
    stored.drop(tree);
    await vi.waitFor(() => expect(kubo.calls["pin/rm"]).toBeGreaterThan(0), WAIT);
    kubo.fail([]);
    await vi.waitFor(() => expect(kubo.pins()).toEqual({}), WAIT);
  });

  it("are made again when somebody else let them go", async () => {
    await using kubo = await startKuboSimulator();
    const current: { pins?: KuboPins } = {};
    await using stored = await openWith(current);
    current.pins = startPins(stored, kubo.url, 200);
    const tree = buildTree({ step: "17" });
    await stored.keep(tree);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toHaveLength(1), WAIT);
    kubo.unpinAll();
    kubo.collectGarbage();
    expect(kubo.blocks.size).toBe(0);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toEqual([nameOf(tree)]), WAIT);
    expect(kubo.blocks.size).toBe(3);
  });

  it("bring back what was lost here", async () => {
    await using kubo = await startKuboSimulator();
    const current: { pins?: KuboPins } = {};
    await using stored = await openWith(current);
    current.pins = startPins(stored, kubo.url);
    const tree = buildTree({ step: "17" });
    const cids = await stored.keep(tree);
    await vi.waitFor(() => expect(Object.keys(kubo.pins())).toHaveLength(1), WAIT);
    for (const cid of cids) await stored.lose(cid);
    expect(await stored.chunks.readManifest(ALICE, tree.ref.manifestCid)).toEqual(tree.manifest);
    for (const cid of cids) expect(await stored.chunks.blocks.get(ALICE, cid)).toBeDefined();
    expect(await current.pins.fetch(tree.ref.manifestCid as string as StoredCid)).toBeUndefined();
  });

  it("stop at once, even in the middle of a call", async () => {
    const hanging = createServer(() => {});
    hanging.listen(0, "127.0.0.1");
    await once(hanging, "listening");
    await using stored = await openStoredTree();
    const pins = startPins(stored, `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`);
    await sleep(200);
    const before = performance.now();
    await Promise.all([pins.stop(), pins.stop()]);
    expect(performance.now() - before).toBeLessThan(2_000);
    hanging.closeAllConnections();
    hanging.close();
  });
});

type Built = ReturnType<typeof buildTree>;

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
