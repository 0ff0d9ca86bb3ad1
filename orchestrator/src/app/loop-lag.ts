// How long the event loop did nothing: the process was stopped, the machine was overloaded, one piece of work took long. In that time no worker was listened to.
import type { LagMeter } from "./writer.ts";

/** Often enough that half a second of lag is known to a tenth, seldom enough to cost nothing. */
const LOOK_EVERY_MS = 50;
/** Timers alone are that late on a busy machine. */
const LATE_MS_MIN = 20;

export interface LoopLag extends LagMeter {
  /** Callable twice. */
  start(): void;
  stop(): void;
}

/** `nowMs`: a clock that never goes back. Measures nothing before `start`. */
export function createLoopLag(nowMs: () => number = () => performance.now()): LoopLag {
  let timer: NodeJS.Timeout | undefined;
  let seenMs = 0;
  let lagMs = 0;
  /** A loop that turns is seen every {@link LOOK_EVERY_MS}, by the timer or by whoever asks. */
  const look = (): void => {
    const now = nowMs();
    const lateMs = now - seenMs - LOOK_EVERY_MS;
    if (lateMs > LATE_MS_MIN) lagMs += lateMs;
    seenMs = now;
  };
  return {
    start() {
      if (timer !== undefined) return;
      seenMs = nowMs();
      timer = setInterval(look, LOOK_EVERY_MS);
      timer.unref();
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
    },
    takeMs() {
      if (timer === undefined) return 0;
      look();
      const taken = Math.round(lagMs);
      lagMs = 0;
      return taken;
    },
  };
}
