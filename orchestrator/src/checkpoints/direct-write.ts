// Writes files past the page cache. What is stored is read seldom, if at all: to copy it into memory of the system first takes longer than encrypting it,
// where that memory is fresh (it is in a virtual machine whose host takes back what is free), and pushes out what others read.
import { closeSync, constants, openSync, rmSync, writeSync } from "node:fs";

/** A disk takes blocks of 512 or 4,096 bytes from memory that begins at such a border. */
const BLOCK_BYTES = 4096;
/** Below it the second opening costs more than the copy. */
const DIRECT_BYTES_MIN = 64 * 1024;
const WASM_PAGE_BYTES = 64 * 1024;
const MODE = 0o600;

/** The one kind of memory that JavaScript has at the border of a page. TypeScript knows it only together with all of the browser's interfaces. */
declare const WebAssembly: { readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer } };

/** Memory for at least so many bytes, which {@link writeNew} need not copy. */
export function alignedMemory(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new WebAssembly.Memory({ initial: Math.ceil(bytes / WASM_PAGE_BYTES) }).buffer);
}

/** Makes a file that was not there. Returns it open, written but not yet durable; where it throws there is none. */
export function writeNew(path: string, bytes: Uint8Array): number {
  const begun = writeBlocks(path, bytes);
  const fd = openSync(path, begun === 0 ? "wx" : "r+", MODE);
  try {
    for (let at = begun; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at);
    return fd;
  } catch (cause) {
    closeSync(fd);
    discard(path);
    throw cause;
  }
}

/** What cannot be deleted now is at the next start. */
export function discard(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {}
}

/** The whole blocks of a large file. Returns the bytes written; 0, and there is no file, where the system, its disk or the memory does not allow it. */
function writeBlocks(path: string, bytes: Uint8Array): number {
  const { O_WRONLY, O_CREAT, O_EXCL, O_DIRECT } = constants;
  if (bytes.length < DIRECT_BYTES_MIN || O_DIRECT === undefined) return 0;
  let fd: number | undefined;
  let written = 0;
  try {
    fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, MODE);
    written = writeSync(fd, bytes, 0, bytes.length - (bytes.length % BLOCK_BYTES), 0);
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  // Whatever kept it from that, the usual way tells of it if it is in earnest.
  if (written === 0) discard(path);
  return written;
}
