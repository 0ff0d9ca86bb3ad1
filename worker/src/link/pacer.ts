// A token bucket: how fast frames may leave, where the owner caps his uplink. The rate is asked for at every turn, so that a change holds at once.
import { BULK_FRAME_BYTES_MAX } from "@qubix/shared/protocol";

/** Tokens that gather while nothing is sent: so much may leave in one go. Above the largest frame, which has to fit in. */
const BURST_S = 0.05;
const BITS_PER_BYTE = 8;

export interface Pacer {
  /** Takes the room for a frame, in the order of asking: null when it may leave now, else resolves when it may. */
  take(bytes: number): Promise<void> | null;
}

interface Waiter {
  readonly bytes: number;
  leave(): void;
}

export interface PacerPorts {
  /** Megabits (10⁶) a second; null for no cap. */
  mbpsMax(): number | null;
  /** No frame is larger. */
  readonly frameBytesMax: number;
  nowMs(): number;
  after(ms: number, act: () => void): void;
}

/** For all that leaves this machine in bulk. `mbpsMax`: the owner's cap, in megabits (10⁶) a second; null for none. Asked again for every frame. */
export function createUplinkPacer(mbpsMax: () => number | null): Pacer {
  return createPacer({
    mbpsMax,
    frameBytesMax: BULK_FRAME_BYTES_MAX,
    nowMs: () => performance.now(),
    after: (ms, act) => void setTimeout(act, ms).unref(),
  });
}

export function createPacer(ports: PacerPorts): Pacer {
  const waiters: Waiter[] = [];
  let tokens = ports.frameBytesMax;
  let filledAtMs = ports.nowMs();
  let isArmed = false;

  /** Lets out what may leave now, oldest first, and comes back for the rest. */
  function release(): void {
    isArmed = false;
    const bytesPerMs = rate();
    for (let first = waiters[0]; first !== undefined; first = waiters[0]) {
      if (bytesPerMs !== null && tokens < first.bytes) return arm((first.bytes - tokens) / bytesPerMs);
      tokens -= first.bytes;
      waiters.shift();
      first.leave();
    }
  }

  function arm(ms: number): void {
    if (isArmed) return;
    isArmed = true;
    ports.after(Math.ceil(ms), release);
  }

  /** Fills the bucket up to now. Without a cap it is full. */
  function rate(): number | null {
    const nowMs = ports.nowMs();
    const mbps = ports.mbpsMax();
    const passedMs = nowMs - filledAtMs;
    filledAtMs = nowMs;
    if (mbps === null) {
      tokens = ports.frameBytesMax;
      return null;
    }
    const bytesPerMs = (mbps * 1_000) / BITS_PER_BYTE;
    const burst = Math.max(ports.frameBytesMax, bytesPerMs * 1_000 * BURST_S);
    tokens = Math.min(burst, tokens + bytesPerMs * passedMs);
    return bytesPerMs;
  }

  return {
    take(bytes) {
      if (waiters.length === 0) {
        const bytesPerMs = rate();
        if (bytesPerMs === null) return null;
        if (tokens >= bytes) {
          tokens -= bytes;
          return null;
        }
      }
      return new Promise((leave) => {
        waiters.push({ bytes, leave });
        if (waiters.length === 1) release();
      });
    },
  };
}
