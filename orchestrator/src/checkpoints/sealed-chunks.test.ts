import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type KeyRing, openKeyRing, openMasterKey } from "../vault/index.ts";
import { createChunkFiles } from "./chunk-files.ts";
import { createChunkIndex } from "./chunk-index.ts";
import { cidOf } from "./cid.ts";
import { type ChunkDatabase, openChunkDatabase } from "./database.ts";
import type { StoredCid } from "./port.ts";
import { createSealedChunks, type SealedChunks } from "./sealed-chunks.ts";

const ALICE = "acc-alice" as AccountId;
const BOB = "acc-bob" as AccountId;
const CHUNK_STORED_BYTES_MAX = (1024 + 64) * 1024;

describe("sealed chunks", () => {
  let folder: string;
  let root: string;
  let keys: KeyRing;
  let database: ChunkDatabase;
  let sealed: SealedChunks;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "qubix-sealed-"));
    root = join(folder, "chunks");
    keys = openKeyRing(folder, openMasterKey(join(folder, "master.key")));
    database = openChunkDatabase(root);
    const files = createChunkFiles(root);
    const index = createChunkIndex(database);
    sealed = createSealedChunks({ root, files, index, keys, bytesMax: Number.MAX_SAFE_INTEGER });
  });
  afterEach(async () => {
    await sealed.stop();
    await database.close();
    keys.close();
    rmSync(folder, { recursive: true });
  });

  it("take no file for one of nobody while one of its account is being made: it may be that", async () => {
    const stray = cidOf(randomBytes(9)) as string as StoredCid;
    const pathOf = (account: AccountId) => join(root, account, stray.slice(-2), stray);
    for (const account of [ALICE, BOB]) {
      mkdirSync(join(pathOf(account), ".."), { recursive: true });
      writeFileSync(pathOf(account), "left by a crash");
    }
    const bytes = randomBytes(100_000);
    const writing = sealed.write(ALICE, cidOf(bytes), [bytes]);
    for (const account of [ALICE, BOB]) sealed.removeStray(account, stray);
    expect([ALICE, BOB].map((account) => existsSync(pathOf(account)))).toEqual([true, false]);
    await writing;
    sealed.removeStray(ALICE, stray);
    expect(existsSync(pathOf(ALICE))).toBe(false);
    expect((await sealed.read(ALICE, cidOf(bytes)))?.equals(bytes)).toBe(true);
  });

  it("are stored although others that came with them are refused, and nothing is left of those", async () => {
    sealed.warm();
    const pieces = Array.from({ length: 40 }, (_, n) => randomBytes(n % 4 === 0 ? 100 : 100_000 + n));
    const isBad = (n: number): boolean => n % 5 === 1;
    const written = await Promise.allSettled(
      pieces.map((bytes, n) => sealed.write(ALICE, cidOf(bytes), [isBad(n) ? randomBytes(bytes.length) : bytes])),
    );
    expect(written.map(({ status }) => status)).toEqual(pieces.map((_, n) => (isBad(n) ? "rejected" : "fulfilled")));
    for (const [n, bytes] of pieces.entries()) {
      const read = await sealed.read(ALICE, cidOf(bytes));
      expect(read?.equals(bytes)).toBe(isBad(n) ? undefined : true);
    }
    expect(readdirSync(join(root, ALICE, ".tmp"))).toEqual([]);
  });

  it("that cannot be put in their place are refused, and nothing is left of them", async () => {
    const bytes = randomBytes(100_000);
    await sealed.write(ALICE, cidOf(bytes), [bytes]);
    const folders = readdirSync(join(root, ALICE)).filter((name) => name !== ".tmp");
    const [stored = ""] = readdirSync(join(root, ALICE, folders[0] ?? ""));
    const path = join(root, ALICE, stored.slice(-2), stored);
    rmSync(path);
    // Something else has its place.
    mkdirSync(join(path, "x"), { recursive: true });
    await expect(sealed.write(ALICE, cidOf(bytes), [bytes])).rejects.toMatchObject({ code: "EISDIR" });
    expect(readdirSync(join(root, ALICE, ".tmp"))).toEqual([]);
    rmSync(path, { recursive: true });
    await sealed.write(ALICE, cidOf(bytes), [bytes]);
    expect((await sealed.read(ALICE, cidOf(bytes)))?.equals(bytes)).toBe(true);
  });

  it("are read into the memory that is given for them, also when many are asked for at once", async () => {
    const pieces = Array.from({ length: 30 }, (_, n) => randomBytes(n % 3 === 0 ? 100 : 200_000));
    await Promise.all(pieces.map((bytes) => sealed.write(ALICE, cidOf(bytes), [bytes])));
    const read = await Promise.all(
      pieces.map((bytes) => sealed.read(ALICE, cidOf(bytes), new ArrayBuffer(CHUNK_STORED_BYTES_MAX))),
    );
    pieces.forEach((bytes, n) => {
      expect(read[n]?.equals(bytes)).toBe(true);
      expect(read[n]?.buffer.byteLength).toBe(CHUNK_STORED_BYTES_MAX);
    });
    expect(await sealed.read(BOB, cidOf(pieces[0] as Buffer))).toBeUndefined();
  });
});
