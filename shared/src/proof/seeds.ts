// Where every key of a proof comes from: SHA-256 over the nonce, and over what was answered before, so that no part can be done ahead of another.
import { createHash } from "node:crypto";
import { blocksOf, lanesOf, type ProofWork } from "./parameters.ts";

/** 32 bytes: all that has been answered so far. */
export type ProofState = Uint8Array;

export function firstState(work: ProofWork): ProofState {
  const { target, nonce, memoryMiB, chaseSteps, matrixSize, matrixSteps } = work;
  const sizes = [blocksOf(memoryMiB), lanesOf(target), chaseSteps, matrixSize, matrixSteps];
  return sha256("qubix-proof-v1", nonce, ...sizes.map(uint32));
}

/** After a round: `ends` are its lanes, one after the other. */
export function nextState(state: ProofState, ends: Uint8Array): ProofState {
  return sha256("ends", state, ends);
}

export const memoryKey = (state: ProofState): Uint32Array => words(sha256("memory", state));
export const chaseKey = (state: ProofState): Uint32Array => words(sha256("chase", state));
export const startKey = (state: ProofState): Uint32Array => words(sha256("start", state));
export const matrixKey = (state: ProofState, step: number): Uint32Array => words(sha256("matrix", state, uint32(step)));

/** SHA-256 in hexadecimal of the whole answer. */
export function commitmentOf(answer: Uint8Array): string {
  return createHash("sha256").update(answer).digest("hex");
}

function sha256(label: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha256").update(label);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Eight words, little endian. */
function words(digest: Uint8Array): Uint32Array {
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return Uint32Array.from({ length: 8 }, (_, index) => view.getUint32(index * 4, true));
}
