// A proof on cores: the phases one after the other, each cut into as many parts as there are threads.
import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import { Worker } from "node:worker_threads";
import {
  BLOCK_BYTES,
  blocksOf,
  chaseKey,
  firstState,
  LANE_BYTES,
  matrixKey,
  memoryKey,
  nextState,
  type ProofWork,
  roundSteps,
  startKey,
  startMatrix,
} from "@qubix/shared/proof";
import type { Part, Shared } from "./thread.ts";

const MIB = 1024 * 1024;
/** Of what the machine has free, when all is asked for; the rest is for what runs beside. */
const FREE_SHARE = 0.8;
/** Addresses stay small whole numbers. */
const MEMORY_MIB_MAX = 4096;
/** Left free beside what is asked for: a machine that is out of memory kills something. */
const SPARE_MIB = 256;
const THREADS_MAX = 256;

export interface CpuProof {
  readonly answer: Uint8Array;
  readonly memoryMiB: number;
  readonly fillMs: number;
  readonly chaseMs: number;
  readonly multiplyMs: number;
}

export interface CpuOrder {
  readonly work: ProofWork;
  readonly lanes: number;
  readonly threads: number;
}

/** Throws a RangeError where the memory is not there. */
export async function makeProof(order: CpuOrder): Promise<CpuProof> {
  const { lanes } = order;
  const work = { ...order.work, memoryMiB: memoryMiBOf(order.work.memoryMiB) };
  const blocks = blocksOf(work.memoryMiB);
  const size = work.matrixSize;
  const shared: Shared = {
    memory: new Int32Array(new SharedArrayBuffer(blocks * BLOCK_BYTES)),
    ends: new Uint8Array(new SharedArrayBuffer(lanes * LANE_BYTES)),
    matrices: [sharedMatrix(size), sharedMatrix(size)],
    size,
  };
  const pool = await startPool(Math.min(THREADS_MAX, Math.max(1, order.threads)), shared);
  const times = { fillMs: 0, chaseMs: 0, multiplyMs: 0 };
  const timed = async (what: keyof typeof times, whole: number, part: (from: number, to: number) => Part) => {
    const begunMs = performance.now();
    await pool.run(whole, part);
    times[what] += performance.now() - begunMs;
  };
  const answer: Uint8Array[] = [];
  let state = firstState(work);
  for (const steps of roundSteps(work.chaseSteps)) {
    const fill = memoryKey(state);
    await timed("fillMs", blocks, (from, to) => ({ kind: "fill", key: fill, from, to }));
    const chase = chaseKey(state);
    await timed("chaseMs", lanes, (from, to) => ({ kind: "walk", key: chase, from, to, steps, blocks }));
    const ends = Uint8Array.from(shared.ends);
    answer.push(ends);
    state = nextState(state, ends);
  }
  shared.matrices[0].set(startMatrix(startKey(state), size));
  for (let step = 0; step < work.matrixSteps; step += 1) {
    const key = matrixKey(state, step);
    await timed("multiplyMs", size, (from, to) => ({ kind: "multiply", key, from, to, source: step % 2 }));
  }
  answer.push(littleEndian(shared.matrices[work.matrixSteps % 2] as Uint16Array));
  pool.stop();
  return { answer: Buffer.concat(answer), memoryMiB: work.memoryMiB, ...times };
}

function memoryMiBOf(asked: number): number {
  const freeMiB = Math.floor(availableBytes() / MIB);
  const wanted = asked > 0 ? asked : Math.max(1, Math.min(MEMORY_MIB_MAX, Math.floor(freeMiB * FREE_SHARE)));
  if (wanted > MEMORY_MIB_MAX) throw new RangeError(`At most ${MEMORY_MIB_MAX} MiB can be filled by cores.`);
  if (wanted + SPARE_MIB > freeMiB) {
    throw new RangeError(
      `${wanted} MiB of memory are asked for, and ${freeMiB} MiB are free. Offer less memory, or end what uses it.`,
    );
  }
  return wanted;
}

/** Linux says what programs could get, caches given back; elsewhere what is free must do. */
function availableBytes(): number {
  try {
    const found = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8"));
    if (found !== null) return Number(found[1]) * 1024;
  } catch {
    // Not Linux.
  }
  return freemem();
}

function sharedMatrix(size: number): Uint16Array {
  return new Uint16Array(new SharedArrayBuffer(size * size * 2));
}

function littleEndian(matrix: Uint16Array): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(matrix.length * 2));
  for (const [index, value] of matrix.entries()) bytes.setUint16(index * 2, value, true);
  return new Uint8Array(bytes.buffer);
}

interface Pool {
  /** Cuts 0…whole into parts, one a thread; resolves when all are done. */
  run(whole: number, part: (from: number, to: number) => Part): Promise<void>;
  stop(): void;
}

/** Resolves when every thread is ready: its start is no part of the work. */
async function startPool(threads: number, shared: Shared): Promise<Pool> {
  // Whatever this file runs as, the threads do too: TypeScript from the sources, JavaScript once built.
  const file = new URL(import.meta.url.endsWith(".ts") ? "./thread.ts" : "./thread.js", import.meta.url);
  const workers = Array.from({ length: threads }, () => new Worker(file, { workerData: shared }));
  await Promise.all(workers.map((worker) => answered(worker)));
  return {
    async run(whole, part) {
      await Promise.all(
        workers.map((worker, index) => {
          const from = Math.floor((whole * index) / threads);
          const to = Math.floor((whole * (index + 1)) / threads);
          return ask(worker, part(from, to));
        }),
      );
    },
    stop() {
      for (const worker of workers) void worker.terminate();
    },
  };
}

function ask(worker: Worker, part: Part): Promise<void> {
  worker.postMessage(part, []);
  return answered(worker);
}

function answered(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      worker.off("error", reject);
      resolve();
    };
    worker.once("message", done);
    worker.once("error", reject);
  });
}
