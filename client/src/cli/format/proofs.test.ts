import { describe, expect, it } from "vitest";
import type { Worker } from "../../sdk/types.ts";
import { proofLine, proofsText, unprovenLines } from "./proofs.ts";

type Proof = Worker["proofs"][number];

const CPU: Proof = { gpuUuid: null, state: "proven", provenMsAgo: 61_000, figures: { fillMBps: 800 }, failure: null };
const FAILURE = { code: "product_wrong", message: "The product is wrong.", count: 3, retryInMs: 240_000 };
const GPU: Proof = { gpuUuid: "GPU-1", state: "failed", provenMsAgo: null, figures: {}, failure: FAILURE };

function workerOf(...proofs: Proof[]): Worker {
  const gpus = [{ uuid: "GPU-1", model: "NVIDIA RTX 4090", memoryMiB: 24_564 }];
  const verified = proofs.length > 0 && proofs.every(({ state }) => state === "proven");
  return { gpus, proofs, verified } as unknown as Worker;
}

describe("a worker's hardware in a word", () => {
  it.each([
    ["-", []],
    ["verified", [CPU]],
    ["failed", [CPU, GPU]],
    [
      "proving",
      [
        { ...CPU, state: "proving" as const },
        { ...GPU, state: "waiting" as const, failure: null },
      ],
    ],
    ["unproven", [{ ...CPU, state: "waiting" as const }]],
    ["update worker", [{ ...CPU, state: "unsupported" as const }]],
  ])("is %s", (text, proofs) => {
    expect(proofsText(workerOf(...proofs))).toBe(text);
  });
});

describe("a line on a piece of hardware", () => {
  it("shows what was measured", () => {
    expect(proofLine(workerOf(CPU), CPU)).toBe("cores and memory: proven 1 min 01 s ago (fillMBps 800)");
  });

  it("says why it is not listed, and when it is asked again", () => {
    expect(unprovenLines(workerOf(CPU, GPU))).toEqual([
      "NVIDIA RTX 4090 GPU-1: not proven, so it gets no work. product_wrong, 3 times in a row: The product is wrong. Asked again in 4 min 00 s, or a minute after it is started anew",
    ]);
  });

  it("says once that an old agent must be updated, and cannot steer the terminal", () => {
    const old = (proof: Proof): Proof => ({ ...proof, state: "unsupported", failure: null });
    expect(unprovenLines(workerOf(old(CPU), old(GPU)))).toEqual([expect.stringContaining("update qubix-worker")]);
    const sly = { ...GPU, failure: { ...FAILURE, message: "\u001b[2J" } };
    expect(proofLine(workerOf(sly), sly)).not.toContain("\u001b");
  });
});
