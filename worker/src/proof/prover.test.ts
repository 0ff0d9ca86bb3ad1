import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { commitmentOf, proofClaimText, prove, sumsOf } from "@qubix/shared/proof";
import type { OrchestratorMessageInput, WorkerMessage } from "@qubix/shared/protocol";
import { createLogger, verifySignature } from "@qubix/shared/runtime";
import type { Slot } from "../core/index.ts";
import { type BulkLink, createBulkLink } from "../link/bulk.ts";
import { type ControlLink, createControlLink } from "../link/control.ts";
import { createKey } from "../link/keys.ts";
import { identityFor, startTestOrchestrator, type TestOrchestrator } from "../link/testing.ts";
import { createProver, type Prover } from "./prover.ts";

const NONCE = Buffer.alloc(32, 7);
const SIZES = { memoryMiB: 1, chaseSteps: 2, matrixSize: 16, matrixSteps: 1 };
const WAIT = { timeout: 28_000, interval: 20 };

let dir = "";
let publicKey = "";
let orchestrator: TestOrchestrator;
let control: ControlLink;
let bulk: BulkLink;
let prover: Prover;
let slots: Pick<Slot, "phase" | "run">[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "qubix-prover-"));
  slots = [];
  const key = createKey(join(dir, "key.pem"));
  ({ publicKey } = key);
  orchestrator = await startTestOrchestrator(key.publicKey);
  const logger = createLogger("test", "silent");
  const identity = identityFor(orchestrator, key);
  control = createControlLink({ identity, logger, random: () => 0, heartbeatMs: () => 60_000 });
  bulk = createBulkLink({ identity, logger, random: () => 0 });
  prover = createProver(
    { control, bulk, logger, slots: () => slots, cpus: () => 1.5 },
    { dataDir: dir, gpuProofProgram: join(dir, "gpu-program") },
  );
  control.start({
    opened: () => undefined,
    closed: () => prover.closed(),
    order: (message) => prover.order(message),
    acknowledged: () => undefined,
    refused: () => undefined,
    failed: () => undefined,
  });
  await vi.waitUntil(() => control.isOpen(), WAIT);
});
afterEach(async () => {
  prover.stop();
  bulk.stop();
  await control.stop();
  await orchestrator.stop();
  rmSync(dir, { recursive: true, force: true });
});

function challenge(challengeId: string, more: Partial<Extract<OrchestratorMessageInput, { kind: "prove" }>> = {}) {
  const nonce = NONCE.toString("base64url");
  const order = { kind: "prove", challengeId, target: { kind: "cpu" }, nonce, ...SIZES, timeoutMs: 30_000 } as const;
  orchestrator.send({ ...order, ...more });
}

/** What was said of a challenge, so far. */
function said(challengeId: string): WorkerMessage[] {
  return orchestrator.messages.filter((message) => "challengeId" in message && message.challengeId === challengeId);
}

async function word(challengeId: string): Promise<WorkerMessage | undefined> {
  await vi.waitUntil(() => said(challengeId).length > 0, WAIT);
  return said(challengeId)[0];
}

/** A program for GPUs that takes its time and says on which it worked. */
function slowProgram(text: string): void {
  const path = join(dir, "gpu-program");
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
}

it("commits to the right answer, then sends it, and leaves nothing behind", async () => {
  challenge("prf-1");
  const answer = prove({ target: { kind: "cpu" }, nonce: NONCE, ...SIZES });
  const commitment = commitmentOf(answer);
  const said = await word("prf-1");
  expect(said).toMatchObject({ kind: "proof.commit", commitment, memoryMiB: SIZES.memoryMiB });
  // With a signature over what the answer is.
  if (said?.kind !== "proof.commit") throw new Error("nothing was committed to");
  const sums = sumsOf({ target: { kind: "cpu" }, nonce: NONCE, ...SIZES }, answer);
  const text = proofClaimText({ challengeId: "prf-1", commitment, memoryMiB: SIZES.memoryMiB, ...sums });
  expect(verifySignature(publicKey, text, said.signature ?? "")).toBe(true);
  await vi.waitUntil(() => orchestrator.proofs.has("prf-1"), WAIT);
  expect(orchestrator.proofs.get("prf-1")?.equals(answer)).toBe(true);
  expect(readdirSync(join(dir, "proofs"))).toEqual([]);
});

it("does once what it is told twice", async () => {
  challenge("prf-1");
  challenge("prf-1");
  await vi.waitUntil(() => orchestrator.proofs.has("prf-1"), WAIT);
  expect(said("prf-1")).toHaveLength(1);
});

it("proves nothing that a job uses, but what a standby only waits for", async () => {
  const run = { gpuUuids: ["GPU-1"] } as unknown as Slot["run"];
  slots = [{ phase: "running", run }];
  challenge("prf-1");
  challenge("prf-2", { target: { kind: "gpu", uuid: "GPU-1" } });
  challenge("prf-3", { target: { kind: "gpu", uuid: "GPU-2" } });
  expect(await word("prf-1")).toMatchObject({ kind: "proof.failed", code: "busy" });
  expect(await word("prf-2")).toMatchObject({ kind: "proof.failed", code: "busy" });
  expect(await word("prf-3")).toMatchObject({ kind: "proof.failed", code: "no_program" });
  slots = [{ phase: "ready", run }];
  challenge("prf-4");
  expect(await word("prf-4")).toMatchObject({ kind: "proof.commit" });
});

it("proves different GPUs side by side, and one of them once at a time", async () => {
  slowProgram("sleep 60");
  challenge("prf-1", { target: { kind: "gpu", uuid: "GPU-1" } });
  challenge("prf-2", { target: { kind: "gpu", uuid: "GPU-1" } });
  expect(await word("prf-2")).toMatchObject({ code: "busy" });
  challenge("prf-3", { target: { kind: "gpu", uuid: "GPU-2" }, timeoutMs: 1 });
  expect(await word("prf-3")).toMatchObject({ code: "timeout" });
  expect(said("prf-1")).toEqual([]);
});

it("gives a proof up for work that comes", async () => {
  slowProgram(`echo $$ > ${join(dir, "pid")}; exec sleep 60`);
  challenge("prf-1", { target: { kind: "gpu", uuid: "GPU-1" } });
  await vi.waitUntil(() => existsSync(join(dir, "pid")), WAIT);
  const checkpoint = null;
  const attempt = { jobId: "job-a", replica: 0, epoch: 1 };
  const standbyId = "job-a/s1";
  orchestrator.send({ kind: "promote", standbyId, attempt, checkpoint });
  expect(await word("prf-1")).toMatchObject({ kind: "proof.failed", code: "busy" });
});

it("ends its program with the session, and says no more of it", async () => {
  slowProgram(`echo $$ > ${join(dir, "pid.new")}; mv ${join(dir, "pid.new")} ${join(dir, "pid")}; exec sleep 60`);
  challenge("prf-1", { target: { kind: "gpu", uuid: "GPU-1" } });
  await vi.waitUntil(() => existsSync(join(dir, "pid")), WAIT);
  const pid = Number(readFileSync(join(dir, "pid"), "utf8"));
  orchestrator.close(1001);
  await vi.waitUntil(() => !existsSync(`/proc/${pid}`), WAIT);
  await vi.waitUntil(() => orchestrator.welcomed.control === 2, WAIT);
  challenge("prf-2");
  await word("prf-2");
  expect(said("prf-1")).toEqual([]);
});

it("says when a challenge makes no sense to it", async () => {
  challenge("prf-1", { nonce: "abcd" });
  expect(await word("prf-1")).toMatchObject({ kind: "proof.failed", code: "order_malformed" });
});
