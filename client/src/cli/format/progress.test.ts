import type { JobView } from "@qubix/shared/protocol";
import pc from "picocolors";
import { expect, test } from "vitest";
import type { TextStream } from "../io.ts";
import { createStatusLine, progressText } from "./progress.ts";

function terminal(columns: number): TextStream & { text: string } {
  const stream = {
    text: "",
    isTTY: true,
    columns,
    write: (text: string) => {
      stream.text += text;
    },
  };
  return stream;
}

/** What a person sees: every line, with redrawn ones replaced. */
function screen(text: string): string[] {
  return text.split("\n").map((line) => line.slice(line.lastIndexOf("\r\u001b[2K") + 1).replace("\u001b[2K", ""));
}

test("the live line stays at the bottom, and goes without a trace", () => {
  const stream = terminal(40);
  const status = createStatusLine(stream, pc.createColors(false));
  status.set("running 1%");
  status.above(() => stream.write("first\n"));
  status.set("running 2%");
  expect(screen(stream.text)).toEqual(["first", "running 2%"]);
  status.above(() => stream.write("second\n"));
  status.clear();
  expect(screen(stream.text)).toEqual(["first", "second", ""]);
});

test.each([
  [10, "123456789"],
  [0, "1234567890"],
])("in %d columns it never wraps", (columns, shown) => {
  const stream = terminal(columns);
  createStatusLine(stream).set("1234567890");
  expect(screen(stream.text)).toEqual([shown]);
});

test("where there is no terminal there is no live line", () => {
  const stream = { ...terminal(80), isTTY: false };
  const status = createStatusLine(stream);
  status.set("x");
  status.clear();
  expect(stream.text).toBe("");
});

test("the bar", () => {
  const job = { phase: "running", progress: 0.5, workerId: "wrk-b", epoch: 2, checkpoint: { seq: 3 } } as JobView;
  expect(progressText(job, 65_000)).toBe(
    "running  ████████████░░░░░░░░░░░░ 50%  epoch 2 on wrk-b  checkpoint 3  1 min 05 s",
  );
  expect(progressText({ ...job, phase: "queued", progress: null, workerId: null, checkpoint: null }, 900)).toBe(
    "queued  900 ms",
  );
});
