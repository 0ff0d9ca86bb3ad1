// Gives memory back while the worker has nothing to do. What a transfer left behind is garbage that V8 would keep until it needs room, and an
// idle agent never does.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A collection takes some 10 ms, and delays nothing on an idle worker. */
const EVERY_MS = 10_000;
/** Less is not worth a collection. */
const GROWN_BYTES_MIN = 1024 * 1024;

const FREED_MS = 1_000;

export interface IdleMemory {
  start(): void;
  stop(): void;
}

export function createIdleMemory(ports: {
  /** Nothing runs here and nothing is about to. */
  isIdle(): boolean;
  collect(): void;
}): IdleMemory {
  let timer: NodeJS.Timeout | null = null;
  let keptBytes = 0;

  function look(): void {
    if (!ports.isIdle() || usedBytes() < keptBytes + GROWN_BYTES_MIN) return;
    ports.collect();
    // Buffers are freed a moment after the objects that held them.
    setTimeout(() => {
      keptBytes = usedBytes();
    }, FREED_MS).unref();
  }

  return {
    start() {
      timer ??= setInterval(look, EVERY_MS);
      timer.unref();
    },
    stop() {
      if (timer !== null) clearInterval(timer);
      timer = null;
    },
  };
}

/** On V8's heap, and of buffers outside of it. */
function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A whole collection. A program that was started without `--expose-gc` gets at it in a context made while that flag is set. */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
