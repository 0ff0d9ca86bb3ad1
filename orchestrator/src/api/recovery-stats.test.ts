import { recoveryStatsSchema } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { percentile } from "./recovery-stats.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

describe("percentile", () => {
  test("is a value that was met, by nearest rank", () => {
    const values = Array.from({ length: 200 }, (_, n) => n + 1);
    expect([50, 90, 99, 100].map((percent) => percentile(values, percent))).toEqual([100, 180, 198, 200]);
    expect(percentile([7], 50)).toBe(7);
    expect(percentile([], 99)).toBe(0);
  });
});

/** A hot job of a new consumer loses its worker, and goes on on its standby. */
async function failOver(api: TestApi) {
  const provider = await api.account("provider");
  const consumer = await api.account("consumer", 100_000_000n);
  const [first, second] = [await api.worker(provider, "first"), await api.worker(provider, "second")];
  const id = String((await consumer.call("POST /v1/jobs", jobSpec({ standby: "hot" }))).body["id"]);
  const events = async () => (await consumer.call(`GET /v1/jobs/${id}/events`)).body.items as { kind: string }[];
  const [primary, standby] = first.received.some(({ kind }) => kind === "assign") ? [first, second] : [second, first];
  await primary.start(await primary.nextAssign());
  const prepare = standby.received.find((message) => message.kind === "prepare");
  if (prepare?.kind !== "prepare") throw new Error("no standby was prepared");
  await standby.say({ kind: "standby.ready", standbyId: prepare.standbyId, checkpointSeq: 0 });
  await primary.close();
  const promote = standby.received.find((message) => message.kind === "promote");
  if (promote?.kind !== "promote") throw new Error("the standby was not promoted");
  await standby.start(promote.attempt);
  await standby.log(promote.attempt, "step 1\n");
  return { consumer, provider, events };
}

describe("GET /v1/stats/recovery", () => {
  test("gives each consumer the recoveries of his jobs, and an administrator all", async () => {
    await using api = await startTestApi();
    const { consumer, provider, events } = await failOver(api);
    expect((await events()).map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(["suspect", "promoted", "started", "resumed"]),
    );
    const mine = await consumer.call("GET /v1/stats/recovery");
    expect(mine.status).toBe(200);
    const stats = recoveryStatsSchema.parse(mine.body);
    expect(stats).toMatchObject({ recoveries: 1, truncated: false, windowS: 7 * 86_400 });
    const [hot, ...others] = stats.kinds;
    expect(others).toEqual([]);
    expect(hot).toMatchObject({ kind: "hot", recoveries: 1 });
    const { detectedMs, promotedMs, startedMs, recoveryMs } = hot ?? {};
    const order = [detectedMs, promotedMs, startedMs, recoveryMs].map((figure) => figure?.max ?? -1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect((await api.admin("GET /v1/stats/recovery?windowS=60")).body).toMatchObject({ recoveries: 1, windowS: 60 });
    const other = await api.account("consumer");
    expect((await other.call("GET /v1/stats/recovery")).body).toMatchObject({ recoveries: 0, kinds: [] });
    expect((await provider.call("GET /v1/stats/recovery")).body).toMatchObject({ status: 403, code: "forbidden" });
  });

  test.each(["windowS=0", "windowS=soon", "windows=5"])("does not take %s", async (query) => {
    await using api = await startTestApi();
    expect((await api.admin(`GET /v1/stats/recovery?${query}`)).body).toMatchObject({ code: "invalid_request" });
  });
});
