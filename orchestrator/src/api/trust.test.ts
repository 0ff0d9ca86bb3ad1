// Ratings, disputes, stakes and slashes over HTTP: who may do what, who sees what, and what is refused.
import { generateKeyPairSync, sign } from "node:crypto";
import { commitmentOf, openingOf, proofClaimText, prove, type ProofWork, sumsOf } from "@qubix/shared/proof";
import { enrolText } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { jobSpec, startTestApi, type TestAccount, type TestApi } from "./testing/test-api.ts";

/** One unit of money a millisecond: what runs for a moment costs something. */
const PRICE = { pricePerCpuHour: { amount: 3_600_000_000_000n, currency: "USD" } };
const SPEC = { priceMaxPerHour: { amount: "3600000000000", currency: "USD" }, durationMaxS: 60 };
const MONEY = 1_000_000_000_000n;
const MOMENT_MS = 10;

interface Ended {
  readonly consumer: TestAccount;
  readonly provider: TestAccount;
  readonly workerId: string;
  readonly jobId: string;
  readonly gross: bigint;
}

/** A job that ran for a moment and was paid for. */
async function endedJob(api: TestApi): Promise<Ended> {
  const consumer = await api.account("consumer", MONEY);
  const provider = await api.account("provider", MONEY);
  const worker = await api.worker(provider, "alpha", PRICE);
  const made = await consumer.call("POST /v1/jobs", jobSpec(SPEC));
  const jobId = String(made.body["id"]);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  const untilMs = api.writer.nowMs() + MOMENT_MS;
  while (api.writer.nowMs() < untilMs) await new Promise((resolve) => setImmediate(resolve));
  await worker.end(attempt, null);
  const { body } = await consumer.call(`GET /v1/jobs/${jobId}`);
  const { gross } = body["settlement"] as { gross: { amount: string } };
  expect(BigInt(gross.amount)).toBeGreaterThan(0n);
  return { consumer, provider, workerId: worker.id, jobId, gross: BigInt(gross.amount) };
}

async function balancesOf(account: TestAccount): Promise<Record<string, string>> {
  const { body } = await account.call("GET /v1/wallet");
  return (body["balances"] as Record<string, string>[])[0] ?? {};
}

describe("a rating", () => {
  test("is given by the job's consumer, changed, and shown at the worker and its offer", async () => {
    await using api = await startTestApi({ store: "sqlite" });
    const { consumer, provider, jobId, workerId } = await endedJob(api);
    const rate = (stars: number, by = consumer.call) =>
      by(`POST /v1/jobs/${jobId}/rating`, { stars, comment: "quick" });
    expect((await consumer.call(`GET /v1/jobs/${jobId}/rating`)).body).toMatchObject({ code: "rating_not_found" });
    expect((await rate(2)).body).toMatchObject({ jobId, stars: 2, comment: "quick" });
    expect((await rate(4)).body).toMatchObject({ stars: 4 });
    expect((await provider.call(`GET /v1/jobs/${jobId}/rating`)).body).toMatchObject({ stars: 4 });
    expect((await provider.call(`GET /v1/workers/${workerId}`)).body["reputation"]).toMatchObject({
      stars: 4,
      ratings: 1,
      completed: 1,
    });
    expect((await consumer.call("GET /v1/offers")).body.items?.[0]?.["reputation"]).toMatchObject({ stars: 4 });
    const events = (await consumer.call(`GET /v1/jobs/${jobId}/events`)).body.items?.map(({ kind }) => kind);
    expect(events?.filter((kind) => kind === "rated")).toHaveLength(2);
  });

  test("many at once are one", async () => {
    await using api = await startTestApi();
    const { consumer, jobId, workerId } = await endedJob(api);
    const all = [1, 5, 3, 5, 2].map((stars) => consumer.call(`POST /v1/jobs/${jobId}/rating`, { stars }));
    for (const { status } of await Promise.all(all)) expect(status).toBe(200);
    expect((await api.admin(`GET /v1/workers/${workerId}`)).body["reputation"]).toMatchObject({ stars: 2, ratings: 1 });
  });

  test("is refused to others, before the end, and with other than 1 to 5 stars", async () => {
    await using api = await startTestApi();
    const { consumer, jobId } = await endedJob(api);
    const other = await api.account("consumer");
    const path = `POST /v1/jobs/${jobId}/rating`;
    expect((await other.call(path, { stars: 1 })).body).toMatchObject({ status: 404, code: "job_not_found" });
    expect((await other.call(`GET /v1/jobs/${jobId}/rating`)).status).toBe(404);
    expect((await api.admin(path, { stars: 1 })).body).toMatchObject({ code: "forbidden" });
    for (const stars of [0, 6, 2.5]) expect((await consumer.call(path, { stars })).status).toBe(422);
    const running = await consumer.call("POST /v1/jobs", jobSpec(SPEC));
    const early = await consumer.call(`POST /v1/jobs/${String(running.body["id"])}/rating`, { stars: 1 });
    expect(early.body).toMatchObject({ status: 409, code: "job_not_ended" });
  });
});

describe("a dispute", () => {
  test("freezes the pay, is seen by both, and is decided by an admin", async () => {
    await using api = await startTestApi({ store: "sqlite" });
    const { consumer, provider, jobId, gross } = await endedJob(api);
    const before = await balancesOf(consumer);
    const once = { headers: { "idempotency-key": "dispute-1" } };
    const claim = { reason: "the file is empty" };
    const opened = await consumer.call(`POST /v1/jobs/${jobId}/dispute`, claim, once);
    expect(opened.status).toBe(201);
    expect((await consumer.call(`POST /v1/jobs/${jobId}/dispute`, claim, once)).body).toEqual(opened.body);
    expect(opened.body).toMatchObject({ phase: "open", jobId, reason: "the file is empty", decision: null });
    const id = String(opened.body["id"]);
    expect((await balancesOf(provider))["earned"]).toBe("0");
    for (const call of [consumer.call, provider.call, api.admin]) {
      expect((await call("GET /v1/disputes?open=true")).body.items?.map((each) => each["id"])).toEqual([id]);
      expect((await call(`GET /v1/disputes/${id}`)).status).toBe(200);
    }
    const again = await consumer.call(`POST /v1/jobs/${jobId}/dispute`, { reason: "again" });
    expect(again.body).toMatchObject({ status: 409, code: "dispute_exists" });
    const decision = { consumerBps: 10_000, note: "it is" };
    expect((await consumer.call(`POST /v1/disputes/${id}/resolve`, decision)).body).toMatchObject({
      code: "forbidden",
    });
    expect((await api.admin(`POST /v1/disputes/${id}/resolve`, decision)).body).toMatchObject({
      phase: "resolved",
      decision: { consumerBps: 10_000, note: "it is", refund: { amount: gross.toString() } },
    });
    const after = await balancesOf(consumer);
    expect(BigInt(after["available"] ?? "0") - BigInt(before["available"] ?? "0")).toBe(gross);
    expect((await api.admin(`POST /v1/disputes/${id}/resolve`, decision)).body).toMatchObject({ code: "case_closed" });
    expect((await consumer.call("GET /v1/disputes?open=true")).body.items).toEqual([]);
    expect((await consumer.call("GET /v1/disputes")).body.items).toHaveLength(1);
  });

  test("is nobody else's business, and of a job that has not ended refused", async () => {
    await using api = await startTestApi();
    const { consumer, jobId } = await endedJob(api);
    const opened = await consumer.call(`POST /v1/jobs/${jobId}/dispute`, { reason: "wrong" });
    const other = await api.account("consumer");
    expect((await other.call(`GET /v1/disputes/${String(opened.body["id"])}`)).body).toMatchObject({
      status: 404,
      code: "dispute_not_found",
    });
    expect((await other.call("GET /v1/disputes")).body.items).toEqual([]);
    const running = await consumer.call("POST /v1/jobs", jobSpec(SPEC));
    const early = await consumer.call(`POST /v1/jobs/${String(running.body["id"])}/dispute`, { reason: "slow" });
    expect(early.body).toMatchObject({ status: 409, code: "job_not_ended" });
  });
});

describe("stake", () => {
  test("is added, shown at the offer, asked back, and shown as it stands", async () => {
    await using api = await startTestApi({ store: "sqlite" });
    const { consumer, provider } = await endedJob(api);
    const amount = { amount: "5000000", currency: "USD" };
    const once = { headers: { "idempotency-key": "stake-1" } };
    for (let n = 0; n < 2; n += 1) {
      const added = await provider.call("POST /v1/stakes", { amount, from: "spendable" }, once);
      expect(added.status).toBe(201);
      expect(added.body["balances"]).toEqual([{ currency: "USD", staked: "5000000", waiting: "0", slashing: "0" }]);
    }
    expect((await consumer.call("GET /v1/offers")).body.items?.[0]?.["stake"]).toEqual([amount]);
    const back = await provider.call("POST /v1/stakes/unstake", { amount: { ...amount, amount: "2000000" } });
    expect(back.body).toMatchObject({
      balances: [{ staked: "3000000", waiting: "2000000" }],
      unstakes: [{ phase: "waiting", amount: { amount: "2000000" } }],
      unstakeDelayS: 7 * 86_400,
    });
    expect((await provider.call("POST /v1/stakes/unstake", { amount })).body).toMatchObject({
      status: 402,
      code: "insufficient_funds",
    });
    expect((await consumer.call("POST /v1/stakes", { amount })).body).toMatchObject({ code: "forbidden" });
    const others = await api.admin(`GET /v1/stakes?accountId=${provider.id}`);
    expect(others.body).toMatchObject({ accountId: provider.id, balances: [{ staked: "3000000" }] });
  });
});

describe("a slash", () => {
  const RAW_KEY_BYTES = 32;

  /** A worker whose key the test has. */
  async function signer(api: TestApi, provider: TestAccount) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(-RAW_KEY_BYTES).toString("base64url");
    const says = (text: string) => ({
      text,
      signature: sign(null, Buffer.from(text), privateKey).toString("base64url"),
    });
    const { body } = await provider.call("POST /v1/enrolments", {});
    const token = String(body["token"]);
    const { signature } = says(enrolText(token));
    const enrolled = await api.anyone("POST /v1/enrolments/redeem", { token, name: "liar", publicKey: raw, signature });
    return { workerId: String(enrolled.body["workerId"]), publicKey: raw, says };
  }

  const tick = (jobId: string, ranMs: number) => `qubix-tick-v1\n${jobId}\n0\n1\n7\ncheckpoint\n${ranMs}\n-`;

  test("takes evidence that can be verified, keeps it whole, and can be appealed and decided", async () => {
    await using api = await startTestApi({ store: "sqlite" });
    const { provider, consumer, jobId } = await endedJob(api);
    const { workerId, publicKey, says } = await signer(api, provider);
    await provider.call("POST /v1/stakes", { amount: { amount: "5000000", currency: "USD" }, from: "spendable" });
    const evidence = { statements: [says(tick(jobId, 100)), says(tick(jobId, 200))] };
    const accusation = { offence: "contradiction", workerId, jobId, evidence };
    expect((await provider.call("POST /v1/slashes", accusation)).body).toMatchObject({ code: "forbidden" });
    const forged = {
      ...accusation,
      evidence: { statements: [says(tick(jobId, 1)), { ...says("x"), text: tick(jobId, 2) }] },
    };
    const refused = await api.admin("POST /v1/slashes", forged);
    expect(refused.body).toMatchObject({ status: 422, errors: [{ path: "evidence" }] });

    const made = await api.admin("POST /v1/slashes", accusation);
    expect(made.status).toBe(201);
    const id = String(made.body["id"]);
    for (const call of [provider.call, consumer.call]) {
      expect((await call(`GET /v1/slashes/${id}`)).body).toMatchObject({ phase: "proposed", publicKey, evidence });
      expect((await call("GET /v1/slashes")).body.items).toHaveLength(1);
    }
    const stranger = await api.account("provider");
    expect((await stranger.call(`GET /v1/slashes/${id}`)).body).toMatchObject({ status: 404, code: "slash_not_found" });
    const early = await api.admin(`POST /v1/slashes/${id}/resolve`, { decision: "uphold" });
    expect(early.body).toMatchObject({ status: 409, code: "slash_not_appealed" });
    const appeal = `POST /v1/slashes/${id}/appeal`;
    expect((await provider.call(appeal, { text: "a bug" })).body).toMatchObject({ phase: "appealed" });
    expect((await provider.call(appeal, { text: "a bug" })).body).toMatchObject({ code: "slash_not_proposed" });
    const dismissed = await api.admin(`POST /v1/slashes/${id}/resolve`, { decision: "dismiss", note: "ours" });
    expect(dismissed.body).toMatchObject({ phase: "voided", decision: { by: "admin", note: "ours" }, until: null });
    expect((await provider.call("GET /v1/stakes")).body["balances"]).toMatchObject([
      { staked: "5000000", slashing: "0" },
    ]);
  });

  test("of a failed proof is worked out again before anybody is accused", async () => {
    await using api = await startTestApi();
    const { provider, jobId } = await endedJob(api);
    const { workerId, says } = await signer(api, provider);
    const work = (nonce: number): ProofWork => ({
      target: { kind: "cpu" },
      nonce: Buffer.alloc(32, nonce),
      memoryMiB: 1,
      chaseSteps: 64,
      matrixSize: 32,
      matrixSteps: 1,
    });
    /** A claim that the worker signed, and that the last entry of its product is another one. */
    const claimOf = (nonce: number, isWrong: boolean) => {
      const order = work(nonce);
      const answer = Buffer.from(prove(order));
      if (isWrong) answer.writeUInt16LE(answer.readUInt16LE(answer.length - 2) ^ 1, answer.length - 2);
      const { target, memoryMiB, chaseSteps, matrixSize, matrixSteps } = order;
      const { states, root } = sumsOf(order, answer);
      const claim = { challengeId: `prf-${nonce}`, commitment: commitmentOf(answer), memoryMiB, states, root };
      const finding = { kind: "entry", row: matrixSize - 1, column: matrixSize - 1 } as const;
      const sizes = {
        target,
        nonce: Buffer.from(order.nonce).toString("base64url"),
        chaseSteps,
        matrixSize,
        matrixSteps,
      };
      const { signature } = says(proofClaimText(claim));
      return { ...claim, ...sizes, signature, finding, ...openingOf(order, answer, finding) };
    };
    const propose = (...proofs: readonly unknown[]) =>
      api.admin("POST /v1/slashes", { offence: "failed_proof", workerId, jobId, evidence: { proofs } });
    const [first, second] = [claimOf(1, true), claimOf(2, true)];
    for (const [proofs, why] of [
      [[first], /at least 2/],
      [[first, claimOf(2, false)], /claim 2: the entry of the product is the right one/],
      [[first, { ...second, root: first.root }], /claim 2: it is not signed/],
    ] as const) {
      const refused = await propose(...proofs);
      const errors = [{ path: "evidence", message: expect.stringMatching(why) as string }];
      expect(refused.body).toMatchObject({ status: 422, code: "invalid_request", errors });
    }
    expect((await api.admin("GET /v1/slashes")).body.items).toEqual([]);
    const made = await propose(first, second);
    expect(made.body).toMatchObject({
      offence: "failed_proof",
      phase: "proposed",
      evidence: { proofs: [first, second] },
    });
  });

  test("needs a worker, a job and evidence that there are", async () => {
    await using api = await startTestApi();
    const { provider, jobId, workerId } = await endedJob(api);
    await provider.call("GET /v1/stakes");
    const propose = (change: object) =>
      api.admin("POST /v1/slashes", { offence: "wrong_result", workerId, jobId, evidence: { sum: "a" }, ...change });
    expect((await propose({ workerId: "wrk-00000000-aaaaaa" })).body).toMatchObject({ code: "worker_not_found" });
    expect((await propose({ jobId: "job-00000000-aaaaaa" })).body).toMatchObject({ code: "job_not_found" });
    expect((await propose({ evidence: {} })).body).toMatchObject({ code: "invalid_request" });
    expect((await propose({})).body).toMatchObject({ phase: "proposed", evidence: { sum: "a" } });
  });
});
