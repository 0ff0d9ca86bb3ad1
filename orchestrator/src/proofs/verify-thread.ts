// The verifier's thread: one answer in, one verdict out.
import { randomBytes } from "node:crypto";
import { parentPort } from "node:worker_threads";
import type { ThreadAnswer } from "./verifier.ts";
import { type ProofCase, verifyProof } from "./verify.ts";

parentPort?.on("message", (proof: ProofCase) => {
  parentPort?.postMessage(judge(proof), []);
});

function judge(proof: ProofCase): ThreadAnswer {
  try {
    return { kind: "verdict", verdict: verifyProof(proof, (bytes) => randomBytes(bytes)) };
  } catch (error) {
    return { kind: "broken", message: error instanceof Error ? error.message : String(error) };
  }
}
