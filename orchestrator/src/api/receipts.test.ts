// Receipts, statements and earnings over HTTP: who sees what, in which form, and that it adds up.
import type { WorkerId } from "@qubix/shared/domain";
import { receiptSchema } from "@qubix/shared/protocol";
import { verifyReceipt } from "@qubix/shared/receipts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DrivenWorker } from "./testing/driven-worker.ts";
import { jobSpec, startTestApi, type TestAccount, type TestApi } from "./testing/test-api.ts";

const NAME = '=HYPERLINK("http://example.org"), run';
/** The wall day on which this runs; tests do not run over midnight more than once. */
const today = () => new Date().toISOString().slice(0, 10);

let api: TestApi;
let consumer: TestAccount;
let stranger: TestAccount;
let provider: TestAccount;
let other: TestAccount;
let worker: DrivenWorker;
let jobId: string;

/** Signatures are the gateway's and the system test's matter: workers are driven by hand here. */
const verify = (value: unknown) => verifyReceipt(value, (_key, _text, signature) => signature === "c2ln");

/** Pages of one item until there is no more. */
async function allItems(account: TestAccount, path: string): Promise<Record<string, unknown>[]> {
  const items: Record<string, unknown>[] = [];
  for (let cursor = ""; ; ) {
    const { body } = await account.call(`GET ${path}&limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`);
    items.push(...(body.items ?? []));
    const next = body["nextCursor"];
    if (typeof next !== "string") return items;
    cursor = next;
  }
}

async function runJob(over: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const made = await consumer.call("POST /v1/jobs", jobSpec(over));
  expect(made.status).toBe(201);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  // Paid time is real time here.
  await new Promise((resolve) => setTimeout(resolve, 120));
  const line = { attempt, n: 1, moment: "end", ranMs: 100, prev: null, signature: "c2ln" } as const;
  await worker.say({ kind: "tick", ...line });
  await worker.say({ kind: "ended", attempt, ranMs: 100, outcome: { kind: "succeeded", outputs: null } });
  return String(made.body["id"]);
}

beforeAll(async () => {
  api = await startTestApi({ store: "sqlite" });
  [consumer, stranger, provider, other] = await Promise.all([
    api.account("consumer", 10_000_000n),
    api.account("consumer", 5n),
    api.account("provider"),
    api.account("provider"),
  ]);
  worker = await api.worker(provider, "=anna", { features: ["ticks"] });
  jobId = await runJob({ name: NAME });
  await runJob();
});
afterAll(() => api.stop());

describe("GET /v1/jobs/{id}/receipt", () => {
  test("is the whole account for the consumer and an administrator, and verifies", async () => {
    for (const call of [consumer.call, api.admin]) {
      const { status, body } = await call(`GET /v1/jobs/${jobId}/receipt`);
      expect(status).toBe(200);
      expect(receiptSchema.parse(body)).toEqual(body);
      expect(verify(body)).toMatchObject({
        verified: true,
        problems: [],
        figures: { ticks: 1, signedMs: 100, unsignedMs: 0 },
      });
      expect(body).toMatchObject({
        view: "consumer",
        final: true,
        phase: "succeeded",
        agreed: { accountId: consumer.id, priceMaxPerHour: "100000", hold: "100000" },
        attempts: [{ workerId: worker.id, providerId: provider.id, creditedMs: 100, charge: "1" }],
      });
    }
  });

  test("shows a provider what is his and nothing of the consumer's", async () => {
    const { body, text } = await provider.call(`GET /v1/jobs/${jobId}/receipt`);
    expect(verify(body)).toMatchObject({ verified: true, problems: [] });
    expect(body).toMatchObject({ view: "provider", agreed: null, totals: null, attempts: [{ workerId: worker.id }] });
    for (const theirs of [consumer.id, "customer:", "escrow:", NAME, "HYPERLINK", "busybox"])
      expect(text).not.toContain(theirs);
  });

  test("is nobody else's", async () => {
    for (const account of [stranger, other]) {
      const { status, body } = await account.call(`GET /v1/jobs/${jobId}/receipt`);
      expect([status, body["code"]]).toEqual([404, "job_not_found"]);
    }
    expect((await api.anyone(`GET /v1/jobs/${jobId}/receipt`)).status).toBe(401);
    expect((await consumer.call("GET /v1/jobs/job-none/receipt")).status).toBe(404);
  });

  test("of a job that still runs is the account so far", async () => {
    const made = await consumer.call("POST /v1/jobs", jobSpec());
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    const id = String(made.body["id"]);
    const { body } = await consumer.call(`GET /v1/jobs/${id}/receipt`);
    expect(body).toMatchObject({ final: false, phase: "running", lines: [], totals: { gross: "0", fee: null } });
    expect(verify(body)).toMatchObject({ verified: true, problems: [] });
    await consumer.call(`POST /v1/jobs/${id}/cancel`);
    await worker.say({ kind: "ended", attempt, ranMs: 0, outcome: { kind: "stopped" } });
    const after = await consumer.call(`GET /v1/jobs/${id}/receipt`);
    expect(after.body).toMatchObject({ final: true, phase: "cancelled", totals: { gross: "0", refund: "100000" } });
    expect(verify(after.body).verified).toBe(true);
  });
});

describe("GET /v1/statements", () => {
  test("by day ends with what the wallet says, and its columns add up", async () => {
    const { body } = await consumer.call("GET /v1/statements");
    expect(body).toMatchObject({ by: "day", accountId: consumer.id, timeZone: "UTC", to: today(), nextCursor: null });
    const wallet = await consumer.call("GET /v1/wallet");
    const [balance] = wallet.body["balances"] as { readonly available: string }[];
    const rows = body.items as unknown as Record<string, string>[];
    expect(rows.at(-1)?.["closing"]).toBe(balance?.available);
    for (const row of rows) {
      const sum = ["opening", "deposits", "held", "returned", "other"].reduce(
        (all, key) => all + BigInt(row[key] ?? "0"),
        0n,
      );
      expect(sum.toString()).toBe(row["closing"]);
    }
    expect(body["totals"]).toMatchObject([
      { currency: "USD", opening: "0", deposits: "10000000", closing: balance?.available },
    ]);
  });

  test("by job comes in pages, and comes to the same", async () => {
    const { body } = await consumer.call("GET /v1/statements?by=job");
    const items = await allItems(consumer, "/v1/statements?by=job");
    expect(items).toEqual(body.items);
    expect(items.slice(0, 2)).toMatchObject([
      { jobId, name: NAME, currency: "USD", held: "100000", charged: "1", fee: "0", returned: "99999" },
      { name: null, charged: "1" },
    ]);
    const charged = items.reduce((sum, item) => sum + BigInt(String(item["charged"])), 0n);
    expect(body["totals"]).toMatchObject([{ charged: charged.toString() }]);
  });

  test("as CSV is for spreadsheets: whole units, and a name that looks like a formula is text", async () => {
    const { headers, text } = await consumer.call("GET /v1/statements?by=job&format=csv");
    expect(headers.get("content-type")).toBe("text/csv; charset=utf-8; header=present");
    expect(headers.get("content-disposition")).toContain(`statement-${consumer.id}-`);
    const lines = text.split("\r\n");
    expect(lines[0]).toBe("settled_at_utc,job,name,currency,held,charged,fee,returned");
    expect(lines[1]).toContain(`,${jobId},"'=HYPERLINK(""http://example.org""), run",USD,0.10,0.000001,0.00,0.099999`);
    const days = await consumer.call("GET /v1/statements?format=csv");
    expect(days.text.split("\r\n")[0]).toBe(
      "day_utc,currency,opening,deposits,held,returned,other,closing,jobs_settled,charged",
    );
  });

  test("of a range in which nothing moved is empty, and says what lay there", async () => {
    const { body } = await consumer.call("GET /v1/statements?from=2020-01-01&to=2020-01-31");
    expect(body).toMatchObject({ from: "2020-01-01", to: "2020-01-31", items: [], totals: [] });
  });

  test.each([
    ["a day that there is not", "from=2026-02-30"],
    ["days the wrong way round", "from=2026-11-02&to=2026-11-01"],
    ["more than a year", "from=2024-01-01&to=2026-01-01"],
    ["another way to group", "by=week"],
    ["a cursor of its own making", "by=job&cursor=x"],
  ])("%s is refused", async (_what, query) => {
    const { status, body } = await consumer.call(`GET /v1/statements?${query}`);
    expect([status, body["code"]]).toEqual([422, "invalid_request"]);
  });

  test("is the account's own; an administrator may name another", async () => {
    expect((await stranger.call(`GET /v1/statements?accountId=${consumer.id}`)).status).toBe(403);
    const { body } = await api.admin(`GET /v1/statements?accountId=${consumer.id}`);
    expect(body).toMatchObject({ accountId: consumer.id, totals: [{ currency: "USD" }] });
    expect((await stranger.call("GET /v1/statements")).body).toMatchObject({
      items: [{ deposits: "5", closing: "5" }],
    });
  });
});

describe("GET /v1/earnings", () => {
  test("by day, worker and job come to the same, and to what the wallet says", async () => {
    const [day, byWorker, job] = await Promise.all(
      ["day", "worker", "job"].map((by) => provider.call(`GET /v1/earnings?by=${by}`)),
    );
    const sumOf = (answer: typeof day) =>
      (answer?.body.items ?? []).reduce((sum, item) => sum + BigInt(String(item["amount"])), 0n).toString();
    const wallet = await provider.call("GET /v1/wallet");
    const [balance] = wallet.body["balances"] as Record<string, string>[];
    const earned = balance?.["earned"];
    expect([sumOf(day), sumOf(byWorker), sumOf(job)]).toEqual([earned, earned, earned]);
    expect(day?.body["totals"]).toEqual([
      {
        currency: "USD",
        earned,
        pending: balance?.["pending"],
        payable: balance?.["payable"],
        paidOut: "0",
        other: "0",
        earnedInRange: earned,
      },
    ]);
    expect(byWorker?.body.items).toMatchObject([{ workerId: worker.id satisfies WorkerId, name: "=anna", ms: 200 }]);
    expect(await allItems(provider, "/v1/earnings?by=job")).toEqual(job?.body.items);
  });

  test("as CSV", async () => {
    const { text } = await provider.call("GET /v1/earnings?by=worker&format=csv");
    expect(text.split("\r\n").slice(0, 2)).toEqual([
      "worker,worker_name,currency,jobs,ms,amount",
      `${worker.id},'=anna,USD,2,200,0.000002`,
    ]);
    const jobs = await provider.call("GET /v1/earnings?by=job&format=csv");
    expect(jobs.text).toContain(`,${jobId},${worker.id},'=anna,primary,USD,100,0.000001\r\n`);
  });

  test("are the provider's own", async () => {
    expect((await other.call(`GET /v1/earnings?accountId=${provider.id}`)).status).toBe(403);
    expect((await other.call("GET /v1/earnings")).body).toMatchObject({ totals: [], items: [] });
  });
});
