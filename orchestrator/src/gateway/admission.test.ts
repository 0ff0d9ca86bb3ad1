import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createAdmission } from "./admission.ts";

const BOUNDS = { slots: 2, waitingMax: 3, slotMs: 1_000, waitMsMax: 5_000 };

describe("admission", () => {
  let nowMs = 0;
  beforeEach(() => {
    nowMs = 0;
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const pass = (ms: number): void => {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  };
  /** A line, the names of those taken up in order, and how each ends its handshake. */
  function open() {
    const admission = createAdmission(BOUNDS, () => nowMs);
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const enter = (name: string, socket = new PassThrough()) =>
      admission.enter(socket, (done) => {
        begun.push(name);
        ends.set(name, done);
      });
    return { admission, begun, enter, end: (name: string) => ends.get(name)?.() };
  }

  it("takes up as many as there are slots, the others in their order as slots come free, and refuses beyond its line", () => {
    const { admission, begun, enter, end } = open();
    expect(["a", "b", "c", "d", "e", "f"].map((name) => enter(name))).toEqual([true, true, true, true, true, false]);
    expect(begun).toEqual(["a", "b"]);
    expect(admission.counts()).toEqual({ begun: 2, waiting: 3 });
    end("b");
    end("b");
    expect(begun).toEqual(["a", "b", "c"]);
    end("a");
    end("c");
    expect(begun).toEqual(["a", "b", "c", "d", "e"]);
    expect(admission.counts()).toEqual({ begun: 2, waiting: 0 });
  });

  it("does not let who says nothing hold up the line", () => {
    const { admission, begun, enter, end } = open();
    for (const name of ["a", "b", "c", "d"]) enter(name);
    pass(BOUNDS.slotMs);
    expect(begun).toEqual(["a", "b", "c", "d"]);
    end("a");
    end("b");
    expect(admission.counts()).toEqual({ begun: 2, waiting: 0 });
  });

  it("spends nothing on who is gone, or has surely given up", () => {
    const { begun, enter, end } = open();
    const [gone, broken, old] = [new PassThrough(), new PassThrough(), new PassThrough()];
    enter("a");
    enter("b");
    enter("gone", gone);
    enter("broken", broken);
    gone.destroy();
    broken.destroy(new Error("reset"));
    end("a");
    expect(begun).toEqual(["a", "b"]);
    enter("c");
    enter("old", old);
    nowMs += BOUNDS.waitMsMax + 1;
    end("b");
    expect(begun).toEqual(["a", "b", "c"]);
    expect(old.destroyed).toBe(true);
  });

  it("serves a long line whole, each once and in order", () => {
    const admission = createAdmission({ ...BOUNDS, waitingMax: 10_000 }, () => nowMs);
    const order: number[] = [];
    const dones: (() => void)[] = [];
    for (let n = 0; n < 5_000; n += 1) {
      admission.enter(new PassThrough(), (done) => {
        order.push(n);
        dones.push(done);
      });
    }
    for (let done = dones.shift(); done !== undefined; done = dones.shift()) done();
    expect(order).toEqual(Array.from({ length: 5_000 }, (_, n) => n));
    expect(admission.counts()).toEqual({ begun: 0, waiting: 0 });
  });

  it("serves a long line of those whose handshake is over before it began", () => {
    const admission = createAdmission({ ...BOUNDS, slots: 1, waitingMax: 50_000 }, () => nowMs);
    let first: (() => void) | undefined;
    let ended = 0;
    admission.enter(new PassThrough(), (done) => {
      first = done;
    });
    const socket = new PassThrough().setMaxListeners(0);
    for (let n = 0; n < 20_000; n += 1) {
      admission.enter(socket, (done) => {
        ended += 1;
        done();
      });
    }
    first?.();
    expect(ended).toBe(20_000);
    expect(admission.counts()).toEqual({ begun: 0, waiting: 0 });
  });

  it("drops its line when it stops", () => {
    const { admission, begun, enter, end } = open();
    const waiting = new PassThrough();
    enter("a");
    enter("b");
    enter("c", waiting);
    admission.stop();
    expect(waiting.destroyed).toBe(true);
    end("a");
    expect(begun).toEqual(["a", "b"]);
    expect(enter("d")).toBe(false);
  });
});
