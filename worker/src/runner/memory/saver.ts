// Transparent checkpoints of one running container: now and then its memory and files are saved, which ends the sandbox, and it goes on from what was saved.
// gVisor can save a sandbox only by ending it; the same container is started again from the image.
import { statfs } from "node:fs/promises";
import type { Logger } from "@qubix/shared/runtime";
import type { EndOutcome, RunSpec } from "@qubix/shared/protocol";
import type { SlotId } from "../../core/index.ts";
import { listEntries } from "../../checkpoint/entries.ts";
import type { Containers } from "../containers.ts";
import type { SlotFolders } from "../slot-folders.ts";
import type { NoteKeeper } from "../slot-notes.ts";
import { closeEntry, dropEntry, lookAtFiles, nameImage, openEntry } from "./entry.ts";
import { deletedFiles, findSandbox, type Sandbox, saveMemory } from "./sandbox.ts";

export interface SaverPorts {
  readonly containers: Pick<Containers, "ended" | "kill" | "start" | "stats" | "sandboxOf">;
  readonly notes: NoteKeeper;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** The program that saves: gVisor's own. Undefined where the Engine does not know it any more. */
  program(): Promise<string | undefined>;
  /** A line in the job's log. */
  tell(text: string): void;
}

/** Whose doing the end of the container was. `resumed`: a save's, and it runs again. */
export type EndCause =
  | { readonly kind: "own" }
  | { readonly kind: "resumed" }
  | { readonly kind: "failed"; readonly outcome: EndOutcome };

export interface MemorySaver {
  start(): void;
  /** To be asked when the container has ended; resolves when a save that is under way is over. */
  causeOfEnd(): Promise<EndCause>;
  /** The entry is durable: the next save may come. */
  committed(): void;
  /** The next save comes at once: the job is to move. */
  hurry(): void;
  /** No save begins after this; resolves when none is under way. */
  halt(): Promise<void>;
}

/** The interval's end is looked for this often. */
const LOOK_EVERY_MS = 250;
/** A save that was not committed in so many intervals will not be: the next one is another try. */
const UNCOMMITTED_INTERVALS_MAX = 4;
/** The job stands still meanwhile: where saves take long they come further apart, so that they take a fifth of its time at most. */
const RUN_PER_SAVE_MIN = 4;
/**
 * What gVisor itself takes while it saves or restores counts as the job's memory, and a sandbox without it is killed. Measured: 200 MiB of numbers failed with
 * 26 MiB to spare and passed with 66.
 */
const SPARE_MEMORY_MIB = 64;
const SPARE_MEMORY_SHARE = 0.25;
const MIB = 1024 * 1024;

export function createMemorySaver(
  slotId: SlotId,
  folders: SlotFolders,
  run: Pick<RunSpec, "checkpointIntervalS" | "memoryMiB">,
  ports: SaverPorts,
): MemorySaver {
  const { containers, notes, logger, signal } = ports;
  let timer: NodeJS.Timeout | null = null;
  let halted = false;
  let hurried = false;
  let underWay: Promise<EndCause | null> | null = null;
  /** Of the newest save; null before it is asked for. */
  let cause: EndCause | null = null;
  let lastMs = performance.now();
  let tookMs = 0;
  let uncommitted = false;
  /** An agent that is gone was saving, and its save may go on and end the container. */
  let inherited = false;
  let toldWhyNot = "";

  function look(): void {
    const age = performance.now() - lastMs;
    const askedMs = run.checkpointIntervalS * 1000 * (uncommitted ? UNCOMMITTED_INTERVALS_MAX : 1);
    const isDue = hurried || age >= Math.max(askedMs, tookMs * RUN_PER_SAVE_MIN);
    if (halted || signal.aborted || underWay !== null || !isDue) return;
    hurried = false;
    const saving = save().catch((error: unknown): EndCause => {
      logger.warn({ event: "memory_save_failed", err: error }, "a transparent checkpoint failed");
      return failed(error instanceof Error ? error.message : String(error));
    });
    underWay = saving;
    void saving.then((result) => {
      if (result !== null) cause = result;
      lastMs = performance.now();
      underWay = null;
    });
  }

  /** Null where nothing was done to the container. */
  async function save(): Promise<EndCause | null> {
    const ready = await prepare().catch((error: unknown) => {
      // Most likely the container has just ended by itself.
      logger.warn({ event: "memory_save_not_begun", err: error }, "a transparent checkpoint could not be begun");
    });
    if (ready === undefined || halted || signal.aborted) return null;
    const { program, sandbox, image } = ready;
    // An agent that dies from here on finds an ended container that is no success.
    notes.put({ saving: true });
    const begunMs = performance.now();
    const saved = await saveMemory(program, sandbox, image, signal);
    // Where it is over already nothing happens.
    if (saved.kind === "failed") await containers.kill(slotId);
    const view = await containers.ended(slotId, signal);
    if (saved.kind === "failed") return lost(saved.said, view?.exitCode ?? null);
    const name = await closeEntry(folders);
    uncommitted = true;
    const savedMs = Math.round(performance.now() - begunMs);
    // Asked to stop meanwhile: it is stopped, with its newest state kept.
    if (halted || signal.aborted) return { kind: "own" };
    const entry = (await listEntries(folders.checkpoint)).find((found) => found.name === name);
    await nameImage(folders, entry?.id ?? null);
    const started = await containers.start(slotId);
    if (started.kind === "problem") return failed(started.message);
    notes.put({ saving: false });
    inherited = false;
    tookMs = Math.round(performance.now() - begunMs);
    logger.info({ event: "memory_saved", savedMs, tookMs }, "a transparent checkpoint was taken");
    return { kind: "resumed" };
  }

  /** Undefined where it cannot be saved now. */
  async function prepare() {
    const program = await ports.program();
    const process = await containers.sandboxOf(slotId);
    const sandbox = process === undefined ? undefined : await findSandbox(process.id, process.pid);
    if (program === undefined || sandbox === undefined) return undefined;
    const whyNot = await obstacle(sandbox);
    if (whyNot !== undefined) return skip(whyNot);
    return { program, sandbox, image: await openEntry(folders) };
  }

  /** What would make the save fail, and so end the job's sandbox. */
  async function obstacle(sandbox: Sandbox): Promise<string | undefined> {
    const [deleted] = await deletedFiles(sandbox);
    if (deleted !== undefined) return "the program holds a file open that it has deleted (outside of /tmp)";
    const { bytes, unfit } = await lookAtFiles(folders);
    if (unfit.length > 0) return "there are pipes, sockets or devices among the job's files (outside of /tmp)";
    const memoryMiB = (await containers.stats(slotId))?.memoryMiB ?? 0;
    const neededMiB = Math.ceil(memoryMiB * (1 + SPARE_MEMORY_SHARE) + SPARE_MEMORY_MIB);
    if (neededMiB > run.memoryMiB) return `it would take ${neededMiB} MiB of memory; ask for a larger memoryMiB`;
    const memoryBytes = memoryMiB * MIB;
    const { bavail, bsize } = await statfs(folders.checkpoint);
    if (bavail * bsize >= memoryBytes + bytes) return undefined;
    const needMiB = Math.ceil((memoryBytes + bytes) / MIB);
    return `the job's disk has no room for another ${needMiB} MiB (memory and files); ask for a larger diskMiB`;
  }

  function skip(why: string): undefined {
    if (why !== toldWhyNot) ports.tell(`qubix: no transparent checkpoint now: ${why}\n`);
    toldWhyNot = why;
    return undefined;
  }

  /** It had ended by itself before the save, or the save has ended it. */
  async function lost(said: string, exitCode: number | null): Promise<EndCause> {
    await dropEntry(folders);
    notes.put({ saving: false });
    logger.warn({ event: "memory_save_refused", said, exitCode }, "gVisor did not save a sandbox");
    if (ENDED_BEFORE.test(said)) return { kind: "own" };
    return failed(said);
  }

  return {
    start() {
      inherited = notes.now()?.saving === true;
      timer ??= setInterval(look, LOOK_EVERY_MS);
      signal.addEventListener("abort", () => timer !== null && clearInterval(timer), { once: true });
    },
    async causeOfEnd() {
      const now = (await underWay) ?? cause ?? { kind: "own" };
      cause = null;
      if (now.kind === "resumed") return now;
      await this.halt();
      return now.kind === "own" && inherited ? failed("The agent was started again while one was taken.") : now;
    },
    committed() {
      uncommitted = false;
    },
    hurry() {
      hurried = true;
    },
    async halt() {
      halted = true;
      if (timer !== null) clearInterval(timer);
      await underWay;
    },
  };
}

/** What gVisor says of a sandbox that is not there. */
const ENDED_BEFORE = /in state stopped|container does not exist|loading container/;

function failed(said: string): EndCause {
  const message = `A transparent checkpoint ended the job's sandbox, which goes on from the one before. ${said}`;
  return { kind: "failed", outcome: { kind: "worker_failed", code: "isolation_failed", message } };
}
