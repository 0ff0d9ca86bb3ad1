import { decode as decodeCbor } from "@ipld/dag-cbor";
import { describe, expect, it } from "vitest";
import type { CID } from "multiformats/cid";
import { cidOf, type StoredCid } from "../checkpoints/index.ts";
import { nameSealed } from "./sealed-car.ts";

const namesOf = (count: number) =>
  Array.from({ length: count }, (_, n) => cidOf(Buffer.from(String(n))) as string as StoredCid);

describe("the names of what is stored of a tree", () => {
  it.each([1, 2, 16_385])("of %i pieces and a manifest are in the root", async (count) => {
    const stored = namesOf(count);
    const [root, ...lists] = await nameSealed(stored);
    expect(lists).toEqual([]);
    const { version, manifest, pieces } = decodeCbor<{ version: number; manifest: CID; pieces: CID[] }>(root.bytes);
    expect(version).toBe(1);
    expect([manifest, ...pieces].map(String)).toEqual(stored);
  });

  it("of very many pieces are in lists, each a block that every node takes", async () => {
    const stored = namesOf(40_000);
    const [root, ...lists] = await nameSealed(stored);
    const { manifest, pieces } = decodeCbor<{ manifest: CID; pieces: CID[] }>(root.bytes);
    expect(pieces.map(String)).toEqual(lists.map(({ cid }) => cid.toString()));
    expect([manifest, ...lists.flatMap(({ bytes }) => decodeCbor<CID[]>(bytes))].map(String)).toEqual(stored);
    for (const { bytes } of lists) expect(bytes.length).toBeLessThan(1024 * 1024);
  });
});
