// Looks through a layer before the Engine unpacks it: how much disk it takes, and that it holds nothing that takes more than it shows.
import tar from "tar-stream";
import { give } from "./tar-reading.ts";

export interface LayerScan {
  /** What its files take on a disk of 4 KiB blocks. */
  readonly bytes: number;
  /** Why it is not taken; null where nothing is wrong. */
  readonly problem: string | null;
}

const BLOCK_BYTES = 4096;
/** An inode and its name. */
const ENTRY_BYTES = 512;
/** More files than the largest images have; each costs the Engine time and the disk an inode. */
const ENTRIES_MAX = 2_000_000;

export interface LayerScanner {
  add(chunk: Uint8Array): Promise<void>;
  /** After the last chunk. */
  end(): Promise<LayerScan>;
}

export function createLayerScanner(): LayerScanner {
  const extract = tar.extract();
  let bytes = 0;
  let entries = 0;
  let problem: string | null = null;
  const closed = new Promise<void>((resolve) => {
    extract.on("close", () => resolve());
  });
  const refuse = (why: string) => {
    problem ??= why;
    extract.destroy();
  };
  extract.on("error", (error: Error) => refuse(`it is not a tar archive (${error.message})`));
  extract.on("entry", (header, body, next) => {
    entries += 1;
    bytes += Math.ceil((header.size ?? 0) / BLOCK_BYTES) * BLOCK_BYTES + ENTRY_BYTES;
    const why = entryProblem(header);
    if (why !== null) return refuse(why);
    if (entries > ENTRIES_MAX) return refuse(`it holds more than ${ENTRIES_MAX} files`);
    body.on("end", next);
    body.resume();
  });
  return {
    async add(chunk) {
      if (problem === null) await give(extract, chunk);
    },
    async end() {
      if (problem === null) extract.end(null);
      await closed;
      return { bytes, problem };
    },
  };
}

/** Beyond this a size needs the extension, and no tool uses it below. */
const PLAIN_SIZE_MAX = 8 * 1024 ** 3;

/**
 * The Engine reads the archive with another program than this one: what the two might read differently could hide something from this look, so it is
 * not taken. No tool writes it.
 */
function entryProblem(header: tar.Header): string | null {
  const { name, type, size } = header;
  const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
  // A sparse file says itself how large it is: a few bytes that become a full disk.
  if (Object.keys(pax).some((key) => key.startsWith("GNU.sparse."))) return `"${name}" is a sparse file`;
  if (pax["size"] !== undefined && size < PLAIN_SIZE_MAX) return `"${name}" has its size in an odd form`;
  // The library's types leave out that it knows kinds that it cannot name.
  if ((type as string | null) === null) return `"${name}" is of an unknown kind`;
  if (size > 0 && type !== "file" && type !== "contiguous-file") return `"${name}" is no file, and has content`;
  if (name.split("/").includes("..")) return `"${name}" leads out of the image`;
  return null;
}
