import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type ChunkIndex, createChunkIndex, type IndexRow } from "./chunk-index.ts";
import { type ChunkDatabase, openChunkDatabase } from "./database.ts";
import type { StoredCid } from "./port.ts";

const ALICE = "acc-alice" as AccountId;
const COUNT = 100;
let root: string;
let database: ChunkDatabase;
let index: ChunkIndex;
let syncs: number;
let broken: Error | null;

const row = (n: number, bytes = 1_000): IndexRow => {
  const name = String(n).padStart(4, "0");
  return { accountId: ALICE, cid: `cid-${name}` as ChunkCid, stored: `stored-${name}` as StoredCid, bytes };
};
const all = Array.from({ length: COUNT }, (_, n) => row(n));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "qubix-index-"));
  database = openChunkDatabase(root);
  syncs = 0;
  broken = null;
  const sync = async (): Promise<void> => {
    syncs += 1;
    if (broken !== null) throw broken;
    await database.sync();
  };
  index = createChunkIndex({ ...database, sync });
});
afterEach(async () => {
  await index.idle();
  await database.close();
  rmSync(root, { recursive: true, force: true });
});

it("makes what comes at once durable with one sync, and what comes meanwhile with the next", async () => {
  const first = all.slice(0, 50).map((each) => index.add(each));
  await new Promise((resolve) => setImmediate(resolve));
  const second = all.slice(50).map((each) => index.add(each));
  await Promise.all([...first, ...second]);
  expect(syncs).toBeLessThanOrEqual(3);
  for (const { cid, stored, bytes } of all) {
    expect(index.get(ALICE, cid)).toEqual({ stored, bytes });
    expect(index.nameOf(ALICE, stored)).toBe(cid);
  }
  expect([...index.rows()].flat()).toEqual(all);
});

it("counts each row once, also when it comes again, and less when it goes", async () => {
  await Promise.all([...all, ...all].map((each) => index.add(each)));
  expect(index.usage(ALICE)).toBe(COUNT * 1_049);
  index.remove(ALICE, row(0).cid);
  index.remove(ALICE, row(0).cid);
  expect(index.usage(ALICE)).toBe((COUNT - 1) * 1_049);
  expect(createChunkIndex(database).usage(ALICE)).toBe((COUNT - 1) * 1_049);
});

it("promises nothing that the disk did not take", async () => {
  broken = new Error("the disk is gone");
  const results = await Promise.allSettled(all.map((each) => index.add(each)));
  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(index.get(ALICE, row(0).cid)).toBeUndefined();
  expect(index.usage(ALICE)).toBe(0);
  broken = null;
  await index.add(row(0));
  expect(index.get(ALICE, row(0).cid)).toBeDefined();
});
