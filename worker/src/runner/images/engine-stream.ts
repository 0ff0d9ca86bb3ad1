// What the Engine says while it pulls or loads an image: one JSON object a line. An error in it is the end, though the HTTP status said 200.
import type { Readable } from "node:stream";
import { EngineError } from "../engine.ts";

export interface EngineEvent {
  readonly status?: string;
  /** Of the layer it speaks of. */
  readonly id?: string;
  readonly stream?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly error?: string;
  readonly errorDetail?: { readonly message?: string };
}

/** The Engine writes lines of a few hundred bytes. */
const LINE_LENGTH_MAX = 1024 * 1024;

/** Reads to the end. Throws {@link EngineError}: what the Engine says went wrong, or that nothing came for `silenceMs`, or that it broke off. */
export async function readEngineStream(
  stream: Readable,
  silenceMs: number,
  onEvent: (event: EngineEvent) => void,
): Promise<void> {
  const silence = setTimeout(() => {
    const said = `no progress for ${silenceMs / 1000} s`;
    stream.destroy(new EngineError("docker_timeout", said, 0));
  }, silenceMs);
  let rest = "";
  try {
    for await (const part of stream as AsyncIterable<Buffer>) {
      silence.refresh();
      const lines = `${rest}${part.toString()}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line, onEvent);
      if (rest.length > LINE_LENGTH_MAX) throw new EngineError("docker_error", "the Engine sent a line without end", 0);
    }
    take(rest, onEvent);
  } finally {
    clearTimeout(silence);
    stream.destroy();
  }
}

function take(line: string, onEvent: (event: EngineEvent) => void): void {
  if (line.trim() === "") return;
  const event = JSON.parse(line) as EngineEvent;
  const said = event.errorDetail?.message ?? event.error;
  if (said !== undefined) throw new EngineError("docker_error", said, 0);
  onEvent(event);
}
