// CAR files over the API, read by other implementations: @ipld/car, which takes the file apart, and ipfs-unixfs-exporter, which makes files of the blocks.
import { CarReader } from "@ipld/car";
import { decode as decodeCbor } from "@ipld/dag-cbor";
import { exporter, recursive } from "ipfs-unixfs-exporter";
import { CID } from "multiformats/cid";
import { sha256 } from "multiformats/hashes/sha2";
import { describe, expect, test } from "vitest";
import type { BuiltTree } from "../checkpoints/testing/trees.ts";
import { someContents, treeOf } from "../ipfs/testing/large-tree.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

async function withCheckpoint(api: TestApi, tree: BuiltTree) {
  const consumer = await api.account("consumer", 10_000_000n);
  const worker = await api.worker(await api.account("provider"), "runner");
  const id = String((await consumer.call("POST /v1/jobs", jobSpec())).body["id"]);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  for (const { cid, bytes } of tree.chunks) await api.chunks.put(consumer.id, id, cid, bytes);
  expect(await api.chunks.admitTree(consumer.id, id, tree.ref)).toMatchObject({ kind: "ok" });
  await worker.checkpoint(attempt, 1, tree.ref);
  api.chunks.settleTree(consumer.id, id, tree.ref.manifestCid, true);
  const path = `/v1/jobs/${id}/checkpoints/1/car`;
  const get = (query = "", init: RequestInit = {}) =>
    fetch(`${api.url}${path}${query}`, { headers: { authorization: `Bearer ${consumer.key}` }, ...init });
  return { accountId: consumer.id, path, get };
}

/** After its last byte has come: what is on its way counts as under way. */
async function statusOfWhole(get: () => Promise<Response>): Promise<number> {
  const response = await get();
  await response.arrayBuffer();
  return response.status;
}

async function read(response: Response) {
  const reader = await CarReader.fromBytes(new Uint8Array(await response.arrayBuffer()));
  const [root] = await reader.getRoots();
  if (root === undefined) throw new Error("it has no root");
  for await (const { cid, bytes } of reader.blocks()) {
    expect((await sha256.digest(bytes)).bytes).toEqual(cid.multihash.bytes);
    expect(bytes.length).toBeLessThanOrEqual(2 * 1024 * 1024);
  }
  const get = async (cid: CID): Promise<Uint8Array> => {
    const block = await reader.get(cid);
    if (block === undefined) throw new Error(`there is no ${cid.toString()}`);
    return block.bytes;
  };
  return { root, reader, get };
}

/** As an IPFS node gives blocks: in parts. */
const storeOf = (get: (cid: CID) => Promise<Uint8Array>) => ({
  async *get(cid: CID) {
    yield await get(cid);
  },
});

describe("a checkpoint as a CAR file", () => {
  test("has the files, byte for byte, as any reader of UnixFS finds them", async () => {
    await using api = await startTestApi();
    const contents = someContents();
    const { get } = await withCheckpoint(api, treeOf(contents, ["state/none", "void"]));
    const response = await get();
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("application/vnd.ipld.car");
    const car = await read(response);
    expect(response.headers.get("x-ipfs-roots")).toBe(car.root.toString());
    const found: Record<string, Buffer> = {};
    const folders: string[] = [];
    for await (const entry of recursive(car.root, storeOf(car.get))) {
      const path = entry.path.split("/").slice(1).join("/");
      const whole = await exporter(entry.cid, storeOf(car.get));
      if (whole.type === "directory") {
        folders.push(path);
        continue;
      }
      if (whole.type !== "file" && whole.type !== "raw") throw new Error(`${path} is a ${whole.type}`);
      const parts: Uint8Array[] = [];
      for await (const part of whole.content()) parts.push(part);
      found[path] = Buffer.concat(parts);
    }
    expect(folders.toSorted()).toEqual(["", "state", "state/deep", "state/deep/er", "state/none", "void"]);
    expect(Object.keys(found).toSorted()).toEqual(Object.keys(contents).toSorted());
    for (const [path, bytes] of Object.entries(contents)) expect(found[path]?.equals(bytes), path).toBe(true);
    expect((await read(await get())).root).toEqual(car.root);
  });

  test("without any file is an empty folder, named as IPFS names it", async () => {
    await using api = await startTestApi();
    const { get } = await withCheckpoint(api, treeOf({}));
    expect((await get()).headers.get("x-ipfs-roots")).toBe(
      "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
    );
  });

  test("sealed has the stored files as they lie, and nothing in the clear", async () => {
    await using api = await startTestApi();
    const tree = treeOf(someContents());
    const { get, accountId } = await withCheckpoint(api, tree);
    const { root, reader, get: block } = await read(await get("?sealed=1"));
    const value = decodeCbor<{ version: number; manifest: CID; pieces: CID[] }>(await block(root));
    const stored = await api.chunks.blocks.ofTree(accountId, tree.ref.manifestCid);
    expect(value).toEqual({ version: 1, manifest: expect.anything(), pieces: expect.anything() });
    expect([value.manifest, ...value.pieces].map(String)).toEqual(stored.map((each) => each.stored));
    for (const each of stored) {
      const file = await api.chunks.blocks.get(accountId, each.stored);
      expect(Buffer.from(await block(CID.parse(each.stored))).equals(file!)).toBe(true);
    }
    for (const { cid } of tree.chunks) expect(await reader.has(CID.parse(cid))).toBe(false);
  });

  test("is for its consumer only; one that is left half-way does not count on", async () => {
    await using api = await startTestApi();
    const { path, get } = await withCheckpoint(api, treeOf(someContents()));
    const other = await api.account("consumer");
    for (const query of ["", "?sealed=1"]) {
      expect((await other.call(`GET ${path}${query}`)).body).toMatchObject({ status: 404, code: "job_not_found" });
    }
    expect((await api.anyone(`GET ${path}`)).status).toBe(401);
    expect((await get("?sealed=maybe")).status).toBe(422);
    expect((await get("", { method: "HEAD" })).status).toBe(200);
    for (let round = 0; round < 6; round += 1) {
      const leave = new AbortController();
      expect((await get("", { signal: leave.signal })).status).toBe(200);
      leave.abort();
      await expect.poll(() => statusOfWhole(() => get("?sealed=1"))).toBe(200);
    }
  });
});
