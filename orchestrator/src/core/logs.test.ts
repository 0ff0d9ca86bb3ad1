import { describe, expect, test } from "vitest";
import { utf8Length } from "./logs.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";

function talking(config = {}) {
  const net = new Network(config);
  const worker = net.worker(net.account("provider"), "one");
  const consumer = net.account("consumer", 100n);
  const id = net.submit(consumer);
  const attempt = refOf(net.attempt(id));
  net.say(worker, { kind: "started", attempt, fromSeq: 0 });
  const log = (offset: number, text: string, stream: "stdout" | "stderr" = "stdout") =>
    net.say(worker, { kind: "log", attempt, stream, offset, text, time: "2026-01-01T00:00:00Z" });
  const texts = () => net.kept.logs.map(({ stream, offset, text }) => `${stream}@${offset} ${text}`);
  return { net, worker, id, attempt, log, texts };
}

describe("log text", () => {
  test("that comes twice is kept once, an overlap is cut, a gap stands", () => {
    const { log, texts } = talking();
    log(0, "one ");
    log(0, "one ");
    log(2, "e two ");
    log(0, "err", "stderr");
    log(100, "late");
    expect(texts()).toEqual(["stdout@0 one ", "stdout@4 two ", "stderr@0 err", "stdout@100 late"]);
  });

  test("is counted in bytes of UTF-8", () => {
    const { log, texts } = talking();
    log(0, "é€😀");
    log(9, "x");
    log(0, "é€😀xy");
    expect(texts()).toEqual(["stdout@0 é€😀", "stdout@9 x", "stdout@10 y"]);
    for (const text of ["", "abc", "é", "€", "😀", "a😀é€"]) {
      expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length);
    }
  });

  test("goes on at the right place after a restart", () => {
    const { net, log, worker, attempt, texts } = talking();
    log(0, "before ");
    net.restart(1_000);
    net.connect(worker, offerOf(), {
      attempts: [{ attempt, phase: "running", ranMs: 0, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    log(0, "before after");
    expect(texts()).toEqual(["stdout@0 before ", "stdout@7 after"]);
  });

  test("ends at the job's bound with one marker", () => {
    const { log, texts } = talking({ logBytesPerJobMax: 10 });
    log(0, "12345678");
    log(8, "too much");
    log(16, "more");
    expect(texts()).toHaveLength(2);
    expect(texts()[1]).toContain("marker@0 -- the log reached its bound of 10 bytes");
  });

  test("has a marker where a job changes hands", () => {
    const { net, worker, id } = talking();
    net.close(worker);
    net.pass(2_000);
    expect(net.job(id).phase).toBe("queued");
    expect(net.kept.logs.map(({ stream }) => stream)).toEqual(["marker"]);
    expect(net.kept.logs[0]?.text).toContain("worker_lost");
  });
});
