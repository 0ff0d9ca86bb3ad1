// What an account may store is used up: the job goes on with its older checkpoint, its consumer is told, and its small result is kept.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { downloadCheckpoint } from "../../client/src/node/download.ts";
import { eventsOf, logOf, NO_PROOFS, outputOf, shellJob, startTestNetwork, type TestNetwork } from "./fixture.ts";

const SECRET = "words that would be found again";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna"], [], [...NO_PROOFS, "--storage-max", "1MiB"]);
});
afterAll(async () => {
  await network.stop();
});

it("refuses a checkpoint that has no room, and says so", async () => {
  const { client } = network.consumer;
  const job = await client.jobs.create(
    shellJob(`
      cd $QUBIX_CHECKPOINT_DIR
      mkdir .first && echo "${SECRET}" > .first/state && mv .first first && sleep 4
      head -c 3000000 /dev/urandom > .second && mv .second second && sleep 4
      echo done > /out/result.txt`),
  );
  const ended = await client.jobs.wait(job.id);
  expect([ended.phase, ended.failoversUsed]).toEqual(["succeeded", 0]);
  expect(await outputOf(client, job.id, "result.txt")).toBe("done\n");
  const checkpoints = await client.jobs.checkpoints(job.id);
  expect(checkpoints.map(({ seq }) => seq)).toEqual([1]);
  const events = await eventsOf(client, job.id);
  expect(events.filter(({ kind }) => kind === "storage_refused")).toMatchObject([
    { data: { code: "storage_quota", newestSeq: 1 } },
  ]);
  const log = (await logOf(client, job.id)).map(({ text }) => text).join("");
  expect(log).toContain("qubix checkpoints rm");

  const to = join(network.folder, "checkpoint");
  await downloadCheckpoint(client, job.id, 1, to);
  expect(readFileSync(join(to, "first", "state"), "utf8")).toBe(`${SECRET}\n`);
  const stored = join(network.folder, "orchestrator", "chunks");
  const files = readdirSync(stored, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  for (const { parentPath, name } of files) {
    expect(readFileSync(join(parentPath, name)).includes(SECRET)).toBe(false);
  }
  await client.jobs.removeCheckpoint(job.id, 1);
  // What was on its way when the piece was refused goes some seconds later.
  await expect
    .poll(async () => (await client.storage.get()).bytes, { timeout: 20_000, interval: 200 })
    .toBeLessThan(1_000);
});
