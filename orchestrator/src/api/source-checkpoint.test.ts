// Jobs that begin from another job's checkpoint, through HTTP and the real chunk store: the tree stays as long as one of them keeps it.
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { TreeRef } from "@qubix/shared/protocol";
import type { JobId } from "@qubix/shared/domain";
import { keepSources } from "./source-checkpoint.ts";
import { cidOf, treeOf } from "./testing/trees.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

async function started(api: TestApi) {
  const consumer = await api.account("consumer", 10_000_000n);
  const worker = await api.worker(await api.account("provider"), "first");
  const made = await consumer.call("POST /v1/jobs", jobSpec({ checkpoint: { keep: 1 } }));
  const id = String(made.body["id"]) as JobId;
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  /** As the gateway does it: the tree is admitted, then told to the core. */
  const commit = async (seq: number, tree: TreeRef, of = attempt) => {
    await api.chunks.admitTree(consumer.id, of.jobId, tree);
    await worker.checkpoint(of, seq, tree);
    api.chunks.settleTree(consumer.id, of.jobId, tree.manifestCid, true);
  };
  const store = async (jobId: JobId) => {
    const { manifest, chunks } = treeOf({ state: randomBytes(1_000) });
    for (const chunk of chunks) await api.chunks.put(consumer.id, jobId, chunk.cid, chunk.bytes);
    return api.chunks.putManifest(consumer.id, jobId, manifest);
  };
  return { consumer, worker, id, commit, store };
}

test("its tree is held from the moment it is accepted until it is no longer kept", async () => {
  await using api = await startTestApi();
  const { consumer, worker, id, commit, store } = await started(api);
  const { call } = consumer;
  expect((await call("POST /v1/jobs", jobSpec({ fromCheckpoint: { job: id } }))).body).toMatchObject({
    status: 422,
    code: "checkpoint_none",
  });
  const quote = () => call("POST /v1/quotes", { spec: jobSpec({ fromCheckpoint: { job: id } }) });
  expect((await quote()).body).toMatchObject({ status: 422, code: "checkpoint_none" });
  const tree = await store(id);
  await commit(1, tree);
  expect((await quote()).body).toMatchObject({ hold: { currency: "USD" } });
  const made = await call("POST /v1/jobs", jobSpec({ fromCheckpoint: { job: id }, checkpoint: { keep: 1 } }));
  expect(made.status).toBe(201);
  expect(made.body).toMatchObject({ fromCheckpoint: { jobId: id, seq: 1 }, checkpoint: { seq: 1 } });
  const mine = await worker.nextAssign();
  expect(worker.received.at(-1)).toMatchObject({ kind: "assign", checkpoint: { seq: 1, tree: { files: 1 } } });

  await commit(2, await store(id));
  await api.chunks.sweep();
  expect((await call(`GET /v1/jobs/${id}/checkpoints`)).body.items?.map((item) => item["seq"])).toEqual([2]);
  expect(await api.chunks.readManifest(consumer.id, tree.manifestCid)).toMatchObject({ version: 1 });
  expect((await call("POST /v1/jobs", jobSpec({ fromCheckpoint: { job: id, seq: 1 } }))).body).toMatchObject({
    status: 422,
    code: "checkpoint_not_kept",
    kept: [2],
  });

  await worker.start(mine);
  await commit(2, await store(mine.jobId), mine);
  await expect.poll(() => api.chunks.get(consumer.id, tree.manifestCid)).toBeUndefined();
});

test("a repeated request is answered with its first result, whatever the other job keeps now", async () => {
  await using api = await startTestApi();
  const { consumer, id, commit, store } = await started(api);
  await commit(1, await store(id));
  const ask = (key: string) =>
    consumer.call("POST /v1/jobs", jobSpec({ fromCheckpoint: { job: id, seq: 1 } }), {
      headers: { "idempotency-key": key },
    });
  const first = await ask("k");
  expect(first.status).toBe(201);
  await commit(2, await store(id));
  expect(await ask("k")).toMatchObject({ status: 200, body: { id: first.body["id"] } });
  expect((await ask("other")).body).toMatchObject({ code: "checkpoint_not_kept" });
});

test("others' jobs look unknown, and a tree that lost a piece is not begun from", async () => {
  await using api = await startTestApi();
  const { consumer, id, commit, worker } = await started(api);
  const other = await api.account("consumer", 10_000_000n);
  await commit(1, {
    manifestCid: cidOf(Buffer.from("never stored")),
    files: 1,
    bytes: 1,
    bytesMoved: 1,
  });
  const spec = jobSpec({ fromCheckpoint: { job: id } });
  expect((await other.call("POST /v1/jobs", spec)).body).toMatchObject({ status: 422, code: "checkpoint_job_unknown" });
  expect((await consumer.call("POST /v1/jobs", spec)).body).toMatchObject({
    status: 422,
    code: "checkpoint_not_whole",
  });
  expect(worker.received.filter(({ kind }) => kind === "assign")).toHaveLength(1);
});

test("after a crash between the job's record and its reference, the next start makes the reference", async () => {
  await using api = await startTestApi();
  const { consumer, id, commit, store } = await started(api);
  const tree = await store(id);
  await commit(1, tree);
  const made = await consumer.call("POST /v1/jobs", jobSpec({ fromCheckpoint: { job: id } }));
  const mine = String(made.body["id"]) as JobId;
  // What the crash leaves: the record names the tree, and no reference of this job does.
  const named: string[] = [];
  await keepSources(api.writer.store, {
    settleTree: (...args) => api.chunks.settleTree(...args),
    admitTree: (account, holder, ref) => {
      named.push(`${holder} ${ref.manifestCid}`);
      return api.chunks.admitTree(account, holder, ref);
    },
  });
  expect(named).toEqual([`${mine} ${tree.manifestCid}`]);
  await commit(2, await store(id));
  await api.chunks.sweep();
  expect(await api.chunks.get(consumer.id, tree.manifestCid)).toBeDefined();
});
