import { describe, expect, test } from "vitest";
import { jobSpec, startTestApi } from "./testing/test-api.ts";

describe("health", () => {
  test("alive and ready, for anybody", async () => {
    await using api = await startTestApi();
    expect((await api.anyone("GET /healthz")).body).toEqual({ status: "ok" });
    expect((await api.anyone("GET /readyz")).body).toEqual({ status: "ready" });
  });

  test("a writer that takes nothing: still alive, not ready, and every change is refused with when to try again", async () => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer", 1_000_000n);
    await api.writer.stop();
    expect((await api.anyone("GET /healthz")).status).toBe(200);
    expect((await api.anyone("GET /readyz")).body).toMatchObject({ status: 503, code: "not_ready" });
    const refused = await call("POST /v1/jobs", jobSpec());
    expect(refused.body).toMatchObject({ status: 503, code: "stopping" });
    expect(refused.headers.get("retry-after")).toBe("1");
    expect((await call("GET /v1/jobs")).body.items).toEqual([]);
  });

  test("metrics in the Prometheus text format count what happened, and name nobody", async () => {
    await using api = await startTestApi();
    const { call, id } = await api.account("consumer", 1_000_000n);
    await call("POST /v1/jobs", jobSpec({ placement: { workers: ["wrk-none"] } }));
    await call("GET /v1/nothing");
    const { text, headers } = await api.anyone("GET /metrics");
    expect(headers.get("content-type")).toContain("text/plain");
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(/^(# TYPE [a-z_]+ (counter|gauge)|[a-z][a-z0-9_]*(\{[a-z]+="[^"]*"\})? -?[0-9.e+-]+)$/);
    }
    expect(text).toMatch(/^qubix_jobs_queued 1$/m);
    expect(text).toMatch(/^qubix_http_requests_total\{status="4xx"\} 1$/m);
    expect(text).toMatch(/^qubix_event_loop_lag_p99_seconds /m);
    expect(text).not.toContain(id);
  });
});
