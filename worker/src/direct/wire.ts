// The frames of `/qubix/chunks/1`. The standby opens a stream and says the job and then, one after the other, the chunks it wants; the primary answers in
// that order with the stored bytes or with "not here". No answer names its request, so a stream on which an answer is late is of no use any more.
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { CHUNK_STORED_BYTES_MAX, chunkCidSchema, jobIdSchema } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";

export const CHUNKS_PROTOCOL = "/qubix/chunks/1";

/** Requests asked and not answered on one stream: a standby reads four pieces ahead, each of which may have some layers. */
export const ASKED_MAX = 64;
/** Names are a byte's length and ASCII: no name of a job or a chunk is longer. */
const NAME_BYTES_MAX = 255;
const LENGTH_BYTES = 4;

/** A job's or a chunk's name, as the standby sends it. */
export function nameFrame(name: string): Uint8Array {
  const text = Buffer.from(name, "ascii");
  if (text.length > NAME_BYTES_MAX) throw broken(`a name of ${text.length} bytes`);
  return Buffer.concat([Buffer.of(text.length), text]);
}

/** A chunk as it is answered: a copy of its bytes with their length before them. Memory of its own, so that it goes when it is given up. */
export function chunkFrame(stored: Uint8Array): Uint8Array {
  const frame = new Uint8Array(LENGTH_BYTES + stored.length);
  new DataView(frame.buffer).setUint32(0, stored.length);
  frame.set(stored, LENGTH_BYTES);
  return frame;
}

/** The answer for a chunk that is not here. */
export const NOT_HERE: Uint8Array = new Uint8Array(LENGTH_BYTES);

/** What a stream brings: one buffer or several. */
export type Received = Uint8Array | Iterable<Uint8Array>;

export interface Reader {
  /** Throws `direct_protocol` for what does not belong here. */
  push(received: Received): void;
}

/** Reads the primary's side of a stream: first the job, then chunks. */
export function createRequestReader(heard: { job(jobId: JobId): void; wanted(cid: ChunkCid): void }): Reader {
  let rest: Buffer = Buffer.alloc(0);
  let isFirst = true;

  function name(text: string): void {
    const schema = isFirst ? jobIdSchema : chunkCidSchema;
    const parsed = schema.safeParse(text);
    if (!parsed.success) throw broken("a name that is none");
    if (isFirst) heard.job(parsed.data as JobId);
    else heard.wanted(parsed.data as ChunkCid);
    isFirst = false;
  }

  return {
    push(received) {
      rest = Buffer.concat([rest, ...partsOf(received)]);
      let at = 0;
      for (let length = rest[at]; length !== undefined && at + 1 + length <= rest.length; length = rest[at]) {
        name(rest.toString("ascii", at + 1, at + 1 + length));
        at += 1 + length;
      }
      rest = rest.subarray(at);
    },
  };
}

/** Reads the standby's side of a stream: chunks in the order in which they were asked for. */
export function createAnswerReader(answered: (bytes: Uint8Array<ArrayBuffer> | undefined) => void): Reader {
  const header = Buffer.alloc(LENGTH_BYTES);
  let headerBytes = 0;
  let chunk: Uint8Array<ArrayBuffer> | null = null;
  let chunkBytes = 0;

  function begin(): void {
    const length = header.readUInt32BE();
    headerBytes = 0;
    if (length > CHUNK_STORED_BYTES_MAX) throw broken(`a chunk of ${length} bytes`);
    if (length === 0) return answered(undefined);
    // Its memory is handed on whole, and to another thread: not a part of a pool.
    chunk = new Uint8Array(length);
    chunkBytes = 0;
  }

  function take(part: Uint8Array): number {
    if (chunk === null) {
      const taken = part.subarray(0, LENGTH_BYTES - headerBytes);
      header.set(taken, headerBytes);
      headerBytes += taken.length;
      if (headerBytes === LENGTH_BYTES) begin();
      return taken.length;
    }
    const taken = part.subarray(0, chunk.length - chunkBytes);
    chunk.set(taken, chunkBytes);
    chunkBytes += taken.length;
    if (chunkBytes === chunk.length) {
      const whole = chunk;
      chunk = null;
      answered(whole);
    }
    return taken.length;
  }

  return {
    push(received) {
      for (const part of partsOf(received)) {
        for (let at = 0; at < part.length; ) at += take(part.subarray(at));
      }
    },
  };
}

function partsOf(received: Received): Iterable<Uint8Array> {
  return received instanceof Uint8Array ? [received] : received;
}

function broken(what: string): QubixError {
  return new QubixError("direct_protocol", `The other worker sent what is not ${CHUNKS_PROTOCOL}: ${what}`, {
    category: "provider",
  });
}
