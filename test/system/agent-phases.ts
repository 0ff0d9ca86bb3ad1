// Where a worker's slots stood when its agent was killed: read from what it left behind, its journal and the slots' folders.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** The life of an attempt, as finely as it can be told from outside. */
export const PHASES = [
  "pulling",
  "creating",
  "unpacking",
  "starting",
  "running",
  "shipping",
  "collecting",
  "ended",
  "removing",
] as const;
export type Phase = (typeof PHASES)[number];

interface Row {
  readonly id: string;
  readonly phase: string;
  readonly run: { readonly inputs: readonly unknown[] };
  readonly committedEntry: string | null;
  readonly pending: unknown;
}

export interface Journal {
  readonly slots: readonly Row[];
  /** Keys of the small values beside them. */
  readonly keys: readonly string[];
}

/** Reads a copy: the agent that comes next finds its journal as its predecessor left it. */
export function readJournal(dataDir: string): Journal {
  const folder = mkdtempSync(join(tmpdir(), "qubix-journal-"));
  try {
    for (const name of ["journal.db", "journal.db-wal"]) {
      if (existsSync(join(dataDir, name))) copyFileSync(join(dataDir, name), join(folder, name));
    }
    const db = new DatabaseSync(join(folder, "journal.db"));
    const rows = db.prepare("SELECT slot FROM slots ORDER BY id").all();
    const keys = db.prepare("SELECT key FROM kv ORDER BY key").all();
    db.close();
    return {
      slots: rows.map((row) => JSON.parse(String(row["slot"])) as Row),
      keys: keys.map((row) => String(row["key"])),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** `containers`: names of all that the worker has, whatever their state. */
export function phaseOf(dataDir: string, slot: Row, containers: readonly string[]): Phase {
  const folder = join(dataDir, "slots", slot.id);
  switch (slot.phase) {
    case "preparing": {
      if (!containers.some((name) => name.endsWith(slot.id))) return "pulling";
      return notesOf(folder).user === undefined ? "creating" : "unpacking";
    }
    case "running": {
      const newest = entriesOf(folder).at(-1);
      const isNew = newest !== undefined && !(slot.committedEntry ?? "").includes(newest);
      return slot.pending !== null || isNew ? "shipping" : "running";
    }
    case "starting":
    case "collecting":
    case "ended":
    case "removing":
      return slot.phase;
    default:
      throw new Error(`the journal has a phase that the test does not know: ${slot.phase}`);
  }
}

function notesOf(folder: string): { readonly user?: unknown } {
  try {
    return JSON.parse(readFileSync(join(folder, "own", "notes.json"), "utf8")) as { readonly user?: unknown };
  } catch {
    return {};
  }
}

function entriesOf(folder: string): readonly string[] {
  try {
    // Where its disk is mounted; the mount outlives the agent.
    return readdirSync(join(folder, "disk", "checkpoint"))
      .filter((name) => !name.startsWith("."))
      .toSorted();
  } catch {
    return [];
  }
}
