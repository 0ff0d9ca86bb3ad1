import type { ChunkCid } from "@qubix/shared/domain";
import type { TreeEntry, TreeManifest } from "@qubix/shared/protocol";
import { expect, test } from "vitest";
import { contentSum } from "./content-sum.ts";

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
  const one = contentSum(tree(file("a", "1"), file("b", "2")));
  expect(contentSum(tree(file("b", "2", "c"), file("a", "1", "d")))).toBe(one);
  expect(contentSum(tree({ kind: "directory", path: "x", mode: 0o755 }, file("a", "1"), file("b", "2")))).toBe(one);
});

test.each([
  ["content", tree(file("a", "1"), file("b", "3"))],
  ["a path", tree(file("a", "1"), file("c", "2"))],
  ["paths changed about", tree(file("a", "2"), file("b", "1"))],
  ["one more", tree(file("a", "1"), file("b", "2"), file("c", "2"))],
  ["nothing", tree()],
])("another sum for other %s", (_name, other) => {
  expect(contentSum(other)).not.toBe(contentSum(tree(file("a", "1"), file("b", "2"))));
});

test("no sum where a file has none", () => {
  const { sha256: _, ...unsummed } = file("a", "1") as Extract<TreeEntry, { kind: "file" }>;
  expect(contentSum(tree(unsummed))).toBeUndefined();
});
