// Reads one container's output from the Engine into its pump, from where the pump's reading stands, as long as the container writes.
import type { Readable } from "node:stream";
import { createLogParser, createResumeFilter, type LogMessage, sinceOf } from "./log-stream.ts";
import type { LogPump } from "./log-pump.ts";

/** Pause before the Engine is asked for the stream again. */
const REOPEN_MS = 500;

export interface LogFollower {
  /** Resolves when all that the ended container wrote has been read, or `signal` is raised. */
  readonly done: Promise<void>;
  /** The container has ended: the stream's end is the end. */
  finish(): void;
}

/** Begins at once. `open` gives the Engine's stream from a moment on; `seen` is told each new message first. */
export function followLogs(
  open: (since: string | undefined, signal: AbortSignal) => Promise<Readable>,
  pump: LogPump,
  signal: AbortSignal,
  seen?: (message: LogMessage) => void,
): LogFollower {
  let finished = false;
  let wake: () => void = () => undefined;
  return {
    done: follow(),
    finish() {
      finished = true;
      wake();
    },
  };

  async function follow(): Promise<void> {
    for (;;) {
      // Read once more after the end: a stream that began before it may have been cut.
      const last = finished;
      const whole = await readOnce();
      if (signal.aborted || (whole && last)) return;
      if (!whole || !finished) await rest();
    }
  }

  /** True when the stream came to its own end. */
  async function readOnce(): Promise<boolean> {
    try {
      const cursor = pump.readCursor();
      const isNew = createResumeFilter(cursor);
      const parser = createLogParser();
      const stream = await open(sinceOf(cursor), signal);
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        for (const message of parser.push(chunk)) {
          if (!isNew(message)) continue;
          seen?.(message);
          pump.push(message);
        }
        await pump.room();
        if (signal.aborted) return false;
      }
      return true;
    } catch {
      // The Engine restarts, or the container is being removed: the caller's signal or another try decides.
      return false;
    }
  }

  function rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, REOPEN_MS);
      wake = done;
      signal.addEventListener("abort", done, { once: true });
      function done(): void {
        clearTimeout(timer);
        wake = () => undefined;
        signal.removeEventListener("abort", done);
        resolve();
      }
    });
  }
}
