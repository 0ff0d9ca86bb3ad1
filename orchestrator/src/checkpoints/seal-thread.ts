// A thread that seals chunks: the plain bytes lie in shared memory where the ciphertext is to be, and the file's bytes lie there when it answers.
import { parentPort } from "node:worker_threads";
import { sealInPlace } from "./chunk-cipher.ts";
import type { SealAnswer, SealTask } from "./sealer.ts";

parentPort?.on("message", (task: SealTask) => {
  parentPort?.postMessage(seal(task), []);
});

function seal({ id, memory, bytes, key, sum }: SealTask): SealAnswer {
  try {
    const stored = sealInPlace(new Uint8Array(memory), bytes, key, sum);
    return { id, stored };
  } catch (error) {
    return { id, broken: error instanceof Error ? error.message : String(error) };
  }
}
