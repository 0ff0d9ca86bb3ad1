import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  BLOCK_WORDS,
  blocksOf,
  chaseKey,
  commitmentOf,
  fillBlock,
  firstState,
  LANE_BYTES,
  lanesOf,
  MODULUS,
  matrixKey,
  memoryKey,
  nextState,
  openingOf,
  proofClaimText,
  wrongClaimFault,
  type WrongClaim,
  type ProofWork,
  productBytes,
  prove,
  ROUND_STEPS,
  startKey,
  startLane,
  startMatrix,
  stepLane,
  sumsOf,
} from "@qubix/shared/proof";
import { productHolds } from "./freivalds.ts";
import { createVerifier } from "./verifier.ts";
import { type ProofCase, verifyProof } from "./verify.ts";

const random = (bytes: number) => randomBytes(bytes);
const WORK = {
  target: { kind: "cpu" },
  memoryMiB: 2,
  chaseSteps: 300,
  matrixSize: 32,
  matrixSteps: 3,
} as const;
const LANES = lanesOf(WORK.target);
const CLAIM = { kind: "cpu", cpus: 1, memoryMiB: 1024 } as const;

function caseOf(work: ProofWork, answer: Uint8Array, change: Partial<ProofCase> = {}): ProofCase {
  const { target, chaseSteps, matrixSize, matrixSteps } = work;
  const nonce = Buffer.from(work.nonce).toString("base64url");
  const times = { fillMs: 300, chaseMs: 200, multiplyMs: 10 };
  return {
    params: { target, nonce, memoryMiB: work.memoryMiB, chaseSteps, matrixSize, matrixSteps },
    commit: { commitment: commitmentOf(answer), memoryMiB: work.memoryMiB, ...times, claim: sumsOf(work, answer) },
    answer,
    claimed: CLAIM,
    elapsedMs: 600,
    ...change,
  };
}

function verdictOf(proof: ProofCase): string {
  const verdict = verifyProof(proof, random);
  return verdict.ok ? "ok" : verdict.code;
}

const work: ProofWork = { ...WORK, nonce: randomBytes(32) };
const honest = prove(work);

/** The last entry of the product is another one. */
function flipped(answer: Uint8Array): Buffer {
  const wrong = Buffer.from(answer);
  wrong[wrong.length - 2] = (wrong.at(-2) ?? 0) ^ 1;
  return wrong;
}

/** An entry of the product is not below the modulus. */
function beyond(answer: Uint8Array): Buffer {
  const wrong = Buffer.from(answer);
  wrong.writeUInt16LE(MODULUS, wrong.length - 6);
  return wrong;
}

describe("an answer", () => {
  it("of an honest prover is good, with what was measured", () => {
    const verdict = verifyProof(caseOf(work, honest), random);
    expect(verdict).toEqual({
      ok: true,
      figures: { memoryMiB: 2, elapsedMs: 600, fillMBps: 14, chaseUs: 666.667, multiplyGops: 0 },
    });
  });

  // The product hangs on the walks, and is looked at first.
  it("to another nonce is refused", () => {
    const other = { ...work, nonce: randomBytes(32) };
    expect(verdictOf(caseOf(other, honest))).toBe("product_wrong");
  });

  it("for less memory than it says is refused", () => {
    const less = prove({ ...work, memoryMiB: 1 });
    expect(verdictOf(caseOf(work, less))).toBe("product_wrong");
  });

  it("with one wrong entry in the product is refused, whichever it is", () => {
    const walks = honest.length - productBytes(WORK.matrixSize);
    fc.assert(
      fc.property(fc.nat(WORK.matrixSize ** 2 - 1), fc.integer({ min: 1, max: MODULUS - 1 }), (entry, error) => {
        const answer = Buffer.from(honest);
        const at = walks + entry * 2;
        answer.writeUInt16LE((answer.readUInt16LE(at) + error) % MODULUS, at);
        expect(verdictOf(caseOf(work, answer))).toBe("product_wrong");
      }),
      { numRuns: 20 },
    );
  });

  it("with entries beyond the modulus is refused", () => {
    expect(verdictOf(caseOf(work, beyond(honest)))).toBe("answer_malformed");
  });

  it("that is not the one committed to is refused", () => {
    const proof = caseOf(work, honest);
    const answer = Buffer.from(honest);
    answer[0] = (answer[0] ?? 0) ^ 1;
    expect(verdictOf({ ...proof, answer })).toBe("commitment_broken");
  });

  it.each([0, 31, 32, honest.length - 1, honest.length + 1])("of %i bytes is refused", (length) => {
    const answer = Buffer.alloc(length);
    honest.subarray(0, length).forEach((byte, index) => answer.writeUInt8(byte, index));
    expect(verdictOf(caseOf(work, answer))).toBe("answer_malformed");
  });

  it("whose walks were made up is refused, though all that follows from them is right", () => {
    expect(
      verdictOf(
        caseOf(
          work,
          withWalks(() => randomBytes(LANES * LANE_BYTES)),
        ),
      ),
    ).toBe("memory_wrong");
  });

  it.each([
    ["walks", "lane", () => withWalks(() => randomBytes(LANES * LANE_BYTES))],
    ["a product", "entry", () => flipped(honest)],
    // Else whoever fills it with whatever there is would never be accused.
    ["entries that cannot be in any product", "entry", () => beyond(honest)],
  ])("with %s that are wrong shows it to whoever has the worker's key, where it is signed", (_what, kind, make) => {
    const answer = make();
    const verdict = verifyProof(caseOf(work, answer), random);
    if (verdict.ok || verdict.wrong === undefined) throw new Error("nothing is shown");
    expect(verdict.wrong.finding.kind).toBe(kind);
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const key = publicKey.export({ format: "jwk" }).x ?? "";
    const of = (signed: Uint8Array, part = verdict.wrong) => {
      const { states, root } = sumsOf(work, signed);
      const text = { challengeId: "prf-1", commitment: commitmentOf(signed), memoryMiB: work.memoryMiB, states, root };
      const signature = sign(null, Buffer.from(proofClaimText(text)), privateKey).toString("base64url");
      const nonce = Buffer.from(work.nonce).toString("base64url");
      return { ...work, ...text, states: [...states], nonce, signature, ...part } as WrongClaim;
    };
    expect(wrongClaimFault(key, of(answer))).toBeNull();
    // What an honest worker signed shows nothing, wherever one looks: neither there nor with the part of another's answer.
    expect(wrongClaimFault(key, of(honest))).toMatch(/not in the answer/);
    const { finding } = verdict.wrong;
    const own = { finding, ...openingOf(work, honest, finding) };
    expect(wrongClaimFault(key, of(honest, own))).toMatch(/where it says|the right one/);
  });

  it("with walks through only every second block is refused", () => {
    expect(verdictOf(caseOf(work, withWalks(halfWalks)))).toBe("memory_wrong");
  });

  it("that came too late is refused, and so is one that filled too little or divides the time wrongly", () => {
    expect(verdictOf(caseOf(work, honest, { elapsedMs: 61_000 }))).toBe("too_slow");
    const proof = caseOf(work, honest);
    expect(verdictOf({ ...proof, params: { ...proof.params, memoryMiB: 3 } })).toBe("memory_short");
    expect(verdictOf(caseOf(work, honest, { elapsedMs: 400 }))).toBe("answer_malformed");
  });
});

describe("one lane that was left out", () => {
  const MADE_UP = 77;
  const answer = withWalks((state, steps) => {
    const ends = Buffer.from(everyWalk(state, steps));
    if (steps !== ROUND_STEPS) return ends;
    ends.writeUInt32LE((ends.readUInt32LE(MADE_UP * LANE_BYTES) ^ 1) >>> 0, MADE_UP * LANE_BYTES);
    return ends;
  });
  /** Always looks at this lane of this round; the vectors of the product are real chance. */
  const looking = (round: number, lane: number) => {
    const choices = [round, lane];
    let drawn = 0;
    return (bytes: number) => {
      if (bytes !== 6) return randomBytes(bytes);
      const choice = Buffer.alloc(6);
      choice.writeUIntLE(choices[drawn++ % 2] ?? 0, 0, 6);
      return choice;
    };
  };

  it.each([
    [0, MADE_UP, "memory_wrong"],
    [0, MADE_UP + 1, "ok"],
    [1, MADE_UP, "ok"],
  ])("is seen by who looks there: round %i, lane %i: %s", (round, lane, wanted) => {
    const verdict = verifyProof(caseOf(work, answer), looking(round, lane));
    expect(verdict.ok ? "ok" : verdict.code).toBe(wanted);
  });
});

/** An answer whose walks are these; the product is that of the matrices which follow from them. */
function withWalks(walks: (state: Uint8Array, steps: number) => Uint8Array): Uint8Array {
  let state = firstState(work);
  const parts: Uint8Array[] = [];
  for (const steps of [256, 44]) {
    const ends = walks(state, steps);
    parts.push(ends);
    state = nextState(state, ends);
  }
  const size = WORK.matrixSize;
  let x = [...startMatrix(startKey(state), size)];
  for (let step = 0; step < WORK.matrixSteps; step += 1) x = naiveProduct(matrixKey(state, step), size, x);
  parts.push(Buffer.from(Uint16Array.from(x).buffer));
  return Buffer.concat(parts);
}

function everyWalk(state: Uint8Array, steps: number): Uint8Array {
  return walks(state, steps, (block) => block);
}

/** Blocks with odd numbers count as their neighbour: half the memory would do. */
function halfWalks(state: Uint8Array, steps: number): Uint8Array {
  return walks(state, steps, (block) => block - (block % 2));
}

function walks(state: Uint8Array, steps: number, kept: (block: number) => number): Uint8Array {
  const blocks = blocksOf(WORK.memoryMiB);
  const memory = new Int32Array(blocks * BLOCK_WORDS);
  for (let block = 0; block < blocks; block += 1) fillBlock(memoryKey(state), block, memory, block * BLOCK_WORDS);
  const ends = Buffer.alloc(LANES * LANE_BYTES);
  for (let index = 0; index < LANES; index += 1) {
    const lane = startLane(chaseKey(state), index);
    for (let step = 0; step < steps; step += 1) {
      stepLane(lane, blocks, (block, word) => memory[kept(block) * BLOCK_WORDS + word] ?? 0);
    }
    ends.writeUInt32LE(lane.a, index * LANE_BYTES);
    ends.writeUInt32LE(lane.b, index * LANE_BYTES + 4);
  }
  return ends;
}

/** Written a second time, in the plainest way: entries by their definition, sums as whole numbers of any size. */
function naiveProduct(key: Uint32Array, size: number, x: readonly number[]): number[] {
  const scrambled = (word: number) => {
    let value = word >>> 0;
    value = Math.imul(value ^ (value >>> 16), 0x7feb352d) >>> 0;
    value = Math.imul(value ^ (value >>> 15), 0x846ca68b) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const entry = (row: number, column: number) => {
    const at = row * size + column;
    const word = scrambled((scrambled(((at >>> 2) ^ (key[0] ?? 0)) >>> 0) + (key[1] ?? 0)) >>> 0);
    return BigInt((word >>> (8 * (at & 3))) & 0xff);
  };
  return Array.from({ length: size * size }, (_, at) => {
    let sum = 0n;
    for (let k = 0; k < size; k += 1) {
      sum += entry(Math.floor(at / size), k) * BigInt(x[k * size + (at % size)] ?? 0);
    }
    return Number(sum % BigInt(MODULUS));
  });
}

describe("Freivalds' test", () => {
  const size = 16;
  const digest = createHash("sha256").update("a state").digest();
  const start = startMatrix(startKey(digest), size);
  const right = naiveProduct(matrixKey(digest, 1), size, naiveProduct(matrixKey(digest, 0), size, [...start]));
  const holds = (product: readonly number[]) =>
    productHolds(
      { size, steps: 2, start, key: (step) => matrixKey(digest, step), product: Uint16Array.from(product) },
      random,
    );

  it("takes the right product, and none that is wrong in any way", () => {
    expect(holds(right)).toBe(true);
    fc.assert(
      fc.property(fc.array(fc.nat(MODULUS - 1), { minLength: size * size, maxLength: size * size }), (product) => {
        expect(holds(product)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it("sees an error of rank one, which leaves most vectors nearly alone", () => {
    fc.assert(
      fc.property(fc.nat(size - 1), fc.nat(size - 1), fc.integer({ min: 1, max: MODULUS - 1 }), (from, to, factor) => {
        const product = [...right];
        // Row `to` gets a multiple of row `from`: the product of matrices of lower rank.
        for (let column = 0; column < size; column += 1) {
          const added = factor * (right[from * size + column] ?? 0);
          product[to * size + column] = ((product[to * size + column] ?? 0) + added) % MODULUS;
        }
        const same = product.every((value, index) => value === right[index]);
        expect(holds(product)).toBe(same);
      }),
      { numRuns: 100 },
    );
  });
});

describe("the verifier", () => {
  const verifier = createVerifier();
  afterAll(() => verifier.stop());

  it("gives verdicts from a thread of its own, in their order", async () => {
    const bad = Buffer.from(honest);
    bad.writeUInt16LE((bad.readUInt16LE(bad.length - 2) + 1) % MODULUS, bad.length - 2);
    const verdicts = await Promise.all([honest, bad, honest].map((answer) => verifier.verify(caseOf(work, answer))));
    expect(verdicts.map((verdict) => (verdict.ok ? "ok" : verdict.code))).toEqual(["ok", "product_wrong", "ok"]);
    expect(verifier.waiting()).toBe(0);
  });

  it("turns answers away when too many wait", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, () =>
        verifier.verify(caseOf(work, honest, { commit: { ...caseOf(work, honest).commit, commitment: "" } })),
      ),
    );
    const codes = results.map((result) =>
      result.status === "rejected" ? (result.reason as { code: string }).code : "judged",
    );
    expect(codes.filter((code) => code === "judged")).toHaveLength(17);
    expect(codes.filter((code) => code === "verifier_busy")).toHaveLength(3);
  });
});
