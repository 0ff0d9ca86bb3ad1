// Newline-delimited JSON from a stream of bytes.
import { QubixError } from "@qubix/shared/errors";

/** A line longer than this is not one of ours. */
const LINE_CHARS_MAX = 4 * 1024 * 1024;

/** Yields the values in order; throws `bad_answer` on a line that is not JSON. An unfinished last line is dropped: it was cut off. */
export async function* parseNdjson<T>(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<T, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    let from = 0;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n", from)) {
      const line = rest.slice(from, end).trim();
      from = end + 1;
      if (line !== "") yield parseLine(line) as T;
    }
    rest = rest.slice(from);
    if (rest.length > LINE_CHARS_MAX) throw badLine(rest);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw badLine(line);
  }
}

function badLine(line: string): QubixError {
  return new QubixError("bad_answer", `A line of the stream is not JSON: ${line.slice(0, 80)}…`, {
    category: "platform",
  });
}
