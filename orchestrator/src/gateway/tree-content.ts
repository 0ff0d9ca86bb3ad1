// What a tree holds, in two sums: so that trees can be compared that were cut, compressed or told relative to others in different ways.
import { createHash } from "node:crypto";
import type { TreeManifest } from "@qubix/shared/protocol";
import type { TreeContent } from "../core/index.ts";

/**
 * Of the files of a tree, by path; modes and folders do not count. Outputs have a sum for each file, so `sum` is equal for equal files. A checkpoint has sums of
 * pieces: there it says something only beside another of the same `shape`. Undefined where something has no sum.
 */
export function contentOf(manifest: TreeManifest): TreeContent | undefined {
  let isExact = true;
  const files: { readonly path: string; readonly shape: string; readonly sums: string }[] = [];
  for (const entry of manifest.entries) {
    if (entry.kind !== "file") continue;
    const { path, bytes, sha256, chunks } = entry;
    const sums = sha256 === undefined ? chunks.map(({ sum }) => sum) : [sha256];
    if (sums.includes(undefined)) return undefined;
    if (sha256 === undefined && chunks.some(({ part }) => part !== undefined)) isExact = false;
    const cuts =
      sha256 === undefined ? chunks.map((chunk) => [chunk.bytes, chunk.part?.from ?? 0, chunk.part?.of ?? 0]) : [];
    files.push({ path, shape: JSON.stringify([path, bytes, cuts]), sums: JSON.stringify([path, bytes, sums]) });
  }
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { shape: hashOf(files.map(({ shape }) => shape)), sum: hashOf(files.map(({ sums }) => sums)), isExact };
}

/** The `sum` of outputs that are these files. */
export function sumOfFiles(
  files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[],
): string {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return hashOf(sorted.map(({ path, bytes, sha256 }) => JSON.stringify([path, bytes, [sha256]])));
}

function hashOf(lines: readonly string[]): string {
  return createHash("sha256").update(lines.join("\n")).digest("hex");
}
