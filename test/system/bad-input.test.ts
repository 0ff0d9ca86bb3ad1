// Whatever is sent, each gets a message that says what is wrong and what to do; nothing crashes, nothing is half done, no money stays locked.
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runProgram } from "../../scripts/lib/processes.ts";
import { shellJob, startTestNetwork, type TestNetwork } from "./fixture.ts";

let network: TestNetwork;
beforeAll(async () => {
  network = await startTestNetwork(["anna"]);
});
afterAll(async () => {
  try {
    const wallet = await network.consumer.client.wallet.get();
    expect(wallet.balances.map((balance) => balance.held)).toEqual(["0"]);
    expect(network.orchestrator().running()).toBe(true);
  } finally {
    await network.stop();
  }
});

async function post(path: string, body: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${network.url}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${network.consumer.apiKey}`, "content-type": "application/json", ...headers },
    body,
  });
  const problem = (await response.json()) as {
    code: string;
    detail: string;
    status: number;
    errors?: { path: string }[];
  };
  return { status: response.status, type: response.headers.get("content-type") ?? "", problem };
}

describe("specifications", () => {
  it.each([
    ["malformed JSON", "{", 400, "invalid_json"],
    ["no object", "[]", 422, "invalid_request"],
    ["an unknown field", JSON.stringify({ ...shellJob("true"), surprise: 1 }), 422, "invalid_request"],
    ["odd characters in a name", JSON.stringify(shellJob("true", { name: "a\u0000b" })), 422, "invalid_request"],
    ["NUL for a program", JSON.stringify(shellJob("true", { env: { A: "\u0000" } })), 422, "invalid_request"],
    [
      "more text than one message to a worker carries",
      JSON.stringify(
        shellJob("true", {
          env: Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`A${n}`, "x".repeat(32_000)])),
        }),
      ),
      422,
      "invalid_request",
    ],
    ["a bad image reference", JSON.stringify({ ...shellJob("true"), image: "http://x y" }), 422, "invalid_request"],
    ["impossible figures", JSON.stringify({ ...shellJob("true"), durationMaxS: -1 }), 422, "invalid_request"],
    [
      "an unknown local image",
      JSON.stringify({ ...shellJob("true"), image: "nobody/has:local" }),
      422,
      "image_unknown",
    ],
    [
      "a registry that is not allowed",
      JSON.stringify({ ...shellJob("true"), image: "127.0.0.1:8081/x/y" }),
      422,
      "image_not_allowed",
    ],
    [
      "what is not built yet",
      JSON.stringify({ ...shellJob("true"), isolation: "sandboxed", network: "egress" }),
      422,
      "not_available",
    ],
    [
      "more than the wallet has",
      JSON.stringify({ ...shellJob("true"), priceMaxPerHour: { amount: "9000000000", currency: "USD" } }),
      402,
      "insufficient_funds",
    ],
    [
      "another currency",
      JSON.stringify({ ...shellJob("true"), priceMaxPerHour: { amount: "1", currency: "EUR" } }),
      402,
      "insufficient_funds",
    ],
    [
      "an upload of nobody",
      JSON.stringify({ ...shellJob("true"), inputs: [{ upload: "upl-none", to: "/data" }] }),
      422,
      "upload_unknown",
    ],
  ])("%s", async (_what, body, status, code) => {
    const answer = await post("/v1/jobs", body);
    expect([answer.status, answer.problem.code]).toEqual([status, code]);
    expect(answer.type).toContain("application/problem+json");
    expect(answer.problem.detail.length).toBeGreaterThan(20);
  });
  it("too large a body", async () => {
    // Little over the limit: it lies whole in the socket's buffer when the answer comes, and the line is closed behind that.
    const answer = await post("/v1/jobs", JSON.stringify({ ...shellJob("true"), env: { A: "x".repeat(1_050_000) } }));
    expect([answer.status, answer.problem.code]).toEqual([413, "body_too_large"]);
  });
  it("no key, and a wrong one", async () => {
    expect((await post("/v1/jobs", "{}", { authorization: "" })).status).toBe(401);
    expect((await post("/v1/jobs", "{}", { authorization: "Bearer qbx_wrong" })).problem.code).toBe("unauthorized");
  });
  it("half a request on a socket that then stays silent does not hold others up", async () => {
    const { hostname, port } = new URL(network.url);
    const socket = connect(Number(port), hostname);
    socket.write("POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    expect((await fetch(`${network.url}/healthz`)).status).toBe(200);
    socket.destroy();
  });
});

describe("workers", () => {
  const enrol = (token: string, dataDir: string) =>
    runProgram("worker", ["enrol", "--url", network.url, "--token", token, "--name", "x", "--data-dir", dataDir]);
  const folder = () => `${network.workers[0]?.dataDir ?? ""}-${Math.random().toString(36).slice(2)}`;

  it("refuses a token that is unknown, used or expired, with one line", async () => {
    const unknown = await enrol("t".repeat(43), folder());
    expect([unknown.code !== 0, unknown.stderr.trim().split("\n").length]).toEqual([true, 1]);
    expect(unknown.stderr).toMatch(/token/i);
    const { token } = await network.admin.enrolments.create({ accountId: network.workers[0]?.providerId ?? "" });
    expect((await enrol(token, folder())).code).toBe(0);
    const used = await enrol(token, folder());
    expect(used.stderr).toMatch(/used/i);
    const short = await network.admin.enrolments.create({ accountId: network.workers[0]?.providerId ?? "", ttlS: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect((await enrol(short.token, folder())).stderr).toMatch(/expired/i);
  });
  it("says that a folder is not enrolled", async () => {
    const started = await runProgram("worker", ["start", "--data-dir", folder()]);
    expect([started.code !== 0, started.stderr]).toEqual([true, expect.stringMatching(/enrol/)]);
  });
});

describe("the command line", () => {
  const qubix = (...args: string[]) =>
    runProgram("client", args, { QUBIX_URL: network.url, QUBIX_API_KEY: network.consumer.apiKey });

  it("exits with 0 only when the job succeeded", async () => {
    const price = ["--price-max", "0.60/h", "--duration", "60s", "--cpus", "0.5", "--memory", "64MiB", "--wait"];
    expect(
      (await qubix("run", "--image", "qubix/tiny:local", ...price, "--retries", "0", "--", "/bin/sh", "-c", "exit 5"))
        .code,
    ).toBe(1);
    expect((await qubix("run", "--image", "nobody/has:local", ...price, "--", "true")).code).not.toBe(0);
    expect((await qubix("jobs", "job-none")).code).toBe(4);
    expect((await qubix("no-such-command")).code).toBe(2);
    expect((await runProgram("client", ["jobs"], { QUBIX_URL: network.url, QUBIX_API_KEY: "qbx_wrong" })).code).toBe(3);
    expect((await runProgram("client", ["jobs"], { QUBIX_URL: "http://127.0.0.1:1", QUBIX_API_KEY: "x" })).code).toBe(
      5,
    );
  });
});
