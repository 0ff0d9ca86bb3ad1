import { describe, expect, test } from "vitest";
import { startTestApi } from "./testing/test-api.ts";

const ROUTES = [
  "GET /healthz",
  "GET /readyz",
  "GET /metrics",
  "GET /openapi.json",
  "POST /v1/jobs",
  "GET /v1/jobs",
  "GET /v1/jobs/{id}",
  "POST /v1/jobs/{id}/cancel",
  "POST /v1/jobs/{id}/move",
  "POST /v1/jobs/batch",
  "GET /v1/jobs/{id}/events",
  "GET /v1/jobs/{id}/logs",
  "GET /v1/jobs/{id}/checkpoints",
  "GET /v1/jobs/{id}/checkpoints/{seq}/car",
  "DELETE /v1/jobs/{id}/checkpoints/{seq}",
  "GET /v1/jobs/{id}/checkpoints/{seq}/files",
  "GET /v1/jobs/{id}/checkpoints/{seq}/files/{*}",
  "GET /v1/storage",
  "GET /v1/jobs/{id}/outputs",
  "GET /v1/jobs/{id}/outputs/{*}",
  "GET /v1/jobs/{id}/receipt",
  "GET /v1/statements",
  "GET /v1/earnings",
  "POST /v1/uploads",
  "POST /v1/uploads/missing",
  "PUT /v1/uploads/chunks/{cid}",
  "POST /v1/quotes",
  "GET /v1/offers",
  "GET /v1/workers",
  "GET /v1/workers/{id}",
  "POST /v1/workers/{id}/drain",
  "POST /v1/enrolments",
  "POST /v1/enrolments/redeem",
  "POST /v1/accounts",
  "GET /v1/accounts",
  "POST /v1/api-keys",
  "GET /v1/wallet",
  "GET /v1/wallet/entries",
  "POST /v1/wallet/deposits",
  "GET /v1/deposit-addresses",
  "PUT /v1/deposit-addresses/{driver}",
  "GET /v1/payout-addresses",
  "PUT /v1/payout-addresses/{driver}",
  "POST /v1/payouts",
  "GET /v1/payouts",
  "POST /v1/payouts/{id}/complete",
  "POST /v1/payouts/{id}/reject",
  "GET /v1/canaries",
  "GET /v1/chains",
  "POST /v1/chains/{driver}/reconcile",
  "POST /v1/chains/{driver}/resume",
  "POST /v1/chains/{driver}/release",
  "GET /v1/budgets",
  "PUT /v1/budgets",
  "DELETE /v1/budgets",
  "GET /v1/events",
  "GET /v1/stats/recovery",
  "GET /v1/disputes",
  "GET /v1/disputes/{id}",
  "GET /v1/jobs/{id}/rating",
  "GET /v1/slashes",
  "GET /v1/slashes/{id}",
  "GET /v1/stakes",
  "POST /v1/disputes/{id}/resolve",
  "POST /v1/jobs/{id}/dispute",
  "POST /v1/jobs/{id}/rating",
  "POST /v1/slashes",
  "POST /v1/slashes/{id}/appeal",
  "POST /v1/slashes/{id}/resolve",
  "POST /v1/stakes",
  "POST /v1/stakes/unstake",
];

describe("the OpenAPI document", () => {
  test("is version 3.1 and names exactly the routes there are, each with a summary and answers", async () => {
    await using api = await startTestApi();
    const { status, body } = await api.anyone("GET /openapi.json");
    expect(status).toBe(200);
    expect(body["openapi"]).toBe("3.1.0");
    const paths = body["paths"] as Record<string, Record<string, { summary?: string; responses?: object }>>;
    const found = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods)
        .filter((method) => method !== "head")
        .map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(found.toSorted()).toEqual(ROUTES.toSorted());
    for (const methods of Object.values(paths)) {
      for (const operation of Object.values(methods)) {
        expect(operation.summary).toBeTruthy();
        expect(Object.keys(operation.responses ?? {}).length).toBeGreaterThan(0);
      }
    }
  });

  test("every reference in it leads somewhere", async () => {
    await using api = await startTestApi();
    const { body } = await api.anyone("GET /openapi.json");
    const text = JSON.stringify(body);
    for (const [, pointer = ""] of text.matchAll(/"\$ref":"#([^"]*)"/g)) {
      const target = pointer
        .split("/")
        .slice(1)
        .reduce<unknown>((node, part) => (node as Record<string, unknown> | undefined)?.[part], body);
      expect(target, pointer).toBeDefined();
    }
  });

  test("describes the specification with its fields and defaults", async () => {
    await using api = await startTestApi();
    const { body } = await api.anyone("GET /openapi.json");
    const paths = body["paths"] as Record<string, Record<string, { requestBody?: unknown }>>;
    const text = JSON.stringify(paths["/v1/jobs"]?.["post"]?.requestBody);
    for (const field of ["image", "priceMaxPerHour", "durationMaxS", "resources", "standby", "stallAfterS"]) {
      expect(text).toContain(`"${field}"`);
    }
  });

  test("can be read as a page", async () => {
    await using api = await startTestApi();
    const { status, text } = await api.anyone("GET /docs/");
    expect(status).toBe(200);
    expect(text).toContain("swagger");
  });
});
