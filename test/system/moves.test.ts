// Planned moves on real processes: every step of the job is done exactly once, whoever asks for the move and whatever machine it goes to.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventsOf, logOf, outputOf, settled, shellJob, startTestNetwork, type TestNetwork, until } from "./fixture.ts";
import { askAgent } from "../../worker/src/app/agent-socket.ts";

/** Steps it takes on its last machine. */
const STEPS_THERE = 5;
const TIMEOUT_MS = 120_000;
/** By the clock alone it would save once in its life. */
const INTERVAL_S = 600;

let network: TestNetwork;
beforeEach(async () => {
  network = await startTestNetwork(["anna", "bruno", "chiara"]);
});
afterEach(async () => {
  await network.stop();
});

/** Counts until it has come to its `last` epoch, and saves only when `saves` says so: on the request, or on SIGTERM. */
function steps(saves: "request" | "sigterm", last: number, more = {}) {
  const asked = saves === "request" ? '[ -e "$QUBIX_REQUEST_FILE" ]' : '[ -n "$asked" ]';
  return shellJob(
    `trap 'asked=1' TERM
    step=$(cat "$QUBIX_CHECKPOINT_DIR/state" 2>/dev/null || echo 0)
    end=$((step + ${STEPS_THERE}))
    while [ $step -lt $end ] || [ "$(cat "$QUBIX_EPOCH_FILE")" -lt ${last} ]; do
      step=$((step + 1)); echo "step $step"; sleep 0.2
      if ${asked}; then
        echo $step > "$QUBIX_CHECKPOINT_DIR/.state"; mv "$QUBIX_CHECKPOINT_DIR/.state" "$QUBIX_CHECKPOINT_DIR/state"; exit 143
      fi
    done
    echo $step > /out/steps`,
    { checkpoint: { intervalS: INTERVAL_S }, ...more },
  );
}

async function stepsDone(id: string): Promise<readonly number[]> {
  const lines = (await logOf(network.consumer.client, id)).flatMap(({ text }) => text.split("\n"));
  return lines.flatMap((line) => (/^step \d+$/.test(line) ? [Number(line.slice(5))] : []));
}

/** The job is done, on `epoch`, and each step was taken once. */
async function expectNothingLost(id: string, epoch: number): Promise<void> {
  const { client } = network.consumer;
  const job = await client.jobs.wait(id);
  expect([job.phase, job.epoch, job.movesUsed, job.failoversUsed, job.retriesUsed]).toEqual([
    "succeeded",
    epoch,
    epoch - 1,
    0,
    0,
  ]);
  expect(job.workLostMs).toBe(0);
  const done = await stepsDone(id);
  expect(done).toEqual(done.map((_, at) => at + 1));
  expect(await outputOf(client, id, "steps")).toBe(`${done.length}\n`);
  expect(settled(job).sum).toBe(settled(job).hold);
  const moved = (await eventsOf(client, id)).filter(({ kind }) => kind === "moved");
  expect(moved.map(({ data }) => data["workLostMs"])).toEqual(Array.from({ length: epoch - 1 }, () => 0));
}

const counting = async (id: string, from = 5) =>
  expect.poll(async () => (await stepsDone(id)).at(-1) ?? 0, { timeout: 30_000 }).toBeGreaterThanOrEqual(from);

describe("a job", () => {
  it(
    "that is asked for by its owner moves to the worker he names, and on to another, and loses nothing",
    async () => {
      const { client } = network.consumer;
      const { id } = await client.jobs.create(steps("request", 3));
      await counting(id);
      const first = await client.jobs.get(id);
      const others = network.workers.filter((worker) => worker.id !== first.workerId);
      const to = others[0]?.id;
      const asked = await client.jobs.move(id, { to });
      expect(asked.move).toMatchObject({ fromWorkerId: first.workerId, toWorkerId: to });
      const second = await until(
        client,
        id,
        (job) => job.movesUsed === 1 && job.phase === "running" && job.move === null,
      );
      expect(second.workerId).toBe(to);
      await client.jobs.move(id);
      await expectNothingLost(id, 3);
    },
    TIMEOUT_MS,
  );

  it(
    "that saves on SIGTERM alone loses nothing either, when it has to go",
    async () => {
      const { client } = network.consumer;
      // A container that has to go is given half a minute to answer first.
      const { id } = await client.jobs.create(steps("sigterm", 2));
      await counting(id);
      const { workerId } = await client.jobs.get(id);
      const worker = network.worker(workerId);
      // What a machine that must be empty now does with who does not answer.
      await askAgent(worker.dataDir, { command: "drain", draining: true, deadlineMs: 1 });
      await expectNothingLost(id, 2);
      expect((await client.jobs.get(id)).workerId).not.toBe(workerId);
    },
    TIMEOUT_MS,
  );

  it(
    "with a hot standby goes on there, and another standby is found",
    async () => {
      const { client } = network.consumer;
      const { id } = await client.jobs.create(steps("request", 3, { standby: "hot" }));
      const before = await until(client, id, (job) => job.standby?.phase === "ready");
      await counting(id);
      await client.jobs.move(id);
      const after = await until(client, id, (job) => job.movesUsed === 1 && job.standby?.phase === "ready");
      const asked = (await eventsOf(client, id)).find(({ kind }) => kind === "moving");
      expect(asked?.data).toMatchObject({ workerId: before.workerId, to: expect.any(String) });
      expect(after.workerId).toBe(asked?.data["to"]);
      await client.jobs.move(id);
      await expectNothingLost(id, 3);
    },
    TIMEOUT_MS,
  );
});

describe("a worker", () => {
  it(
    "that is drained now is left by what runs there, in good order",
    async () => {
      const { client } = network.consumer;
      const { id } = await client.jobs.create(steps("request", 2));
      await counting(id);
      const { workerId } = await client.jobs.get(id);
      const worker = network.worker(workerId);
      const status = await askAgent(worker.dataDir, { command: "drain", draining: true, deadlineMs: 600_000 });
      expect(status).toMatchObject({ draining: true, leaving: "drain" });
      await expectNothingLost(id, 2);
      const kinds = (await eventsOf(client, id)).map(({ kind }) => kind);
      expect(kinds.filter((kind) => kind.startsWith("mov"))).toEqual(["move_requested", "moving", "moved"]);
      expect(await askAgent(worker.dataDir, { command: "drain", draining: false })).toMatchObject({
        draining: false,
        leaving: null,
      });
    },
    TIMEOUT_MS,
  );

  it(
    "that goes into maintenance is left before it begins",
    async () => {
      const { client } = network.consumer;
      const { id } = await client.jobs.create(steps("request", 2));
      await counting(id);
      const { workerId } = await client.jobs.get(id);
      const inFiveMinutes = new Date(Date.now() + 5 * 60_000);
      const two = (value: number) => String(value).padStart(2, "0");
      const day = `${inFiveMinutes.getFullYear()}-${two(inFiveMinutes.getMonth() + 1)}-${two(inFiveMinutes.getDate())}`;
      const window = `${day}T${two(inFiveMinutes.getHours())}:${two(inFiveMinutes.getMinutes())}/2h`;
      await askAgent(network.worker(workerId).dataDir, {
        command: "set",
        values: { maintenance: [window] },
        reset: [],
      });
      await expectNothingLost(id, 2);
      const asked = (await eventsOf(client, id)).find(({ kind }) => kind === "move_requested");
      expect(asked?.data).toMatchObject({ why: "maintenance", workerId });
    },
    TIMEOUT_MS,
  );
});
