// Proofs of hardware: what they cost who makes them, and what they cost who judges them; and what it costs to answer without the memory.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  answerBytes,
  BLOCK_WORDS,
  chaseKey,
  commitmentOf,
  fillBlock,
  type ProofWork,
  prove,
  ROUND_STEPS,
  startLane,
  stepLane,
  sumsOf,
} from "@qubix/shared/proof";
import { proofParameters } from "../../orchestrator/src/proofs/parameters.ts";
import { type ProofCase, verifyProof } from "../../orchestrator/src/proofs/verify.ts";
import { type ProofResult, runProgram } from "../../worker/src/proof/program.ts";
import { programFor } from "../../worker/src/proof/programs.ts";
import type { Cleanup } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { percentile } from "../harness/statistics.ts";

const CORES = 2;
const CPU_CLAIM = { kind: "cpu", cpus: CORES, memoryMiB: 8192 } as const;
const GPU_CLAIM = { kind: "gpu", model: "NVIDIA GeForce RTX 4090", memoryMiB: 24_564 } as const;
const TIMEOUT_MS = 60_000;
/** A judge has this long of one core. */
const VERDICT_MS_MAX = 500;
const random = (bytes: number) => randomBytes(bytes);

export async function runProof(report: Report, cleanup: Cleanup, options: { readonly runs: number }): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "qubix-bench-proof-"));
  cleanup.add(() => rmSync(dir, { recursive: true, force: true }));
  await cores(report, dir, options.runs);
  gpu(report, options.runs);
  withoutMemory(report);
}

/** The default challenge of a small machine, by the real program. */
async function cores(report: Report, dir: string, runs: number): Promise<void> {
  const { timeoutMs: _, ...sizes } = proofParameters(CPU_CLAIM);
  const proofMs: number[] = [];
  const verdictMs: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const work: ProofWork = { target: { kind: "cpu" }, nonce: randomBytes(32), ...sizes };
    const begunMs = performance.now();
    const order = { work, timeoutMs: TIMEOUT_MS, answerPath: join(dir, "answer") };
    const program = programFor(work.target, { threads: CORES });
    const result = await runProgram(program, order, AbortSignal.timeout(TIMEOUT_MS));
    const elapsedMs = performance.now() - begunMs;
    proofMs.push(result.fillMs + result.chaseMs + result.multiplyMs);
    const { ms, code } = judge({ work, result, claimed: CPU_CLAIM, elapsedMs });
    verdictMs.push(ms);
    report.check("the program for cores passes", code === "ok", code);
    report.progress(`cores: ${Math.round(elapsedMs)} ms in all, judged in ${Math.round(ms)} ms`);
  }
  const [proof, verdict] = [percentile(proofMs, 50), percentile(verdictMs, 50)];
  report.row({ system: "limit", metric: `the work itself, ${CORES} cores`, value: proof, unit: "ms", n: runs });
  report.row(
    { system: "qubix", metric: "verdict on it", value: verdict, unit: "ms of a core", n: runs },
    { atMost: VERDICT_MS_MAX },
  );
  report.row({ system: "qubix", metric: "work / verdict", value: (proof * CORES) / verdict, unit: "×", n: runs });
}

/** The sizes of a large card's challenge. Its memory does not matter to a judge, and its product is judged before the walks: right walks with a made-up product take the one half, a small product with right walks the other. */
function gpu(report: Report, runs: number): void {
  const { timeoutMs: _, ...sizes } = proofParameters(GPU_CLAIM);
  const target = { kind: "gpu", uuid: "GPU-0" } as const;
  const times: number[] = [];
  const small: ProofWork = {
    target,
    nonce: randomBytes(32),
    memoryMiB: 4,
    chaseSteps: ROUND_STEPS,
    matrixSize: 16,
    matrixSteps: 1,
  };
  const answer = prove(small);
  for (let run = 0; run < runs; run += 1) {
    const claimed = { ...GPU_CLAIM, memoryMiB: 4 };
    const walks = judge({ work: small, result: resultOf(answer, 4), claimed, elapsedMs: 1000 });
    report.check("walks of a GPU's number pass", walks.code === "ok", walks.code);
    const work = { ...small, ...sizes, memoryMiB: 24_000 };
    const made = Buffer.alloc(answerBytes(work));
    const product = judge({ work, result: resultOf(made, work.memoryMiB), claimed: GPU_CLAIM, elapsedMs: 1000 });
    report.check("a made-up product does not", product.code === "product_wrong", product.code);
    times.push(walks.ms + product.ms);
  }
  const products = sizes.matrixSteps * sizes.matrixSize ** 3;
  report.row(
    {
      system: "qubix",
      metric: "verdict on a GPU's answer",
      value: percentile(times, 50),
      unit: "ms of a core",
      n: runs,
    },
    { atMost: VERDICT_MS_MAX },
  );
  report.row({ system: "qubix", metric: "multiplications it stands for", value: products / 1e9, unit: "10⁹", n: 1 });
}

/** A step of a walk whose block is there, and one whose block must be made for it. */
function withoutMemory(report: Report): void {
  const blocks = 2048;
  const key = chaseKey(randomBytes(32));
  const memory = new Int32Array(blocks * BLOCK_WORDS);
  for (let block = 0; block < blocks; block += 1) fillBlock(key, block, memory, block * BLOCK_WORDS);
  const scratch = new Int32Array(BLOCK_WORDS);
  const stored = (block: number, word: number) => memory[block * BLOCK_WORDS + word] ?? 0;
  const made = (block: number, word: number) => {
    fillBlock(key, block, scratch, 0, (word >>> 5) + 1);
    return scratch[word] ?? 0;
  };
  const micros = (read: (block: number, word: number) => number, steps: number) => {
    const lane = startLane(key, 0);
    const begunMs = performance.now();
    for (let step = 0; step < steps; step += 1) stepLane(lane, blocks, read);
    return ((performance.now() - begunMs) * 1000) / steps;
  };
  const [there, absent] = [micros(stored, 1_000_000), micros(made, 5_000)];
  report.row({ system: "limit", metric: "step through memory that is there", value: there, unit: "µs", n: 1_000_000 });
  report.row({ system: "qubix", metric: "step without that memory", value: absent, unit: "µs", n: 5_000 });
  report.row({ system: "qubix", metric: "without / with", value: absent / there, unit: "×", n: 1 });
}

function resultOf(answer: Uint8Array, memoryMiB: number): ProofResult {
  return { answer, memoryMiB, fillMs: 1, chaseMs: 1, multiplyMs: 1 };
}

function judge(given: {
  readonly work: ProofWork;
  readonly result: ProofResult;
  readonly claimed: ProofCase["claimed"];
  readonly elapsedMs: number;
}): { readonly ms: number; readonly code: string } {
  const { work, result, claimed, elapsedMs } = given;
  const { answer, memoryMiB, fillMs, chaseMs, multiplyMs } = result;
  const { target, chaseSteps, matrixSize, matrixSteps } = work;
  const nonce = Buffer.from(work.nonce).toString("base64url");
  const proof: ProofCase = {
    params: { target, nonce, memoryMiB: 0, chaseSteps, matrixSize, matrixSteps },
    commit: {
      commitment: commitmentOf(answer),
      memoryMiB,
      fillMs,
      chaseMs,
      multiplyMs,
      claim: sumsOf({ ...work, memoryMiB }, answer),
    },
    answer,
    claimed: claimed.kind === "cpu" ? { ...claimed, memoryMiB } : claimed,
    elapsedMs,
  };
  // The processor's time: others may be at work beside it.
  const before = process.cpuUsage();
  const verdict = verifyProof(proof, random);
  const { user, system } = process.cpuUsage(before);
  return { ms: (user + system) / 1000, code: verdict.ok ? "ok" : verdict.code };
}
