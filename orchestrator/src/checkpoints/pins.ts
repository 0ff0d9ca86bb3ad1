// Pins: for a while, a chunk is kept for an upload that relies on it, although no tree has it yet. In memory: after a restart an upload asks again.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { MonotonicClock } from "@qubix/shared/runtime";
import type { TreeHolder } from "./port.ts";

export interface Pins {
  add(accountId: AccountId, cid: ChunkCid, holder: TreeHolder): void;
  release(accountId: AccountId, cid: ChunkCid, holder: TreeHolder): void;
  /** All of one holder; returns what they were on. */
  releaseAll(accountId: AccountId, holder: TreeHolder): readonly ChunkCid[];
  has(accountId: AccountId, cid: ChunkCid): boolean;
  /** Forgets those whose time is over. */
  purge(): void;
}

/** Only chunks that are here (or arriving) are pinned, so the disk bounds them. */
export function createPins(clock: MonotonicClock, pinMs: number): Pins {
  /** Per `ACCOUNT CID`: until when for each holder. */
  const pins = new Map<string, Map<TreeHolder, number>>();
  /** Per `ACCOUNT HOLDER`: what of the above is his. */
  const held = new Map<string, Set<ChunkCid>>();
  const keyOf = (accountId: AccountId, name: ChunkCid | TreeHolder) => `${accountId} ${name}`;

  const release = (accountId: AccountId, cid: ChunkCid, holder: TreeHolder): void => {
    const key = keyOf(accountId, cid);
    const holders = pins.get(key);
    holders?.delete(holder);
    if (holders?.size === 0) pins.delete(key);
    const own = held.get(keyOf(accountId, holder));
    own?.delete(cid);
    if (own?.size === 0) held.delete(keyOf(accountId, holder));
  };

  return {
    add(accountId, cid, holder) {
      const key = keyOf(accountId, cid);
      const holders = pins.get(key) ?? new Map<TreeHolder, number>();
      pins.set(key, holders);
      holders.set(holder, clock.nowMs() + pinMs);
      const own = held.get(keyOf(accountId, holder)) ?? new Set<ChunkCid>();
      held.set(keyOf(accountId, holder), own);
      own.add(cid);
    },
    release,
    releaseAll(accountId, holder) {
      const cids = [...(held.get(keyOf(accountId, holder)) ?? [])];
      for (const cid of cids) release(accountId, cid, holder);
      return cids;
    },
    has(accountId, cid) {
      const nowMs = clock.nowMs();
      for (const untilMs of pins.get(keyOf(accountId, cid))?.values() ?? []) if (untilMs > nowMs) return true;
      return false;
    },
    purge() {
      const nowMs = clock.nowMs();
      for (const [owner, cids] of held) {
        const [accountId, holder] = owner.split(" ") as [AccountId, TreeHolder];
        for (const cid of cids) {
          if ((pins.get(keyOf(accountId, cid))?.get(holder) ?? 0) <= nowMs) release(accountId, cid, holder);
        }
      }
    },
  };
}
