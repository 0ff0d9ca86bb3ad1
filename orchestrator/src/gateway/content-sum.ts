// What a tree holds, in one sum: equal for equal files, however they were cut, compressed or told relative to others.
import { createHash } from "node:crypto";
import type { TreeManifest } from "@qubix/shared/protocol";

/** SHA-256 (hexadecimal) over path, size and SHA-256 of each file, by path; undefined where a file has no sum of its own. Modes and folders do not count. */
export function contentSum(manifest: TreeManifest): string | undefined {
  const lines: string[] = [];
  for (const entry of manifest.entries) {
    if (entry.kind !== "file") continue;
    if (entry.sha256 === undefined) return undefined;
    lines.push(JSON.stringify([entry.path, entry.bytes, entry.sha256]));
  }
  return createHash("sha256").update(lines.sort().join("\n")).digest("hex");
}
