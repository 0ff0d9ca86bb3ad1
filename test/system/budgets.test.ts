// Budgets on real processes: a job is warned, asked to save, and stopped before it costs a unit more; then it goes on from what it saved.
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventsOf, logOf, outputOf, settled, shellJob, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

const TIMEOUT_MS = 180_000;
/** Half a core at 0.10 an hour: 50,000 units, so that this is used up in a good minute, the least that is accepted. */
const BUDGET = { amount: "860", currency: "USD" };
const PRICE_MAX = { amount: "51000", currency: "USD" };
const STEPS_AFTERWARDS = 5;

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna"]);
});
afterAll(async () => {
  await network.stop();
});

/** Counts to the end, and saves only when it is asked to: by the clock alone it would never. */
function steps(end: string, more = {}) {
  return shellJob(
    `step=$(cat "$QUBIX_CHECKPOINT_DIR/state" 2>/dev/null || echo 0)
    end=${end}
    while [ $step -lt $end ]; do
      step=$((step + 1)); echo "step $step"; sleep 0.2
      if [ -e "$QUBIX_REQUEST_FILE" ]; then
        echo $step > "$QUBIX_CHECKPOINT_DIR/.state"; mv "$QUBIX_CHECKPOINT_DIR/.state" "$QUBIX_CHECKPOINT_DIR/state"; exit 143
      fi
    done
    echo $step > /out/steps`,
    { checkpoint: { intervalS: 600 }, priceMaxPerHour: PRICE_MAX, ...more },
  );
}

async function stepsOf(id: string): Promise<readonly number[]> {
  const lines = (await logOf(network.consumer.client, id)).flatMap(({ text }) => text.split("\n"));
  return lines.flatMap((line) => (/^step \d+$/.test(line) ? [Number(line.slice(5))] : []));
}

it(
  "a job stops at its budget with all that it did saved, and goes on from there when there is more",
  async () => {
    const { client, id: accountId } = network.consumer;
    await network.admin.budgets.set({ accountId, period: "month", amount: BUDGET });
    const first = await client.jobs.create(steps("100000"));
    expect(first.budget).toMatchObject({ cap: BUDGET, source: "admin_month" });
    await expect(client.jobs.create(steps("1"))).rejects.toMatchObject({ code: "budget_exceeded", status: 402 });
    await until(client, first.id, (job) => job.budget?.warned === true);
    const ended = await client.jobs.wait(first.id);
    expect([ended.phase, ended.reason]).toEqual(["failed", "budget_exhausted"]);
    expect(ended.message).toContain(`--from-checkpoint ${first.id}`);
    const kinds = (await eventsOf(client, first.id)).map(({ kind }) => kind);
    const story = ["budget_warning", "budget_saving", "checkpoint", "failed", "settled"];
    expect(kinds.filter((kind) => story.includes(kind))).toEqual(story);
    const gross = BigInt(ended.settlement.gross?.amount ?? "0");
    expect(gross).toBeGreaterThan(700n);
    expect(gross).toBeLessThanOrEqual(BigInt(BUDGET.amount));
    expect(settled(ended).sum).toBe(BigInt(BUDGET.amount));
    const [budget] = (await client.budgets.get()).budgets;
    expect(budget).toMatchObject({ owner: "admin", spent: { amount: String(gross) }, reserved: { amount: "0" } });

    await network.admin.budgets.clear({ accountId, period: "month" });
    const more = { fromCheckpoint: { job: first.id } };
    const second = await client.jobs.create(steps(`$((step + ${STEPS_AFTERWARDS}))`, more));
    expect((await client.jobs.wait(second.id)).phase).toBe("succeeded");
    const done = [...(await stepsOf(first.id)), ...(await stepsOf(second.id))];
    expect(done).toEqual(done.map((_, at) => at + 1));
    expect(await outputOf(client, second.id, "steps")).toBe(`${done.length}\n`);
  },
  TIMEOUT_MS,
);
