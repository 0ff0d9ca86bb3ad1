// What a thread is asked, and what it answers. Files are told by their descriptors, which belong to the whole process; whoever asks keeps them open.
import type { ChunkRef } from "@qubix/shared/protocol";
import type { OpenFile } from "./align.ts";
import type { Piece, PieceOptions } from "./pieces.ts";
import type { Move, Segment } from "./segments.ts";

export interface Tasks {
  /** Makes pieces of stretches, in order. `memory`: given to be used again for what is to be stored; `spare`: what of it was not needed. */
  readonly pieces: {
    readonly ask: PieceOptions & {
      readonly segments: readonly Exclude<Segment, { kind: "known" }>[];
      readonly memory: readonly ArrayBuffer[];
    };
    readonly answer: { readonly pieces: readonly Piece[]; readonly spare: readonly ArrayBuffer[] };
  };
  /** Finds how bytes moved. */
  readonly align: {
    readonly ask: { readonly now: OpenFile; readonly before: OpenFile };
    readonly answer: readonly Move[];
  };
  /** SHA-256 of the first bytes of a file, in hex. */
  readonly sum: { readonly ask: OpenFile; readonly answer: string };
  /**
   * Writes what a file has of a piece to its place. `plain`: what the first `skip` of its layers, base included, make together; `stored`: the others,
   * each alone in its memory, which comes back to be used again.
   */
  readonly write: {
    readonly ask: {
      readonly ref: ChunkRef;
      readonly stored: readonly Uint8Array[];
      readonly plain: Uint8Array | null;
      readonly skip: number;
      readonly fd: number;
      readonly position: number;
    };
    readonly answer: { readonly bytes: number; readonly spare: readonly ArrayBuffer[] };
  };
}

export type TaskKind = keyof Tasks;
export type Ask<K extends TaskKind> = Tasks[K]["ask"];
export type Answer<K extends TaskKind> = Tasks[K]["answer"];

/** One question on its way to a thread. */
export type Request = { readonly [K in TaskKind]: { readonly kind: K; readonly ask: Ask<K> } }[TaskKind];
export type Reply =
  | { readonly kind: "answer"; readonly answer: Answer<TaskKind> }
  | { readonly kind: "failed"; readonly code: string | undefined; readonly message: string };
