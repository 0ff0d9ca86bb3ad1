// Pins: for a while, a chunk is kept for an upload that relies on it, although no tree has it yet. In memory: after a restart an upload asks again.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { MonotonicClock } from "@qubix/shared/runtime";
import type { TreeHolder } from "./port.ts";

export interface Pins {
  add(accountId: AccountId, cid: ChunkCid, holder: TreeHolder): void;
  release(accountId: AccountId, cid: ChunkCid, holder: TreeHolder): void;
  has(accountId: AccountId, cid: ChunkCid): boolean;
  /** Forgets those whose time is over. */
  purge(): void;
}

/** Only chunks that are here (or arriving) are pinned, so the disk bounds them. */
export function createPins(clock: MonotonicClock, pinMs: number): Pins {
  /** Per `ACCOUNT CID`: until when for each holder. */
  const pins = new Map<string, Map<TreeHolder, number>>();
  const keyOf = (accountId: AccountId, cid: ChunkCid) => `${accountId} ${cid}`;
  return {
    add(accountId, cid, holder) {
      const key = keyOf(accountId, cid);
      const holders = pins.get(key) ?? new Map<TreeHolder, number>();
      pins.set(key, holders);
      holders.set(holder, clock.nowMs() + pinMs);
    },
    release(accountId, cid, holder) {
      const key = keyOf(accountId, cid);
      const holders = pins.get(key);
      holders?.delete(holder);
      if (holders?.size === 0) pins.delete(key);
    },
    has(accountId, cid) {
      const nowMs = clock.nowMs();
      for (const untilMs of pins.get(keyOf(accountId, cid))?.values() ?? []) if (untilMs > nowMs) return true;
      return false;
    },
    purge() {
      const nowMs = clock.nowMs();
      for (const [key, holders] of pins) {
        for (const [holder, untilMs] of holders) if (untilMs <= nowMs) holders.delete(holder);
        if (holders.size === 0) pins.delete(key);
      }
    },
  };
}
