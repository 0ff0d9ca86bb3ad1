// `logs -f` as any client sees it: GET /v1/jobs/{id}/logs?follow=true, NDJSON, each line stamped when it arrives.
import { get } from "node:http";
import type { LogLine } from "@qubix/shared/protocol";
import { monotonicMs } from "../harness/clock.ts";

export interface SeenLine {
  readonly atMs: number;
  readonly epoch: number;
  readonly text: string;
}

export interface LogFollower {
  readonly lines: readonly SeenLine[];
  close(): void;
}

export function followLogs(url: URL, key: string, jobId: string): LogFollower {
  const lines: SeenLine[] = [];
  const target = new URL(`/v1/jobs/${jobId}/logs?follow=true`, url);
  const request = get(target, { headers: { authorization: `Bearer ${key}` } }, (response) => {
    let rest = "";
    response.setEncoding("utf8");
    response.on("error", () => undefined);
    response.on("data", (data: string) => {
      const atMs = monotonicMs();
      const whole = (rest + data).split("\n");
      rest = whole.pop() ?? "";
      for (const line of whole) {
        if (line === "") continue;
        const { epoch, stream, text } = JSON.parse(line) as LogLine;
        if (stream !== "marker") lines.push({ atMs, epoch, text });
      }
    });
  });
  request.on("error", () => undefined);
  return { lines, close: () => request.destroy() };
}
