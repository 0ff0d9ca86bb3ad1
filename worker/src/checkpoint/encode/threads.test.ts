import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createThreads } from "./threads.ts";

const folder = mkdtempSync(join(tmpdir(), "qubix-threads-"));
const bytes = randomBytes(10_000);
const sum = createHash("sha256").update(bytes).digest("hex");
let file: FileHandle;

beforeAll(async () => {
  writeFileSync(join(folder, "file"), bytes);
  file = await open(join(folder, "file"), "r");
});
afterAll(async () => {
  await file.close();
  rmSync(folder, { recursive: true });
});

it("answer whether they were started before or are by the first question, and again after they were stopped", async () => {
  const threads = createThreads(3);
  const ask = () => threads.ask("sum", { fd: file.fd, bytes: bytes.length });
  try {
    for (const isWarm of [true, false, true]) {
      if (isWarm) threads.warm();
      expect(await Promise.all(Array.from({ length: 9 }, ask))).toEqual(Array.from({ length: 9 }, () => sum));
      threads.warm();
      expect(await ask()).toBe(sum);
      await threads.stop();
    }
    // Those that were never asked end too.
    threads.warm();
  } finally {
    await threads.stop();
  }
});
