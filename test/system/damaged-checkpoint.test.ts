// The newest checkpoint rots on the orchestrator's disk: nobody restores it wrongly, the job goes on from its parent, and the timeline says so.
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  counterJob,
  counterResult,
  eventsOf,
  logOf,
  outputOf,
  settled,
  startTestNetwork,
  type TestNetwork,
  until,
} from "./fixture.ts";

const TICKS = 30;
let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno", "cleo"]);
});
afterAll(async () => {
  await network?.stop();
});

/** What befalls a stored piece. */
const DAMAGES = {
  "with a flipped bit": (path: string) => {
    const bytes = readFileSync(path);
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    writeFileSync(path, bytes);
  },
  "cut short": (path: string) => truncateSync(path, statSync(path).size >> 1),
  "that is missing": (path: string) => rmSync(path),
} as const;

it.each(Object.entries(DAMAGES))(
  "a checkpoint %s is given up for its parent, and the result is that of an undisturbed run",
  async (_, damage) => {
    const { client } = network.consumer;
    const { id } = await client.jobs.create(counterJob(TICKS, 0.4, { checkpoint: { intervalS: 2, keep: 3 } }));
    const job = await until(client, id, ({ checkpoint }) => (checkpoint?.seq ?? 0) >= 3);
    const primary = network.worker(job.workerId);
    // Gone with its container, so that nobody has the checkpoint but the orchestrator.
    await primary.die();
    const checkpoints = await client.jobs.checkpoints(id);
    const [parent, newest] = checkpoints.slice(-2);
    if (parent === undefined || newest === undefined) throw new Error("two checkpoints were expected");
    expect(rot(join(network.dataDir, "chunks"), Date.parse(parent.committedAt) + 200, damage)).toBeGreaterThan(0);

    const ended = await client.jobs.wait(id);
    expect([ended.phase, ended.reason]).toEqual(["succeeded", "completed"]);
    expect(await outputOf(client, id, "result.txt")).toBe(counterResult(TICKS));
    const events = await eventsOf(client, id);
    const damaged = events.filter(({ kind }) => kind === "checkpoint_damaged");
    expect(damaged.map(({ data }) => data)).toMatchObject([{ seq: newest.seq, parentSeq: parent.seq }]);
    expect(ended.attempts.at(-1)?.fromCheckpointSeq).toBe(parent.seq);
    const text = (await logOf(client, id)).map((line) => line.text).join("");
    expect(text).toMatch(/resume: from tick-/);
    expect(settled(ended).sum).toBe(settled(ended).hold);
    await primary.start();
  },
);

/** Damages every stored piece that is younger; how many those are. */
function rot(root: string, afterMs: number, damage: (path: string) => void): number {
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.startsWith("bafk"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => statSync(path).mtimeMs > afterMs);
  for (const path of files) damage(path);
  return files.length;
}
