import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createStragglers, type Stragglers } from "./stragglers.ts";

const ALICE = "acc-alice" as AccountId;
const cid = (name: string) => name as ChunkCid;
let given: string[];
let stragglers: Stragglers;

beforeEach(() => {
  vi.useFakeTimers();
  given = [];
  stragglers = createStragglers((_account, holder, cids) => given.push(`${holder}: ${[...cids].join(" ")}`));
});
afterEach(() => {
  stragglers.stop();
  vi.useRealTimers();
});

it("gives up what was on its way when a piece was refused, and nothing of others", () => {
  stragglers.stored(ALICE, "job-1", cid("before"));
  stragglers.refused(ALICE, "job-1");
  stragglers.stored(ALICE, "job-1", cid("a"));
  stragglers.refused(ALICE, "job-1");
  stragglers.stored(ALICE, "job-1", cid("b"));
  stragglers.stored(ALICE, "job-2", cid("c"));
  vi.runAllTimers();
  stragglers.stored(ALICE, "job-1", cid("after"));
  vi.runAllTimers();
  expect(given).toEqual(["job-1: a b"]);
});

it("leaves the next upload alone, and what that was told is here", () => {
  stragglers.refused(ALICE, "job-1");
  for (const name of ["a", "b"]) stragglers.stored(ALICE, "job-1", cid(name));
  stragglers.asked(ALICE, "job-1", [cid("b"), cid("c")]);
  stragglers.stored(ALICE, "job-1", cid("c"));
  vi.runAllTimers();
  expect(given).toEqual(["job-1: a"]);
});
