import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLogPump, LOG_BUFFER_BYTES_MAX, PUMP_START } from "./log-pump.ts";
import { advance, createLogParser, createResumeFilter, LOG_START, type LogMessage, sinceOf } from "./log-stream.ts";
import { attemptOf } from "./testing.ts";

function frame(stream: "stdout" | "stderr", time: string, text: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(`${time} `), Buffer.from(text)]);
  const header = Buffer.from([stream === "stdout" ? 1 : 2, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

const timeOf = (n: number) => `2026-01-02T03:04:05.${String(n).padStart(9, "0")}Z`;

describe("the Engine's log stream", () => {
  const message = fc.record({
    stream: fc.constantFrom("stdout" as const, "stderr" as const),
    time: fc.nat(3),
    text: fc.string({ unit: "binary", maxLength: 20 }),
  });

  it("is read the same however its bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(200), { maxLength: 10 }), (messages, cuts) => {
        const whole = Buffer.concat(messages.map((one) => frame(one.stream, timeOf(one.time), one.text)));
        const parser = createLogParser();
        const places = [0, ...cuts.map((cut) => cut % (whole.length + 1)).toSorted((a, b) => a - b), whole.length];
        const read = places.slice(1).flatMap((end, index) => parser.push(whole.subarray(places[index], end)));
        expect(read.map((one) => [one.stream, one.time, one.bytes.toString()])).toEqual(
          messages.map((one) => [one.stream, timeOf(one.time), Buffer.from(one.text).toString()]),
        );
      }),
    );
  });

  it("is taken up exactly where it was left, also among messages of one moment", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 12 }), fc.nat(12), (unsorted, split) => {
        const messages: LogMessage[] = unsorted
          .toSorted((a, b) => a.time - b.time)
          .map((one) => ({ stream: one.stream, time: timeOf(one.time), bytes: Buffer.from(one.text) }));
        const cursor = messages.slice(0, split).reduce(advance, LOG_START);
        const since = sinceOf(cursor);
        const again =
          since === undefined
            ? messages
            : messages.filter((one) => one.time >= `2026-01-02T03:04:05.${since.split(".")[1]}Z`);
        expect(again.filter(createResumeFilter(cursor))).toEqual(messages.slice(split));
      }),
    );
  });

  it("begins again at the second and nanosecond", () => {
    const cursor = advance(advance(LOG_START, { stream: "stdout", time: timeOf(5), bytes: Buffer.of() }), {
      stream: "stderr",
      time: timeOf(9),
      bytes: Buffer.of(),
    });
    expect(sinceOf(cursor)).toBe(`${Date.parse("2026-01-02T03:04:05Z") / 1000}.000000005`);
  });

  it("is refused where it is none", () => {
    expect(() => createLogParser().push(Buffer.alloc(16, 0xff))).toThrow(/not a log stream/);
  });
});

interface Sent {
  readonly epoch: number;
  readonly offset: number;
  readonly text: string;
  readonly answered: (taken?: boolean) => void;
}

function harness() {
  const sent: Sent[] = [];
  let nowMs = 0;
  const pump = createLogPump(
    {
      send(body, answered) {
        sent.push({
          epoch: body.attempt.epoch,
          offset: body.offset,
          text: body.text,
          answered: (taken = true) => answered(taken),
        });
        return true;
      },
      nowMs: () => nowMs,
    },
    attemptOf("job-a"),
    { ...PUMP_START, epoch: 1 },
  );
  let n = 0;
  return {
    pump,
    sent,
    push: (text: string | Buffer) => pump.push({ stream: "stdout", time: timeOf((n += 1)), bytes: Buffer.from(text) }),
    pass: (ms: number) => void (nowMs += ms),
  };
}

describe("the pump", () => {
  it("gathers what comes together, and counts bytes", async () => {
    const { pump, sent, push } = harness();
    push("é\n");
    push("b\n");
    await expect.poll(() => sent).toHaveLength(1);
    push("c\n");
    await expect.poll(() => sent).toHaveLength(2);
    expect(sent.map((one) => [one.offset, one.text])).toEqual([
      [0, "é\nb\n"],
      [5, "c\n"],
    ]);
    pump.stop();
  });

  it("sends again what was not answered when the line was cut", () => {
    const { pump, sent, push } = harness();
    push("a\n");
    pump.flush();
    push("b\n");
    pump.flush();
    sent[0]?.answered();
    pump.closed();
    push("c\n");
    pump.opened();
    expect(sent.slice(2).map((one) => [one.offset, one.text])).toEqual([[2, "b\nc\n"]]);
    // The old line's answer comes late: it says nothing of what was sent again.
    sent[1]?.answered();
    expect(pump.position().offsets.stdout).toBe(2);
    sent[2]?.answered();
    expect(pump.position().offsets.stdout).toBe(6);
    expect(pump.empty()).toBe(true);
    pump.stop();
  });

  it("takes what was not answered along to the next epoch, from zero", () => {
    const { pump, sent, push } = harness();
    push("a\n");
    pump.flush();
    sent[0]?.answered();
    push("b\n");
    pump.flush();
    pump.relabel(attemptOf("job-a", 3));
    pump.flush();
    expect(sent.at(-1)).toMatchObject({ epoch: 3, offset: 0, text: "b\n" });
    sent.at(-1)?.answered();
    expect(pump.position()).toMatchObject({ epoch: 3, offsets: { stdout: 2 } });
    pump.stop();
  });

  it("keeps what is refused under a stale epoch for the one to which the container moves", () => {
    const { pump, sent, push } = harness();
    push("a\n");
    pump.flush();
    push("b\n");
    pump.flush();
    sent[0]?.answered(false);
    sent[1]?.answered(false);
    push("c\n");
    pump.flush();
    expect(sent).toHaveLength(2);
    pump.relabel(attemptOf("job-a", 3));
    pump.flush();
    expect(sent.slice(2).map(({ epoch, text }) => [epoch, text])).toEqual([
      [3, "a\n"],
      [3, "b\nc\n"],
    ]);
    pump.stop();
  });

  it("stops reading when what is held has reached its bound, and goes on when it is answered", async () => {
    const { pump, sent, push } = harness();
    const line = "x".repeat(16 * 1024);
    for (let held = 0; held < LOG_BUFFER_BYTES_MAX; held += line.length) push(line);
    let room = false;
    const waiting = pump.room().then(() => {
      room = true;
    });
    await Promise.resolve();
    expect(room).toBe(false);
    pump.flush();
    sent.at(-1)?.answered();
    await waiting;
    expect(sent.every((one) => one.text.length <= 32 * 1024)).toBe(true);
    pump.stop();
  });

  it("slows a job down that prints without end", () => {
    const { pump, sent, push, pass } = harness();
    const burst = () => {
      for (let i = 0; i < 64; i += 1) push("y".repeat(16 * 1024));
      pump.opened();
      const bytes = sent.reduce((sum, one) => sum + one.text.length, 0);
      for (const one of sent) one.answered();
      return bytes;
    };
    burst();
    burst();
    const before = burst();
    pass(500);
    pump.opened();
    const after = sent.reduce((sum, one) => sum + one.text.length, 0);
    expect(before).toBeLessThanOrEqual(3 * 1024 * 1024);
    expect(after).toBeGreaterThan(before - 1);
    pump.stop();
  });

  it("keeps characters whole that the Engine cut", () => {
    const { pump, sent, push } = harness();
    const euro = Buffer.from("€\n");
    push(euro.subarray(0, 1));
    push(euro.subarray(1));
    pump.flush();
    expect(sent.map((one) => one.text).join("")).toBe("€\n");
    pump.stop();
  });
});
