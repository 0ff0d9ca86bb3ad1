// What is kept for a standby, on a disk that has no room for all of it.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cidOf } from "@qubix/shared/chunks";
import { createMovedPieces, MOVED_MEMORY_BYTES_MAX } from "./moved.ts";
import { chunkFrame } from "./wire.ts";

const isLinux = process.platform === "linux";
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "qubix-moved-"));
});
afterEach(() => {
  if (isLinux) limitFiles("unlimited");
  rmSync(folder, { recursive: true });
});

/** No file of this process grows beyond: like a full disk, the system takes what still fits of a write, and refuses the next. */
function limitFiles(bytes: number | "unlimited"): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}:`]);
}

const KIB = 1024;

it.runIf(isLinux)("has every piece whole or not at all when the disk fills in the midst of one", async () => {
  const pieces = createMovedPieces(folder, { memoryBytes: MOVED_MEMORY_BYTES_MAX });
  const chunks = Array.from({ length: 3 }, () => randomBytes(64 * KIB));
  const [first, second, third] = chunks as [Buffer, Buffer, Buffer];
  await pieces.keep(cidOf(first), first);
  limitFiles(100 * KIB);
  await pieces.keep(cidOf(second), second).catch(() => undefined);
  limitFiles("unlimited");
  await pieces.keep(cidOf(third), third);
  expect(await pieces.answer(cidOf(first))).toEqual(Buffer.from(chunkFrame(first)));
  expect(await pieces.answer(cidOf(second))).toBeUndefined();
  expect(await pieces.answer(cidOf(third))).toEqual(Buffer.from(chunkFrame(third)));
  await pieces.clear();
});
