// Checkpoints over the API: listed, read file by file, removed; and what is stored.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { JobId } from "@qubix/shared/domain";
import { buildTree, type BuiltTree } from "../checkpoints/testing/trees.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

const WAIT_MS = 20;

async function running(api: TestApi) {
  const consumer = await api.account("consumer", 10_000_000n);
  const worker = await api.worker(await api.account("provider"), "runner");
  const made = await consumer.call("POST /v1/jobs", jobSpec());
  const id = String(made.body["id"]);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  const save = async (seq: number, tree: BuiltTree): Promise<void> => {
    for (const { cid, bytes } of tree.chunks) await api.chunks.put(consumer.id, id, cid, bytes);
    expect(await api.chunks.admitTree(consumer.id, id, tree.ref)).toMatchObject({ kind: "ok" });
    await worker.checkpoint(attempt, seq, tree.ref);
    api.chunks.settleTree(consumer.id, id, tree.ref.manifestCid, true);
  };
  const stored = async () => (await consumer.call("GET /v1/storage")).body["bytes"] as number;
  return { ...consumer, jobId: id as JobId, path: `/v1/jobs/${id}/checkpoints`, worker, attempt, save, stored };
}

describe("checkpoints", () => {
  test("are listed with their files, and each downloads byte for byte", async () => {
    await using api = await startTestApi();
    const { call, path, save } = await running(api);
    const files = { "state/step": "17", "state/weights.bin": "w".repeat(100_000), empty: "" };
    await save(1, buildTree(files));
    expect((await call(`GET ${path}`)).body.items).toMatchObject([{ seq: 1, files: 3 }]);
    const listed = (await call(`GET ${path}/1/files`)).body.items ?? [];
    expect(listed.map((file) => file["path"])).toEqual(Object.keys(files));
    expect(listed[0]).toMatchObject({
      kind: "file",
      bytes: 2,
      mode: 0o644,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    for (const [name, text] of Object.entries(files)) {
      const got = await call(`GET ${path}/1/files/${name}`);
      expect(got.status).toBe(200);
      expect(got.text).toBe(text);
      expect(got.headers.get("content-length")).toBe(String(text.length));
    }
    for (const wrong of ["nothing", "state", "../state/step", "%2e%2e%2fempty"]) {
      expect((await call(`GET ${path}/1/files/${wrong}`)).status).toBe(404);
    }
    expect((await call(`GET ${path}/1/files/nothing`)).body).toMatchObject({ code: "file_not_found" });
    expect((await call(`GET ${path}/2/files`)).body).toMatchObject({ status: 404, code: "checkpoint_not_found" });
    expect((await call(`GET ${path}/zero/files`)).status).toBe(422);
    const other = await api.account("consumer");
    expect((await other.call(`GET ${path}/1/files`)).body).toMatchObject({ status: 404, code: "job_not_found" });
    expect((await other.call(`GET ${path}/1/files/empty`)).status).toBe(404);
    expect((await other.call(`DELETE ${path}/1`)).status).toBe(404);
  });

  test("are removed, which frees what only they had; the newest of a running job stays", async () => {
    await using api = await startTestApi();
    const { call, path, save, stored, worker, attempt } = await running(api);
    const common = "c".repeat(1_000);
    await save(1, buildTree({ common, own: "1".repeat(500) }));
    const one = await stored();
    await save(2, buildTree({ common, own: "2".repeat(500) }));
    const both = await stored();
    expect((await call(`DELETE ${path}/2`)).body).toMatchObject({ status: 409, code: "checkpoint_in_use" });
    expect((await call(`DELETE ${path}/1`)).status).toBe(204);
    expect((await call(`DELETE ${path}/1`)).body).toMatchObject({ status: 404, code: "checkpoint_not_found" });
    expect((await call(`GET ${path}`)).body.items).toMatchObject([{ seq: 2 }]);
    await expect.poll(stored).toBeLessThan(both);
    expect(Math.abs((await stored()) - one)).toBeLessThan(20);

    await worker.end(attempt, null);
    const removed = await Promise.all([2, 2, 2].map(() => call(`DELETE ${path}/2`)));
    expect(removed.map(({ status }) => status).toSorted()).toEqual([204, 404, 404]);
    await expect.poll(stored).toBe(0);
    await sleep(WAIT_MS);
    expect((await call(`GET ${path}`)).body.items).toEqual([]);
  });

  test("of a job that has ended are removed all at once, and none comes back", async () => {
    await using api = await startTestApi({ store: "sqlite" });
    const { call, path, save, worker, attempt } = await running(api);
    for (const seq of [1, 2, 3]) await save(seq, buildTree({ own: `of ${seq}` }));
    await worker.end(attempt, null);
    const removed = await Promise.all([1, 2, 3].map((seq) => call(`DELETE ${path}/${seq}`)));
    expect(removed.map(({ status }) => status)).toEqual([204, 204, 204]);
    expect((await call(`GET ${path}`)).body.items).toEqual([]);
  });
});

describe("what is stored", () => {
  test("is bounded for each account: an upload beyond it is refused, and says what to do", async () => {
    await using api = await startTestApi({ bytesPerAccountMax: 1_000 });
    const { call } = await api.account("consumer");
    const put = (text: string) => {
      const [chunk] = buildTree({ a: text }).chunks;
      if (chunk === undefined) throw new Error("no chunk");
      const headers = { "content-type": "application/octet-stream" };
      return call(`PUT /v1/uploads/chunks/${chunk.cid}`, undefined, { raw: chunk.bytes, headers });
    };
    const noise = randomBytes(500).toString("base64");
    expect((await put(noise)).status).toBe(204);
    const { bytes } = (await call("GET /v1/storage")).body;
    expect((await call("GET /v1/storage")).body).toEqual({ bytes, bytesMax: 1_000 });
    const refused = await put(randomBytes(500).toString("base64"));
    expect(refused.body).toMatchObject({ status: 507, code: "storage_quota", bytes, bytesMax: 1_000 });
    expect(String(refused.body["detail"])).toContain("qubix checkpoints rm");
    expect((await put(noise)).status).toBe(204);
  });
});
