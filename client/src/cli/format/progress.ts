// The live line at the bottom of a terminal: redrawn in place, with everything else scrolling above it. Where there is no terminal it does not exist.
import type { JobView } from "@qubix/shared/protocol";
import type { TextStream } from "../io.ts";
import type { Colors } from "../session.ts";
import { formatDuration, formatProgress } from "./units.ts";

const BAR_WIDTH = 24;
/** Where the terminal does not know its width, or says 0. */
const COLUMNS_DEFAULT = 80;
/** Back to the first column, and clear to the end of the line. */
const CLEAR_LINE = "\r\u001b[2K";

export interface StatusLine {
  /** Replaces the line. */
  set(text: string): void;
  /** Takes it away while `print` writes whole lines, and puts it back. */
  above(print: () => void): void;
  /** Takes it away for good. */
  clear(): void;
}

export function createStatusLine(stream: TextStream, colors?: Colors): StatusLine {
  let shown = "";
  const draw = (text: string) => stream.write(`${CLEAR_LINE}${text}`);
  if (stream.isTTY !== true) return { set: () => {}, above: (print) => print(), clear: () => {} };
  return {
    set: (text) => {
      // A line that wraps could not be taken back.
      const line = text.slice(0, (stream.columns || COLUMNS_DEFAULT) - 1);
      shown = colors === undefined ? line : colors.cyan(line);
      draw(shown);
    },
    above: (print) => {
      if (shown !== "") draw("");
      print();
      if (shown !== "") draw(shown);
    },
    clear: () => {
      if (shown !== "") draw("");
      shown = "";
    },
  };
}

/** `running  ██████░░░░░░  42%  epoch 2 on wrk-…  3 min 05 s`. */
export function progressText(job: JobView, elapsedMs: number): string {
  const parts = [job.phase as string];
  if (job.progress !== null) parts.push(`${bar(job.progress)} ${formatProgress(job.progress)}`);
  if (job.workerId !== null) parts.push(`epoch ${job.epoch} on ${job.workerId}`);
  if (job.checkpoint !== null) parts.push(`checkpoint ${job.checkpoint.seq}`);
  parts.push(formatDuration(Math.max(0, elapsedMs)));
  return parts.join("  ");
}

function bar(progress: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, progress)) * BAR_WIDTH);
  return "█".repeat(filled) + "░".repeat(BAR_WIDTH - filled);
}
