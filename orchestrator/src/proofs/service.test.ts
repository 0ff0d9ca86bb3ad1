// Challenges over real sockets: a real gateway, writer, core and verifier, and workers that answer honestly, wrongly, late or not at all.
import { answerBytes, commitmentOf, prove, type ProofWork } from "@qubix/shared/proof";
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

function commit(peer: Peer, order: Message, answer: Buffer, commitment = commitmentOf(answer)): void {
  const { challengeId, memoryMiB } = order;
  peer.send({ kind: "proof.commit", msg: 7, challengeId, commitment, memoryMiB, ...TIMES });
}

function upload(bulk: Peer, order: Message, answer: Buffer, bytes = answer.length): void {
  bulk.send({ kind: "proof", req: 3, challengeId: order["challengeId"], bytes });
  for (let at = 0; at < answer.length; at += BULK_FRAME_BYTES_MAX) {
    bulk.ws.send(answer.subarray(at, at + BULK_FRAME_BYTES_MAX));
  }
}

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
    commit(control, order, answer);
    expect(await control.next("ack")).toMatchObject({ re: 7 });
    expect(await bulk.next("stored")).toEqual({ kind: "stored", req: 3 });
    expect(row()?.proofs).toMatchObject([{ target: "cpu", cpus: 1, memoryMiB: 16, figures: { memoryMiB: 4 } }]);
    await control.next("assign");
  });

  it("answered with what somebody made up is not passed, and the reason is told", async () => {
    const answer = Buffer.alloc(answerBytes(workOf(order)), 7);
    commit(control, order, answer);
    upload(bulk, order, answer);
    await bulk.next("stored");
    expect(row()).toMatchObject({ proofs: [], proofFailures: [{ target: "cpu", count: 1 }] });
    expect(row()?.proofFailures[0]?.code).toMatch(/_wrong$/);
  });

  it("answered otherwise than committed to is not passed", async () => {
    const answer = Buffer.alloc(answerBytes(workOf(order)));
    commit(control, order, answer, "0".repeat(64));
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
    let nowMs = 0;
    const service = createProofService({
      submit: async (event) => {
        events.push(event);
        return { kind: "none" };
      },
      send: (_worker, _session, message) => void sent.push(message),
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
    const word = { kind: "proof.commit", msg: 1, challengeId, memoryMiB, commitment: commitmentOf(answer) } as const;
    service.heard(workerId, { ...word, ...TIMES });
    // What comes while it is sent does not count.
    nowMs = 200_000;
    await service.answered(workerId, challengeId, answer);
    await service.stop();
    expect(events).toMatchObject([
      { kind: "worker.proof", workerId, challengeId, verdict: { ok: false, code: "too_slow" } },
    ]);
  });
});
