// Which program proves what, and where it is.
import { accessSync, constants } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProofTarget } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Program } from "./program.ts";

const GPU_PROGRAM = "qubix-gpu-proof";

/** Throws `no_program` where there is none for GPUs. */
export function programFor(
  target: ProofTarget,
  options: { readonly threads: number; readonly gpuProofProgram?: string | undefined },
): Program {
  if (target.kind === "cpu") return cpuProgram(options.threads);
  const command = findGpuProgram(options.gpuProofProgram);
  if (command !== undefined) return { command, args: [] };
  throw new QubixError(
    "no_program",
    `There is no program that proves GPUs on this worker. Build it on a machine with CUDA (worker/gpu/proof/build.sh) and name it with --gpu-proof-program.`,
    { category: "provider" },
  );
}

/** The one that is named, else the one that was built here, else the one beside the packaged agent. */
export function findGpuProgram(named: string | undefined): string | undefined {
  if (named !== undefined) return isProgram(named) ? named : undefined;
  return gpuProgramPlaces().find(isProgram);
}

export function gpuProgramPlaces(): readonly string[] {
  const built = fileURLToPath(new URL("../../gpu/proof/build/", import.meta.url));
  return [join(built, GPU_PROGRAM), join(dirname(process.execPath), GPU_PROGRAM)];
}

function cpuProgram(threads: number): Program {
  // Whatever this file runs as, the program does too: TypeScript from the sources, JavaScript once built.
  const fromSources = import.meta.url.endsWith(".ts");
  const file = fileURLToPath(new URL(fromSources ? "./cpu/main.ts" : "./cpu/main.js", import.meta.url));
  const conditions = fromSources ? ["--conditions=qubix-source"] : [];
  return { command: process.execPath, args: [...conditions, file, "--threads", String(threads)] };
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
