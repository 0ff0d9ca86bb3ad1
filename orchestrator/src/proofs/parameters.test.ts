import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { answerBytes } from "@qubix/shared/proof";
import { orchestratorMessageSchema, PROOF_ANSWER_BYTES_MAX } from "@qubix/shared/protocol";
import { gpuClassOf } from "./classes.ts";
import {
  type Claim,
  memoryMiBMin,
  PROOF_TIMEOUT_MS_MAX,
  proofParameters,
  targetOf,
  timeLimitMs,
} from "./parameters.ts";

describe("a model's class", () => {
  it.each([
    ["GeForce RTX 4090", 1008],
    ["NVIDIA GeForce RTX 4070 Ti SUPER", 672],
    ["NVIDIA GeForce RTX 4070 Ti", 432],
    ["GeForce GTX 1070 Ti", 256],
    ["A100-SXM4-40GB", 1555],
    ["A100-SXM4-80GB", 1935],
    ["H100 80GB HBM3", 2000],
    ["L4", 300],
    ["L40S", 864],
    ["Tesla T4", 320],
    ["RTX A6000", 768],
    ["RTX 6000 Ada Generation", 960],
  ])("of %s is known", (model, bandwidthGBps) => {
    expect(gpuClassOf(model)?.bandwidthGBps).toBe(bandwidthGBps);
  });

  it.each(["GeForce RTX 3060 Laptop GPU", "A100-SXM4-40GB MIG 1g.5gb", "GB10", "Graphics Device", "Tesla K80", ""])(
    "of %s is not, and it is asked for less",
    (model) => {
      expect(gpuClassOf(model)).toBeUndefined();
      const unknown = proofParameters({ kind: "gpu", model, memoryMiB: 12_288 });
      const known = proofParameters({ kind: "gpu", model: "GeForce RTX 3060", memoryMiB: 12_288 });
      expect(unknown.chaseSteps).toBeLessThan(known.chaseSteps);
      expect(unknown.timeoutMs).toBeGreaterThan(known.timeoutMs);
    },
  );
});

const model = fc.constantFrom("GeForce RTX 5090", "GeForce GTX 1050", "Tesla T4", "B200", "whatever");
const claims: fc.Arbitrary<Claim> = fc.oneof(
  fc.record({ kind: fc.constant("gpu" as const), model, memoryMiB: fc.nat(400_000) }),
  fc.record({
    kind: fc.constant("cpu" as const),
    cpus: fc.double({ min: 0.1, max: 4096, noNaN: true }),
    memoryMiB: fc.integer({ min: 1, max: 8_000_000 }),
  }),
);

describe("what is asked for", () => {
  it("can be said in the protocol, answered over the bulk socket, and keeps no machine for more than a minute", () => {
    fc.assert(
      fc.property(claims, (claim) => {
        const params = proofParameters(claim);
        const target = targetOf(claim, "GPU-0");
        const nonce = Buffer.alloc(32).toString("base64url");
        const order = { kind: "prove", challengeId: "prf-1", target, nonce, ...params };
        expect(orchestratorMessageSchema.parse(order)).toEqual(order);
        expect(answerBytes({ target, ...params })).toBeLessThanOrEqual(PROOF_ANSWER_BYTES_MAX);
        expect(params.timeoutMs).toBeLessThanOrEqual(PROOF_TIMEOUT_MS_MAX);
        expect(params.memoryMiB).toBeLessThanOrEqual(claim.memoryMiB);
      }),
    );
  });

  it("leaves time for cards whose memory nobody knows", () => {
    const known = proofParameters({ kind: "gpu", model: "GB10", memoryMiB: 122_572 });
    expect(proofParameters({ kind: "gpu", model: "GB10", memoryMiB: 0 }).timeoutMs).toBeGreaterThanOrEqual(
      known.timeoutMs,
    );
  });

  it("grows with the cores, so that few cannot pass for many", () => {
    const work = (cpus: number) => {
      const { memoryMiB, chaseSteps, matrixSize, matrixSteps } = proofParameters({ kind: "cpu", cpus, memoryMiB: 1e6 });
      return { memoryMiB, chaseSteps, matrixSize, matrixSteps };
    };
    expect(work(64).matrixSteps / work(2).matrixSteps).toBeGreaterThan(64);
    // The work of 64 cores may take one core far longer than 64 may take.
    const claim = { kind: "cpu", cpus: 64, memoryMiB: 1e6 } as const;
    const asOne = timeLimitMs({ ...claim, cpus: 1 }, work(64));
    expect(asOne).toBe(PROOF_TIMEOUT_MS_MAX);
    expect(timeLimitMs(claim, work(64))).toBeLessThan(asOne);
  });
});

describe("the least memory", () => {
  it("leaves out what a desktop and the driver hold, and is what was asked for where that was said", () => {
    expect(memoryMiBMin({ kind: "gpu", model: "GeForce RTX 4090", memoryMiB: 24_564 }, 0)).toBe(20_009);
    expect(memoryMiBMin({ kind: "gpu", model: "old", memoryMiB: 512 }, 0)).toBe(0);
    expect(memoryMiBMin({ kind: "cpu", cpus: 2, memoryMiB: 4096 }, 128)).toBe(128);
  });
});
