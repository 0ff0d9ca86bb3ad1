// What the runner must remember of one slot beside the journal: small facts of this machine, in a file in the slot's own folder.
import { renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { EntryKey } from "../core/index.ts";
import type { NumericUser } from "./image-user.ts";

export interface SlotNotes {
  /** Who the container runs as; null before that is known. */
  readonly user: NumericUser | null;
  /** What the image's reference resolved to when the container was made: asked again, its tag may have moved. */
  readonly imageDigest: string | null;
  /** The checkpoint that lies in the folder for the start. */
  readonly unpacked: { readonly seq: number; readonly entry: EntryKey | null } | null;
  /** Inputs that are complete, by index. */
  readonly inputs: readonly number[];
  /** When the container was started, on the clock of which boot. */
  readonly started: { readonly bootId: string; readonly atMs: number } | null;
  /** Container time as last seen while it ran, or at its end. */
  readonly ranMs: number;
  readonly ended: boolean;
  readonly diskExceeded: boolean;
}

export const NO_NOTES: SlotNotes = {
  user: null,
  imageDigest: null,
  unpacked: null,
  inputs: [],
  started: null,
  ranMs: 0,
  ended: false,
  diskExceeded: false,
};

const FILE = "notes.json";

/** The notes of a slot; a file that is not there or was torn by a crash of the machine counts as none. */
export async function readNotes(ownFolder: string): Promise<SlotNotes> {
  try {
    return { ...NO_NOTES, ...(JSON.parse(await readFile(join(ownFolder, FILE), "utf8")) as Partial<SlotNotes>) };
  } catch {
    return NO_NOTES;
  }
}

/**
 * Replaces the notes. Synchronous, because it stands between a promotion and its container's start and takes less than a turn of the event loop;
 * not fsynced, because after a crash of the machine there is no container to know about.
 */
export function writeNotes(ownFolder: string, notes: SlotNotes): void {
  replaceFile(join(ownFolder, FILE), JSON.stringify(notes));
}

/** Readers see the old content or the new, never half of it. */
export function replaceFile(path: string, content: string): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, content, { mode: 0o644 });
  renameSync(temporary, path);
}
