import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Slot } from "../core/index.ts";
import { openJournal } from "./journal.ts";

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("the journal on a full disk is not tested: making a small disk needs root");
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-journal-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function slot(id: string, ranMs: number): Slot {
  return {
    id,
    jobId: "job-a",
    phase: "running",
    run: {},
    attempt: null,
    standbyId: null,
    checkpoint: null,
    unpackedSeq: 0,
    committedSeq: 0,
    committedEntry: null,
    pending: null,
    stopping: null,
    end: null,
    ranMs,
  } as unknown as Slot;
}

describe("the journal", () => {
  it("remembers slots and values over a restart", () => {
    const file = join(dir, "journal.db");
    const first = openJournal(file);
    first.commit([
      { id: "a", slot: slot("a", 1) },
      { id: "b", slot: slot("b", 1) },
    ]);
    first.commit([
      { id: "a", slot: slot("a", 2) },
      { id: "b", slot: null },
    ]);
    first.set("k", { x: 1 });
    first.set("gone", 1);
    first.set("gone", undefined);
    first.close();
    const second = openJournal(file);
    expect(second.slots()).toEqual([slot("a", 2)]);
    expect([second.get("k"), second.get("gone")]).toEqual([{ x: 1 }, undefined]);
    second.close();
  });

  it("is written in the room it took at its start, so that a full disk does not stop the agent", async () => {
    const journal = openJournal(join(dir, "journal.db"));
    const size = async () =>
      Promise.all(["journal.db", "journal.db-wal"].map(async (name) => (await stat(join(dir, name))).size));
    const before = await size();
    for (let n = 0; n < 2_000; n += 1) journal.commit([{ id: `job-${n % 50}`, slot: slot("x".repeat(1_000), n) }]);
    expect(await size()).toEqual(before);
    journal.close();
  });

  it.skipIf(!isRoot)("goes on where the disk is full, and loses nothing by what does not fit", async () => {
    const small = join(dir, "small");
    await mkdir(small);
    await run("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", small]);
    try {
      const journal = openJournal(join(small, "journal.db"));
      await run("sh", ["-c", `cat /dev/zero > ${small}/filled || true`]);
      await expect(writeFile(join(small, "more"), "x".repeat(100_000))).rejects.toThrow(/ENOSPC/);
      for (let n = 0; n < 500; n += 1) journal.commit([{ id: `job-${n % 5}`, slot: slot(`job-${n % 5}`, n) }]);
      const huge = { ...slot("huge", 1), jobId: "x".repeat(40 * 1024 * 1024) } as unknown as Slot;
      expect(() => journal.commit([{ id: "huge", slot: huge }])).toThrow(/full/);
      journal.commit([{ id: "job-0", slot: slot("job-0", 1_000) }]);
      journal.close();
      const again = openJournal(join(small, "journal.db"));
      expect(again.slots().map(({ id, ranMs }) => [id, ranMs])).toEqual([
        ["job-0", 1_000],
        ["job-1", 496],
        ["job-2", 497],
        ["job-3", 498],
        ["job-4", 499],
      ]);
      again.close();
    } finally {
      await run("umount", [small]);
    }
  });

  it("writes all of a step or nothing", () => {
    const journal = openJournal(join(dir, "journal.db"));
    const cyclic = { ...slot("b", 1) } as unknown as Record<string, unknown>;
    cyclic["run"] = cyclic;
    const puts = [
      { id: "a", slot: slot("a", 1) },
      { id: "b", slot: cyclic as unknown as Slot },
    ];
    expect(() => journal.commit(puts)).toThrow();
    expect(journal.slots()).toEqual([]);
    journal.close();
  });

  it("belongs to one agent, until that one is gone, even by kill -9", async () => {
    const file = join(dir, "journal.db");
    const script = `
      import { openJournal } from ${JSON.stringify(join(import.meta.dirname, "journal.ts"))};
      const journal = openJournal(${JSON.stringify(file)});
      journal.set("from", "child");
      process.stdout.write("open");
      setInterval(() => undefined, 1000);`;
    const child = execFile(process.execPath, ["--conditions=qubix-source", "--input-type=module", "-e", script]);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    expect(() => openJournal(file)).toThrow(/Another qubix-worker/);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    const journal = openJournal(file);
    expect(journal.get("from")).toBe("child");
    journal.close();
  });

  it("is not touched by an older version", () => {
    const file = join(dir, "journal.db");
    const db = new DatabaseSync(file);
    db.exec("PRAGMA user_version = 99");
    db.close();
    expect(() => openJournal(file)).toThrow(/later version/);
  });
});
