// Every documented error of the HTTP layer: what is wrong, what to do, and nothing half done.
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { jobSpec, startTestApi } from "./testing/test-api.ts";

describe("who asks", () => {
  test.each([
    ["no key", {}, "unauthorized"],
    ["another scheme", { authorization: "Basic abc" }, "unauthorized"],
    ["an unknown key", { authorization: "Bearer qbx_nobody" }, "unauthorized"],
    ["a key of absurd length", { "x-api-key": "k".repeat(5000) }, "unauthorized"],
  ])("%s gets 401 and is told what to do", async (_name, headers, code) => {
    await using api = await startTestApi();
    const { status, body, headers: answered } = await api.anyone("GET /v1/jobs", undefined, { headers });
    expect(status).toBe(401);
    expect(body).toMatchObject({ code, status: 401, type: `urn:qubix:problem:${code}` });
    expect(answered.get("content-type")).toContain("application/problem+json");
    expect(answered.get("www-authenticate")).toContain("Bearer");
  });

  test("a key is taken from either header", async () => {
    await using api = await startTestApi();
    const { key } = await api.account("consumer");
    expect((await api.anyone("GET /v1/jobs", undefined, { headers: { "x-api-key": key } })).status).toBe(200);
    expect((await api.anyone("GET /v1/jobs", undefined, { headers: { authorization: `bearer ${key}` } })).status).toBe(
      200,
    );
  });

  test("roles are kept apart", async () => {
    await using api = await startTestApi();
    const consumer = await api.account("consumer");
    const provider = await api.account("provider");
    for (const route of ["POST /v1/accounts", "POST /v1/api-keys", "POST /v1/wallet/deposits"]) {
      expect((await consumer.call(route, {})).body).toMatchObject({ status: 403, code: "forbidden" });
      expect((await provider.call(route, {})).body).toMatchObject({ status: 403, code: "forbidden" });
    }
    expect((await consumer.call("POST /v1/enrolments", {})).body).toMatchObject({ status: 403 });
    expect((await provider.call("POST /v1/jobs", jobSpec())).body).toMatchObject({ status: 403 });
    expect((await provider.call("POST /v1/uploads/missing", { cids: [] })).body).toMatchObject({ status: 403 });
  });
});

describe("what is sent", () => {
  test("a wrong specification: every wrong field is named, and nothing is made", async () => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer", 10_000_000n);
    const wrong = {
      ...jobSpec(),
      image: "Not An Image",
      cpus: 3,
      resources: { cpu: 1, memoryMiB: -5 },
      durationMaxS: undefined,
    };
    const { status, body } = await call("POST /v1/jobs", wrong);
    expect(status).toBe(422);
    expect(body["code"]).toBe("invalid_request");
    const paths = (body["errors"] as { path: string; message: string }[]).map(({ path }) => path);
    expect(paths.toSorted()).toEqual(["cpus", "durationMaxS", "image", "resources.cpu", "resources.memoryMiB"]);
    expect((await call("GET /v1/jobs")).body.items).toEqual([]);
  });

  test.each([
    ["broken JSON", { raw: '{"image": ' }, 400, "invalid_json"],
    ["JSON that poisons prototypes", { raw: '{"__proto__": {"x": 1}}' }, 400, "invalid_json"],
    ["nothing at all", { raw: "" }, 422, "invalid_request"],
    ["not an object", { raw: "[]" }, 422, "invalid_request"],
    [
      "another content type",
      { raw: "a: 1", headers: { "content-type": "application/yaml" } },
      415,
      "unsupported_media_type",
    ],
    ["more than the limit", { raw: JSON.stringify({ image: "x".repeat(1024 * 1024) }) }, 413, "body_too_large"],
    [
      "an odd idempotency key",
      { raw: JSON.stringify(jobSpec()), headers: { "idempotency-key": "a b" } },
      422,
      "invalid_request",
    ],
    [
      "a long idempotency key",
      { raw: JSON.stringify(jobSpec()), headers: { "idempotency-key": "k".repeat(129) } },
      422,
      "invalid_request",
    ],
  ])("%s", async (_name, options, status, code) => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer");
    const answer = await call("POST /v1/jobs", undefined, options);
    expect(answer.body).toMatchObject({ status, code });
    expect(answer.status).toBe(status);
  });

  test.each([
    ["GET /v1/jobs?limit=0", "query.limit"],
    ["GET /v1/jobs?limit=501", "query.limit"],
    ["GET /v1/jobs?phase=sleeping", "query.phase"],
    ["GET /v1/jobs?colour=red", "query.colour"],
    ["GET /v1/jobs?cursor=nonsense", "query.cursor"],
    ["GET /v1/wallet/entries?cursor=nonsense", "query.cursor"],
    ["GET /v1/workers?cursor=1", "query.cursor"],
  ])("%s names %s", async (route, path) => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer");
    const { status, body } = await call(route);
    expect(status).toBe(422);
    expect(body["errors"]).toMatchObject([{ path }]);
  });
});

describe("what is not there", () => {
  test.each([
    ["GET /v1/nothing", 404, "route_not_found"],
    ["GET /", 404, "route_not_found"],
    ["DELETE /v1/jobs", 405, "method_not_allowed"],
    ["PUT /v1/jobs/job-1/logs", 405, "method_not_allowed"],
    ["GET /v1/jobs/job-0", 404, "job_not_found"],
    ["GET /v1/jobs/..%2f..%2fetc", 404, "job_not_found"],
    ["GET /v1/jobs/job-0/events", 404, "job_not_found"],
    ["GET /v1/jobs/job-0/logs?follow=true", 404, "job_not_found"],
    ["GET /v1/jobs/job-0/checkpoints", 404, "job_not_found"],
    ["GET /v1/jobs/job-0/outputs", 404, "job_not_found"],
    ["GET /v1/jobs/job-0/outputs/a/b", 404, "job_not_found"],
    ["POST /v1/jobs/job-0/cancel", 404, "job_not_found"],
    ["GET /v1/workers/wrk-0", 404, "worker_not_found"],
    ["POST /v1/workers/wrk-0/drain", 404, "worker_not_found"],
    ["GET /v1/wallet?accountId=acc-nobody", 404, "account_not_found"],
  ])("%s → %i %s", async (route, status, code) => {
    await using api = await startTestApi();
    const answer = await api.admin(route);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ status, code });
    if (status === 405) expect(answer.headers.get("allow")).toBeTruthy();
  });

  test("live events without a WebSocket: 426", async () => {
    await using api = await startTestApi();
    expect((await api.admin("GET /v1/events")).body).toMatchObject({ status: 426, code: "upgrade_required" });
  });
});

describe("what is no HTTP", () => {
  test.each([
    ["gibberish", "HELLO\r\n\r\n", 400, "malformed_request"],
    [
      "headers without end",
      `GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}\r\n\r\n`,
      431,
      "headers_too_large",
    ],
  ])("%s gets a problem document", async (_name, text, status, code) => {
    await using api = await startTestApi();
    const answer = await rawExchange(api.url, text);
    expect(answer).toContain(`HTTP/1.1 ${status} `);
    expect(answer).toContain(`"code":"${code}"`);
  });
});

function rawExchange(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (part) => parts.push(part));
    socket.on("close", () => resolve(Buffer.concat(parts).toString()));
    socket.on("error", reject);
  });
}
