// Secrets of a job through the real API: into the vault before the job is there, to its worker sealed, and nowhere else.
import { generateKeyPairSync } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { OrchestratorMessage, SealedContent } from "@qubix/shared/protocol";
import { open, rawSealingKey, type SealingContext } from "@qubix/shared/runtime";
import type { DrivenWorker } from "./testing/driven-worker.ts";
import { jobSpec, startTestApi, type TestAccount, type TestApi } from "./testing/test-api.ts";

const VALUE = "s3cret-value-of-this-test";
const PASSWORD = "p4ssword-of-this-test";
const sealingKey = generateKeyPairSync("x25519").privateKey;

let api: TestApi;
let consumer: TestAccount;
let worker: DrivenWorker;
beforeAll(async () => {
  api = await startTestApi({ store: "sqlite" });
  consumer = await api.account("consumer", 10n ** 9n);
  const provider = await api.account("provider");
  const publicKey = rawSealingKey(sealingKey);
  worker = await api.worker(provider, "anna", { features: ["secrets"], sealingKey: { publicKey, signature: "AA" } });
});
afterAll(() => api.stop());

const secretJob = (over: object = {}) =>
  jobSpec({ secrets: { TOKEN: VALUE }, registryAuth: { username: "me", password: PASSWORD }, ...over });
const entries = () => readdirSync(join(api.dir, "vault")).filter((name) => name !== "key-check");

function opened(
  message: Extract<OrchestratorMessage, { kind: "assign" | "prepare" | "promote" }>,
  of: SealingContext["of"],
): SealedContent {
  const jobId = message.kind === "prepare" ? message.jobId : message.attempt.jobId;
  const context = { orchestratorId: "orc-test", workerId: worker.id, purpose: message.kind, jobId, of };
  if (message.sealed === undefined) throw new Error("nothing was sealed");
  return JSON.parse(open(sealingKey, message.sealed, context).toString()) as SealedContent;
}

describe("a job with secrets", () => {
  it("reaches its worker sealed, for this attempt, and shows only names to its owner", async () => {
    const { status, body } = await consumer.call("POST /v1/jobs", secretJob());
    expect(status).toBe(201);
    const shown = { secrets: { TOKEN: "[sealed]" }, registryAuth: { username: "[sealed]", password: "[sealed]" } };
    expect(body["spec"]).toMatchObject(shown);
    expect(entries()).toHaveLength(1);

    const attempt = await worker.nextAssign();
    const assign = worker.received.find((message) => message.kind === "assign");
    if (assign?.kind !== "assign") throw new Error("no assign");
    expect(assign.run).toMatchObject({ secretNames: ["TOKEN"], registryAuth: true });
    expect(opened(assign, { replica: 0, epoch: 1 })).toEqual({
      secrets: { TOKEN: VALUE },
      registryAuth: { username: "me", password: PASSWORD },
    });
    expect(() => opened(assign, { replica: 0, epoch: 2 })).toThrow();

    const view = await consumer.call(`GET /v1/jobs/${String(body["id"])}`);
    const list = await consumer.call("GET /v1/jobs");
    const events = await consumer.call(`GET /v1/jobs/${String(body["id"])}/events`);
    for (const { text } of [view, list, events]) {
      expect(text).not.toContain(VALUE);
      expect(text).not.toContain(PASSWORD);
    }
    await worker.start(attempt);
    expect(entries()).toHaveLength(1);
    await worker.end(attempt, null);
    expect(entries()).toEqual([]);
  });

  it("is not made of a view of it", async () => {
    const answer = await consumer.call("POST /v1/jobs", secretJob({ secrets: { TOKEN: "[sealed]" } }));
    expect(answer.status).toBe(422);
    expect(answer.text).toContain("secrets.TOKEN");
    const quote = await consumer.call("POST /v1/quotes", { spec: secretJob({ secrets: { TOKEN: "[sealed]" } }) });
    expect(quote.status).toBe(200);
  });

  it("leaves nothing when it is refused, or asked for twice", async () => {
    const before = entries();
    const poor = await api.account("consumer");
    expect((await poor.call("POST /v1/jobs", secretJob())).status).toBe(402);
    expect(entries()).toEqual(before);
    const key = { headers: { "idempotency-key": "once" } };
    const waiting = secretJob({ resources: { cpus: 900 } });
    const first = await consumer.call("POST /v1/jobs", waiting, key);
    const again = await consumer.call("POST /v1/jobs", waiting, key);
    expect([first.status, again.status, again.body["id"]]).toEqual([201, 200, first.body["id"]]);
    expect(entries()).toHaveLength(before.length + 1);
    const other = secretJob({ resources: { cpus: 900 }, secrets: { TOKEN: "another" } });
    expect((await consumer.call("POST /v1/jobs", other, key)).status).toBe(409);
    expect(entries()).toHaveLength(before.length + 1);
    await consumer.call(`POST /v1/jobs/${String(first.body["id"])}/cancel`);
    expect(entries()).toEqual(before);
  });

  it("is in no file of the data directory in the clear, not even as a hash", async () => {
    await consumer.call("POST /v1/jobs", secretJob({ resources: { cpus: 900 } }), {
      headers: { "idempotency-key": "files" },
    });
    const files = readdirSync(api.dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(files.length).toBeGreaterThan(2);
    for (const file of files) {
      const text = readFileSync(join(file.parentPath, file.name)).toString("latin1");
      expect([file.name, text.includes(VALUE), text.includes(PASSWORD)]).toEqual([file.name, false, false]);
    }
  });
});
