// zstd in memory that is used again. `zstdCompressSync` makes a context and fresh memory for each call: in an agent that is to be small, where fresh memory
// comes from the system each time, that takes longer than compressing (0.98 against 0.41 ms for 512 KiB, and 1.15 against 0.17 ms back).
// Not safe to share between threads; each has its own.
import { constants, ZstdCompress, ZstdDecompress, zstdCompressSync, zstdDecompressSync } from "node:zlib";

export type ZstdParams = Readonly<Record<number, number>>;

export interface Deflater {
  /** Compresses into the beginning of `out`; returns the bytes that fill it. Throws RangeError where it has no room: it needs {@link deflatedBytesMax}. */
  deflate(plain: Uint8Array, out: Uint8Array): number;
}

export interface Inflater {
  /** Fills `out` with the plain bytes of exactly one frame. Throws where it is not one, or of another length. */
  inflate(packed: Uint8Array, out: Uint8Array): void;
}

/** ZSTD_COMPRESSBOUND, with some bytes to tell by what is left over that the frame has ended. */
export function deflatedBytesMax(bytes: number): number {
  return bytes + (bytes >>> 8) + 256;
}

export function createDeflater(params: ZstdParams): Deflater {
  let engine: Engine | null = null;
  return {
    deflate(plain, out) {
      engine ??= engineOf(new ZstdCompress({ params, chunkSize: CHUNK_BYTES_MIN }));
      if (engine === null) return copied(zstdCompressSync(plain, { params }), out);
      const { isBroken, restIn, restOut } = write(engine, plain, out);
      if (!isBroken && restIn === 0 && restOut > 0) return out.length - restOut;
      engine = null;
      throw new RangeError("there is no room for what was compressed");
    },
  };
}

export function createInflater(): Inflater {
  let engine: Engine | null = null;
  return {
    inflate(packed, out) {
      engine ??= engineOf(new ZstdDecompress({ chunkSize: CHUNK_BYTES_MIN }));
      if (engine === null) {
        const plain = zstdDecompressSync(packed, { maxOutputLength: out.length });
        if (plain.length !== out.length) throw new RangeError("it has another length");
        out.set(plain);
        return;
      }
      const { isBroken, restIn, restOut } = write(engine, packed, out);
      if (!isBroken && restIn === 0 && restOut === 0) return;
      // It stands in the middle of a frame.
      engine = null;
      throw new RangeError("it is no frame of that length");
    },
  };
}

/** What a stream of Node 24 has inside: its handle works on any memory, and goes on with the next frame after the end of one. */
interface Inside {
  readonly _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputBytes: number,
      out: Uint8Array,
      outAt: number,
      outBytes: number,
    ): void;
  };
  /** What is left of the room, and of the input. */
  readonly _writeState: Uint32Array;
}

interface Engine {
  readonly stream: ZstdCompress | ZstdDecompress;
  readonly handle: Inside["_handle"];
  readonly state: Inside["_writeState"];
}

/** The least that Node takes: the stream's own buffer is not used. */
const CHUNK_BYTES_MIN = 64;

/** Null where this Node's streams are made otherwise: then the documented functions do. */
function engineOf(stream: ZstdCompress | ZstdDecompress): Engine | null {
  // It tells of damage a second time, as an event; `destroyed` has told it already.
  stream.on("error", () => undefined);
  const { _handle: handle, _writeState: state } = stream as unknown as Partial<Inside>;
  if (typeof handle?.writeSync !== "function" || !(state instanceof Uint32Array) || state.length !== 2) return null;
  return { stream, handle, state };
}

function write({ stream, handle, state }: Engine, input: Uint8Array, out: Uint8Array) {
  handle.writeSync(constants.ZSTD_e_end, input, 0, input.length, out, 0, out.length);
  const [restOut = 0, restIn = 0] = state;
  return { isBroken: stream.destroyed, restIn, restOut };
}

function copied(packed: Uint8Array, out: Uint8Array): number {
  out.set(packed);
  return packed.length;
}
