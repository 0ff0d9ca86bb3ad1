// Challenges over real sockets: a real gateway, writer, core and verifier, and workers that answer honestly, wrongly, late or not at all.
import { generateKeyPairSync, sign } from "node:crypto";
import {
  answerBytes,
  commitmentOf,
  failedProofFault,
  proofClaimText,
  prove,
  type ProofWork,
  sumsOf,
} from "@qubix/shared/proof";
import { BULK_FRAME_BYTES_MAX, workerOfferSchema } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import type { SessionId, WorkerId } from "@qubix/shared/domain";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CoreEvent, Effect } from "../core/index.ts";
import {
  connect,
  connectBulk,
  OFFER,
  startRig,
  type Identity,
  type Message,
  type Peer,
  type Rig,
} from "../gateway/testing/rig.ts";
import { createProofService } from "./service.ts";
import { createVerifier } from "./verifier.ts";

/** So little memory that the plain program answers within a second or two. */
const SMALL = { ...OFFER, cpus: 1, memoryMiB: 16, features: ["proofs"] };
const TIMES = { fillMs: 1, chaseMs: 1, multiplyMs: 1 };

function answerTo(order: Message): Buffer {
  return Buffer.from(prove(workOf(order)));
}

function workOf(order: Message): ProofWork {
  return { ...(order as unknown as ProofWork), nonce: Buffer.from(String(order["nonce"]), "base64url") };
}

function commit(who: Identity, peer: Peer, order: Message, answer: Buffer, commitment = commitmentOf(answer)): void {
  const { challengeId, memoryMiB } = order as unknown as { challengeId: string; memoryMiB: number };
  const { states, root } = sumsOf(workOf(order), answer);
  const signature = who.sign(proofClaimText({ challengeId, commitment, memoryMiB, states, root }));
  const claim = { states: [...states], root };
  peer.send({ kind: "proof.commit", msg: 7, challengeId, commitment, memoryMiB, ...TIMES, claim, signature });
}

function upload(bulk: Peer, order: Message, answer: Buffer, bytes = answer.length): void {
  bulk.send({ kind: "proof", req: 3, challengeId: order["challengeId"], bytes });
  for (let at = 0; at < answer.length; at += BULK_FRAME_BYTES_MAX) {
    bulk.ws.send(answer.subarray(at, at + BULK_FRAME_BYTES_MAX));
  }
}

/** A good answer, but for one bit. */
function flipped(answer: Buffer, at: number): Buffer {
  const wrong = Buffer.from(answer);
  wrong[at] = (wrong[at] ?? 0) ^ 1;
  return wrong;
}

describe("a wrong answer", () => {
  it.each([
    ["an entry of the product", (answer: Buffer) => flipped(answer, answer.length - 2)],
    // The product hangs on the walks: made for others, it is found first. Of walks that are made up all are wrong.
    ["everything", (answer: Buffer) => Buffer.alloc(answer.length)],
  ])("(%s) to two challenges in a row accuses, with what anybody can work out again", async (_what, spoil) => {
    const rig = await startRig({}, { workerProofs: "required", proofRetryMs: 1 });
    try {
      const ann = await rig.enrol("ann");
      const control = await connect(rig, ann, SMALL);
      const bulk = await connectBulk(rig, ann);
      const slashes = () => [...rig.store.cases({ kind: "slash", limit: 10 })];
      for (const before of [0, 0]) {
        expect(slashes()).toHaveLength(before);
        const order = await control.next("prove");
        const answer = spoil(answerTo(order));
        commit(ann, control, order, answer);
        upload(bulk, order, answer);
        await bulk.next("stored");
      }
      const [slash] = slashes();
      if (slash?.kind !== "slash") throw new Error("nobody was accused");
      expect(slash).toMatchObject({ offence: "failed_proof", workerId: ann.workerId, jobId: null });
      const evidence = JSON.parse(slash.evidence) as { proofs: Record<string, unknown>[] };
      expect(failedProofFault(slash.publicKey, evidence)).toBeNull();
      // Not by halves, not twice the same, not with anything changed, and of nobody else.
      const [first, second] = evidence.proofs;
      expect(failedProofFault(slash.publicKey, { proofs: [first] })).toMatch(/at least 2/);
      expect(failedProofFault(slash.publicKey, { proofs: [first, first] })).toMatch(/the same challenge/);
      const { publicKey } = generateKeyPairSync("ed25519");
      expect(failedProofFault(publicKey.export({ format: "jwk" }).x ?? "", evidence)).toMatch(/not signed/);
      for (const change of [
        { nonce: Buffer.alloc(32, 1).toString("base64url") },
        { memoryMiB: 3 },
        { root: "0".repeat(64) },
        { leaf: Buffer.alloc(1_024, 9).toString("base64url") },
        { path: [] },
        { finding: { kind: "entry", row: 1_000, column: 0 } },
        { finding: { kind: "lane", round: 9, lane: 0 } },
      ]) {
        expect([change, failedProofFault(slash.publicKey, { proofs: [first, { ...second, ...change }] })]).toEqual([
          change,
          expect.any(String),
        ]);
      }
    } finally {
      await rig.stop();
    }
  });
});

describe("a challenge", () => {
  let rig: Rig;
  let ann: Identity;
  let control: Peer;
  let bulk: Peer;
  let order: Message;
  beforeEach(async () => {
    rig = await startRig({}, { workerProofs: "required" });
    ann = await rig.enrol("ann");
    control = await connect(rig, ann, SMALL);
    order = await control.next("prove");
    bulk = await connectBulk(rig, ann);
  });
  afterEach(() => rig.stop());

  const row = () => rig.store.load().rows.workers.find(({ id }) => id === ann.workerId);

  it("is answered, judged, and the worker gets its first job; the answer may overtake the word of it", async () => {
    await rig.submitJob({ resources: { cpus: 1, memoryMiB: 16, diskMiB: 16 } });
    const answer = answerTo(order);
    upload(bulk, order, answer);
    // They come over two sockets. The answer to the next request says that the upload was read.
    bulk.send({ kind: "have", req: 4, jobId: "job-none", cids: [] });
    await bulk.next("refused");
    commit(ann, control, order, answer);
    expect(await control.next("ack")).toMatchObject({ re: 7 });
    expect(await bulk.next("stored")).toEqual({ kind: "stored", req: 3 });
    expect(row()?.proofs).toMatchObject([{ target: "cpu", cpus: 1, memoryMiB: 16, figures: { memoryMiB: 4 } }]);
    await control.next("assign");
  });

  it("answered with what somebody made up is not passed, and the reason is told", async () => {
    const answer = Buffer.alloc(answerBytes(workOf(order)), 7);
    commit(ann, control, order, answer);
    upload(bulk, order, answer);
    await bulk.next("stored");
    expect(row()).toMatchObject({ proofs: [], proofFailures: [{ target: "cpu", count: 1 }] });
    expect(row()?.proofFailures[0]?.code).toMatch(/_wrong$/);
  });

  it("answered by an agent that signs nothing is not passed", async () => {
    const answer = answerTo(order);
    const { challengeId, memoryMiB } = order;
    control.send({ kind: "proof.commit", msg: 7, challengeId, commitment: commitmentOf(answer), memoryMiB, ...TIMES });
    await expect.poll(() => row()?.proofFailures).toMatchObject([{ code: "commitment_unsigned" }]);
  });

  it("answered otherwise than committed to is not passed", async () => {
    const answer = Buffer.alloc(answerBytes(workOf(order)));
    commit(ann, control, order, answer, "0".repeat(64));
    upload(bulk, order, answer);
    await bulk.next("stored");
    expect(row()?.proofFailures).toMatchObject([{ code: "commitment_broken" }]);
  });

  it("takes no answer of another size, nor anybody else's", async () => {
    const size = answerBytes(workOf(order));
    upload(bulk, order, Buffer.alloc(size - 1));
    expect(await bulk.next("refused")).toMatchObject({ req: 3, code: "proof_not_awaited" });
    const bob = await rig.enrol("bob");
    await connect(rig, bob, OFFER);
    const other = await connectBulk(rig, bob);
    upload(other, order, Buffer.alloc(size));
    expect(await other.next("refused")).toMatchObject({ req: 3, code: "proof_not_awaited" });
    expect(row()).toMatchObject({ proofs: [], proofFailures: [] });
  });

  it("that the worker cannot answer is a failure in its own words", async () => {
    const { challengeId } = order;
    control.send({ kind: "proof.failed", msg: 8, challengeId, code: "no_program", message: "There is none." });
    await control.next("ack");
    await expect.poll(() => row()?.proofFailures).toMatchObject([{ code: "no_program", message: "There is none." }]);
  });

  it("that was cut off is asked again at the next hello, and is no failure", async () => {
    control.ws.terminate();
    const again = await connect(rig, ann, SMALL);
    const next = await again.next("prove");
    expect(next["challengeId"]).not.toBe(order["challengeId"]);
    expect(next["nonce"]).not.toBe(order["nonce"]);
    expect(row()?.proofFailures).toEqual([]);
  });
});

describe("the time of an answer", () => {
  const offer = workerOfferSchema.parse({ ...SMALL, pricePerCpuHour: { amount: "1", currency: "USD" } });
  const [workerId, sessionId] = ["wrk-1" as WorkerId, "ses-1" as SessionId];
  const challenge: Extract<Effect, { kind: "challenge" }> = {
    kind: "challenge",
    workerId,
    sessionId,
    challengeId: "prf-1",
    target: { kind: "cpu" },
    offer,
  };

  it("is taken from the order to the commitment: one that comes too late is not passed, however right", async () => {
    const events: CoreEvent[] = [];
    const sent: Message[] = [];
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    let nowMs = 0;
    const service = createProofService({
      submit: async (event) => {
        events.push(event);
        return { kind: "none" };
      },
      send: (_worker, _session, message) => void sent.push(message),
      publicKeyOf: () => publicKey.export({ format: "jwk" }).x,
      verifier: createVerifier(),
      random: { bytes: (count) => new Uint8Array(count) },
      logger: createLogger("test", "silent"),
      nowMs: () => nowMs,
    });
    service.challenge(challenge);
    const [order] = sent;
    if (order === undefined) throw new Error("nothing was sent");
    const answer = answerTo(order);
    nowMs = 60_000;
    const { challengeId, memoryMiB } = order as unknown as { challengeId: string; memoryMiB: number };
    const commitment = commitmentOf(answer);
    const { states, root } = sumsOf(workOf(order), answer);
    const text = proofClaimText({ challengeId, commitment, memoryMiB, states, root });
    const signature = sign(null, Buffer.from(text), privateKey).toString("base64url");
    const word = { kind: "proof.commit", msg: 1, challengeId, memoryMiB, commitment, signature } as const;
    service.heard(workerId, { ...word, ...TIMES, claim: { states: [...states], root } });
    // What comes while it is sent does not count.
    nowMs = 200_000;
    await service.answered(workerId, challengeId, answer);
    await service.stop();
    expect(events).toMatchObject([
      { kind: "worker.proof", workerId, challengeId, verdict: { ok: false, code: "too_slow" } },
    ]);
  });
});
