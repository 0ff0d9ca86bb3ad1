// CAR files of checkpoints: in the clear for their consumer, or sealed as they lie. What is needed for that is loaded when the first one is asked for.
import type { CID } from "multiformats/cid";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { QubixError } from "@qubix/shared/runtime";
import type { ChunkStore } from "../checkpoints/index.ts";

/** Each takes a core as long as it is read, and a few MiB. */
const EXPORTS_MAX = 4;
/** Roots that were learnt: whoever comes back for a large checkpoint does not wait again. */
const ROOTS_MAX = 256;

export interface CarFile {
  readonly root: CID;
  /** Call once. Rejects, as it is read, with `chunks_missing` or `chunk_damaged`. */
  stream(): AsyncIterable<Uint8Array>;
}

export interface CarExport {
  readonly root: string;
  /** Read it, or leave the loop: until then it counts. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

export interface CarExporter {
  /** Rejects with `tree_invalid`, `chunks_missing`, `chunk_damaged` and `overloaded`. */
  open(accountId: AccountId, manifestCid: ChunkCid, form: "plain" | "sealed"): Promise<CarExport>;
}

export function createCarExporter(chunks: Pick<ChunkStore, "readManifest" | "openFile" | "blocks">): CarExporter {
  const roots = new Map<string, CID>();
  let count = 0;

  const plain = async (accountId: AccountId, manifestCid: ChunkCid): Promise<CarFile> => {
    const { buildPlainCar } = await import("./plain-car.ts");
    const key = `${accountId} ${manifestCid}`;
    const manifest = await chunks.readManifest(accountId, manifestCid);
    const open = (path: string) => chunks.openFile(accountId, manifest, path);
    const file = await buildPlainCar(manifest, open, roots.get(key));
    const oldest = roots.keys().next().value;
    if (roots.size >= ROOTS_MAX && oldest !== undefined) roots.delete(oldest);
    roots.set(key, file.root);
    return file;
  };
  const sealed = async (accountId: AccountId, manifestCid: ChunkCid): Promise<CarFile> => {
    const { buildSealedCar } = await import("./sealed-car.ts");
    const stored = await chunks.blocks.ofTree(accountId, manifestCid);
    return buildSealedCar(
      accountId,
      stored.map((block) => block.stored),
      chunks.blocks,
    );
  };

  return {
    async open(accountId, manifestCid, form) {
      if (count >= EXPORTS_MAX) throw tooMany();
      count += 1;
      let held = true;
      const release = () => {
        if (held) count -= 1;
        held = false;
      };
      try {
        const file = await (form === "plain" ? plain : sealed)(accountId, manifestCid);
        return { root: file.root.toString(), bytes: releasing(file.stream(), release) };
      } catch (error) {
        release();
        throw error;
      }
    },
  };
}

/** An iteration that was never begun has no `finally`: `return` is caught here. */
function releasing(bytes: AsyncIterable<Uint8Array>, release: () => void): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = bytes[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            const result = await iterator.next();
            if (result.done === true) release();
            return result;
          } catch (error) {
            release();
            throw error;
          }
        },
        async return() {
          release();
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

function tooMany(): QubixError {
  return new QubixError("overloaded", `${EXPORTS_MAX} exports are under way. Try again in a minute.`, {
    category: "platform",
    status: 503,
    retryable: true,
  });
}
