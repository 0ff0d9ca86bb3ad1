import { describe, expect, test } from "vitest";
import { jobSpec, startTestApi, type StoreKind } from "./testing/test-api.ts";

const usd = (amount: string) => ({ amount, currency: "USD" });

describe.each<StoreKind>(["memory", "sqlite"])("budgets over the %s store", (store) => {
  test("are set, count what jobs may cost, refuse what is too dear, and are taken away", async () => {
    await using api = await startTestApi({ store });
    const consumer = await api.account("consumer", 10_000_000n);
    expect((await consumer.call("GET /v1/budgets")).body).toEqual({ accountId: consumer.id, budgets: [] });
    const set = await consumer.call("PUT /v1/budgets", { amount: usd("150000") });
    expect(set.body["budgets"]).toMatchObject([
      { period: "total", owner: "account", amount: usd("150000"), spent: usd("0"), left: usd("150000") },
    ]);
    const first = await consumer.call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    expect(first.body).toMatchObject({ budget: null, settlement: { hold: usd("100000") } });
    const spec = jobSpec({ placement: { workers: ["wrk-none"] } });
    expect((await consumer.call("POST /v1/quotes", { spec })).body).toMatchObject({
      hold: usd("50000"),
      budget: { source: "total", left: usd("50000"), suffices: true },
    });
    const second = await consumer.call("POST /v1/jobs", spec);
    expect(second.body).toMatchObject({
      budget: { cap: usd("50000"), source: "total", used: usd("0"), warned: false },
      settlement: { hold: usd("50000") },
    });
    const refused = await consumer.call("POST /v1/jobs", spec);
    expect(refused.body).toMatchObject({
      status: 402,
      code: "budget_exceeded",
      detail: expect.stringContaining("0.00"),
    });
    expect((await consumer.call("POST /v1/quotes", { spec })).body["budget"]).toMatchObject({ suffices: false });
    await consumer.call(`POST /v1/jobs/${String(second.body["id"])}/cancel`);
    expect((await consumer.call("GET /v1/budgets")).body["budgets"]).toMatchObject([
      { reserved: usd("100000"), left: usd("50000") },
    ]);
    expect((await consumer.call("DELETE /v1/budgets")).body["budgets"]).toEqual([]);
    expect((await consumer.call("POST /v1/jobs", spec)).status).toBe(201);
  });

  test("of an admin are seen by the account, and not changed by it; a stranger neither sees nor sets them", async () => {
    await using api = await startTestApi({ store });
    const consumer = await api.account("consumer", 10_000_000n);
    const stranger = await api.account("consumer");
    const body = { accountId: consumer.id, period: "month", amount: usd("2000") };
    expect((await api.admin("PUT /v1/budgets", body)).body).toMatchObject({ accountId: consumer.id });
    expect((await stranger.call("PUT /v1/budgets", body)).body).toMatchObject({ code: "forbidden" });
    expect((await stranger.call(`GET /v1/budgets?accountId=${consumer.id}`)).status).toBe(403);
    await consumer.call("PUT /v1/budgets", { period: "month", amount: usd("9000000") });
    await consumer.call("DELETE /v1/budgets?period=month");
    expect((await consumer.call("GET /v1/budgets")).body["budgets"]).toMatchObject([
      { period: "month", owner: "admin", left: usd("2000") },
    ]);
    expect((await consumer.call("POST /v1/jobs", jobSpec())).body).toMatchObject({ budget: { source: "admin_month" } });
  });

  test("of a job alone are in its currency, and shown", async () => {
    await using api = await startTestApi({ store });
    const consumer = await api.account("consumer", 10_000_000n);
    const other = await consumer.call("POST /v1/jobs", jobSpec({ budgetMax: { amount: "1", currency: "EUR" } }));
    expect(other.body).toMatchObject({ code: "invalid_request" });
    const made = await consumer.call("POST /v1/jobs", jobSpec({ budgetMax: usd("60000") }));
    expect(made.body).toMatchObject({
      spec: { budgetMax: usd("60000") },
      budget: { source: "job", cap: usd("60000") },
    });
  });
});
