// The doctor on proofs: each piece of hardware answers a small challenge whose answer is computed here a second time, by the reference. On a machine
// with GPUs this is what shows that the kernels compute the right thing on these very cards.
import { mkdtempSync, rmSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ProofWork, prove } from "@qubix/shared/proof";
import type { ProofTarget } from "@qubix/shared/protocol";
import { type Check, type DoctorContext, fail, ok, skip, warn } from "../app/doctor/check.ts";
import { detectGpus } from "../gpu/nvidia-smi.ts";
import { runProgram } from "./program.ts";
import { findGpuProgram, programFor } from "./programs.ts";

const CORES = "Proof of cores";
const GPUS = "Proof of GPU";
const NEEDED = "the right answer to a small challenge";
/** Small enough to run beside jobs, and for the reference to follow. */
const SIZES = { memoryMiB: 4, chaseSteps: 16, matrixSize: 80, matrixSteps: 3 } as const;
/** A GPU that sleeps takes a few seconds to wake. */
const TIMEOUT_MS = 20_000;

export async function checkProofs(context: DoctorContext): Promise<readonly Check[]> {
  const dir = mkdtempSync(join(tmpdir(), "qubix-doctor-proof-"));
  try {
    return [await checkCores(dir, context), ...(await checkGpus(dir, context))];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function checkCores(dir: string, context: DoctorContext): Promise<Check> {
  const problem = await problemOf({ kind: "cpu" }, dir, context);
  const remedy = "Jobs that want proven hardware go elsewhere; install the worker anew, or report this";
  return problem === undefined ? ok(CORES, "answered", NEEDED) : fail(CORES, problem, NEEDED, remedy);
}

async function checkGpus(dir: string, context: DoctorContext): Promise<readonly Check[]> {
  const detection = await detectGpus();
  if (detection.kind === "absent") return [skip(GPUS, "no NVIDIA GPU here", NEEDED)];
  // What is broken is told where GPUs are looked at.
  if (detection.kind === "broken") return [skip(GPUS, "nvidia-smi does not work", NEEDED)];
  if (detection.gpus.length === 0) return [skip(GPUS, "no GPU can be offered", NEEDED)];
  if (findGpuProgram(context.config.gpuProofProgram) === undefined) {
    const remedy =
      "Build it on a machine with NVIDIA's CUDA toolkit (worker/gpu/proof/build.sh) and name it with --gpu-proof-program";
    return [warn(GPUS, "the program qubix-gpu-proof is missing", NEEDED, remedy)];
  }
  return Promise.all(
    detection.gpus.map(async ({ uuid, model }) => {
      const problem = await problemOf({ kind: "gpu", uuid }, dir, context);
      if (problem === undefined) return ok(GPUS, `${model} answered`, NEEDED);
      return fail(
        GPUS,
        `${model}: ${problem}`,
        NEEDED,
        "Mend what it says; until then this GPU gets no work where proofs are asked for",
      );
    }),
  );
}

/** Undefined when the answer is right. */
async function problemOf(target: ProofTarget, dir: string, context: DoctorContext): Promise<string | undefined> {
  const work: ProofWork = { target, nonce: randomBytes(32), ...SIZES };
  try {
    const program = programFor(target, { threads: 1, gpuProofProgram: context.config.gpuProofProgram });
    const answerPath = join(dir, target.kind === "gpu" ? target.uuid.replace(/[^\w-]/g, "_") : "cpu");
    const { answer } = await runProgram(program, { work, timeoutMs: TIMEOUT_MS, answerPath }, context.signal);
    return Buffer.from(answer).equals(Buffer.from(prove(work))) ? undefined : "it answers wrongly";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
