// Faults of checkpoints: one of which only a part has arrived when its machine dies, one that rots on the orchestrator's disk.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JobSpec, JobView } from "@qubix/client/sdk";
import { expect, it } from "vitest";
import { askAgent } from "../../worker/src/app/agent-socket.ts";
import { eventsOf, logOf, shellJob } from "../system/fixture.ts";
import type { FaultLab } from "./lab.ts";
import { RESULT, TICK_S, TICKS } from "./process-faults.ts";

/** Each checkpoint has so much that no other has: what another job has stored already would not be sent again. */
const BALLAST_BYTES = 2_000_000;
const LITTLE_BALLAST_BYTES = 1_000;
/** A checkpoint takes about four seconds of this line. */
const UPLINK_MBPS = "4";

/** What is stored of a checkpoint is there some time before it is committed; what comes later than this after it belongs to the next. */
const AFTER_COMMIT_MS = 200;

/** Counts as the other jobs do, and keeps ballast beside the count. */
const HEAVY_COUNTER = `
  tick=0; hash=1
  newest=$(ls "$QUBIX_CHECKPOINT_DIR" | tail -n 1)
  if [ -n "$newest" ]; then read -r tick hash <"$QUBIX_CHECKPOINT_DIR/$newest/count"; echo "resume: from $newest"; fi
  while [ "$tick" -lt "$TICKS" ]; do
    sleep "$TICK_S"
    tick=$((tick + 1)); hash=$(((hash * 1103515245 + tick) % 2147483648))
    echo "tick $tick/$TICKS hash $hash"
    [ $((tick % 8)) -eq 0 ] || continue
    name=$(printf 'tick-%06d' "$tick")
    mkdir "$QUBIX_CHECKPOINT_DIR/.$name"
    echo "$tick $hash" >"$QUBIX_CHECKPOINT_DIR/.$name/count"
    head -c "$BALLAST" /dev/urandom >"$QUBIX_CHECKPOINT_DIR/.$name/ballast"
    mv "$QUBIX_CHECKPOINT_DIR/.$name" "$QUBIX_CHECKPOINT_DIR/$name"
  done
  echo "ticks $TICKS hash $hash" >/out/result.txt`;

export function checkpointFaults(lab: () => FaultLab): void {
  it("half-uploaded checkpoint: never begun from", async () => {
    const run = await lab().submit(heavyCounterJob(BALLAST_BYTES));
    const first = await run.until(({ checkpoint }) => checkpoint !== null);
    const node = lab().node(first.workerId);
    await askAgent(node.worker.dataDir, { command: "set", values: { uplinkMbpsMax: UPLINK_MBPS }, reset: [] });
    const before = await untilHalfUploaded(lab, run.id);
    const at = await node.powerOff();
    const stored = piecesAfter(lab(), before);
    const note = `${stored} pieces of it had arrived`;
    const job = await run.end("half-uploaded checkpoint", at, { result: RESULT, note });
    expect(stored).toBeGreaterThan(0);
    expect(job.failoversUsed).toBe(1);
    expect(job.attempts.at(-1)?.fromCheckpointSeq).toBe(before.checkpoint?.seq);
    const checkpoints = (await eventsOf(lab().client, run.id)).filter(({ kind }) => kind === "checkpoint");
    expect(checkpoints.filter(({ data }) => data["epoch"] === 1).at(-1)?.data["seq"]).toBe(before.checkpoint?.seq);
    await lab().restore();
    await askAgent(node.worker.dataDir, { command: "set", values: { uplinkMbpsMax: "none" }, reset: [] });
  });

  it("corrupt chunk: given up for its parent, and the timeline says so", async () => {
    const { client, network } = lab();
    const run = await lab().submit(heavyCounterJob(LITTLE_BALLAST_BYTES));
    const before = await run.until(({ checkpoint }) => (checkpoint?.seq ?? 0) >= 2);
    // Gone with its container, so that nobody has the checkpoint but the orchestrator.
    const at = await lab().node(before.workerId).powerOff();
    const [parent, newest] = (await client.jobs.checkpoints(run.id)).slice(-2);
    if (parent === undefined || newest === undefined) throw new Error("two checkpoints were expected");
    expect(rot(join(network.dataDir, "chunks"), Date.parse(parent.committedAt) + AFTER_COMMIT_MS)).toBeGreaterThan(0);

    const job = await run.end("corrupt chunk", at, { result: RESULT });
    const damaged = (await eventsOf(client, run.id)).filter(({ kind }) => kind === "checkpoint_damaged");
    expect(damaged.map(({ data }) => data)).toMatchObject([{ seq: newest.seq, parentSeq: parent.seq }]);
    expect(Number(damaged[0]?.data["workLostMs"])).toBeGreaterThan(0);
    expect(job.attempts.at(-1)?.fromCheckpointSeq).toBe(parent.seq);
    expect((await logOf(client, run.id)).map((line) => line.text).join("")).toMatch(/resume: from tick-/);
  });
}

function heavyCounterJob(ballastBytes: number): JobSpec {
  const env = { TICKS: String(TICKS), TICK_S: String(TICK_S), BALLAST: String(ballastBytes) };
  return shellJob(HEAVY_COUNTER, { env });
}

/** Some of the newest checkpoint's pieces are with the orchestrator, and it is not committed. */
async function untilHalfUploaded(lab: () => FaultLab, id: string): Promise<JobView> {
  let job: JobView | undefined;
  await expect
    .poll(
      async () => {
        job = await lab().client.jobs.get(id);
        return piecesAfter(lab(), job);
      },
      { timeout: 30_000, interval: 50 },
    )
    .toBeGreaterThan(0);
  if (job === undefined) throw new Error("no job");
  return job;
}

/** How many pieces have been stored since the job's newest checkpoint was. */
function piecesAfter(lab: FaultLab, job: JobView): number {
  const afterMs = Date.parse(job.checkpoint?.committedAt ?? "") + AFTER_COMMIT_MS;
  return pieces(join(lab.network.dataDir, "chunks")).filter((path) => statSync(path).mtimeMs > afterMs).length;
}

function pieces(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.startsWith("bafk"))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Flips one bit in the middle of every stored piece that is younger; how many those are. */
function rot(root: string, afterMs: number): number {
  const files = pieces(root).filter((path) => statSync(path).mtimeMs > afterMs);
  for (const path of files) {
    const bytes = readFileSync(path);
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    writeFileSync(path, bytes);
  }
  return files.length;
}
