// The SDK against the real API, both ways it can be made: as in a browser (fetch, WebSocket) and as in Node.
import type { SessionId } from "@qubix/shared/domain";
import { HEARTBEAT_BUSY_MS } from "@qubix/shared/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DrivenWorker } from "../../../orchestrator/src/api/testing/driven-worker.ts";
import { startTestApi, type TestAccount, type TestApi } from "../../../orchestrator/src/api/testing/test-api.ts";
import { createNodeClient } from "../node/http-client.ts";
import { type Client, createClient } from "./client.ts";
import { collect } from "./paging.ts";
import type { EventView, JobSpec, LogLine } from "./types.ts";

const CREDIT = 100_000_000n;
const SPEC: JobSpec = {
  image: "docker.io/library/busybox:1",
  command: ["true"],
  priceMaxPerHour: { amount: "100000", currency: "USD" },
  durationMaxS: 3600,
};
/** Fits nowhere: stays queued. */
const TOO_BIG: JobSpec = { ...SPEC, resources: { cpus: 999 } };

let api: TestApi;
let worker: DrivenWorker;
let provider: TestAccount;
let signsOfLife: NodeJS.Timeout;
beforeAll(async () => {
  api = await startTestApi();
  provider = await api.account("provider");
  worker = await api.worker(provider, "anna");
  signsOfLife = setInterval(() => {
    const { id: workerId } = worker;
    void api.writer.submit({ kind: "worker.heard", workerId, sessionId: `ses-${workerId}` as SessionId });
  }, HEARTBEAT_BUSY_MS);
});
afterAll(async () => {
  clearInterval(signsOfLife);
  await api.stop();
});

describe.each([
  ["a browser's means", createClient],
  ["Node's means", createNodeClient],
])("with %s", (_name, make: typeof createClient) => {
  let consumer: TestAccount;
  let client: Client;
  beforeAll(async () => {
    consumer = await api.account("consumer", CREDIT);
    client = make({ url: api.url, apiKey: consumer.key });
  });

  test("a job from its beginning to its end, seen live", async () => {
    const job = await client.jobs.create({ ...SPEC, name: "live" });
    expect(job).toMatchObject({ name: "live", accountId: consumer.id });
    const kinds: string[] = [];
    const timeline = (async () => {
      for await (const { channel, kind } of client.jobs.followEvents(job.id)) if (channel === "jobs") kinds.push(kind);
    })();
    const texts: string[] = [];
    const log = (async () => {
      for await (const line of client.jobs.logs(job.id, { follow: true })) texts.push(line.text);
    })();
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.log(attempt, "one\n");
    await worker.log(attempt, "two\n");
    const ended = client.jobs.wait(job.id);
    await worker.end(attempt, null);
    expect((await ended).phase).toBe("succeeded");
    await Promise.all([timeline, log]);
    expect(kinds).toEqual(["queued", "matched", "started", "exited", "completed", "settled"]);
    expect(texts.join("")).toBe("one\ntwo\n");

    const lines: LogLine[] = await collect(client.jobs.logs(job.id));
    expect(await collect(client.jobs.logs(job.id, { after: lines[0]?.cursor }))).toEqual(lines.slice(1));
    const events: EventView[] = await collect(client.jobs.eventsAll(job.id));
    expect(await collect(client.jobs.eventsAll(job.id, { after: events[2]?.seq }))).toEqual(events.slice(3));
    expect(await collect(client.jobs.followEvents(job.id))).toEqual(events);
  });

  test("live events of one's own, resumable from any of them", async () => {
    const seen: EventView[] = [];
    const watching = (async () => {
      for await (const event of client.events.subscribe({ after: 0, channels: ["jobs"] })) {
        seen.push(event);
        if (event.kind === "cancelled") break;
      }
    })();
    const job = await client.jobs.create(TOO_BIG);
    await client.jobs.cancel(job.id);
    await watching;
    expect(seen.filter((event) => event.jobId === job.id).map((event) => event.kind)).toEqual(["queued", "cancelled"]);
    const [first] = seen;
    for await (const event of client.events.subscribe({ after: first?.seq, channels: ["jobs"] })) {
      expect(event).toEqual(seen[1]);
      break;
    }
  });

  test("a batch is judged job by job", async () => {
    const { results } = await client.jobs.batch([TOO_BIG, { ...TOO_BIG, image: "NOT ONE" }, TOO_BIG]);
    expect(results.map((result) => ("job" in result ? result.job.phase : result.problem.code))).toEqual([
      "queued",
      "invalid_request",
      "queued",
    ]);
  });

  test("lists go on over pages; the newest first", async () => {
    const first = await client.jobs.list({ limit: 2 });
    expect(first.items).toHaveLength(2);
    const all = await collect(client.jobs.listAll({ limit: 2 }));
    expect(all.length).toBeGreaterThanOrEqual(4);
    expect(all.map((job) => job.id)).toEqual(all.map((job) => job.id).toSorted((a, b) => (a < b ? 1 : -1)));
    expect((await collect(client.jobs.listAll({ phase: "succeeded" }))).map((job) => job.name)).toEqual(["live"]);
  });

  test("the same idempotency key makes the same job, another body is refused", async () => {
    const idempotencyKey = `mine-${consumer.id}`;
    const job = await client.jobs.create(TOO_BIG, { idempotencyKey });
    expect((await client.jobs.create(TOO_BIG, { idempotencyKey })).id).toBe(job.id);
    const other = client.jobs.create({ ...TOO_BIG, name: "other" }, { idempotencyKey });
    await expect(other).rejects.toMatchObject({ status: 409, code: "idempotency_key_reused" });
  });

  test("market, money, and what is not one's own", async () => {
    expect(await client.quotes.create(SPEC)).toMatchObject({ offers: { total: 1, matching: 1 } });
    expect(await collect(client.offers.listAll())).toMatchObject([{ workerId: worker.id, name: "anna" }]);
    expect((await client.wallet.get()).balances).toMatchObject([{ currency: "USD" }]);
    expect((await collect(client.wallet.entriesAll())).at(-1)).toMatchObject({ kind: "deposit" });
    await expect(client.wallet.get({ accountId: provider.id })).rejects.toMatchObject({ status: 403 });
    await expect(client.workers.get(worker.id)).rejects.toMatchObject({ code: "worker_not_found" });
    await expect(client.jobs.get("job-none")).rejects.toMatchObject({ code: "job_not_found", status: 404 });
    await expect(client.accounts.create({ name: "x", role: "admin" })).rejects.toMatchObject({ status: 403 });
    const owner = make({ url: api.url, apiKey: provider.key });
    expect(await owner.workers.drain(worker.id)).toMatchObject({ draining: true });
    expect(await owner.workers.drain(worker.id, { move: true })).toMatchObject({ draining: true });
    expect(await owner.workers.drain(worker.id, { draining: false })).toMatchObject({ draining: false });
  });

  test("a wrong key is refused, over HTTP and over the socket", async () => {
    const stranger = make({ url: api.url, apiKey: "qbx_wrong", retries: 0, random: () => 0 });
    await expect(stranger.jobs.list()).rejects.toMatchObject({ status: 401 });
    const next = stranger.events.subscribe()[Symbol.asyncIterator]().next();
    await expect(next).rejects.toMatchObject({ status: 401 });
  });
});
