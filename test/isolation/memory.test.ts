// Transparent checkpoints: a program that knows nothing of them goes on elsewhere from where it was. The real runner, a real Engine, the real gVisor.
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CheckpointRef, RunSpec } from "@qubix/shared/protocol";
import { checkMemoryImages } from "../../worker/src/isolation/memory-images.ts";
import { createEngine } from "../../worker/src/runner/engine.ts";
import { findSandbox, saveMemory } from "../../worker/src/runner/memory/sandbox.ts";
import { slotFolders } from "../../worker/src/runner/slot-folders.ts";
import { readNotes, writeNotes } from "../../worker/src/runner/slot-notes.ts";
import {
  attemptOf,
  type Bench,
  createBench,
  ensureTinyImage,
  shell,
  TINY_IMAGE,
} from "../../worker/src/runner/testing.ts";
import { startTestEngine, type TestEngine, whyNoTestEngine } from "../lib/engine.ts";
import { sharedFolder } from "./lab.ts";

const RUNSC = "/usr/bin/runsc";
const RUNTIME = fileURLToPath(new URL("../../worker/bin/qubix-runsc", import.meta.url));
const EVENT_TIMEOUT_MS = 60_000;
const TIMEOUT_MS = 180_000;
const ATTEMPT = attemptOf("job-a");
const { jobId } = ATTEMPT;

const missing = existsSync(RUNSC) ? whyNoTestEngine() : `gVisor is not installed (${RUNSC})`;
if (missing !== undefined) console.warn(`skipped: transparent checkpoints, because ${missing}`);

describe.skipIf(missing !== undefined)("a transparent checkpoint", { timeout: TIMEOUT_MS }, () => {
  let engine: TestEngine;
  let shared: Awaited<ReturnType<typeof sharedFolder>>;
  let bench: Bench;

  beforeAll(async () => {
    await ensureTinyImage();
    shared = await sharedFolder();
    const runtimeArgs = ["--platform=ptrace", "--network=none"];
    engine = await startTestEngine({
      runtimes: { "qubix-runsc": { path: RUNTIME, runtimeArgs }, other: { path: "/usr/sbin/runc" } },
    });
    await engine.loadImage(TINY_IMAGE);
  }, TIMEOUT_MS);
  afterAll(async () => {
    await engine?.stop();
    await shared?.remove();
  });
  beforeEach(async () => {
    bench = await createBench(undefined, {}, { socket: engine.socket, parent: shared.path });
  });
  afterEach(() => bench.dispose());

  const job = (script: string, patch: Partial<RunSpec> = {}) =>
    shell(script, {
      isolation: "sandboxed",
      transparent: true,
      memoryMiB: 512,
      diskMiB: 256,
      checkpointIntervalS: 1,
      ...patch,
    });

  /** Runs it until its first save is stored, and removes it: that machine is gone. */
  async function saved(run: RunSpec): Promise<CheckpointRef> {
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    const { entry } = await bench.event("entry", EVENT_TIMEOUT_MS);
    await slot.ship(jobId, entry, 1, null);
    const { tree } = await bench.event("shipped", EVENT_TIMEOUT_MS);
    await slot.remove();
    return { seq: 1, epoch: ATTEMPT.epoch, tree };
  }

  it("is offered where a counter has gone on from its count, and only there", async () => {
    const memory = new Map<string, unknown>();
    const journal = {
      get: (key: string) => memory.get(key),
      set: (key: string, value: unknown) => void memory.set(key, value),
    };
    const under = createEngine(engine.socket);
    const folder = await mkdtemp(join(tmpdir(), "qubix-memory-check-"));
    const check = (runtime: string) => checkMemoryImages(under, runtime, join(folder, "check"), journal);
    expect(await check("qubix-runsc")).toEqual({
      kind: "ready",
      memoryClass: expect.stringMatching(/^20\d{6}\.[0-9a-f]{8}$/),
    });
    expect(memory.size).toBe(1);
    expect(existsSync(join(folder, "check"))).toBe(false);
    expect(await check("absent")).toEqual({ kind: "absent" });
    expect(await check("other")).toMatchObject({ kind: "unfit" });
    await rm(folder, { recursive: true });
  });

  // Count in memory, in a file that stays open, and in /tmp; a link and a folder are only there to be kept.
  const COUNTER = `
    exec 3>>/work/counts; mkdir /work/empty; ln -s counts /work/link; n=0
    while [ $n -lt $LAST ]; do
      n=$((n+1)); echo $n; echo $n >&3; echo $n > /tmp/now; sleep 0.05
      [ "$(tail -n 1 /work/link)" = "$(cat /tmp/now)" ] || echo "torn at $n" >&2
      [ -d /work/empty ] || echo "no folder at $n" >&2
    done; cp /work/counts /out/counts; exit 7`;
  const counts = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const numbersOf = (text: string) => text.trim().split("\n").map(Number);

  it("leaves no trace in what the job does: every number once, and its own exit code", async () => {
    const run = job(COUNTER, { env: { LAST: "90" } });
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    const exited = bench.event("exited", EVENT_TIMEOUT_MS);
    const { entry } = await bench.event("entry", EVENT_TIMEOUT_MS);
    await slot.committed(entry);
    await expect.poll(() => entriesOf().length, { timeout: EVENT_TIMEOUT_MS }).toBeGreaterThan(1);
    expect(await exited).toMatchObject({ exitCode: 7, oomKilled: false, diskExceeded: false });
    expect(numbersOf(bench.log())).toEqual(counts(1, 90));
    expect(bench.log("stderr")).toBe("");
  });

  it("lets another container go on from the count, with the files of the same moment", async () => {
    const run = job(COUNTER, { env: { LAST: "150" } });
    const checkpoint = await saved(run);
    const other = await createBench(undefined, {}, { socket: engine.socket, parent: shared.path });
    try {
      for (const [cid, bytes] of bench.chunks.stored) other.chunks.stored.set(cid, bytes);
      const slot = other.slot("s2");
      await slot.prepare(jobId, run, checkpoint);
      expect(other.events.at(-1)).toMatchObject({ kind: "prepared", checkpointSeq: 1 });
      await slot.start(attemptOf("job-a", 2), run);
      await other.event("exited", EVENT_TIMEOUT_MS);
      const [first = 0] = numbersOf(other.log());
      expect(first).toBeGreaterThan(1);
      expect(numbersOf(bench.log())).toContain(first - 1);
      expect(numbersOf(other.log())).toEqual(counts(first, 150));
      expect(other.log("stderr")).toBe("");
      await slot.collect(jobId, run);
      expect((await other.event("outputs")).tree).toMatchObject({
        files: 1,
        bytes: counts(1, 150).join("\n").length + 1,
      });
    } finally {
      await other.dispose();
    }
  });

  const COUNT_60 = "n=0; while [ $n -lt 60 ]; do n=$((n+1)); echo $n; sleep 0.05; done";
  it.each([
    [
      "it holds a file open that it has deleted",
      "the program holds a file open",
      `exec 3<>/work/x; rm /work/x; ${COUNT_60}`,
      {},
    ],
    ["there is no memory to spare", "ask for a larger memoryMiB", COUNT_60, { memoryMiB: 72 }],
    [
      "there is no room on its disk",
      "ask for a larger diskMiB",
      `head -c 14000000 /dev/zero > /work/x; ${COUNT_60}`,
      { diskMiB: 16 },
    ],
  ])("is not taken where %s: the job is told, and runs on", async (_why, told, script, patch) => {
    const run = job(script, patch);
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    expect(await bench.event("exited", EVENT_TIMEOUT_MS)).toMatchObject({ exitCode: 0 });
    expect(bench.log("stderr")).toContain("qubix: no transparent checkpoint now: ");
    expect(bench.log("stderr")).toContain(told);
    expect(entriesOf()).toEqual([]);
  });

  it("does not keep a stopped job alive", async () => {
    const run = job("trap 'exit 3' TERM; while :; do sleep 0.05; done");
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    await bench.event("entry", EVENT_TIMEOUT_MS);
    await slot.stop(2);
    await bench.event("exited", EVENT_TIMEOUT_MS);
    expect((await bench.containers.inspect("s1"))?.state).toBe("exited");
  });

  it("that its agent did not see the end of is no success of the job", async () => {
    const run = job(COUNTER, { env: { LAST: "1000" } });
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    // The first save has ended the container; the agent goes before it could start it again.
    await expect
      .poll(async () => (await bench.containers.inspect("s1"))?.state, { timeout: EVENT_TIMEOUT_MS, interval: 5 })
      .toBe("exited");
    slot.detach();
    const found = await bench.slot("s1").found();
    expect(found.state).toBe("absent");
  });

  it("that goes on after its agent's death, and ends the container under the next one, is no success either", async () => {
    const run = job("while :; do sleep 0.1; done", { checkpointIntervalS: 1000 });
    const slot = bench.slot("s1");
    await slot.prepare(jobId, run, null);
    await slot.start(ATTEMPT, run);
    slot.detach();
    const { own } = slotFolders(join(bench.dir, "slots"), "s1");
    writeNotes(own, { ...(await readNotes(own)), saving: true });
    const after = bench.slot("s1");
    expect((await after.found()).state).toBe("running");
    await after.follow(ATTEMPT, run);
    const { id = "", pid = 0 } = (await bench.containers.sandboxOf("s1")) ?? {};
    const sandbox = await findSandbox(id, pid);
    if (sandbox === undefined) throw new Error("the container is no sandbox");
    expect(await saveMemory(RUNSC, sandbox, join(bench.dir, "orphan"))).toEqual({ kind: "saved" });
    expect((await bench.event("failed", EVENT_TIMEOUT_MS)).outcome).toMatchObject({
      kind: "worker_failed",
      code: "isolation_failed",
    });
    expect(bench.events.map(({ kind }) => kind)).not.toContain("exited");
  });

  /** Names of what this bench's worker told as entries. */
  const entriesOf = () => [...new Set(bench.events.flatMap((event) => (event.kind === "entry" ? [event.entry] : [])))];
});
