import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { alignedMemory, writeNew } from "./direct-write.ts";

const folder = mkdtempSync(join(tmpdir(), "qubix-direct-"));
afterAll(() => rmSync(folder, { recursive: true }));

const LARGE = 1024 * 1024;
const SIZES = [0, 1, 65_535, 65_536, 65_537, 65_536 + 4095, LARGE, LARGE + 49];

// No disk takes what begins off a border without a copy: that goes the way of systems that cannot write directly.
describe.each([
  { from: 0, what: "at the border of a page" },
  { from: 1, what: "beside it" },
])("what lies $what in memory", ({ from }) => {
  it.each(SIZES)("becomes a file of these %d bytes", (bytes) => {
    const memory = alignedMemory(from + bytes);
    const written = memory.subarray(from, from + bytes);
    written.set(randomBytes(bytes));
    const path = join(folder, `${from}-${bytes}`);
    const fd = writeNew(path, written);
    fdatasyncSync(fd);
    closeSync(fd);
    expect(readFileSync(path).equals(written)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
});

it.each([10, LARGE])("leaves a file alone that is there, with %d bytes to be written", (bytes) => {
  const path = join(folder, `there-${bytes}`);
  writeFileSync(path, "another's");
  expect(() => writeNew(path, alignedMemory(bytes).subarray(0, bytes))).toThrow(
    expect.objectContaining({ code: "EEXIST" }),
  );
  expect(readFileSync(path, "utf8")).toBe("another's");
});

it("has room for what was asked", () => {
  for (const bytes of [0, 1, 65_536, 65_537]) expect(alignedMemory(bytes).length).toBeGreaterThanOrEqual(bytes);
});
