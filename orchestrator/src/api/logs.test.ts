import { describe, expect, test } from "vitest";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

describe("logs", () => {
  test("as NDJSON, from a cursor on, and only what is there", async () => {
    await using api = await startTestApi();
    const { call, worker, attempt, path } = await runningJob(api);
    await worker.log(attempt, "one\n");
    await worker.log(attempt, "zwölf\n");
    const { text, headers } = await call(`GET ${path}/logs`);
    expect(headers.get("content-type")).toContain("application/x-ndjson");
    const lines = linesOf(text);
    expect(lines.map(({ epoch, stream, offset, text: said }) => ({ epoch, stream, offset, text: said }))).toEqual([
      { epoch: 1, stream: "stdout", offset: 0, text: "one\n" },
      { epoch: 1, stream: "stdout", offset: 4, text: "zwölf\n" },
    ]);
    const rest = await call(`GET ${path}/logs?after=${String(lines[0]?.["cursor"])}`);
    expect(linesOf(rest.text)).toEqual(lines.slice(1));
    expect((await call(`GET ${path}/logs?after=${String(lines[1]?.["cursor"])}`)).text).toBe("");
    expect((await call(`GET ${path}/logs?after=x`)).body).toMatchObject({ status: 422 });
  });

  test("followed, each line comes with its commit, and the stream ends with the job", async () => {
    await using api = await startTestApi();
    const { key, worker, attempt, path } = await runningJob(api);
    await worker.log(attempt, "before\n");
    const reader = await follow(api, key, path);
    expect(await reader.next()).toMatchObject({ text: "before\n" });
    await worker.log(attempt, "while\n");
    expect(await reader.next()).toMatchObject({ text: "while\n" });
    await worker.log(attempt, "last\n");
    await worker.end(attempt, null);
    expect(await reader.next()).toMatchObject({ text: "last\n" });
    expect(await reader.next()).toBeUndefined();
  });

  test("followed from before the first line, and of a job that has ended", async () => {
    await using api = await startTestApi();
    const { key, worker, attempt, path } = await runningJob(api);
    const reader = await follow(api, key, path);
    await worker.log(attempt, "first\n");
    expect(await reader.next()).toMatchObject({ text: "first\n" });
    await worker.end(attempt, null);
    expect(await reader.next()).toBeUndefined();
    const late = await follow(api, key, path);
    expect(await late.next()).toMatchObject({ text: "first\n" });
    expect(await late.next()).toBeUndefined();
  });

  test("a long log arrives whole and in order, past every page and buffer", async () => {
    await using api = await startTestApi();
    const { call, worker, attempt, path } = await runningJob(api);
    const part = "x".repeat(4000);
    const count = 450;
    for (let n = 0; n < count; n += 1) await worker.log(attempt, `${n} ${part}\n`);
    const lines = linesOf((await call(`GET ${path}/logs`)).text);
    expect(lines.map((line) => Number.parseInt(String(line["text"]), 10))).toEqual(
      Array.from({ length: count }, (_, n) => n),
    );
  });

  test("a stop of the server ends followers in good order", async () => {
    await using api = await startTestApi();
    const { key, worker, attempt, path } = await runningJob(api);
    await worker.log(attempt, "one\n");
    const reader = await follow(api, key, path);
    expect(await reader.next()).toMatchObject({ text: "one\n" });
    await api.server.stop();
    expect(await reader.next()).toBeUndefined();
  });
});

async function runningJob(api: TestApi) {
  const consumer = await api.account("consumer", 10_000_000n);
  const worker = await api.worker(await api.account("provider"), "runner");
  const made = await consumer.call("POST /v1/jobs", jobSpec());
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  return { ...consumer, worker, attempt, path: `/v1/jobs/${String(made.body["id"])}` };
}

function linesOf(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function follow(api: TestApi, key: string, path: string) {
  const response = await fetch(`${api.url}${path}/logs?follow=true`, { headers: { authorization: `Bearer ${key}` } });
  const lines = (async function* () {
    let rest = "";
    for await (const part of response.body ?? []) {
      rest += Buffer.from(part).toString();
      const whole = rest.split("\n");
      rest = whole.pop() ?? "";
      for (const line of whole) yield JSON.parse(line) as Record<string, unknown>;
    }
  })();
  return { next: async () => (await lines.next()).value as Record<string, unknown> | undefined };
}
