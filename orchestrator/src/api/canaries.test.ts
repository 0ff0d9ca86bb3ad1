// Canaries over the API: their operator sees what came of them, and nobody else that there are any.
import { jobSpecSchema } from "@qubix/shared/protocol";
import { expect, test } from "vitest";
import { buildTree } from "../checkpoints/testing/trees.ts";
import { jobSpec, startTestApi } from "./testing/test-api.ts";

const CANARY = {
  name: "one",
  spec: jobSpecSchema.parse(jobSpec({ image: `docker.io/library/python@sha256:${"c".repeat(64)}` })),
  expected: { exitCode: 0, sum: "a".repeat(64) },
};

test("a canary is in the admin's list and jobs, and in nobody else's", async () => {
  await using api = await startTestApi({ canaries: [CANARY] });
  const consumer = await api.account("consumer", 10_000_000n);
  const provider = await api.account("provider");
  const worker = await api.worker(provider, "anna");
  const { admin } = api;
  expect((await admin("GET /v1/canaries")).body).toEqual({
    share: 1,
    items: [{ name: "one", gpuModel: null, given: 0, right: 0, wrong: 0, state: "unproven" }],
  });
  const { id } = (await consumer.call("POST /v1/jobs", jobSpec())).body;
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  const tree = buildTree({ "out/result": "42" });
  for (const { cid, bytes } of tree.chunks) await api.chunks.put(consumer.id, attempt.jobId, cid, bytes);
  expect(await api.chunks.admitTree(consumer.id, attempt.jobId, tree.ref)).toMatchObject({ kind: "ok" });
  await worker.end(attempt, tree.ref);
  const given = await worker.nextAssign();
  expect(given.jobId).not.toBe(id);
  expect((await admin("GET /v1/canaries")).body).toMatchObject({ items: [{ given: 1 }] });
  expect((await admin(`GET /v1/jobs/${given.jobId}`)).body).toMatchObject({ canary: "one", accountId: "acc-admin" });
  for (const { call } of [consumer, provider]) {
    expect((await call("GET /v1/canaries")).body).toMatchObject({ status: 403, code: "forbidden" });
    expect((await call(`GET /v1/jobs/${given.jobId}`)).body).toMatchObject({ status: 404 });
    expect(JSON.stringify((await call("GET /v1/jobs")).body)).not.toContain(given.jobId);
  }
  // Its provider has a receipt of it like that of any job.
  await worker.start(given);
  await worker.end(given, null);
  const receipts = await Promise.all(
    [String(id), given.jobId].map(async (job) => (await provider.call(`GET /v1/jobs/${job}/receipt`)).body),
  );
  expect(receipts[1]).toMatchObject({ jobId: given.jobId, view: "provider", phase: "succeeded", agreed: null });
  expect(shapeOf(receipts[1])).toEqual(shapeOf(receipts[0]));
});

/** Names and types, without what they say. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== "object" || value === null) return value === null ? null : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, shapeOf(part)]));
}
