// The direct path on a real network: a standby fetches from the machine that runs the job, takes over with what it fetched, and misses nothing when that way is not there.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import type { RunningWorker } from "../../scripts/lib/network.ts";
import { NO_PROOFS, shellJob, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

let network: TestNetwork;
afterEach(async () => {
  await network.stop();
});

const STATE_BYTES = 400_000;
/** Writes a state that does not compress, again and again, each time another one. */
const SAVES = `
last=$(ls $QUBIX_CHECKPOINT_DIR | tail -n 1)
i=\${last#c}; i=\${i:-100}
while [ $i -lt 112 ]; do
  i=$((i + 1))
  head -c ${STATE_BYTES} /dev/urandom > $QUBIX_CHECKPOINT_DIR/.next
  mv $QUBIX_CHECKPOINT_DIR/.next $QUBIX_CHECKPOINT_DIR/c$i
  sleep 1
done
`;

type BytesBy = Readonly<Record<"direct" | "relay" | "orchestrator", number>>;

/** What the worker's log says of each checkpoint that it fetched. */
function fetchedBy(worker: RunningWorker): readonly BytesBy[] {
  const text = readFileSync(join(worker.dataDir, "../../logs", `${worker.name}.log`), "utf8");
  return text.split("\n").flatMap((line) => {
    if (!line.includes("checkpoint_fetched")) return [];
    const { bytesBy } = JSON.parse(line) as { bytesBy: BytesBy };
    return [bytesBy];
  });
}

function sumOf(fetched: readonly BytesBy[], path: keyof BytesBy): number {
  return fetched.reduce((sum, bytes) => sum + bytes[path], 0);
}

async function runHot(listen: readonly string[]) {
  // The relay is there for those who need it; these two do not.
  network = await startTestNetwork(["anna", "bruno"], listen, [...NO_PROOFS, "--relay-listen", "/ip4/127.0.0.1/tcp/0"]);
  const { client } = network.consumer;
  const { id } = await client.jobs.create(shellJob(SAVES, { standby: "hot", checkpoint: { intervalS: 1 } }));
  const job = await until(client, id, ({ standby }) => (standby?.checkpointSeq ?? 0) >= 5);
  return { client, id, job, standby: network.worker(job.standby?.workerId ?? null) };
}

it("brings checkpoints straight from the primary, and the standby takes over with them", async () => {
  const { client, id, job, standby } = await runHot(["--direct-listen", "127.0.0.1:0"]);
  const before = fetchedBy(standby);
  expect(sumOf(before, "direct")).toBeGreaterThan(3 * STATE_BYTES);
  // The first may have been committed before the two had met.
  expect(sumOf(before.slice(2), "direct")).toBeGreaterThan(10 * sumOf(before.slice(2), "orchestrator"));

  await network.worker(job.workerId).die();
  const after = await until(client, id, ({ epoch, phase }) => epoch === 2 && phase === "running");
  expect(after.attempts[1]?.fromCheckpointSeq).toBeGreaterThanOrEqual(5);
  expect(await client.jobs.wait(id)).toMatchObject({ phase: "succeeded", message: null });
});

it("leaves all to the orchestrator's line where the owner wants it so", async () => {
  const { standby } = await runHot(["--no-direct"]);
  const fetched = fetchedBy(standby);
  expect(sumOf(fetched, "orchestrator")).toBeGreaterThan(3 * STATE_BYTES);
  expect([sumOf(fetched, "direct"), sumOf(fetched, "relay")]).toEqual([0, 0]);
});
