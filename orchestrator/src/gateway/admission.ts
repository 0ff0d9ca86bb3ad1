// How many sockets are taken up at a time. When a large fleet comes back at once, each of its handshakes costs the same work whether it ends in time or
// not: taken up all together, they would all be late. So some are worked on, the others wait in line untouched, and who gave up meanwhile costs nothing.
import type { Duplex } from "node:stream";

export interface AdmissionBounds {
  /** Taken up at a time. */
  readonly slots: number;
  /** Waiting in line beyond those. */
  readonly waitingMax: number;
  /** A handshake that takes longer does not hold its slot any more: the line must not wait for who says nothing. */
  readonly slotMs: number;
  /** Who waited longer has given up, and would only answer a dead socket. */
  readonly waitMsMax: number;
}

export interface Admission {
  /** Calls `begin` now or when there is a slot; it must call `done` (once or more) when the handshake is over. False: the line is full. */
  enter(socket: Duplex, begin: (done: () => void) => void): boolean;
  /** In line, and taken up. */
  counts(): { readonly waiting: number; readonly begun: number };
  /** Drops the line; takes nobody up any more. */
  stop(): void;
}

interface Waiting {
  readonly socket: Duplex;
  readonly begin: (done: () => void) => void;
  readonly sinceMs: number;
}

/** `nowMs`: a clock that never goes back. */
export function createAdmission(bounds: AdmissionBounds, nowMs: () => number): Admission {
  let line: Waiting[] = [];
  let head = 0;
  let begun = 0;
  let stopped = false;
  /** A handshake that is over before it began calls from inside: the loop that runs goes on, and none is nested in it. */
  let serving = false;

  const take = (begin: Waiting["begin"]): void => {
    begun += 1;
    let held = true;
    const done = (): void => {
      if (!held) return;
      held = false;
      clearTimeout(timer);
      begun -= 1;
      next();
    };
    const timer = setTimeout(done, bounds.slotMs);
    timer.unref();
    begin(done);
  };

  const next = (): void => {
    if (serving) return;
    serving = true;
    try {
      serve();
    } finally {
      serving = false;
    }
  };

  const isAnybodyNext = (): boolean => !stopped && begun < bounds.slots && head < line.length;

  const serve = (): void => {
    while (isAnybodyNext()) {
      const waiting = line[head] as Waiting;
      head += 1;
      // What was served is let go of now and then, not with every step.
      if (head > bounds.slots && head * 2 > line.length) [line, head] = [line.slice(head), 0];
      const { socket, begin, sinceMs } = waiting;
      // Its error may be still to come.
      if (socket.destroyed) continue;
      if (nowMs() - sinceMs > bounds.waitMsMax) socket.destroy();
      else {
        socket.off("error", ignore);
        take(begin);
      }
    }
  };

  return {
    enter(socket, begin) {
      if (stopped) return false;
      if (begun < bounds.slots && head === line.length) {
        take(begin);
        return true;
      }
      if (line.length - head >= bounds.waitingMax) return false;
      // Nobody else listens while it waits, and an error without a listener would end the program.
      socket.on("error", ignore);
      line.push({ socket, begin, sinceMs: nowMs() });
      return true;
    },
    counts: () => ({ waiting: line.length - head, begun }),
    stop() {
      stopped = true;
      for (const { socket } of line.slice(head)) socket.destroy();
      [line, head] = [[], 0];
    },
  };
}

function ignore(): void {
  // The socket is destroyed then, which is looked at when its turn comes.
}
