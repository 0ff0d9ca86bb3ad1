// The thread in which two files are compared: large ones take a while, and the orchestrator's loop must not stand still for it.
import { parentPort, workerData } from "node:worker_threads";
import { type FilePair, type PairAnswer } from "./comparer.ts";
import { isSameFile } from "./formats.ts";

const { path, a, b, tolerance } = workerData as FilePair;

function answer(): PairAnswer {
  try {
    return { isSame: isSameFile(path, Buffer.from(a), Buffer.from(b), tolerance) };
  } catch (error) {
    return { isSame: null, why: error instanceof Error ? error.message : String(error) };
  }
}

parentPort?.postMessage(answer(), []);
