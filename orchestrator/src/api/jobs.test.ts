import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jobSpec, NOTHING_EARNED, startTestApi, type StoreKind, type TestApi } from "./testing/test-api.ts";

describe.each<StoreKind>(["memory", "sqlite"])("jobs over the %s store", (store) => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startTestApi({ store });
  });
  afterAll(() => api.stop());

  test("a job is accepted, held for, run, settled and shown at each step", async () => {
    const { call, id } = await api.account("consumer", 10_000_000n);
    const provider = await api.account("provider");
    const worker = await api.worker(provider, "first");
    const created = await call("POST /v1/jobs", jobSpec({ name: "hello", placement: { workers: [worker.id] } }));
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      name: "hello",
      accountId: id,
      spec: { image: "docker.io/library/busybox:1" },
    });
    const path = `/v1/jobs/${String(created.body["id"])}`;
    expect(created.headers.get("location")).toBe(path);

    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    expect((await call(`GET ${path}`)).body).toMatchObject({ phase: "running", workerId: worker.id, epoch: 1 });
    const held = (await call("GET /v1/wallet")).body["balances"];
    expect(held).toEqual([{ currency: "USD", available: "9900000", held: "100000", ...NOTHING_EARNED }]);

    await worker.end(attempt, null);
    const ended = (await call(`GET ${path}`)).body;
    expect(ended).toMatchObject({ phase: "succeeded", outputs: null, settlement: { phase: "settled" } });
    const { hold, lines } = ended["settlement"] as {
      hold: { amount: string };
      lines: { amount: { amount: string } }[];
    };
    expect(lines.reduce((sum, line) => sum + BigInt(line.amount.amount), 0n)).toBe(BigInt(hold.amount));

    const timeline = (await call(`GET ${path}/events`)).body.items ?? [];
    const kinds = timeline.map((event) => event["kind"]);
    for (const kind of ["queued", "matched", "started", "completed", "settled"]) expect(kinds).toContain(kind);
    const seqs = timeline.map((event) => Number(event["seq"]));
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  });

  test("the timeline comes in pages that join without a gap", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const made = await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    const path = `/v1/jobs/${String(made.body["id"])}`;
    await call(`POST ${path}/cancel`);
    const whole = (await call(`GET ${path}/events`)).body.items ?? [];
    expect(whole.length).toBeGreaterThan(1);
    const seen: unknown[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page = await call(`GET ${path}/events?limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`);
      seen.push(...(page.body.items ?? []));
      cursor = page.body["nextCursor"] as string | null;
    }
    expect(seen).toEqual(whole);
    const last = Number(whole.at(-1)?.["seq"]);
    expect((await call(`GET ${path}/events?after=${last}`)).body.items).toEqual([]);
  });

  test("the list is newest first, in pages, by phase, and only one's own", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const other = await api.account("consumer", 10_000_000n);
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      ids.push(String((await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }))).body["id"]));
    }
    await call(`POST /v1/jobs/${ids[0]}/cancel`);
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page = await call(`GET /v1/jobs?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`);
      seen.push(...(page.body.items ?? []).map((job) => String(job["id"])));
      cursor = page.body["nextCursor"] as string | null;
    }
    expect(seen).toEqual(ids.toReversed());
    const cancelled = await call("GET /v1/jobs?phase=cancelled");
    expect(cancelled.body.items?.map((job) => job["id"])).toEqual([ids[0]]);
    expect((await other.call("GET /v1/jobs")).body.items).toEqual([]);
  });

  test("nobody but its owner and the administrator finds a job", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const other = await api.account("consumer", 10_000_000n);
    const provider = await api.account("provider");
    const id = String((await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }))).body["id"]);
    for (const stranger of [other.call, provider.call]) {
      for (const route of ["", "/events", "/logs", "/checkpoints", "/outputs", "/outputs/x"]) {
        expect((await stranger(`GET /v1/jobs/${id}${route}`)).body).toMatchObject({
          status: 404,
          code: "job_not_found",
        });
      }
      expect((await stranger(`POST /v1/jobs/${id}/cancel`)).status).toBe(404);
    }
    expect((await api.admin(`GET /v1/jobs/${id}`)).status).toBe(200);
    expect((await call(`GET /v1/jobs/${id}`)).body).toMatchObject({ phase: "queued" });
  });

  test("one that does not run cannot be moved, and says so before and after its end", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const id = String((await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }))).body["id"]);
    expect((await call(`POST /v1/jobs/${id}/move`)).body).toMatchObject({ status: 409, code: "job_not_running" });
    expect((await call(`POST /v1/jobs/${id}/move`, { where: "x" })).status).toBe(422);
    await call(`POST /v1/jobs/${id}/cancel`);
    expect((await call(`POST /v1/jobs/${id}/move`)).body).toMatchObject({ status: 409, code: "job_not_running" });
    expect((await call("POST /v1/jobs/job-none/move")).body).toMatchObject({ status: 404, code: "job_not_found" });
  });

  test("an idempotency key gives the first job again, and refuses another body", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const spec = jobSpec({ placement: { workers: ["wrk-none"] } });
    const headers = { "idempotency-key": "order-1" };
    const first = await call("POST /v1/jobs", spec, { headers });
    const again = await call("POST /v1/jobs", spec, { headers });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.body["id"]).toBe(first.body["id"]);
    const other = await call("POST /v1/jobs", { ...spec, name: "another" }, { headers });
    expect(other.body).toMatchObject({ status: 409, code: "idempotency_key_reused" });
    expect((await call("GET /v1/jobs")).body.items).toHaveLength(1);
  });

  test("in a batch each job is judged alone, and a repeated batch makes nothing new", async () => {
    const { call } = await api.account("consumer", 250_000n);
    const good = jobSpec({ placement: { workers: ["wrk-none"] } });
    const jobs = [
      good,
      { ...good, image: "NO" },
      good,
      good,
      { ...good, inputs: [{ url: "https://example.org/a", to: "/in" }] },
    ];
    const headers = { "idempotency-key": "batch-1" };
    const { status, body } = await call("POST /v1/jobs/batch", { jobs }, { headers });
    expect(status).toBe(200);
    const results = body["results"] as { job?: { id: string }; problem?: { code: string } }[];
    expect(results.map((result) => result.problem?.code ?? "made")).toEqual([
      "made",
      "invalid_request",
      "made",
      "insufficient_funds",
      "not_available",
    ]);
    const again = (await call("POST /v1/jobs/batch", { jobs }, { headers })).body["results"] as typeof results;
    expect(again.map((result) => result.job?.id)).toEqual(results.map((result) => result.job?.id));
    const other = await call("POST /v1/jobs/batch", { jobs: [...jobs, good] }, { headers });
    expect(other.body).toMatchObject({ status: 409, code: "idempotency_key_reused" });
    expect((await call("GET /v1/jobs")).body.items).toHaveLength(2);
  });

  test.each([
    ["an empty batch", { jobs: [] }],
    ["more than 100 jobs", { jobs: Array.from({ length: 101 }, () => ({})) }],
    ["no list", {}],
  ])("%s is refused whole", async (_name, body) => {
    const { call } = await api.account("consumer");
    const answer = await call("POST /v1/jobs/batch", body);
    expect(answer.body).toMatchObject({ status: 422, code: "invalid_request" });
  });

  test.each([
    ["no money", {}, 402, "insufficient_funds"],
    [
      "a feature that is not there yet",
      { inputs: [{ url: "https://example.org/a", to: "/in" }] },
      422,
      "not_available",
    ],
    ["a mirror of what acts outside", { standby: "mirror", network: "egress" }, 422, "mirror_with_effects"],
    ["a registry that is not allowed", { image: "127.0.0.1:5000/a/b:1" }, 422, "image_not_allowed"],
    ["a local image that nobody has", { image: "mine:local" }, 422, "image_unknown"],
    ["an upload that is not there", { inputs: [{ upload: "upl-0", to: "/in" }] }, 422, "upload_unknown"],
  ])("%s: %o gets %i %s, and no money stays locked", async (name, over, status, code) => {
    const { call } = await api.account("consumer", name === "no money" ? 10n : 10_000_000n);
    const answer = await call("POST /v1/jobs", jobSpec(over));
    expect(answer.body).toMatchObject({ status, code });
    expect(String(answer.body["detail"]).length).toBeGreaterThan(20);
    expect((await call("GET /v1/wallet")).body["balances"]).toMatchObject([{ held: "0" }]);
  });

  test("waiting: the answer comes with the end, or when the time is over", async () => {
    const { call } = await api.account("consumer", 10_000_000n);
    const made = await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    const path = `/v1/jobs/${String(made.body["id"])}`;
    expect((await call(`GET ${path}?waitS=0.05`)).body).toMatchObject({ phase: "queued" });
    const waiting = call(`GET ${path}?waitS=30`);
    await call(`POST ${path}/cancel`);
    expect((await waiting).body).toMatchObject({ phase: "cancelled" });
    expect((await call(`GET ${path}?waitS=30`)).body).toMatchObject({ phase: "cancelled" });
    expect((await call(`GET ${path}?waitS=61`)).body).toMatchObject({ status: 422 });
  });

  test("a cancelled job gives all of its money back, and cancelling again changes nothing", async () => {
    const { call } = await api.account("consumer", 1_000_000n);
    const made = await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    const path = `/v1/jobs/${String(made.body["id"])}`;
    expect((await call(`POST ${path}/cancel`)).body).toMatchObject({ phase: "cancelled" });
    expect((await call(`POST ${path}/cancel`, {})).body).toMatchObject({ phase: "cancelled" });
    expect((await call("GET /v1/wallet")).body["balances"]).toEqual([
      { currency: "USD", available: "1000000", held: "0", ...NOTHING_EARNED },
    ]);
  });
});
