// The embedded node against another Helia over real sockets: what it serves, what it does not, and what it fetches.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { cidOf, type StoredCid } from "../checkpoints/index.ts";
import { buildTree } from "../checkpoints/testing/trees.ts";
import { type IpfsNode, startIpfsNode } from "./node.ts";
import { someContents, treeOf } from "./testing/large-tree.ts";
import { startOtherNode } from "./testing/other-node.ts";
import { ALICE, openStoredTree, quiet, type StoredTree } from "./testing/stored-tree.ts";

const LISTEN = "/ip4/127.0.0.1/tcp/0";
const SERVED_MS = 20_000;
const NOT_SERVED_MS = 1_500;

const start = (stored: StoredTree, peers: readonly string[] = []): Promise<IpfsNode> =>
  startIpfsNode({ blocks: stored.chunks.blocks, dataDir: stored.dir, listen: LISTEN, peers, logger: quiet });

describe("the IPFS node", () => {
  it("gives stored files by their CID to whoever dials it, and nothing else", { timeout: 60_000 }, async () => {
    await using stored = await openStoredTree();
    await using other = await startOtherNode();
    const tree = treeOf(someContents());
    const cids = await stored.keep(tree);
    const node = await start(stored);
    await other.dial(node.addresses[0] ?? "");
    const got = await Promise.all(cids.map((cid) => other.get(cid, SERVED_MS)));
    for (const [at, cid] of cids.entries()) expect(got[at]?.equals(await stored.file(cid))).toBe(true);
    // The names on the wire are of what is encrypted: nothing is served under them, nor under a CID of nothing.
    const notStored = [tree.chunks[0]?.cid ?? "", cidOf(Buffer.from("not here"))];
    const refused = await Promise.allSettled(notStored.map((cid) => other.get(cid, NOT_SERVED_MS)));
    expect(refused.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(node.gauges()).toMatchObject({ ipfsConnections: 1 });
    const before = performance.now();
    await Promise.all([node.stop(), node.stop()]);
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it("takes no harm from noise, nor from peers that leave half-way", { timeout: 60_000 }, async () => {
    await using stored = await openStoredTree();
    const cids = await stored.keep(treeOf(someContents()));
    const node = await start(stored);
    const [, , , , port] = (node.addresses[0] ?? "").split("/");
    for (const noise of [randomBytes(5_000), Buffer.from("\u0013/multistream/1.0.0\n"), Buffer.alloc(0)]) {
      const socket = connect(Number(port), "127.0.0.1");
      await once(socket, "connect");
      socket.on("error", () => {});
      socket.write(noise);
      await sleep(50);
      socket.resetAndDestroy();
    }
    for (const leaveAfterMs of [0, 5, 50]) {
      const leaving = await startOtherNode();
      await leaving.dial(node.addresses[0] ?? "");
      const wanted = Promise.allSettled(cids.map((cid) => leaving.get(cid, NOT_SERVED_MS)));
      await sleep(leaveAfterMs);
      await leaving[Symbol.asyncDispose]();
      await wanted;
    }
    await using other = await startOtherNode();
    await other.dial(node.addresses[0] ?? "");
    for (const cid of cids.slice(0, 1)) {
      expect((await other.get(cid, SERVED_MS)).equals(await stored.file(cid))).toBe(true);
    }
    await node.stop();
  });

  it("is the same peer after a restart", { timeout: 60_000 }, async () => {
    await using stored = await openStoredTree();
    const idOf = async () => {
      const node = await start(stored);
      await node.stop();
      return node.addresses[0]?.split("/p2p/")[1];
    };
    const first = await idOf();
    expect(first).toMatch(/^12D3Koo/);
    expect(await idOf()).toBe(first);
  });

  it("says what to do when its key cannot be read", { timeout: 60_000 }, async () => {
    await using stored = await openStoredTree();
    await writeFile(join(stored.dir, "ipfs-node.key"), "no key");
    await expect(start(stored)).rejects.toMatchObject({ code: "ipfs_key_unusable" });
  });

  it("says what to do when it cannot have the address", { timeout: 60_000 }, async () => {
    await using stored = await openStoredTree();
    const node = await start(stored);
    const taken = (node.addresses[0] ?? "").split("/p2p/")[0];
    const ports = { blocks: stored.chunks.blocks, dataDir: stored.dir, peers: [], logger: quiet };
    await expect(startIpfsNode({ ...ports, listen: taken })).rejects.toMatchObject({ code: "ipfs_listen_failed" });
    await node.stop();
  });

  it("brings back files that were lost or changed here, from a peer that has them", { timeout: 60_000 }, async () => {
    let node: IpfsNode | undefined;
    await using stored = await openStoredTree({ fetchLost: async (cid) => node?.fetch(cid) });
    await using other = await startOtherNode();
    const contents = { "state/step": "17", weights: "w".repeat(50_000), last: "z" };
    const tree = buildTree(contents);
    const cids = await stored.keep(tree);
    const files = new Map(await Promise.all(cids.map(async (cid) => [cid, await stored.file(cid)] as const)));
    for (const [cid, bytes] of files) await other.put(cid, bytes);
    node = await start(stored, [other.address]);

    const [manifest, lost, changed, last] = cids as [StoredCid, StoredCid, StoredCid, StoredCid];
    await stored.lose(manifest);
    await stored.lose(lost);
    await stored.spoil(changed);
    const read = await stored.chunks.readManifest(ALICE, tree.ref.manifestCid);
    for (const [path, text] of Object.entries(contents)) {
      const parts: Uint8Array[] = [];
      for await (const part of stored.chunks.openFile(ALICE, read, path)) parts.push(part);
      expect(Buffer.concat(parts).toString()).toBe(text);
    }
    for (const [cid, bytes] of files) expect((await stored.file(cid)).equals(bytes)).toBe(true);
    expect(node.gauges()).toMatchObject({ ipfsBlocksFetchedTotal: 3 });

    await stored.lose(last);
    // The hourly sweep does not forget what can be asked for.
    await stored.chunks.sweep();
    expect((await stored.chunks.blocks.get(ALICE, last))?.equals(files.get(last) ?? Buffer.alloc(0))).toBe(true);
    await node.stop();
  });

  it("gives up when no peer can be reached, and the piece is missing as before", { timeout: 60_000 }, async () => {
    let node: IpfsNode | undefined;
    await using stored = await openStoredTree({ fetchLost: async (cid) => node?.fetch(cid) });
    const tree = buildTree({ step: "17" });
    const cids = await stored.keep(tree);
    const gone = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGC6TvWhfagpX6wvCNYYm8BUHDSjPuMZcVCRMv3rRRDP4";
    node = await start(stored, [gone]);
    for (const cid of cids) await stored.lose(cid);
    const reading = stored.chunks.readManifest(ALICE, tree.ref.manifestCid);
    setTimeout(() => void node?.stop(), 500);
    await expect(reading).rejects.toMatchObject({ code: "chunks_missing" });
    await node.stop();
  });
});
