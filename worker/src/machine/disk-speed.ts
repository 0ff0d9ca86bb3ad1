// How fast the disk under the data directory is: one file is written and read past the page cache, once, for at most some seconds.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";

export interface DiskSpeed {
  readonly writeMBps: number;
  /** Undefined where the file system has no way past the page cache, which would be measured instead. */
  readonly readMBps?: number | undefined;
}

export interface DiskMeasure {
  readonly bytesMax?: number;
  readonly msMax?: number;
  /** Asked between two blocks: false gives the measure up, because a job needs the disk. */
  goOn(): boolean;
}

const MIB = 1024 * 1024;
const BYTES_MAX = 256 * MIB;
/** Each way; a slow disk is known by less. */
const MS_MAX = 4_000;
const BLOCK_BYTES = MIB;
/** So much must stay free: the measure fills no disk. */
const FREE_SHARE = 4;
/** Memory for direct transfers must lie on a border of this many bytes, whatever the disk. */
const ALIGNMENT = 4096;
/** Where memory from the system's allocator may begin. */
const ALIGNMENT_STEP = 16;
const FILE = "disk-speed.tmp";

/** Undefined where it was given up, or there is no room. Leaves nothing behind. */
export async function measureDisk(dataDir: string, measure: DiskMeasure): Promise<DiskSpeed | undefined> {
  const bytesMax = measure.bytesMax ?? BYTES_MAX;
  const { bavail, bsize } = await statfs(dataDir);
  if (bavail * bsize < bytesMax * FREE_SHARE) return undefined;
  const path = join(dataDir, FILE);
  await rm(path, { force: true });
  try {
    return await measureFile(path, bytesMax, measure);
  } finally {
    await rm(path, { force: true });
  }
}

async function measureFile(path: string, bytesMax: number, measure: DiskMeasure): Promise<DiskSpeed | undefined> {
  const memory = randomBytes(BLOCK_BYTES + ALIGNMENT);
  const direct = await openDirect(path, memory);
  const file = direct?.file ?? (await open(path, "w+", 0o600));
  const block = memory.subarray(direct?.offset ?? 0, (direct?.offset ?? 0) + BLOCK_BYTES);
  try {
    const written = await transfer(bytesMax, measure, async (at) => {
      // No two blocks are the same: some disks store those once.
      block.writeUInt32LE(at / BLOCK_BYTES, 0);
      await file.write(block, 0, BLOCK_BYTES, at);
    });
    if (written === undefined) return undefined;
    const syncedAtMs = performance.now();
    await file.datasync();
    const writeMBps = rateOf(written.bytes, written.ms + performance.now() - syncedAtMs);
    if (direct === undefined) return { writeMBps };
    const read = await transfer(written.bytes, measure, async (at) => {
      await file.read(block, 0, BLOCK_BYTES, at);
    });
    return read === undefined ? undefined : { writeMBps, readMBps: rateOf(read.bytes, read.ms) };
  } finally {
    await file.close();
  }
}

async function transfer(
  bytesMax: number,
  measure: DiskMeasure,
  move: (at: number) => Promise<void>,
): Promise<{ readonly bytes: number; readonly ms: number } | undefined> {
  const begunMs = performance.now();
  let bytes = 0;
  while (bytes < bytesMax && performance.now() - begunMs < (measure.msMax ?? MS_MAX)) {
    if (!measure.goOn()) return undefined;
    await move(bytes);
    bytes += BLOCK_BYTES;
  }
  return { bytes, ms: performance.now() - begunMs };
}

/** A file past the page cache, and where in `memory` the aligned part begins: that cannot be asked, only tried. */
async function openDirect(
  path: string,
  memory: Buffer,
): Promise<{ readonly file: FileHandle; readonly offset: number } | undefined> {
  const flag = (constants as { readonly O_DIRECT?: number }).O_DIRECT;
  if (flag === undefined) return undefined;
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDWR | constants.O_CREAT | flag, 0o600);
  } catch {
    return undefined;
  }
  for (let offset = 0; offset < ALIGNMENT; offset += ALIGNMENT_STEP) {
    try {
      await file.write(memory, offset, ALIGNMENT, 0);
      return { file, offset };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") break;
    }
  }
  await file.close();
  return undefined;
}

function rateOf(bytes: number, ms: number): number {
  return bytes / 1000 / Math.max(ms, 1);
}
