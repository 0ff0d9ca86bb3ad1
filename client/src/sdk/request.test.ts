import { getEventListeners } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { createNodeClient } from "../node/http-client.ts";
import { type Client, type ClientConfig, createClient } from "./client.ts";
import {
  cut,
  cutAfter,
  json,
  type ScriptedServer,
  silent,
  startScriptedServer,
  type Step,
} from "./testing/scripted-server.ts";

let server: ScriptedServer;
const clients: { close(): void }[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

const JOB = { id: "job-1", phase: "queued" };
const BUSY = json(503, { code: "overloaded", detail: "Busy.", status: 503 }, { "retry-after": "0" });

/** Once over `fetch`, once over node:http: both must behave alike. */
describe.each(["fetch", "node:http"])("over %s", (kind) => {
  async function clientOf(steps: readonly Step[], config: Partial<ClientConfig> = {}): Promise<Client> {
    server = await startScriptedServer(steps);
    const options = { url: server.url, apiKey: "qbx_key", random: () => 0, ...config };
    if (kind === "fetch") return createClient(options);
    const client = createNodeClient(options);
    clients.push(client);
    return client;
  }

  test("a busy server is asked again, with the same idempotency key", async () => {
    const client = await clientOf([BUSY, BUSY, json(201, JOB)]);
    expect(await client.jobs.create({ image: "a" } as never)).toEqual(JOB);
    const keys = server.seen.map((seen) => seen.headers["idempotency-key"]);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(server.seen[0]?.headers.authorization).toBe("Bearer qbx_key");
  });

  test("a signal that outlives many downloads and uploads is let go of with each", async () => {
    const client = await clientOf([(response) => response.writeHead(200).end("some bytes")]);
    const { signal } = new AbortController();
    expect(await (await client.jobs.output("job-1", "a", { signal })).text()).toBe("some bytes");
    for await (const bytes of (await client.jobs.output("job-1", "a", { signal })).body) {
      expect(Buffer.from(bytes).toString()).toBe("some bytes");
    }
    await client.uploads.putChunk("bafk", Buffer.from("x"), { signal });
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("a download that is cut off says so, and may be tried again", async () => {
    const client = await clientOf([cutAfter("some")]);
    const read = async () => {
      const parts: string[] = [];
      for await (const bytes of (await client.jobs.output("job-1", "a")).body)
        parts.push(Buffer.from(bytes).toString());
      return parts;
    };
    await expect(read()).rejects.toMatchObject({ code: "cannot_connect", retryable: true });
  });

  test("two calls have two keys, and a key that was given is used", async () => {
    const client = await clientOf([json(201, JOB)]);
    await client.jobs.create({} as never);
    await client.jobs.create({} as never);
    await client.jobs.create({} as never, { idempotencyKey: "mine" });
    const [a, b, c] = server.seen.map((seen) => seen.headers["idempotency-key"]);
    expect(a).not.toBe(b);
    expect(c).toBe("mine");
  });

  test("a cut line is tried again where twice does no harm", async () => {
    const client = await clientOf([cut, json(200, JOB)]);
    expect(await client.jobs.get("job-1")).toEqual(JOB);
    expect(server.seen).toHaveLength(2);
  });

  test("a secret that is shown once is not asked for twice over a cut line", async () => {
    const client = await clientOf([cut, json(201, { key: "qbx_new" })]);
    await expect(client.apiKeys.create({ accountId: "acc-1" })).rejects.toMatchObject({ code: "cannot_connect" });
    expect(server.seen).toHaveLength(1);
  });

  test("what is wrong is not tried again, and says which fields", async () => {
    const errors = [{ path: "image", message: "is required" }];
    const client = await clientOf([json(400, { code: "invalid_request", detail: "Not valid.", status: 400, errors })]);
    await expect(client.jobs.create({} as never)).rejects.toMatchObject({
      code: "invalid_request",
      status: 400,
      message: "Not valid.",
      details: { errors },
      retryable: false,
    });
    expect(server.seen).toHaveLength(1);
  });

  test("a server that stays busy is given up", async () => {
    const client = await clientOf([BUSY], { retries: 2 });
    await expect(client.jobs.get("job-1")).rejects.toMatchObject({ code: "overloaded", retryable: true });
    expect(server.seen).toHaveLength(3);
  });

  test("a server that does not answer is given up after the time-out", async () => {
    const client = await clientOf([silent], { retries: 0, timeoutMs: 50 });
    await expect(client.jobs.get("job-1")).rejects.toMatchObject({ code: "request_timeout" });
  });

  test("the caller can end a call", async () => {
    const client = await clientOf([silent]);
    const controller = new AbortController();
    const call = client.jobs.get("job-1", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
    expect(server.seen.length).toBeLessThanOrEqual(1);
  });

  test("ids and paths are put into the URL whole", async () => {
    const client = await clientOf([json(200, JOB)]);
    await client.jobs.get("../accounts?x=1");
    await client.jobs.output("job-1", "a b/ü?.txt");
    await client.jobs.list({ phase: "running", limit: 3, cursor: "a/b" });
    expect(server.seen.map((seen) => seen.path)).toEqual([
      "/v1/jobs/..%2Faccounts%3Fx%3D1",
      "/v1/jobs/job-1/outputs/a%20b/%C3%BC%3F.txt",
      "/v1/jobs?cursor=a%2Fb&limit=3&phase=running",
    ]);
  });

  test("pages follow each other until there is no more", async () => {
    const client = await clientOf([
      json(200, { items: [{ id: "job-3" }, { id: "job-2" }], nextCursor: "c1" }),
      json(200, { items: [{ id: "job-1" }], nextCursor: null }),
    ]);
    const ids: string[] = [];
    for await (const job of client.jobs.listAll()) ids.push(job.id);
    expect(ids).toEqual(["job-3", "job-2", "job-1"]);
    expect(server.seen[1]?.path).toBe("/v1/jobs?cursor=c1");
  });

  test("an answer that is no JSON is named as such", async () => {
    const client = await clientOf([(response) => response.writeHead(200).end("<html>")]);
    await expect(client.jobs.get("job-1")).rejects.toMatchObject({ code: "bad_answer" });
  });

  test("waiting is held by the server, however often a view is wanted", async () => {
    const client = await clientOf([json(200, JOB), json(200, { ...JOB, phase: "succeeded" })]);
    await client.jobs.wait("job-1", { everyS: 0 });
    expect(server.seen[0]?.path).toBe("/v1/jobs/job-1?waitS=1");
  });

  test("waiting goes on over a restart", async () => {
    const client = await clientOf([json(200, JOB), cut, cut, BUSY, json(200, { ...JOB, phase: "succeeded" })], {
      retries: 1,
    });
    const phases: string[] = [];
    const job = await client.jobs.wait("job-1", { onUpdate: (view) => phases.push(view.phase) });
    expect(job.phase).toBe("succeeded");
    expect(phases).toEqual(["queued", "succeeded"]);
    expect(server.seen[0]?.path).toBe("/v1/jobs/job-1?waitS=60");
  });
});

test("nobody there: says where and why", async () => {
  server = await startScriptedServer([]);
  const { url } = server;
  await server.stop();
  const call = createClient({ url, retries: 0 }).jobs.get("job-1");
  await expect(call).rejects.toMatchObject({ code: "cannot_connect", message: expect.stringContaining("refused") });
});

test.each(["", "localhost:1", "ftp://x", "not a url"])("the URL %j is refused", async (url) => {
  server = await startScriptedServer([]);
  expect(() => createClient({ url })).toThrow(/is not the URL of an orchestrator/);
});
