// What the simulated containers compute: a recurrence whose state is all a checkpoint holds. Its result tells whether any step was lost, repeated or mixed up.
import type { ChunkCid } from "@qubix/shared/domain";
import type { TreeRef } from "@qubix/shared/protocol";
import { mix, mixText } from "./random.ts";

/** Where a run stands: `value` after `step` steps. */
export interface ProgramState {
  readonly step: number;
  readonly value: number;
}

export interface Program {
  readonly index: number;
  readonly steps: number;
  readonly stepMs: number;
  /** A whole checkpoint entry appears each time so many steps are done. */
  readonly stepsPerEntry: number;
  /** It fails at this step, in its first so many runs. */
  readonly failure: { readonly atStep: number; readonly runs: number; readonly kind: "exit_code" | "oom" } | null;
  /** Containers started for it so far. */
  runs: number;
  /** It stands still for ever at this step, in its first so many runs. */
  hang?: { readonly atStep: number; readonly runs: number };
  /** By when after each step it says that it does the next one. */
  dueMs?: number;
  /** Of a mirror job: whether it gives the same on every machine. */
  mirrored?: "alike" | "unlike";
}

export function begin(program: Program): ProgramState {
  return { step: 0, value: mix(program.index, 0x51b) };
}

/** Runs on to `step`. */
export function advance(program: Program, from: ProgramState, step: number): ProgramState {
  let value = from.value;
  for (let at = from.step; at < step; at += 1) value = mix(value, at ^ program.index);
  return { step, value };
}

/** What an undisturbed run gives. */
export function resultOf(program: Program): ProgramState {
  return advance(program, begin(program), program.steps);
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const CID_PREFIX = "bafkrei";
const CID_DIGITS = 52;

/** The tree that holds this state. Equal contents have equal names, as in a content-addressed store. */
export function treeOf(program: Program, kind: "checkpoint" | "outputs", state: ProgramState): TreeRef {
  let hash = mixText(program.index, `${kind} ${state.step} ${state.value}`);
  let digits = "";
  while (digits.length < CID_DIGITS) {
    hash = mix(hash, digits.length);
    digits += BASE32[(hash >>> 7) & 31];
  }
  const bytes = 1_000 + state.step;
  return { manifestCid: `${CID_PREFIX}${digits}` as ChunkCid, files: 1, bytes, bytesMoved: bytes };
}
