import { EVENTS_KEY_SUBPROTOCOL, EVENTS_SUBPROTOCOL } from "@qubix/shared/protocol";
import type { WebSocket } from "ws";
import { afterEach, expect, test, vi } from "vitest";
import { createNodeClient } from "../node/http-client.ts";
import { createClient } from "./client.ts";
import { parseNdjson } from "./ndjson.ts";
import { EVENTS_PROTOCOL, KEY_PROTOCOL_PREFIX, type SocketFactory } from "./socket.ts";
import { cutAfter, json, type ScriptedServer, startScriptedServer, type Step } from "./testing/scripted-server.ts";
import type { EventView, LogLine } from "./types.ts";

let server: ScriptedServer;
const clients: { close(): void }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const client of clients.splice(0)) client.close();
  await server?.stop();
});

function nodeClient() {
  const client = createNodeClient({ url: server.url, apiKey: "qbx_key", random: () => 0 });
  clients.push(client);
  return client;
}

const event = (seq: number, kind = "checkpoint"): EventView => ({
  seq,
  time: "2026-01-01T00:00:00.000Z",
  clockMs: seq,
  channel: "jobs",
  kind,
  jobId: "job-1",
  workerId: null,
  data: {},
});
const frame = (seq: number, ...events: EventView[]) => JSON.stringify({ seq, events });

test("the names of the subprotocols are those of the protocol", () => {
  expect([EVENTS_PROTOCOL, KEY_PROTOCOL_PREFIX]).toEqual([EVENTS_SUBPROTOCOL, EVENTS_KEY_SUBPROTOCOL]);
});

/** Three lives of one connection: cut off, closed as too slow, and whole. The second repeats what the first had sent. */
function threeLives(socket: WebSocket, n: number): void {
  if (n === 1) {
    socket.send(frame(4));
    socket.send(frame(6, event(5), event(6)), () => socket.terminate());
  } else if (n === 2) {
    socket.send(frame(7, event(6), event(7)), () => socket.close(4008, "too slow"));
  } else socket.send(frame(9, event(8), event(9)));
}

test.each([
  ["ws", () => nodeClient()],
  ["WebSocket", () => createClient({ url: server.url, apiKey: "qbx_key", random: () => 0 })],
])("live events over %s resume where they were cut off; none is missing, none comes twice", async (_name, make) => {
  server = await startScriptedServer([], threeLives);
  const seqs: number[] = [];
  for await (const { seq } of make().events.subscribe({ channels: ["jobs"], jobId: "job-1" })) {
    seqs.push(seq);
    if (seq === 9) break;
  }
  expect(seqs).toEqual([5, 6, 7, 8, 9]);
  expect(server.sockets.map((socket) => socket.path)).toEqual([
    "/v1/events?channels=jobs&jobId=job-1",
    "/v1/events?after=6&channels=jobs&jobId=job-1",
    "/v1/events?after=7&channels=jobs&jobId=job-1",
  ]);
  const { authorization, "sec-websocket-protocol": offered } = server.sockets[0]?.headers ?? {};
  expect(authorization ?? offered?.replace(`${EVENTS_SUBPROTOCOL},`, "").trim()).toMatch(
    /^(Bearer |qubix\.key\.)qbx_key$/,
  );
});

test("a quiet connection that is cut resumes after what the server said last", async () => {
  server = await startScriptedServer([], (socket, n) => {
    if (n === 1) socket.send(frame(41), () => socket.terminate());
    else socket.send(frame(42, event(42)));
  });
  for await (const { seq } of nodeClient().events.subscribe()) {
    expect(seq).toBe(42);
    break;
  }
  expect(server.sockets.map((socket) => socket.path)).toEqual(["/v1/events", "/v1/events?after=41"]);
});

test("a server that takes connections and drops each at once is given up at last", async () => {
  vi.useFakeTimers();
  let opened = 0;
  const openSocket: SocketFactory = (_url, _key, { onOpen, onClose }) => {
    opened += 1;
    queueMicrotask(() => {
      onOpen();
      onClose({ code: 1001, reason: "going away" });
    });
    return { close: () => {} };
  };
  const client = createClient({ url: "http://127.0.0.1:1", openSocket, random: () => 0 });
  const reading = client.events.subscribe()[Symbol.asyncIterator]().next();
  const outcome = reading.catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await Promise.race([outcome, Promise.resolve("tried on")])).toMatchObject({ code: "cannot_connect" });
  expect(opened).toBe(20);
});

test("aborting ends the iteration", async () => {
  server = await startScriptedServer([], (socket) => socket.send(frame(1, event(1))));
  const controller = new AbortController();
  const seqs: number[] = [];
  for await (const { seq } of nodeClient().events.subscribe({ signal: controller.signal })) {
    seqs.push(seq);
    controller.abort();
  }
  expect(seqs).toEqual([1]);
});

const page = (...items: EventView[]) => json(200, { items, nextCursor: null });

test("following a timeline: what was, what comes, and what was written with the end", async () => {
  server = await startScriptedServer(
    [page(event(1, "queued"), event(2, "matched")), page(event(5, "settled"))],
    (socket) => {
      socket.send(frame(2));
      socket.send(frame(4, event(3, "started"), event(4, "completed")));
    },
  );
  const kinds: string[] = [];
  for await (const { kind } of nodeClient().jobs.followEvents("job-1")) kinds.push(kind);
  expect(kinds).toEqual(["queued", "matched", "started", "completed", "settled"]);
  expect(server.sockets[0]?.path).toBe("/v1/events?after=2&jobId=job-1");
  expect(server.seen[1]?.path).toBe("/v1/jobs/job-1/events?after=4");
});

const line = (n: number): LogLine => ({
  epoch: 1,
  stream: "stdout",
  offset: n,
  time: "2026-01-01T00:00:00Z",
  text: `${n}\n`,
  cursor: String(n),
});
const lines = (...ns: number[]) => ns.map((n) => `${JSON.stringify(line(n))}\n`).join("");
const whole =
  (text: string): Step =>
  (response) =>
    response.writeHead(200).end(text);

test("a followed log goes on after the last whole line, over a cut and over a server that stops", async () => {
  server = await startScriptedServer([
    cutAfter(`${lines(1, 2)}{"epoch":1,"str`),
    whole(lines(3)),
    json(200, { phase: "running" }),
    whole(lines(4)),
    json(200, { phase: "succeeded" }),
  ]);
  const cursors: string[] = [];
  for await (const { cursor } of nodeClient().jobs.logs("job-1", { follow: true })) cursors.push(cursor);
  expect(cursors).toEqual(["1", "2", "3", "4"]);
  expect(server.seen.map((seen) => seen.path)).toEqual([
    "/v1/jobs/job-1/logs?follow=true",
    "/v1/jobs/job-1/logs?follow=true&after=2",
    "/v1/jobs/job-1",
    "/v1/jobs/job-1/logs?follow=true&after=3",
    "/v1/jobs/job-1",
  ]);
});

test("a log that is not there says so", async () => {
  server = await startScriptedServer([json(404, { code: "job_not_found", detail: "No.", status: 404 })]);
  const read = nodeClient().jobs.logs("job-1", { follow: true })[Symbol.asyncIterator]();
  await expect(read.next()).rejects.toMatchObject({ code: "job_not_found" });
});

test("NDJSON is put together over any cut of its bytes", async () => {
  const bytes = new TextEncoder().encode(lines(1, 2).replace("1\\n", "ü€😀"));
  for (let at = 0; at <= bytes.length; at += 1) {
    const chunks = (async function* () {
      yield bytes.subarray(0, at);
      yield bytes.subarray(at);
    })();
    const texts: string[] = [];
    for await (const { text } of parseNdjson<LogLine>(chunks)) texts.push(text);
    expect(texts).toEqual(["ü€😀", "2\n"]);
  }
});
