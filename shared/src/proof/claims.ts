// What a worker signs of its answer, and how a part of it that is wrong is shown to anybody: the part, its place in what was signed, and how it is worked out
// again. Nothing else is needed: not the answer, nor anybody's word.
import { createHash } from "node:crypto";
import { z } from "zod";
import { base64urlSchema } from "../protocol/common.ts";
import { proofTargetSchema } from "../protocol/worker-messages.ts";
import { verifySignature } from "../runtime/signatures.ts";
import { type Lane, startLane, stepLane } from "./chase.ts";
import { matrixWord, startMatrix } from "./matrices.ts";
import { fillBlock } from "./memory.ts";
import {
  answerBytes,
  BLOCK_WORDS,
  blocksOf,
  LANE_BYTES,
  lanesOf,
  MATRIX_SIZE_MULTIPLE,
  MEMORY_MIB_MAX,
  MODULUS,
  NONCE_BYTES,
  type ProofWork,
  ROUND_STEPS,
  ROW_WORDS,
  roundSteps,
} from "./parameters.ts";
import { chaseKey, firstState, matrixKey, memoryKey, nextState, type ProofState, startKey } from "./seeds.ts";

/** Pieces of an answer that are shown apart from the rest. Lanes and entries never lie across two: their sizes divide it. */
export const LEAF_BYTES = 1_024;
/** One wrong answer may be a bit that flipped in a card without error correction; a second one to another nonce is not. */
export const CLAIMS_MIN = 2;
/** No order asks for more; working it out again must stay a matter of seconds. */
const ROUNDS_MAX = 64;
const MATRIX_SIZE_MAX = 4_096;
/** Of all matrices of a product together. */
const MATRIX_ENTRIES_MAX = 2 ** 28;

/** What a worker signs beside the commitment: where each round began, the first from the nonce and the sizes, and the root over all pieces of the answer. */
export interface AnswerSums {
  /** Hexadecimal; one more than there are rounds. */
  readonly states: readonly string[];
  readonly root: string;
}

export interface ProofClaim extends AnswerSums {
  readonly challengeId: string;
  readonly commitment: string;
  /** What was filled. */
  readonly memoryMiB: number;
}

/** The signed text. The first state holds the nonce and all sizes. */
export function proofClaimText({ challengeId, commitment, memoryMiB, root, states }: ProofClaim): string {
  return ["qubix-proof-claim-v1", challengeId, commitment, memoryMiB, root, ...states].join("\n");
}

export function sumsOf(work: ProofWork, answer: Uint8Array): AnswerSums {
  const roundBytes = lanesOf(work.target) * LANE_BYTES;
  const states = [firstState(work)];
  for (const round of roundSteps(work.chaseSteps).keys()) {
    states.push(nextState(states.at(-1) as ProofState, answer.subarray(round * roundBytes, (round + 1) * roundBytes)));
  }
  const [root] = levelsOf(answer).at(-1) as readonly [Buffer];
  return { states: states.map(hexOf), root: hexOf(root) };
}

// ── The tree over the pieces ──

type Level = readonly Buffer[];

/** From the leaves to the root. One that has no neighbour goes up as it is. */
function levelsOf(answer: Uint8Array): readonly Level[] {
  let level: Level = Array.from({ length: Math.max(1, Math.ceil(answer.length / LEAF_BYTES)) }, (_, at) =>
    hash("leaf", answer.subarray(at * LEAF_BYTES, (at + 1) * LEAF_BYTES)),
  );
  const levels = [level];
  while (level.length > 1) {
    const below: Level = level;
    level = Array.from({ length: Math.ceil(below.length / 2) }, (_, at) => {
      const [left, right] = [below[2 * at] as Buffer, below[2 * at + 1]];
      return right === undefined ? left : hash("node", left, right);
    });
    levels.push(level);
  }
  return levels;
}

function rootOver(leaf: Uint8Array, index: number, count: number, path: readonly string[]): string | undefined {
  let node = hash("leaf", leaf);
  let taken = 0;
  for (let at = index, width = count; width > 1; at >>= 1, width = Math.ceil(width / 2)) {
    const beside = at ^ 1;
    if (beside >= width) continue;
    const sibling = Buffer.from(path[taken] ?? "", "hex");
    taken += 1;
    node = at < beside ? hash("node", node, sibling) : hash("node", sibling, node);
  }
  return taken === path.length ? hexOf(node) : undefined;
}

function hash(label: string, ...parts: readonly Uint8Array[]): Buffer {
  const sum = createHash("sha256").update(label);
  for (const part of parts) sum.update(part);
  return sum.digest();
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

// ── A part that is wrong ──

const sumSchema = z.string().regex(/^[0-9a-f]{64}$/);
const index = z.number().int().min(0);

const findingSchema = z.discriminatedUnion("kind", [
  /** A walk does not end where the answer says. */
  z.strictObject({ kind: z.literal("lane"), round: index, lane: index }),
  /** An entry of the product is another one. */
  z.strictObject({ kind: z.literal("entry"), row: index, column: index }),
]);
export type ProofFinding = z.output<typeof findingSchema>;

export const wrongClaimSchema = z.strictObject({
  challengeId: z.string().min(1).max(100),
  target: proofTargetSchema,
  nonce: base64urlSchema,
  memoryMiB: z.number().int().min(1).max(MEMORY_MIB_MAX),
  chaseSteps: z
    .number()
    .int()
    .min(1)
    .max(ROUNDS_MAX * ROUND_STEPS),
  matrixSize: z.number().int().min(MATRIX_SIZE_MULTIPLE).max(MATRIX_SIZE_MAX).multipleOf(MATRIX_SIZE_MULTIPLE),
  matrixSteps: z.number().int().min(1).max(MATRIX_ENTRIES_MAX),
  commitment: sumSchema,
  states: z
    .array(sumSchema)
    .min(2)
    .max(ROUNDS_MAX + 1),
  root: sumSchema,
  /** Of the worker, over {@link proofClaimText}. */
  signature: base64urlSchema,
  finding: findingSchema,
  /** The piece of the answer that it lies in, and its way up to the root. */
  leaf: base64urlSchema,
  path: z.array(sumSchema).max(64),
});
/** A signed claim, and a part of it that is not so. */
export type WrongClaim = z.output<typeof wrongClaimSchema>;

const evidenceSchema = z.strictObject({ proofs: z.array(wrongClaimSchema).min(CLAIMS_MIN).max(4) });

/** Cuts the part out of the answer that shows it. */
export function openingOf(
  work: ProofWork,
  answer: Uint8Array,
  finding: ProofFinding,
): Pick<WrongClaim, "leaf" | "path"> {
  const levels = levelsOf(answer);
  let at = Math.floor(offsetOf(work, finding) / LEAF_BYTES);
  const leaf = Buffer.from(answer.subarray(at * LEAF_BYTES, (at + 1) * LEAF_BYTES)).toString("base64url");
  const path: string[] = [];
  for (const level of levels.slice(0, -1)) {
    const sibling = level[at ^ 1];
    if (sibling !== undefined) path.push(hexOf(sibling));
    at >>= 1;
  }
  return { leaf, path };
}

/** Where it lies in the answer. */
function offsetOf(work: ProofWork, finding: ProofFinding): number {
  const roundBytes = lanesOf(work.target) * LANE_BYTES;
  if (finding.kind === "lane") return finding.round * roundBytes + finding.lane * LANE_BYTES;
  const rounds = Math.ceil(work.chaseSteps / ROUND_STEPS);
  return rounds * roundBytes + (finding.row * work.matrixSize + finding.column) * 2;
}

/** Why `evidence` shows no failed proof of the owner of this key (raw Ed25519, base64url); null where it does. Takes up to a few seconds. */
export function failedProofFault(publicKey: string, evidence: unknown): string | null {
  const parsed = evidenceSchema.safeParse(evidence);
  if (!parsed.success)
    return `evidence.proofs must be at least ${CLAIMS_MIN} signed claims, each with what is wrong of it`;
  const { proofs } = parsed.data;
  if (new Set(proofs.map(({ nonce }) => nonce)).size !== proofs.length)
    return "two claims are about the same challenge";
  for (const [n, claim] of proofs.entries()) {
    const fault = wrongClaimFault(publicKey, claim);
    if (fault !== null) return `claim ${n + 1}: ${fault}`;
  }
  return null;
}

/** Why this claim is not shown to be wrong; null where it is. */
export function wrongClaimFault(publicKey: string, claim: WrongClaim): string | null {
  const { target, memoryMiB, chaseSteps, matrixSize, matrixSteps, states, finding } = claim;
  const nonce = Buffer.from(claim.nonce, "base64url");
  const work: ProofWork = { target, nonce, memoryMiB, chaseSteps, matrixSize, matrixSteps };
  const rounds = roundSteps(chaseSteps);
  const isTooMuch = matrixSize ** 2 * matrixSteps > MATRIX_ENTRIES_MAX;
  if (isTooMuch || nonce.length !== NONCE_BYTES || states.length !== rounds.length + 1)
    return "it is not of the form of a claim";
  if (!verifySignature(publicKey, proofClaimText(claim), claim.signature))
    return "it is not signed with the worker's key";
  if (states[0] !== hexOf(firstState(work))) return "it was signed for another challenge";
  if (!isWithin(work, rounds.length, finding)) return "there is no such part in the answer";
  const leaf = Buffer.from(claim.leaf, "base64url");
  const offset = offsetOf(work, finding);
  const at = Math.floor(offset / LEAF_BYTES);
  const bytes = answerBytes(work);
  const leafBytes = Math.min(LEAF_BYTES, bytes - at * LEAF_BYTES);
  if (leaf.length !== leafBytes || rootOver(leaf, at, Math.ceil(bytes / LEAF_BYTES), claim.path) !== claim.root) {
    return "the part is not in the answer that was signed";
  }
  const state = Buffer.from((finding.kind === "lane" ? states[finding.round] : states.at(-1)) ?? "", "hex");
  const said = leaf.subarray(offset - at * LEAF_BYTES);
  if (finding.kind === "lane") {
    const lane = laneEnd(work, state, rounds[finding.round] ?? 0, finding.lane);
    return said.readUInt32LE(0) === lane.a && said.readUInt32LE(4) === lane.b ? "the walk ends where it says" : null;
  }
  const row = productRow(work, state, finding.row);
  return said.readUInt16LE(0) === row[finding.column] ? "the entry of the product is the right one" : null;
}

function isWithin({ target, matrixSize }: ProofWork, rounds: number, finding: ProofFinding): boolean {
  if (finding.kind === "lane") return finding.round < rounds && finding.lane < lanesOf(target);
  return finding.row < matrixSize && finding.column < matrixSize;
}

// ── Worked out again ──

/** Walks one lane of a round that begins in this state; of each block that it looks into, only the part up to the word is made. */
export function laneEnd(work: ProofWork, state: ProofState, steps: number, lane: number): Lane {
  const key = memoryKey(state);
  const blocks = blocksOf(work.memoryMiB);
  const block = new Int32Array(BLOCK_WORDS);
  const read = (blockIndex: number, word: number): number => {
    fillBlock(key, blockIndex, block, 0, Math.floor(word / ROW_WORDS) + 1);
    return block[word] as number;
  };
  const walk = startLane(chaseKey(state), lane);
  for (let step = 0; step < steps; step += 1) stepLane(walk, blocks, read);
  return walk;
}

/** A row of the product, from the last state: the row of the last matrix, times the one before, and so on down to X₀. */
export function productRow(
  { matrixSize: size, matrixSteps: steps }: ProofWork,
  state: ProofState,
  row: number,
): Uint16Array {
  let vector = new Float64Array(size);
  vector[row] = 1;
  for (let step = steps - 1; step >= 0; step -= 1) vector = timesMatrix(vector, matrixKey(state, step), size);
  const start = startMatrix(startKey(state), size);
  const out = new Float64Array(size);
  for (let k = 0; k < size; k += 1) {
    const factor = vector[k] as number;
    for (let column = 0; column < size; column += 1) {
      // Below 2⁴⁴: 4,096 × 65,520².
      out[column] = (out[column] as number) + factor * (start[k * size + column] as number);
    }
  }
  return Uint16Array.from(out, (sum) => sum % MODULUS);
}

/** A vector of entries below the modulus times a matrix of bytes, which is made as it is used. */
function timesMatrix(vector: Float64Array, key: Uint32Array, size: number): Float64Array<ArrayBuffer> {
  const out = new Float64Array(size);
  for (let k = 0; k < size; k += 1) {
    const factor = vector[k] as number;
    if (factor === 0) continue;
    for (let word = 0; word < size / 4; word += 1) {
      const four = matrixWord(key, k * (size / 4) + word);
      for (let part = 0; part < 4; part += 1) {
        const column = 4 * word + part;
        out[column] = (out[column] as number) + factor * ((four >>> (8 * part)) & 0xff);
      }
    }
  }
  return out.map((sum) => sum % MODULUS);
}
