// The trees of one slot on their way in and out: inputs and checkpoints unpacked before the start, checkpoints and outputs shipped.
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { type CheckpointRef, OUTPUT_BYTES_PER_JOB_MAX, type TreeManifest, type TreeRef } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { entryName, listEntries, removeEntry } from "../checkpoint/entries.ts";
import { matchesOutput } from "../checkpoint/glob.ts";
import type { Threads } from "../checkpoint/encode/threads.ts";
import { type ShippedTree, shipTree } from "../checkpoint/pack.ts";
import { closeFiles, markOf, type Parent } from "../checkpoint/parent.ts";
import { removeTree } from "../checkpoint/remove.ts";
import type { ChunkSink } from "../checkpoint/send.ts";
import { type ChunkSource, fetchManifest, giveTo, moveInto, type Owner, unpackTree } from "../checkpoint/unpack.ts";
import { type Walked, walkTree } from "../checkpoint/walk.ts";
import type { EntryKey } from "../core/index.ts";
import type { SlotFolders } from "./slot-folders.ts";
import { notedOnDisk } from "./slot-notes.ts";
import { readTreeOnDisk, writeTreeOnDisk } from "./slot-parent.ts";

type ManifestCid = TreeRef["manifestCid"];
export type ChunkPort = ChunkSink & ChunkSource;

/** What a tree goes through on its way. */
export interface TreePorts {
  readonly chunks: ChunkPort;
  readonly threads: Threads;
  readonly signal: AbortSignal;
}

/** A job that overtakes the reading this often in a row is tried again later. */
const SHIP_TRIES = 5;
/** How many of the things left out a note to the job names. */
const SKIPPED_NAMED = 10;

/** Brings an input to its folder. Throws what the source throws, or `tree_corrupt`. */
export async function unpackInput(
  folders: SlotFolders,
  index: number,
  cid: ManifestCid,
  owner: Owner,
  { chunks, threads, signal }: TreePorts,
): Promise<void> {
  const manifest = await fetchManifest(cid, chunks, signal);
  const from = join(folders.own, `input-${index}`);
  await unpackTree(manifest, from, chunks, { owner, threads, signal });
  await moveInto(from, folders.input(index));
  await giveTo(folders.input(index), owner);
}

/**
 * Brings a checkpoint into the folder of a container that does not run, and clears everything else out of it; returns the entry's key.
 * `unpacked` is called when the folder begins to change: until this returns nothing counts as unpacked.
 */
export async function unpackCheckpoint(
  folders: SlotFolders,
  checkpoint: CheckpointRef,
  owner: Owner,
  { chunks, threads, signal }: TreePorts,
  changing: () => void,
): Promise<EntryKey | null> {
  const manifest = await fetchManifest(checkpoint.tree.manifestCid, chunks, signal);
  const from = join(folders.staging, "unpack");
  const old = await readTreeOnDisk(folders.own);
  const previous = old === undefined ? undefined : { root: folders.checkpoint, manifest: old.manifest };
  try {
    await unpackTree(manifest, from, chunks, { owner, threads, previous, signal });
    changing();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    // The job's disk has not room for two: the old one goes first, and all of the new one is fetched.
    changing();
    await removeTree(from);
    await clearOthers(folders, []);
    await unpackTree(manifest, from, chunks, { owner, threads, signal });
  }
  const names = await moveInto(from, folders.checkpoint);
  await clearOthers(folders, names);
  const marks = await marksOf(folders.checkpoint, manifest);
  notedOnDisk(() => writeTreeOnDisk(folders.own, { manifest, marks }));
  return (await listEntries(folders.checkpoint)).at(-1)?.id ?? null;
}

/**
 * Ships an entry of the checkpoint folder. A job that saves faster than it is shipped replaces or deletes entries under our hands: then what has
 * taken the entry's place is shipped, which is as whole and newer. Undefined when the folder is empty; throws as {@link shipTree} does.
 */
export async function shipEntry(
  folders: SlotFolders,
  entry: EntryKey,
  { chunks, threads, signal }: TreePorts,
  parent: Parent | null,
  note: (text: string) => void,
): Promise<ShippedTree | undefined> {
  for (let tries = 1; ; tries += 1) {
    const entries = await listEntries(folders.checkpoint);
    const wanted = entries.find((candidate) => candidate.name === entryName(entry)) ?? entries.at(-1);
    if (wanted === undefined) return undefined;
    try {
      const walked = await walkTree(folders.checkpoint, wanted.name, () => true);
      const shipped = await shipTree(folders.checkpoint, walked, chunks, signal, { threads, parent });
      noteSkipped(walked, "checkpoint", note);
      return shipped;
    } catch (error) {
      if (tries >= SHIP_TRIES || !isOvertaken(error)) throw error;
    }
  }
}

/** The entry changed or went while it was read. */
function isOvertaken(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === "ENOENT" || code === "file_changed" || code === "file_vanished";
}

/** Ships what matches the patterns; null when nothing does. Throws `output_exceeded`, and as {@link shipTree} does. */
export async function shipOutputs(
  folders: SlotFolders,
  patterns: readonly string[],
  { chunks, threads, signal }: TreePorts,
  note: (text: string) => void,
): Promise<TreeRef | null> {
  const walked = await walkTree(folders.out, "", (path) =>
    patterns.some((pattern) => matchesOutput(pattern, `/out/${path}`)),
  );
  const bytes = walked.entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (bytes > OUTPUT_BYTES_PER_JOB_MAX) {
    throw new QubixError(
      "output_exceeded",
      `The outputs have ${bytes} bytes; at most ${OUTPUT_BYTES_PER_JOB_MAX} are kept. Write less to /out, or narrow the outputs.`,
      { category: "user" },
    );
  }
  noteSkipped(walked, "outputs", note);
  if (walked.entries.length === 0) return null;
  const { tree, open } = await shipTree(folders.out, walked, chunks, signal, { threads, fileSums: true });
  await closeFiles(open);
  return tree;
}

function noteSkipped(walked: Walked, where: string, note: (text: string) => void): void {
  if (walked.skipped.length === 0) return;
  const names = walked.skipped.slice(0, SKIPPED_NAMED).join(", ");
  note(`qubix: not in the ${where}, because they are links or devices: ${names}\n`);
}

/** What the store answers, or what comes of it, when it has not (any more) what was stored. */
const DAMAGE: readonly unknown[] = ["tree_corrupt", "manifest_invalid", "chunk_damaged", "chunk_unknown"];

export function isDamage(error: unknown): boolean {
  return DAMAGE.includes((error as { readonly code?: unknown }).code);
}

export function damagedCheckpoint(seq: number, cause: unknown): QubixError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new QubixError("checkpoint_damaged", `Checkpoint ${seq} cannot be restored. ${why}`, {
    category: "platform",
    cause,
  });
}

export function isDiskFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOSPC";
}

/** Only the newest committed entry is there when the container starts. */
async function clearOthers(folders: SlotFolders, names: readonly string[]): Promise<void> {
  for (const entry of await listEntries(folders.checkpoint)) {
    if (!names.includes(entry.name)) await removeEntry(folders.checkpoint, entry.name, folders.staging);
  }
}

/** Of files that were just brought: what tells later whether the job wrote to them. */
async function marksOf(root: string, manifest: TreeManifest): Promise<Record<string, string>> {
  const marks: Record<string, string> = {};
  for (const { kind, path } of manifest.entries) {
    if (kind === "file") marks[path] = markOf(await lstat(join(root, path), { bigint: true }));
  }
  return marks;
}
