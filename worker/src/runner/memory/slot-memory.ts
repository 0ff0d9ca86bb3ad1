// Transparent checkpoints as a slot sees them: one thing that is there for every job, and does something for those that ask.
import type { EndOutcome, RunSpec } from "@qubix/shared/protocol";
import type { SlotId } from "../../core/index.ts";
import type { EndedView } from "../containers.ts";
import type { SlotFolders } from "../slot-folders.ts";
import { nameImage, placeFiles } from "./entry.ts";
import { createMemorySaver, type MemorySaver, type SaverPorts } from "./saver.ts";

export interface SlotMemory {
  /** Before a start: the container begins where the checkpoint's left off, if there is one. */
  place(run: RunSpec): Promise<void>;
  /** The container runs. */
  accompany(run: RunSpec): void;
  /** The end of the container, whatever saves ended it for a while; undefined when it is gone, an outcome where a save was the end of it. */
  ended(): Promise<EndedView | EndOutcome | undefined>;
  /** The newest entry is durable. */
  committed(): void;
  /** It is to move: saved at once. False for a job that saves by itself, which is to be asked. */
  saveNow(): boolean;
  /** No save begins after this; resolves when none is under way. */
  halt(): Promise<void>;
}

export function createSlotMemory(id: SlotId, folders: SlotFolders, ports: SaverPorts): SlotMemory {
  let saver: MemorySaver | null = null;
  return {
    async place(run) {
      if (run.transparent !== true) return;
      const entry = (await ports.notes.known()).unpacked?.entry ?? null;
      if (entry !== null) await placeFiles(folders, entry);
      await nameImage(folders, entry);
    },
    accompany(run) {
      if (run.transparent !== true) return;
      saver = createMemorySaver(id, folders, run, ports);
      saver.start();
    },
    async ended() {
      for (;;) {
        const view = await ports.containers.ended(id, ports.signal);
        const cause = (await saver?.causeOfEnd()) ?? { kind: "own" };
        if (cause.kind === "failed") return cause.outcome;
        if (cause.kind === "own") return view;
      }
    },
    committed: () => saver?.committed(),
    saveNow() {
      saver?.hurry();
      return saver !== null;
    },
    halt: async () => saver?.halt(),
  };
}
