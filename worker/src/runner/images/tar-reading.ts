// Tar archives read as they come, with bounded memory: entry after entry, whatever their size.
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import tar from "tar-stream";

export type TarHeader = tar.Header;
export type Bytes = AsyncIterable<Uint8Array>;
/** Where bytes can be written with regard for how fast they are taken. */
export interface ByteSink {
  write(chunk: Uint8Array): boolean;
  readonly destroyed: boolean;
}

/** Calls `onEntry` for each entry that is no folder, in order; it must read the body or leave it wholly. The file may be compressed (gzip, zstd). */
export async function eachEntry(
  path: string,
  signal: AbortSignal,
  onEntry: (header: TarHeader, body: Bytes) => Promise<void>,
): Promise<void> {
  const extract = tar.extract();
  const source = createReadStream(path, { signal, highWaterMark: READ_BYTES });
  const unpacker = unpackerFor(await firstBytes(path));
  const feeding = feed(unpacker === null ? source : source.pipe(unpacker), extract, () => extract.end(null));
  // Pipe leaves errors where they are.
  source.on("error", (error) => unpacker?.destroy(error));
  feeding.catch((error: unknown) => extract.destroy(error instanceof Error ? error : new Error(String(error))));
  try {
    for await (const entry of extract) {
      signal.throwIfAborted();
      if (entry.header.type !== "directory") await onEntry(entry.header, entry as Bytes);
      entry.resume();
    }
    await feeding;
  } finally {
    source.destroy();
    unpacker?.destroy();
    extract.destroy();
    await feeding.catch(() => undefined);
  }
}

/** Reads ahead so much of a file at a time. */
const READ_BYTES = 256 * 1024;

async function firstBytes(path: string): Promise<Uint8Array> {
  const handle = await open(path, "r");
  try {
    const buffer = Buffer.alloc(MAGIC_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, MAGIC_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

const MAGIC_BYTES = 4;
const GZIP_MAGIC = [0x1f, 0x8b];
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

/** What unpacks bytes that begin like this; null for bytes that are not compressed. */
export function unpackerFor(first: Uint8Array) {
  if (GZIP_MAGIC.every((byte, index) => first[index] === byte)) return createGunzip();
  if (ZSTD_MAGIC.every((byte, index) => first[index] === byte)) return createZstdDecompress();
  return null;
}

/** Writes all of it, then calls `end`. Stops early, without an error, when the sink is destroyed. */
export async function feed(source: AsyncIterable<unknown>, sink: ByteSink, end: () => void): Promise<void> {
  for await (const chunk of source) {
    if (sink.destroyed) return;
    await give(sink, chunk as Uint8Array);
  }
  end();
}

/** Waits until the sink takes more. */
export async function give(sink: ByteSink, chunk: Uint8Array): Promise<void> {
  if (sink.write(chunk) || sink.destroyed) return;
  const waiting = new AbortController();
  const events = ["drain", "close", "error"] as const;
  await Promise.race(
    events.map((event) => once(sink as unknown as NodeJS.EventEmitter, event, { signal: waiting.signal })),
  ).catch(() => undefined);
  waiting.abort();
}
