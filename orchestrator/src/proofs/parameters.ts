// How much work a challenge asks for, and how long it may take. The shell that sends challenges calls `proofParameters` when it makes one, and the
// verifier takes the time limit from the same place, so that both always mean the same.
import { BLOCK_BYTES, blocksOf, lanesOf, ROUND_STEPS } from "@qubix/shared/proof";
import type { ProofTarget } from "@qubix/shared/protocol";
import { FLOOR_CLASS, type GpuClass, gpuClassOf } from "./classes.ts";

/** What a worker says that it has. */
export type Claim =
  | { readonly kind: "gpu"; readonly model: string; readonly memoryMiB: number }
  | { readonly kind: "cpu"; readonly cpus: number; readonly memoryMiB: number };

/** The sizes of a `prove` order. */
export interface ProofParameters {
  readonly memoryMiB: number;
  readonly chaseSteps: number;
  readonly matrixSize: number;
  readonly matrixSteps: number;
  readonly timeoutMs: number;
}

/** No challenge keeps a machine longer (the answer's way over the line comes on top). */
export const PROOF_TIMEOUT_MS_MAX = 60_000;

/** Read and written for each byte of memory in one round: written once, and in each of two passes read twice and written once. */
const TRAFFIC_PER_BYTE = 7;
/** A GPU should be busy this long by its maker's figures: beside it, starting and the line weigh little. */
const GPU_FILL_MS = 1_500;
const ROUNDS_MAX = 12;
/** Of cards that share the machine's memory drivers do not say how much there is: as much as such machines have. */
const MEMORY_MIB_UNKNOWN = 128 * 1024;
const ROUNDS_UNKNOWN = 3;
/** How much slower than its maker's figures a card may be: old coolers, power limits, programs that are not the fastest possible. */
const GPU_SLACK = 5;
/** Starting the program and the driver, getting memory from it, the line there and back. */
const GPU_OVERHEAD_MS = 5_000;
/** A step of a walk: a read that misses every cache, with nothing to wait for beside it. */
const GPU_STEP_US = 20;
/** Operations of single precision by which a class is known, for one multiplication and addition of the product. */
const FLOPS_PER_PRODUCT = 8;
/** 2 MiB to send, and a test of it that takes a verifier about a quarter of a second. */
const GPU_MATRIX = { matrixSize: 1024, matrixSteps: 48 } as const;

/** Memory that a core fills in about 150 ms. */
const CPU_MIB_PER_CORE = 64;
const CPU_MIB_MIN = 128;
const CPU_MIB_MAX = 2_048;
/** Jobs need the rest, also while a proof runs. */
const CPU_MEMORY_SHARE = 0.25;
const CPU_ROUNDS = 1;
/** A core multiplies two of these in about a quarter of a second. */
const CPU_MATRIX_SIZE = 512;
const CPU_MATRICES_PER_CORE = 2;
/** Many cores get up to this many times more each, or it would not show whether all of them are there. */
const CPU_MORE_MAX = 4;
/** What a verifier checks in a quarter of a second. */
const CPU_MATRICES_MAX = 512;
/** About a tenth of what a slow core does: virtual machines are not alone on their cores. */
const CPU_FLOOR_MBPS = 15;
const CPU_FLOOR_STEPS_PER_MS = 200;
const CPU_FLOOR_PRODUCTS_PER_MS = 50_000;
const CPU_OVERHEAD_MS = 15_000;

/** What to ask of hardware that claims to be this. */
export function proofParameters(claim: Claim): ProofParameters {
  const sizes = claim.kind === "gpu" ? gpuSizes(claim) : cpuSizes(claim);
  const memoryMiB = sizes.memoryMiB || claim.memoryMiB || MEMORY_MIB_UNKNOWN;
  return { ...sizes, timeoutMs: timeLimitMs(claim, { ...sizes, memoryMiB }) };
}

/** The longest that this work may take, from the order's leaving to the commitment's coming. `memoryMiB` is what was filled. */
export function timeLimitMs(
  claim: Claim,
  work: Pick<ProofParameters, "memoryMiB" | "chaseSteps" | "matrixSize" | "matrixSteps">,
): number {
  const limit = claim.kind === "gpu" ? gpuLimitMs(claim.model, work) : cpuLimitMs(claim.cpus, work);
  return Math.min(PROOF_TIMEOUT_MS_MAX, Math.ceil(limit));
}

/** The least memory that must have been filled: what is claimed, less what a driver, a desktop and fragments may hold. */
export function memoryMiBMin(claim: Claim, askedMiB: number): number {
  if (askedMiB > 0) return askedMiB;
  return Math.floor(Math.max(0, claim.memoryMiB - MEMORY_RESERVE_MIB) * MEMORY_SHARE_MIN);
}

const MEMORY_RESERVE_MIB = 1_024;
const MEMORY_SHARE_MIN = 0.85;

type Sizes = Omit<ProofParameters, "timeoutMs">;

function gpuSizes(claim: Extract<Claim, { kind: "gpu" }>): Sizes {
  const known = gpuClassOf(claim.model);
  const rounds =
    known === undefined
      ? ROUNDS_UNKNOWN
      : Math.min(ROUNDS_MAX, Math.max(1, Math.round(GPU_FILL_MS / gpuFillMs(known, Math.max(1, claim.memoryMiB)))));
  return { memoryMiB: 0, chaseSteps: rounds * ROUND_STEPS, ...GPU_MATRIX };
}

function cpuSizes(claim: Extract<Claim, { kind: "cpu" }>): Sizes {
  const wanted = Math.min(CPU_MIB_MAX, Math.max(CPU_MIB_MIN, Math.ceil(claim.cpus) * CPU_MIB_PER_CORE));
  const more = Math.min(CPU_MORE_MAX, Math.max(1, claim.cpus / CPU_MORE_MAX));
  const matrixSteps = Math.min(CPU_MATRICES_MAX, Math.ceil(CPU_MATRICES_PER_CORE * Math.max(1, claim.cpus) * more));
  const memoryMiB = Math.max(1, Math.min(wanted, Math.floor(claim.memoryMiB * CPU_MEMORY_SHARE)));
  return { memoryMiB, chaseSteps: CPU_ROUNDS * ROUND_STEPS, matrixSize: CPU_MATRIX_SIZE, matrixSteps };
}

function gpuLimitMs(model: string, work: Sizes): number {
  const known = gpuClassOf(model) ?? FLOOR_CLASS;
  const rounds = Math.ceil(work.chaseSteps / ROUND_STEPS);
  const fillMs = rounds * gpuFillMs(known, work.memoryMiB);
  const chaseMs = (work.chaseSteps * GPU_STEP_US) / 1000;
  const multiplyMs = (products(work) * FLOPS_PER_PRODUCT) / (known.fp32Tflops * 1e9);
  return GPU_OVERHEAD_MS + GPU_SLACK * (fillMs + chaseMs + multiplyMs);
}

/** One filling, by the maker's figures. */
function gpuFillMs(known: GpuClass, memoryMiB: number): number {
  return (blocksOf(memoryMiB) * BLOCK_BYTES * TRAFFIC_PER_BYTE) / (known.bandwidthGBps * 1e6);
}

function cpuLimitMs(cpus: number, work: Sizes): number {
  const cores = Math.max(1, Math.floor(cpus));
  const rounds = Math.ceil(work.chaseSteps / ROUND_STEPS);
  const fillMs = (rounds * blocksOf(work.memoryMiB) * BLOCK_BYTES) / (CPU_FLOOR_MBPS * 1000);
  const chaseMs = (work.chaseSteps * lanesOf({ kind: "cpu" })) / CPU_FLOOR_STEPS_PER_MS;
  const multiplyMs = products(work) / CPU_FLOOR_PRODUCTS_PER_MS;
  return CPU_OVERHEAD_MS + (fillMs + chaseMs + multiplyMs) / cores;
}

function products(work: Sizes): number {
  return work.matrixSteps * work.matrixSize ** 3;
}

/** The target of a claim, as an order names it. */
export function targetOf(claim: Claim, uuid: string): ProofTarget {
  return claim.kind === "gpu" ? { kind: "gpu", uuid } : { kind: "cpu" };
}
