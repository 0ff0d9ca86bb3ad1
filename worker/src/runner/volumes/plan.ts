// How large a volume must be made, so that a job can write just what it asked for. Sizes of the parts of ext4 are from its documentation
// (https://docs.kernel.org/filesystems/ext4/), with the options that `make.ts` gives to mkfs.

const MIB = 1024 * 1024;
export const BLOCK_BYTES = 4096;
const BLOCKS_PER_MIB = MIB / BLOCK_BYTES;
const BLOCKS_PER_GROUP = 32_768;
const INODE_BYTES = 256;
const GROUP_DESCRIPTOR_BYTES = 64;
/** ext4's default, one file for each 16 KiB. */
const FILES_PER_MIB = 64;
const FILES_MIN = 2048;
/** Root folder, `lost+found` and the like. */
const FIRST_FOLDERS_BLOCKS = 8;
/** ext4 keeps this back from everybody: 2% of the blocks, at most 4,096. */
const KEPT_BACK_SHARE = 0.02;
const KEPT_BACK_BLOCKS_MAX = 4096;
/** The smallest journal that does not slow down common work. */
export const JOURNAL_MIB = 8;
/** Larger disks are rare, and their volumes take seconds to make. */
export const VOLUME_MIB_MAX = 4 * 1024 * 1024;

export interface VolumePlan {
  readonly imageBytes: number;
  /** How many files and folders there can be. */
  readonly files: number;
}

/** The image file for a job that may write `diskMiB`. */
export function planVolume(diskMiB: number): VolumePlan {
  const files = Math.max(FILES_MIN, diskMiB * FILES_PER_MIB);
  const wanted = diskMiB * BLOCKS_PER_MIB;
  let total = wanted;
  // The overhead depends on the size and the size on the overhead; it settles at once.
  for (let round = 0; round < 4; round += 1) total = totalBlocks(wanted + overheadBlocks(total, files));
  return { imageBytes: total * BLOCK_BYTES, files };
}

/** So many blocks that, without what ext4 keeps back, `blocks` are left. */
function totalBlocks(blocks: number): number {
  return Math.min(Math.ceil(blocks / (1 - KEPT_BACK_SHARE)), blocks + KEPT_BACK_BLOCKS_MAX);
}

function overheadBlocks(total: number, files: number): number {
  const groups = Math.ceil(total / BLOCKS_PER_GROUP);
  const filesPerGroup = roundUp(Math.ceil(files / groups), BLOCK_BYTES / INODE_BYTES);
  const inodeTables = (groups * filesPerGroup * INODE_BYTES) / BLOCK_BYTES;
  const descriptors = Math.ceil((groups * GROUP_DESCRIPTOR_BYTES) / BLOCK_BYTES);
  const bitmaps = 2 * groups;
  const journal = JOURNAL_MIB * BLOCKS_PER_MIB;
  return inodeTables + bitmaps + copiesOfSuperblock(groups) * (1 + descriptors) + journal + FIRST_FOLDERS_BLOCKS;
}

/** Groups 0 and 1, and the powers of 3, 5 and 7. */
function copiesOfSuperblock(groups: number): number {
  let copies = Math.min(groups, 2);
  for (const base of [3, 5, 7]) for (let group = base; group < groups; group *= base) copies += 1;
  return copies;
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
