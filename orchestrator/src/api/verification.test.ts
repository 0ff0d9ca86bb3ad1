// Verified results over the API: what a consumer sees of the runs that check a job, and what he does not.
import type { AttemptRef } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { buildTree, type BuiltTree } from "../checkpoints/testing/trees.ts";
import { compareTrees, createComparer, type CompareEffect } from "../verification/comparer.ts";
import { createLogger } from "@qubix/shared/runtime";
import type { CoreEvent } from "../core/index.ts";
import type { DrivenWorker } from "./testing/driven-worker.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

const MAJORITY = { verification: { mode: "majority" }, priceMaxPerHour: { amount: "300000", currency: "USD" } };
const IMAGE_DIGEST = `sha256:${"a".repeat(64)}`;

async function fleet(api: TestApi, count: number) {
  const consumer = await api.account("consumer", 10_000_000n);
  const workers: DrivenWorker[] = [];
  for (let n = 0; n < count; n += 1) {
    const provider = await api.account("provider");
    workers.push(await api.worker(provider, `worker${n}`, { features: ["image-digest"] }));
  }
  const finish = async (worker: DrivenWorker, attempt: AttemptRef, tree: BuiltTree) => {
    await worker.say({ kind: "started", attempt, fromSeq: 0, imageDigest: IMAGE_DIGEST });
    for (const { cid, bytes } of tree.chunks) await api.chunks.put(consumer.id, attempt.jobId, cid, bytes);
    expect(await api.chunks.admitTree(consumer.id, attempt.jobId, tree.ref)).toMatchObject({ kind: "ok" });
    await worker.end(attempt, tree.ref);
    api.chunks.settleTree(consumer.id, attempt.jobId, tree.ref.manifestCid, true);
  };
  /** The next of the workers that is given something. */
  const next = async (): Promise<{ readonly worker: DrivenWorker; readonly attempt: AttemptRef }> => {
    const found = await Promise.race(workers.map(async (worker) => ({ worker, attempt: await worker.nextAssign() })));
    return found;
  };
  return { ...consumer, workers, finish, next };
}

test("the runs of a majority are told in the job's view, and are in no list", async () => {
  await using api = await startTestApi();
  const { call, workers, finish, next } = await fleet(api, 3);
  const made = await call("POST /v1/jobs", jobSpec(MAJORITY));
  expect(made.body).toMatchObject({ verification: { mode: "majority", state: "none", runs: [] } });
  const id = String(made.body["id"]);
  const path = `/v1/jobs/${id}`;
  const own = await next();
  const right = buildTree({ "out/result": "42" });
  await finish(own.worker, own.attempt, right);
  const { body } = await call(`GET ${path}`);
  expect(body).toMatchObject({ phase: "succeeded", verification: { state: "running", decidedAt: null } });
  const { runs } = body["verification"] as { readonly runs: readonly { readonly jobId: string }[] };
  expect(runs).toHaveLength(2);
  expect((await call("GET /v1/jobs")).body.items?.map((job) => job["id"])).toEqual([id]);
  expect((await call(`GET /v1/jobs/${runs[0]?.jobId}`)).body).toMatchObject({ checkOf: id, phase: "starting" });
  expect((await call(`POST /v1/jobs/${runs[0]?.jobId}/cancel`)).body).toMatchObject({ status: 409, code: "check_run" });

  const before = (await call("GET /v1/storage")).body["bytes"];
  for (const worker of workers.filter((one) => one !== own.worker)) {
    const attempt = worker.received.findLast((message) => message.kind === "assign");
    if (attempt?.kind === "assign") await finish(worker, attempt.attempt, right);
  }
  expect((await call(`GET ${path}`)).body).toMatchObject({
    verification: { state: "passed", runs: [{ same: true }, { same: true }] },
  });
  // What the runs stored is nobody's any more.
  expect((await call("GET /v1/storage")).body["bytes"]).toBe(before);
  const kinds = (await call(`GET ${path}/events`)).body.items?.map((event) => event["kind"]) ?? [];
  expect(kinds.slice(-4)).toEqual(["verification_started", "verification_run", "verification_run", "verified"]);
});

test("what cannot be checked is refused with what to do", async () => {
  await using api = await startTestApi();
  const { call } = await fleet(api, 1);
  const refused = await call("POST /v1/jobs", jobSpec({ ...MAJORITY, network: "egress" }));
  expect(refused.body).toMatchObject({ status: 422, code: "verification_not_possible" });
  for (const verification of [{ mode: "always" }, { mode: "majority", replicas: 4 }, { tolerance: { relative: -1 } }]) {
    expect((await call("POST /v1/jobs", jobSpec({ verification }))).body).toMatchObject({ code: "invalid_request" });
  }
});

describe("outputs within a tolerance", () => {
  const TOLERANCE = { relative: 0.01, absolute: 0 };

  async function stored(api: TestApi) {
    const { id: accountId } = await api.account("consumer");
    const keep = async (files: Readonly<Record<string, string>>) => {
      const tree = buildTree(files);
      for (const { cid, bytes } of tree.chunks) await api.chunks.put(accountId, "job-1", cid, bytes);
      expect(await api.chunks.admitTree(accountId, "job-1", tree.ref)).toMatchObject({ kind: "ok" });
      return tree.ref;
    };
    return { accountId, keep };
  }

  test.each([
    [{ "out/loss.csv": "1,0.5" }, { "out/loss.csv": "1,0.501" }, true],
    [{ "out/loss.csv": "1,0.5" }, { "out/loss.csv": "1,0.6" }, false],
    [{ "out/a.bin": "same", "out/loss.csv": "1" }, { "out/a.bin": "same", "out/loss.csv": "1.001" }, true],
    [{ "out/a.bin": "one" }, { "out/a.bin": "two" }, false],
    [{ "out/a.csv": "1" }, { "out/b.csv": "1" }, false],
    [{ "out/a.csv": "1" }, { "out/a.csv": "1", "out/b.csv": "1" }, false],
    // It is not what its name says, and they are not equal: nobody can tell.
    [{ "out/a.npy": "one" }, { "out/a.npy": "two" }, null],
  ])("%o beside %o: %s", async (a, b, isSame) => {
    await using api = await startTestApi();
    const { accountId, keep } = await stored(api);
    const trees = [await keep(a), await keep(b)] as const;
    expect(await compareTrees(api, { accountId, trees, tolerance: TOLERANCE })).toMatchObject({ isSame });
  });

  test("are compared once the store is there, and the answer is given until it is taken", async () => {
    await using api = await startTestApi();
    const { accountId, keep } = await stored(api);
    const trees = [await keep({ "out/a.csv": "1" }), await keep({ "out/a.csv": "1.001" })] as const;
    const taken: CoreEvent[] = [];
    let asked = 0;
    const done = new Promise<void>((resolve) => {
      const submit = async (event: CoreEvent) => {
        asked += 1;
        taken.push(event);
        resolve();
      };
      const comparer = createComparer({ chunks: api.chunks, submit, logger: createLogger("test", "error") });
      const effect: CompareEffect = {
        kind: "compare",
        jobId: "job-1" as never,
        accountId,
        runs: [0, 1],
        trees,
        tolerance: TOLERANCE,
      };
      comparer.compare(effect);
      // The same again is in hand already.
      comparer.compare(effect);
      expect(asked).toBe(0);
      comparer.start();
    });
    await done;
    expect(taken).toEqual([{ kind: "check.compared", jobId: "job-1", comparison: { a: 0, b: 1, isSame: true } }]);
  });
});
