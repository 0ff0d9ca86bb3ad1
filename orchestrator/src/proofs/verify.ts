// The verdict on an answer: pure, given the chance it needs. The verifier's thread calls it; nothing else should, because it takes up to half a second.
import {
  type AnswerSums,
  answerBytes,
  commitmentOf,
  firstState,
  LANE_BYTES,
  laneEnd,
  lanesOf,
  MATRIX_SIZE_MULTIPLE,
  MEMORY_MIB_MAX,
  MODULUS,
  matrixKey,
  NONCE_BYTES,
  nextState,
  openingOf,
  type ProofFinding,
  type ProofState,
  type ProofWork,
  productRow,
  ROUND_STEPS,
  roundSteps,
  startKey,
  startMatrix,
  sumsOf,
  type WrongClaim,
} from "@qubix/shared/proof";
import type { ProofTarget } from "@qubix/shared/protocol";
import { wrongRow } from "./freivalds.ts";
import { type Claim, memoryMiBMin, timeLimitMs } from "./parameters.ts";

/** The order as it was sent; `nonce` base64url. */
export interface SentChallenge {
  readonly target: ProofTarget;
  readonly nonce: string;
  readonly memoryMiB: number;
  readonly chaseSteps: number;
  readonly matrixSize: number;
  readonly matrixSteps: number;
}

/** What came in `proof.commit`. */
export interface Commit {
  readonly commitment: string;
  readonly memoryMiB: number;
  readonly fillMs: number;
  readonly chaseMs: number;
  readonly multiplyMs: number;
  /** What the worker signed of the answer. */
  readonly claim: AnswerSums;
}

export interface ProofCase {
  readonly params: SentChallenge;
  readonly commit: Commit;
  readonly answer: Uint8Array;
  readonly claimed: Claim;
  /** From the order's leaving to the commitment's coming, on our clock. */
  readonly elapsedMs: number;
}

/**
 * What a worker is listed with. All but `memoryMiB` and `elapsedMs` rest on the worker's own division of the time, which cannot exceed ours.
 */
export interface ProofFigures {
  readonly memoryMiB: number;
  readonly elapsedMs: number;
  /** 10⁶ bytes of memory made a second. */
  readonly fillMBps: number;
  /** Microseconds of one step of all walks. */
  readonly chaseUs: number;
  /** 10⁹ multiplications and additions a second. */
  readonly multiplyGops: number;
}

export type ProofVerdictCode =
  /** Later than the claimed class may need. Not by itself a lie: the machine may be busy, or the line bad. */
  | "too_slow"
  /** Less memory than is claimed. Not by itself a lie: other programs may hold it. */
  | "memory_short"
  /** Not the answer that was committed to. */
  | "commitment_broken"
  | "answer_malformed"
  /** The walks were not made, or not through that memory. */
  | "memory_wrong"
  | "product_wrong";

export type ProofVerdict =
  | { readonly ok: true; readonly figures: ProofFigures }
  | {
      readonly ok: false;
      readonly code: ProofVerdictCode;
      readonly message: string;
      /** The part of what was signed that is not so. */
      readonly wrong?: WrongPart;
    };

export type WrongPart = { readonly finding: ProofFinding } & Pick<WrongClaim, "leaf" | "path">;

/** Lanes that are recomputed, of all rounds' together: of a prover that leaves out a third of them, one in 26 comes through; of half, one in 256. */
const LANES_SAMPLED = 8;
/** The worker's division of the time may be off by what its clock and the line are. */
const DIVISION_SLACK_MS = 50;

/** `random`: bytes that nobody could foresee when the answer was committed to. */
export function verifyProof(proof: ProofCase, random: (bytes: number) => Uint8Array): ProofVerdict {
  return checkForm(proof) ?? checkWork(proof, random) ?? checkClaims(proof) ?? { ok: true, figures: figuresOf(proof) };
}

type Refusal = Extract<ProofVerdict, { ok: false }>;

function refuse(code: ProofVerdictCode, message: string): Refusal {
  return { ok: false, code, message };
}

function workOf({ params, commit }: ProofCase): ProofWork {
  const { target, chaseSteps, matrixSize, matrixSteps } = params;
  const nonce = Buffer.from(params.nonce, "base64url");
  return { target, nonce, memoryMiB: commit.memoryMiB, chaseSteps, matrixSize, matrixSteps };
}

function checkForm(proof: ProofCase): Refusal | undefined {
  const work = workOf(proof);
  const { commit, answer } = proof;
  if (work.nonce.length !== NONCE_BYTES || work.matrixSize % MATRIX_SIZE_MULTIPLE !== 0) {
    return refuse("answer_malformed", "The challenge itself is malformed.");
  }
  if (commit.memoryMiB < 1 || commit.memoryMiB > MEMORY_MIB_MAX) {
    return refuse("answer_malformed", `It cannot have filled ${commit.memoryMiB} MiB.`);
  }
  const wanted = answerBytes(work);
  if (answer.length !== wanted) {
    return refuse("answer_malformed", `The answer has ${answer.length} bytes, and ${wanted} were due.`);
  }
  if (commitmentOf(answer) !== commit.commitment) {
    return refuse("commitment_broken", "The answer is not the one that was committed to.");
  }
  const { states, root } = sumsOf(work, answer);
  if (root !== commit.claim.root || states.join() !== commit.claim.states.join()) {
    return refuse("commitment_broken", "The answer is not the one that was signed.");
  }
  const { fillMs, chaseMs, multiplyMs } = commit;
  if (fillMs + chaseMs + multiplyMs > proof.elapsedMs + DIVISION_SLACK_MS) {
    return refuse("answer_malformed", "The parts of the work are said to have taken longer than the whole.");
  }
  return undefined;
}

function checkClaims({ params, commit, claimed, elapsedMs }: ProofCase): Refusal | undefined {
  const least = memoryMiBMin(claimed, params.memoryMiB);
  if (commit.memoryMiB < least) {
    return refuse(
      "memory_short",
      `It filled ${commit.memoryMiB} MiB, and ${least} MiB are the least for what is claimed. End what else uses the memory, or offer less of it.`,
    );
  }
  const limitMs = timeLimitMs(claimed, { ...params, memoryMiB: commit.memoryMiB });
  if (elapsedMs <= limitMs) return undefined;
  const what = claimed.kind === "gpu" ? claimed.model : `${claimed.cpus} cores`;
  return refuse(
    "too_slow",
    `It took ${Math.round(elapsedMs)} ms, and ${limitMs} ms are the most for ${what}. End what else uses the hardware; it is asked again later.`,
  );
}

function checkWork(proof: ProofCase, random: (bytes: number) => Uint8Array): Refusal | undefined {
  const work = workOf(proof);
  const { states, rounds, product } = readAnswer(work, proof.answer);
  const state = states.at(-1) as ProofState;
  const { matrixSize: size, matrixSteps: steps } = work;
  const beyond = product.findIndex((entry) => entry >= MODULUS);
  if (beyond >= 0) {
    const refusal = refuse("answer_malformed", "The product has entries that are not below the modulus.");
    const finding = { kind: "entry", row: Math.floor(beyond / size), column: beyond % size } as const;
    return showing(refusal, work, proof.answer, finding);
  }
  const claim = {
    size,
    steps,
    start: startMatrix(startKey(state), size),
    key: (step: number) => matrixKey(state, step),
    product,
  };
  const row = wrongRow(claim, random);
  if (row !== null) {
    const right = productRow(work, state, row);
    const column = right.findIndex((entry, at) => entry !== product[row * size + at]);
    const refusal = refuse("product_wrong", "The product is not that of the matrices.");
    return column < 0 ? refusal : showing(refusal, work, proof.answer, { kind: "entry", row, column });
  }
  for (let sample = 0; sample < LANES_SAMPLED; sample += 1) {
    const round = below(rounds.length, random);
    const lane = below(lanesOf(work.target), random);
    if (!laneHolds(work, states[round] as ProofState, rounds[round] as Round, lane)) {
      const refusal = refuse("memory_wrong", "A walk through the memory does not end where the answer says.");
      return showing(refusal, work, proof.answer, { kind: "lane", round, lane });
    }
  }
  return undefined;
}

/** With the part of the answer that shows it to anybody. */
function showing(refusal: Refusal, work: ProofWork, answer: Uint8Array, finding: ProofFinding): Refusal {
  return { ...refusal, wrong: { finding, ...openingOf(work, answer, finding) } };
}

interface Round {
  readonly steps: number;
  readonly ends: Uint8Array;
}

/** `states`: before each round, and after the last. */
function readAnswer(work: ProofWork, answer: Uint8Array) {
  const roundBytes = lanesOf(work.target) * LANE_BYTES;
  const rounds: Round[] = [];
  const states = [firstState(work)];
  for (const [round, steps] of roundSteps(work.chaseSteps).entries()) {
    const ends = answer.subarray(round * roundBytes, (round + 1) * roundBytes);
    rounds.push({ steps, ends });
    states.push(nextState(states.at(-1) as ProofState, ends));
  }
  const at = rounds.length * roundBytes;
  const view = new DataView(answer.buffer, answer.byteOffset + at, answer.length - at);
  const product = Uint16Array.from({ length: work.matrixSize ** 2 }, (_, index) => view.getUint16(index * 2, true));
  return { states, rounds, product };
}

function laneHolds(work: ProofWork, state: ProofState, { steps, ends }: Round, index: number): boolean {
  const lane = laneEnd(work, state, steps, index);
  const view = new DataView(ends.buffer, ends.byteOffset + index * LANE_BYTES, LANE_BYTES);
  return view.getUint32(0, true) === lane.a && view.getUint32(4, true) === lane.b;
}

/** A whole number below `count`; six bytes make the bias nothing. */
function below(count: number, random: (bytes: number) => Uint8Array): number {
  return Buffer.from(random(6)).readUIntLE(0, 6) % count;
}

function figuresOf({ params, commit, elapsedMs }: ProofCase): ProofFigures {
  const rounds = Math.ceil(params.chaseSteps / ROUND_STEPS);
  const filledBytes = rounds * commit.memoryMiB * 1024 * 1024;
  const products = params.matrixSteps * params.matrixSize ** 3;
  return {
    memoryMiB: commit.memoryMiB,
    elapsedMs: Math.round(elapsedMs),
    fillMBps: rate(filledBytes / 1e6, commit.fillMs / 1000),
    chaseUs: Math.round((commit.chaseMs * 1e6) / params.chaseSteps) / 1000,
    multiplyGops: rate((2 * products) / 1e9, commit.multiplyMs / 1000),
  };
}

/** A time of less than a millisecond counts as one. */
function rate(amount: number, seconds: number): number {
  return Math.round((amount / Math.max(0.001, seconds)) * 10) / 10;
}
