// An upload for which there is no room sends on for a moment: what was on its way when a piece was refused. That is of no use, and takes the room of others.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { TreeHolder } from "./port.ts";

export interface Stragglers {
  /** A piece of this holder was refused. */
  refused(accountId: AccountId, holder: TreeHolder): void;
  /** A piece was stored: a straggler, unless another upload has begun. */
  stored(accountId: AccountId, holder: TreeHolder, cid: ChunkCid): void;
  /** An upload begins, and relies on those of these that are here. */
  asked(accountId: AccountId, holder: TreeHolder, cids: readonly ChunkCid[]): void;
  stop(): void;
}

/** What is on its way has come by then: two batches, over a line of some Mbit/s. */
const ON_ITS_WAY_MS = 10_000;

interface Refused {
  readonly cids: Set<ChunkCid>;
  /** No other upload has begun yet. */
  sendsOn: boolean;
  readonly timer: NodeJS.Timeout;
}

/** `giveUp` is called once for each refused upload, with its stragglers. */
export function createStragglers(
  giveUp: (accountId: AccountId, holder: TreeHolder, cids: ReadonlySet<ChunkCid>) => void,
): Stragglers {
  const refusals = new Map<string, Refused>();
  const keyOf = (accountId: AccountId, holder: TreeHolder) => `${accountId} ${holder}`;
  return {
    refused(accountId, holder) {
      const key = keyOf(accountId, holder);
      const known = refusals.get(key);
      if (known !== undefined) {
        known.sendsOn = true;
        return;
      }
      const cids = new Set<ChunkCid>();
      const timer = setTimeout(() => {
        refusals.delete(key);
        giveUp(accountId, holder, cids);
      }, ON_ITS_WAY_MS);
      timer.unref();
      refusals.set(key, { cids, sendsOn: true, timer });
    },
    stored(accountId, holder, cid) {
      const refusal = refusals.get(keyOf(accountId, holder));
      if (refusal?.sendsOn === true) refusal.cids.add(cid);
    },
    asked(accountId, holder, cids) {
      const refusal = refusals.get(keyOf(accountId, holder));
      if (refusal === undefined) return;
      refusal.sendsOn = false;
      for (const cid of cids) refusal.cids.delete(cid);
    },
    stop() {
      for (const { timer } of refusals.values()) clearTimeout(timer);
      refusals.clear();
    },
  };
}
