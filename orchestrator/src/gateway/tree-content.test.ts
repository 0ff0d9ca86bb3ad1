import type { ChunkCid } from "@qubix/shared/domain";
import type { TreeEntry, TreeManifest } from "@qubix/shared/protocol";
import { expect, test } from "vitest";
import { contentOf } from "./tree-content.ts";

const cid = (digit: string) => `bafkrei${digit.repeat(52)}` as ChunkCid;
const file = (path: string, sha: string, chunk = "a"): TreeEntry => ({
  kind: "file",
  path,
  mode: 0o644,
  bytes: 3,
  sha256: sha.repeat(64),
  chunks: [{ cid: cid(chunk), bytes: 3, stored: 3 }],
});
const tree = (...entries: TreeEntry[]): TreeManifest => ({ version: 2, encoding: "zstd", entries });

test("equal files have equal sums, however they are packed and in whatever order they are named", () => {
  const one = contentOf(tree(file("a", "1"), file("b", "2")));
  expect(contentOf(tree(file("b", "2", "c"), file("a", "1", "d")))).toEqual(one);
  expect(contentOf(tree({ kind: "directory", path: "x", mode: 0o755 }, file("a", "1"), file("b", "2")))).toEqual(one);
});

test.each([
  ["content", tree(file("a", "1"), file("b", "3"))],
  ["a path", tree(file("a", "1"), file("c", "2"))],
  ["paths changed about", tree(file("a", "2"), file("b", "1"))],
  ["one more", tree(file("a", "1"), file("b", "2"), file("c", "2"))],
  ["nothing", tree()],
])("another sum for other %s", (_name, other) => {
  expect(contentOf(other)?.sum).not.toBe(contentOf(tree(file("a", "1"), file("b", "2")))?.sum);
});

test("no sum where a file has none", () => {
  const { sha256: _, ...unsummed } = file("a", "1") as Extract<TreeEntry, { kind: "file" }>;
  expect(contentOf(tree(unsummed))).toBeUndefined();
});

/** A file of a checkpoint: pieces of so many bytes, each with its sum. */
const pieces = (...cut: readonly (readonly [bytes: number, sum: string])[]): TreeEntry => ({
  kind: "file",
  path: "step-1",
  mode: 0o644,
  bytes: cut.reduce((all, [bytes]) => all + bytes, 0),
  chunks: cut.map(([bytes, sum]) => ({ cid: cid("a"), bytes, stored: 1, sum: sum.repeat(43) })),
});

test("of files without a sum those of their pieces are told, with where they were cut", () => {
  const one = contentOf(tree(pieces([4, "A"], [4, "B"])));
  const other = contentOf(tree(pieces([4, "A"], [4, "C"])));
  const cutElsewhere = contentOf(tree(pieces([6, "A"], [2, "B"])));
  expect(other?.shape).toBe(one?.shape);
  expect(other?.sum).not.toBe(one?.sum);
  expect(cutElsewhere?.shape).not.toBe(one?.shape);
});

test("a part of a piece has the sum of the whole piece, so that another sum there means nothing", () => {
  const partOf = (sum: string) => {
    const chunk = { cid: cid("a"), bytes: 3, stored: 1, sum: sum.repeat(43), part: { from: 1, of: 9 } };
    return contentOf(tree({ kind: "file", path: "step-1", mode: 0o644, bytes: 3, chunks: [chunk] }));
  };
  expect(partOf("A")).toMatchObject({ isExact: false });
  expect(partOf("B")?.shape).toBe(partOf("A")?.shape);
  expect(contentOf(tree(file("a", "1")))).toMatchObject({ isExact: true });
});
