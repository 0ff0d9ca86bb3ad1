// Accounts, keys, enrolment, workers, offers, quotes and the wallet, over HTTP.
import { describe, expect, test } from "vitest";
import { enrolment } from "./testing/driven-worker.ts";
import { jobSpec, NOTHING_EARNED, startTestApi } from "./testing/test-api.ts";

describe("accounts and keys", () => {
  test("an administrator makes them; the key is shown once and works", async () => {
    await using api = await startTestApi();
    const made = await api.admin("POST /v1/accounts", { name: "Ada", role: "consumer" });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ name: "Ada", role: "consumer" });
    const key = await api.admin("POST /v1/api-keys", { accountId: made.body["id"] });
    expect(key.status).toBe(201);
    expect(String(key.body["key"])).toMatch(/^qbx_[A-Za-z0-9_-]{43}$/);
    expect(key.headers.get("cache-control")).toBe("no-store");
    const mine = await api.anyone("GET /v1/accounts", undefined, { headers: { "x-api-key": String(key.body["key"]) } });
    expect(mine.body.items).toEqual([made.body]);
    expect((await api.admin("GET /v1/accounts")).body.items).toHaveLength(2);
  });

  test("the same idempotency key makes one account", async () => {
    await using api = await startTestApi();
    const headers = { "idempotency-key": "acc-1" };
    const body = { name: "Ada", role: "consumer" };
    const first = await api.admin("POST /v1/accounts", body, { headers });
    const again = await api.admin("POST /v1/accounts", body, { headers });
    expect(again.body["id"]).toBe(first.body["id"]);
    const other = await api.admin("POST /v1/accounts", { ...body, name: "Bob" }, { headers });
    expect(other.body).toMatchObject({ status: 409, code: "idempotency_key_reused" });
  });

  test.each([
    ["a key for nobody", "POST /v1/api-keys", { accountId: "acc-nobody" }, 404],
    ["a role that there is not", "POST /v1/accounts", { name: "x", role: "king" }, 422],
    ["a name with control characters", "POST /v1/accounts", { name: "a\u0007b", role: "consumer" }, 422],
    ["a field too many", "POST /v1/accounts", { name: "a", role: "consumer", admin: true }, 422],
  ])("%s is refused", async (_name, route, body, status) => {
    await using api = await startTestApi();
    expect((await api.admin(route, body)).status).toBe(status);
  });
});

describe("enrolment", () => {
  test("a token enrols one worker, once", async () => {
    await using api = await startTestApi();
    const provider = await api.account("provider");
    const made = await provider.call("POST /v1/enrolments", { ttlS: 60 });
    expect(made.body).toMatchObject({ accountId: provider.id, expiresInS: 60 });
    const token = String(made.body["token"]);
    const enrolled = await api.anyone("POST /v1/enrolments/redeem", enrolment(token, "rig 1"));
    expect(enrolled.status).toBe(201);
    const worker = await provider.call(`GET /v1/workers/${String(enrolled.body["workerId"])}`);
    expect(worker.body).toMatchObject({ name: "rig 1", providerId: provider.id, phase: "offline" });
    const again = await api.anyone("POST /v1/enrolments/redeem", enrolment(token));
    expect(again.body).toMatchObject({ code: "enrolment_used" });
  });

  test("unknown tokens, wrong signatures and malformed keys are told apart", async () => {
    await using api = await startTestApi();
    const token = String((await api.admin("POST /v1/enrolments")).body["token"]);
    const redeem = (body: object) => api.anyone("POST /v1/enrolments/redeem", body);
    const unknown = enrolment(`qbe_${"x".repeat(43)}`);
    expect((await redeem(unknown)).body).toMatchObject({ code: "enrolment_unknown" });
    expect((await redeem({ ...enrolment(token), signature: "AAAA" })).body).toMatchObject({
      code: "signature_invalid",
    });
    expect((await redeem({ ...enrolment(token), publicKey: "AAAA" })).body).toMatchObject({ code: "invalid_request" });
    expect((await redeem({ ...enrolment(token), publicKey: enrolment(token).publicKey })).body).toMatchObject({
      code: "signature_invalid",
    });
    expect((await redeem(enrolment(token))).status).toBe(201);
  });

  test("a provider enrols for himself only", async () => {
    await using api = await startTestApi();
    const provider = await api.account("provider");
    const other = await api.account("provider");
    const refused = await provider.call("POST /v1/enrolments", { accountId: other.id });
    expect(refused.status).toBe(403);
    expect((await api.admin("POST /v1/enrolments", { accountId: other.id })).body).toMatchObject({
      accountId: other.id,
    });
  });
});

describe("workers and offers", () => {
  test("show the standing of a worker, which falls when it fails a job", async () => {
    await using api = await startTestApi();
    const provider = await api.account("provider");
    const consumer = await api.account("consumer", 10_000_000n);
    const worker = await api.worker(provider, "anna");
    const standings = async () => [
      (await provider.call(`GET /v1/workers/${worker.id}`)).body["standing"],
      ...((await consumer.call("GET /v1/offers")).body.items ?? []).map(
        (offer) => (offer as { standing: number }).standing,
      ),
    ];
    expect(await standings()).toEqual([1, 1]);
    await consumer.call("POST /v1/jobs", jobSpec({ failoversMax: 0 }));
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    const outcome = { kind: "worker_failed", code: "docker_error", message: "" } as const;
    await worker.say({ kind: "ended", attempt, ranMs: 1, outcome });
    expect(await standings()).toEqual([0.5, 0.5]);
  });

  test("a provider sees his own workers, everybody the offers; draining takes a worker off the market", async () => {
    await using api = await startTestApi();
    const provider = await api.account("provider");
    const other = await api.account("provider");
    const consumer = await api.account("consumer");
    const worker = await api.worker(provider, "rig");
    expect((await provider.call("GET /v1/workers")).body.items).toMatchObject([
      { id: worker.id, phase: "online", region: "eu-west", cpus: 8, draining: false },
    ]);
    expect((await other.call("GET /v1/workers")).body.items).toEqual([]);
    expect((await other.call(`GET /v1/workers/${worker.id}`)).status).toBe(404);
    expect((await other.call(`POST /v1/workers/${worker.id}/drain`)).status).toBe(404);
    const offers = (await consumer.call("GET /v1/offers")).body.items;
    expect(offers).toMatchObject([
      { workerId: worker.id, cpus: 8, cpusFree: 8, pricePerCpuHour: { amount: "60000", currency: "USD" } },
    ]);
    const drained = await provider.call(`POST /v1/workers/${worker.id}/drain`);
    expect(drained.body).toMatchObject({ id: worker.id, draining: true });
    expect((await consumer.call("GET /v1/offers")).body.items).toEqual([]);
    const back = await provider.call(`POST /v1/workers/${worker.id}/drain`, { draining: false });
    expect(back.body).toMatchObject({ draining: false });
    expect((await consumer.call("GET /v1/offers")).body.items).toHaveLength(1);
  });

  test("offers come in pages", async () => {
    await using api = await startTestApi();
    const provider = await api.account("provider");
    const ids: string[] = [];
    for (const name of ["a", "b", "c"]) ids.push((await api.worker(provider, name)).id);
    const first = await provider.call("GET /v1/offers?limit=2");
    const second = await provider.call(`GET /v1/offers?limit=2&cursor=${String(first.body["nextCursor"])}`);
    const seen = [...(first.body.items ?? []), ...(second.body.items ?? [])].map((offer) => offer["workerId"]);
    expect(seen).toEqual(ids.toSorted());
    expect(second.body["nextCursor"]).toBeNull();
  });

  test("a quote says what it costs, who matches, and why the others do not", async () => {
    await using api = await startTestApi();
    const consumer = await api.account("consumer");
    await api.worker(await api.account("provider"), "rig");
    const fits = await consumer.call("POST /v1/quotes", { spec: jobSpec() });
    expect(fits.body).toMatchObject({
      hold: { amount: "100000", currency: "USD" },
      ratePerHour: { amount: "60000", currency: "USD" },
      costMax: { amount: "60000", currency: "USD" },
      offers: { total: 1, matching: 1 },
    });
    const gpus = await consumer.call("POST /v1/quotes", { spec: jobSpec({ resources: { gpus: { count: 2 } } }) });
    expect(gpus.body).toMatchObject({ ratePerHour: null, costMax: null, offers: { total: 1, matching: 0 } });
    const filters = gpus.body["filters"] as { removed: number; hint: string }[];
    expect(filters.reduce((sum, filter) => sum + filter.removed, 0)).toBe(1);
    expect(filters.find((filter) => filter.removed > 0)?.hint).toBeTruthy();
    expect((await consumer.call("POST /v1/quotes", { spec: { image: 1 } })).status).toBe(422);
  });
});

describe("the wallet", () => {
  test("deposits once per idempotency key, shows every movement with the balance after it", async () => {
    await using api = await startTestApi();
    const { id, call } = await api.account("consumer");
    const headers = { "idempotency-key": "dep-1" };
    const body = { accountId: id, amount: { amount: "1000000", currency: "USD" }, reference: "gift" };
    const first = await api.admin("POST /v1/wallet/deposits", body, { headers });
    const again = await api.admin("POST /v1/wallet/deposits", body, { headers });
    expect(again.body["transferId"]).toBe(first.body["transferId"]);
    const named = { ...body, id: "pay-1" };
    const byName = await api.admin("POST /v1/wallet/deposits", named);
    expect((await api.admin("POST /v1/wallet/deposits", named)).body["transferId"]).toBe(byName.body["transferId"]);
    const other = await api.admin("POST /v1/wallet/deposits", { ...named, reference: "another gift" });
    expect(other).toMatchObject({ status: 409, body: { code: "transfer_differs" } });
    const job = await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    await call(`POST /v1/jobs/${String(job.body["id"])}/cancel`);

    const whole = (await call("GET /v1/wallet/entries")).body.items ?? [];
    expect(
      whole.map(({ kind, amount, balanceAfter }) => [kind, (amount as { amount: string }).amount, balanceAfter]),
    ).toEqual([
      ["settlement", "100000", "2000000"],
      ["hold", "-100000", "1900000"],
      ["deposit", "1000000", "2000000"],
      ["deposit", "1000000", "1000000"],
    ]);
    const paged: unknown[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page = await call(`GET /v1/wallet/entries?limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`);
      paged.push(...(page.body.items ?? []));
      cursor = page.body["nextCursor"] as string | null;
    }
    expect(paged).toEqual(whole);
  });

  test("is nobody's business but its owner's and the administrator's", async () => {
    await using api = await startTestApi();
    const mine = await api.account("consumer", 5n);
    const other = await api.account("consumer", 7n);
    expect((await mine.call(`GET /v1/wallet?accountId=${other.id}`)).body).toMatchObject({ status: 403 });
    expect((await mine.call(`GET /v1/wallet/entries?accountId=${other.id}`)).body).toMatchObject({ status: 403 });
    const seen = await api.admin(`GET /v1/wallet?accountId=${other.id}`);
    expect(seen.body["balances"]).toEqual([{ currency: "USD", available: "7", held: "0", ...NOTHING_EARNED }]);
    expect((await mine.call("GET /v1/wallet/entries")).body.items).toHaveLength(1);
  });

  test.each([
    ["a fraction", { amount: "1.5", currency: "USD" }],
    ["a negative amount", { amount: "-1", currency: "USD" }],
    ["a number", { amount: 5, currency: "USD" }],
    ["too much", { amount: "99999999999999999999", currency: "USD" }],
    ["no currency", { amount: "5" }],
  ])("a deposit of %s is refused", async (_name, amount) => {
    await using api = await startTestApi();
    const { id } = await api.account("consumer");
    expect((await api.admin("POST /v1/wallet/deposits", { accountId: id, amount })).status).toBe(422);
  });

  test("a deposit to nobody is refused", async () => {
    await using api = await startTestApi();
    const body = { accountId: "acc-nobody", amount: { amount: "5", currency: "USD" } };
    expect((await api.admin("POST /v1/wallet/deposits", body)).status).toBe(404);
  });
});
