import type { WorkerId } from "@qubix/shared/domain";
import { expect, test } from "vitest";
import { FIRST_MIRROR } from "../core/mirror-state.ts";
import type { JobRecord } from "../core/model.ts";
import { createMemoryStore } from "../store/index.ts";
import { aJob, anAttempt, aTree, changesOf, metaOf, put } from "../store/testing/records.ts";
import { createTreeOwners } from "./tree-owners.ts";

const [SAVED, FIRST, SECOND] = [aTree(11), aTree(12), aTree(13)];

/** A mirror job: replica 1 has a checkpoint, and both have results. */
function owners(over: Partial<JobRecord> = {}) {
  const store = createMemoryStore();
  const plain = aJob(2);
  const [checkpoint] = plain.checkpoints;
  if (checkpoint === undefined) throw new Error("no checkpoint");
  const result = {
    workerId: "wrk-1" as WorkerId,
    providerId: anAttempt(plain.id, 1).providerId,
    sum: null,
    failure: null,
  };
  const attemptId = anAttempt(plain.id, 1).id;
  const mirror = {
    ...FIRST_MIRROR,
    checkpoints: [{ ...checkpoint, tree: SAVED }],
    results: [
      { ...result, attemptId, run: 0 as const, outputs: FIRST },
      { ...result, attemptId, run: 1 as const, outputs: SECOND },
    ],
  };
  const job: JobRecord = { ...plain, mirror, ...over };
  store.commit([changesOf({ puts: [put("jobs", job.id, job)], meta: metaOf(1) })], 1);
  const treeOwners = createTreeOwners(store);
  return (cid: string) => treeOwners.uses(job.accountId, job.id, cid as typeof SAVED.manifestCid);
}

test("what a mirror job compares, and what its second replica would go on from, is kept", () => {
  const uses = owners();
  expect([SAVED, FIRST, SECOND, aTree(14)].map(({ manifestCid }) => uses(manifestCid))).toEqual([
    true,
    true,
    true,
    false,
  ]);
});

test("once it has ended only the outputs that were agreed on are", () => {
  const mirror = { ...FIRST_MIRROR, verified: true };
  const uses = owners({ phase: "succeeded", endedAtMs: 9, outputs: FIRST, mirror });
  expect([SAVED, FIRST, SECOND].map(({ manifestCid }) => uses(manifestCid))).toEqual([false, true, false]);
});
