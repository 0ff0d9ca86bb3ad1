import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { AccountId } from "@qubix/shared/domain";
import {
  EVENTS_CLOSE_SLOW,
  EVENTS_KEY_SUBPROTOCOL,
  EVENTS_SUBPROTOCOL,
  type EventsFrame,
} from "@qubix/shared/protocol";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

const waiting = jobSpec({ placement: { workers: ["wrk-none"] } });

describe("live events", () => {
  test("begin with where they stand, then come with each commit", async () => {
    await using api = await startTestApi();
    const { call, key } = await api.account("consumer", 10_000_000n);
    const events = await listen(api, "", { headers: { authorization: `Bearer ${key}` } });
    expect(await events.frame()).toMatchObject({ events: [] });
    const id = String((await call("POST /v1/jobs", waiting)).body["id"]);
    expect(await events.kindOf(id)).toBe("queued");
    await call(`POST /v1/jobs/${id}/cancel`);
    expect(await events.kindOf(id)).toBe("cancelled");
    events.socket.close();
  });

  test("resume after a seq without a gap or a repeat, however much was missed", async () => {
    await using api = await startTestApi();
    const { call, key } = await api.account("consumer", 100_000_000n);
    const options = { headers: { authorization: `Bearer ${key}` } };
    const first = await listen(api, "", options);
    const { seq } = await first.frame();
    first.socket.terminate();
    for (let n = 0; n < 7; n += 1)
      await call("POST /v1/jobs/batch", { jobs: Array.from({ length: 100 }, () => waiting) });
    const second = await listen(api, `?after=${seq}&channels=jobs`, options);
    const seen: number[] = [];
    const jobs = new Set<unknown>();
    while (jobs.size < 700) {
      for (const event of (await second.frame()).events) {
        seen.push(event.seq);
        jobs.add(event.jobId);
      }
    }
    expect(seen).toEqual([...new Set(seen)].toSorted((a, b) => a - b));
    const id = String((await call("POST /v1/jobs", waiting)).body["id"]);
    expect(await second.kindOf(id)).toBe("queued");
    second.socket.close();
  });

  test("can be narrowed to channels, kinds and one job", async () => {
    await using api = await startTestApi();
    const { call, key } = await api.account("consumer", 10_000_000n);
    const options = { headers: { authorization: `Bearer ${key}` } };
    const one = String((await call("POST /v1/jobs", waiting)).body["id"]);
    const two = String((await call("POST /v1/jobs", waiting)).body["id"]);
    const ofOne = await listen(api, `?after=0&jobId=${one}`, options);
    const ends = await listen(api, "?channels=jobs&kinds=cancelled", options);
    await ends.frame();
    await call(`POST /v1/jobs/${two}/cancel`);
    await call(`POST /v1/jobs/${one}/cancel`);
    const got = [...(await ends.frame()).events, ...(await ends.frame()).events];
    expect(got.map(({ kind, jobId }) => [kind, jobId])).toEqual([
      ["cancelled", two],
      ["cancelled", one],
    ]);
    const jobs = new Set([...(await ofOne.frame()).events, ...(await ofOne.frame()).events].map(({ jobId }) => jobId));
    expect([...jobs]).toEqual([one]);
    for (const { socket } of [ofOne, ends]) socket.close();
  });

  test("show each account its own and nothing else; the administrator everything", async () => {
    await using api = await startTestApi();
    const mine = await api.account("consumer", 10_000_000n);
    const other = await api.account("consumer", 10_000_000n);
    await mine.call("POST /v1/jobs", waiting);
    const theirs = String((await other.call("POST /v1/jobs", waiting)).body["id"]);
    const seen = await listen(api, "?after=0", { headers: { authorization: `Bearer ${mine.key}` } });
    const text = JSON.stringify((await seen.frame()).events);
    expect(text).not.toContain(theirs);
    expect(text).not.toContain(other.id);
    const all = await listen(api, "?after=0", { headers: { authorization: `Bearer ${api.adminKey}` } });
    expect(JSON.stringify((await all.frame()).events)).toContain(theirs);
    for (const { socket } of [seen, all]) socket.close();
  });

  test("a browser hands over its key as a subprotocol, which is not echoed", async () => {
    await using api = await startTestApi();
    const { key } = await api.account("consumer");
    const events = await listen(api, "", {}, [EVENTS_SUBPROTOCOL, `${EVENTS_KEY_SUBPROTOCOL}${key}`]);
    expect(events.socket.protocol).toBe(EVENTS_SUBPROTOCOL);
    events.socket.close();
  });

  test.each([
    ["no key", "", {}, 401],
    ["an unknown channel", "?channels=jobs,gossip", "key", 422],
    ["a job of nobody", "?jobId=job-0", "key", 404],
    ["a wrong seq", "?after=-1", "key", 422],
  ])("%s is refused before the socket opens", async (_name, query, auth, status) => {
    await using api = await startTestApi();
    const { key } = await api.account("consumer");
    const options = auth === "key" ? { headers: { authorization: `Bearer ${key}` } } : {};
    await expect(listen(api, query, options)).rejects.toThrow(`Unexpected server response: ${status}`);
  });

  test("a reader who is too slow is cut off with 4008 and resumes where he was, missing nothing", async () => {
    await using api = await startTestApi();
    const { id, key } = await api.account("consumer");
    const options = { headers: { authorization: `Bearer ${key}` } };
    const slow = await listen(api, "?channels=wallet", options);
    const { seq } = await slow.frame();
    slow.socket.pause();
    const deposits = 40_000;
    await deposit(api, id, deposits);
    slow.socket.resume();
    expect(await slow.closed).toBe(EVENTS_CLOSE_SLOW);
    const seen = slow.frames.flatMap((frame) => frame.events);
    expect(seen.length).toBeLessThan(deposits);
    const again = await listen(api, `?channels=wallet&after=${seen.at(-1)?.seq ?? seq}`, options);
    while (seen.length < deposits) seen.push(...(await again.frame()).events);
    const seqs = seen.map((event) => event.seq);
    expect(new Set(seqs).size).toBe(deposits);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    again.socket.close();
  });

  test("a store that cannot be read ends the sockets of those who catch up, and nothing else", async () => {
    await using api = await startTestApi();
    const { id } = await api.account("consumer");
    await deposit(api, id, 4_000);
    const options = { headers: { authorization: `Bearer ${api.adminKey}` } };
    const { store } = api.writer;
    const events = store.events.bind(store);
    const pages = { left: 1 };
    store.events = (filter) => {
      if (pages.left === 0) throw new Error("disk I/O error");
      pages.left -= 1;
      return events(filter);
    };
    const behind = await listen(api, "?after=0", options);
    expect(await behind.closed).toBe(1013);
    pages.left = Infinity;
    const seen = behind.frames.flatMap((frame) => frame.events);
    const again = await listen(api, `?after=${seen.at(-1)?.seq ?? 0}&channels=wallet`, options);
    const page = (await again.frame()).events;
    expect(page[0]?.seq).toBe((seen.at(-1)?.seq ?? 0) + 1);
    again.socket.close();
  });

  test("a stop closes with 1001; one who sends too much is cut off alone", async () => {
    await using api = await startTestApi();
    const options = { headers: { authorization: `Bearer ${api.adminKey}` } };
    const quiet = await listen(api, "", options);
    const loud = await listen(api, "", options);
    loud.socket.send("x".repeat(5000));
    expect(await loud.closed).toBe(1009);
    await api.server.stop();
    expect(await quiet.closed).toBe(1001);
  });
});

async function listen(
  api: TestApi,
  query: string,
  options: { headers?: Record<string, string> },
  protocols: string[] = [],
) {
  const socket = new WebSocket(`${api.url.replace("http", "ws")}/v1/events${query}`, protocols, options);
  const frames: EventsFrame[] = [];
  let wake = () => {};
  socket.on("message", (data: Buffer) => {
    frames.push(JSON.parse(data.toString()) as EventsFrame);
    wake();
  });
  const closed = new Promise<number>((resolve) => socket.on("close", resolve));
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  socket.on("error", () => {});
  const frame = async (): Promise<EventsFrame> => {
    while (frames.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return frames.shift() as EventsFrame;
  };
  /** The kind of the next event on the jobs channel that is about this job. */
  const kindOf = async (id: string): Promise<string> => {
    for (;;) {
      const found = (await frame()).events.find((event) => event.jobId === id && event.channel === "jobs");
      if (found !== undefined) return found.kind;
    }
  };
  return { socket, frames, frame, kindOf, closed };
}

/** Many events of some size, past the HTTP side: its own speed is not what is tested. */
async function deposit(api: TestApi, accountId: AccountId, count: number): Promise<void> {
  const actor = { accountId: "acc-admin" as AccountId, role: "admin" } as const;
  const event = { kind: "deposit", actor, accountId, amount: 1n, currency: "USD", reference: "r".repeat(200) } as const;
  const perTurn = 4_000;
  for (let done = 0; done < count; done += perTurn) {
    await Promise.all(Array.from({ length: perTurn }, () => api.writer.submit(event)));
  }
}
