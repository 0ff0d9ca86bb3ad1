// What a slot's next checkpoint is told relative to, when this machine's own disk has no room to note it.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, it } from "vitest";
import { createThreads } from "../checkpoint/encode/threads.ts";
import { listEntries } from "../checkpoint/entries.ts";
import { shipTree } from "../checkpoint/pack.ts";
import { walkTree } from "../checkpoint/walk.ts";
import { foldersAt } from "./slot-folders.ts";
import { createSlotParent } from "./slot-parent.ts";
import { createMemoryChunks } from "./testing.ts";

const threads = createThreads();
afterAll(() => threads.stop());
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-parent-"));
});
afterEach(() => rm(dir, { recursive: true }));

it("is the one that was committed, also where that cannot be noted", async () => {
  const folders = foldersAt(dir);
  const chunks = createMemoryChunks();
  await mkdir(folders.checkpoint, { recursive: true });
  await writeFile(join(folders.checkpoint, "one"), "a state");
  const parent = createSlotParent(folders);
  expect(await parent.current()).toBeNull();
  const walked = await walkTree(folders.checkpoint, "one", () => true);
  const shipped = await shipTree(folders.checkpoint, walked, chunks, new AbortController().signal, { threads });
  const entry = (await listEntries(folders.checkpoint)).at(-1)?.id ?? "";
  await parent.shipped(entry, shipped);
  // There is no folder for the note.
  expect(() => parent.committed(entry)).toThrow(/ENOENT/);
  expect(await (await parent.current())?.fileFor("one")).toMatchObject({ entry: { path: "one" } });
  await parent.close();
});
