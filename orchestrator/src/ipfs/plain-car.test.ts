import { CarReader } from "@ipld/car";
import { recursive } from "ipfs-unixfs-exporter";
import { describe, expect, it } from "vitest";
import type { TreeManifest } from "@qubix/shared/protocol";
import { buildPlainCar } from "./plain-car.ts";

const COUNT = 6_000;

describe("a CAR file of plain files", () => {
  it("has every file of a folder that is too large for one block", { timeout: 60_000 }, async () => {
    const paths = Array.from({ length: COUNT }, (_, n) => `folder/a-file-with-a-rather-long-name-${n}`);
    const entries = paths.map((path) => ({ kind: "file" as const, path, mode: 0o644, bytes: path.length, chunks: [] }));
    const manifest: TreeManifest = { version: 2, encoding: "zstd", entries };
    const open = async function* (path: string) {
      yield Buffer.from(path);
    };
    const car = await buildPlainCar(manifest, open);
    const parts: Uint8Array[] = [];
    for await (const part of car.stream()) parts.push(part);
    const reader = await CarReader.fromBytes(Buffer.concat(parts));
    for await (const { bytes } of reader.blocks()) expect(bytes.length).toBeLessThan(1024 * 1024);
    const store = {
      async *get(cid: Parameters<typeof reader.get>[0]) {
        yield (await reader.get(cid))?.bytes ?? Buffer.alloc(0);
      },
    };
    const found: string[] = [];
    for await (const entry of recursive(car.root, store)) {
      if (entry.depth === 2) found.push(entry.path.slice(car.root.toString().length + 1));
    }
    expect(found.toSorted()).toEqual(paths.toSorted());
  });
});
