// What the runner must remember of one slot beside the journal: small facts of this machine, in a file in the slot's own folder.
import { renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@qubix/shared/runtime";
import type { EntryKey } from "../core/index.ts";
import type { BootClock } from "./boot-clock.ts";
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
  /** A save of its memory has ended the container, or is about to: its end is no success. */
  readonly saving: boolean;
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
  saving: false,
};

const FILE = "notes.json";

export interface NoteKeeperPorts {
  readonly clock: BootClock;
  readonly logger: Logger;
  /** How long the container was held in all, which is no time of its own. */
  readonly heldMs?: () => number;
  /** The slot is given up: nothing is written any more. */
  readonly isOver: () => boolean;
}

/** The notes of one slot, read once and then kept both here and in their file. */
export interface NoteKeeper {
  known(): Promise<SlotNotes>;
  /** Null before {@link known} was first called. */
  now(): SlotNotes | null;
  /** Throws where the disk does not take it. */
  put(patch: Partial<SlotNotes>): void;
  /** For what a restarted agent can do without: the job itself may have filled the disk, and must be stopped and told all the same. */
  putIfRoom(patch: Partial<SlotNotes>): void;
  /** Container time on the boot-time clock; after a reboot of the machine what was seen last. */
  ranMs(): number;
}

export function createNoteKeeper({ clock, logger, isOver, heldMs }: NoteKeeperPorts, ownFolder: string): NoteKeeper {
  let notes: SlotNotes | null = null;

  function put(patch: Partial<SlotNotes>): void {
    if (notes === null || isOver()) return;
    notes = { ...notes, ...patch };
    writeNotes(ownFolder, notes);
  }

  return {
    async known() {
      notes ??= await readNotes(ownFolder);
      return notes;
    },
    now: () => notes,
    put,
    putIfRoom(patch) {
      try {
        put(patch);
      } catch (error) {
        logger.warn({ event: "note_not_written", err: error }, "a note on a slot is not durable");
      }
    },
    ranMs() {
      if (notes === null) return 0;
      const { started, ended, ranMs } = notes;
      if (started === null || ended || started.bootId !== clock.bootId) return ranMs;
      return Math.max(ranMs, clock.nowMs() - started.atMs - (heldMs?.() ?? 0));
    },
  };
}

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

/** Notes lie on the machine's own disk: when that is full, it is not the job that asked for too little. */
export function notedOnDisk(write: () => void): void {
  try {
    write();
  } catch (cause) {
    throw new Error("the worker's own disk takes no note of what is unpacked", { cause });
  }
}

/** Readers see the old content or the new, never half of it. */
export function replaceFile(path: string, content: string): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, content, { mode: 0o644 });
  renameSync(temporary, path);
}
