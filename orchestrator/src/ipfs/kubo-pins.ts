// Keeps a copy of every kept tree on a Kubo node: its stored files, which are ciphertext, and the blocks that name them (see sealed-car.ts), pinned under
// one root for each tree. What should be pinned is what the chunk store keeps; what is pinned the node says, by the names of its pins. So nothing is
// remembered here, and whatever was cut off by a crash is found at the next start. No failure here is one of a commit.
import { setTimeout as sleep } from "node:timers/promises";
import { CID } from "multiformats/cid";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { Logger } from "@qubix/shared/runtime";
import type { ChunkStore, KeptTree, StoredCid } from "../checkpoints/index.ts";
import type { Kubo } from "./kubo-client.ts";
import { lost, nameSealed } from "./sealed-car.ts";

/** Blocks of a MiB under way at once; the client opens six connections at most. */
const BLOCKS_AT_ONCE = 4;
/** A node that is down is asked again after a second, then after twice that, up to a minute; the time is drawn, so that several do not come together. */
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 60_000;
/** Others may unpin what was pinned here, or Kubo be set up anew: it is asked again when there was nothing to do for this long. */
const COMPARE_MS = 3_600_000;

export interface KuboPinsPorts {
  readonly kubo: Kubo;
  readonly chunks: Pick<ChunkStore, "trees" | "keeps" | "blocks">;
  /** Aborted by `stop`: the same that ends the calls of `kubo`. */
  readonly leaving: AbortController;
  readonly orchestratorId: string;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  readonly compareMs?: number;
}

export interface KuboPins {
  /** Returns at once; the work goes on in the background. Callable twice. */
  start(): void;
  /** It may be kept now, or kept no more. */
  changed(tree: KeptTree): void;
  /** A file that was lost here. Does not reject. */
  fetch(stored: StoredCid): Promise<Uint8Array | undefined>;
  gauges(): Readonly<Record<string, number>>;
  /** What is under way is broken off, and found again at the next start. Callable twice. */
  stop(): Promise<void>;
}

export function createKuboPins(ports: KuboPinsPorts): KuboPins {
  const { kubo, chunks, leaving, orchestratorId, random, logger, compareMs = COMPARE_MS } = ports;
  const prefix = `qubix/${orchestratorId}/`;
  /** By name, in the order they came: one entry for each tree, whose number the chunk store bounds. */
  const pending = new Map<string, KeptTree>();
  /** By name; undefined until the node was asked. */
  let pinned: Map<string, CID> | undefined;
  /** What is worked on; when it changes meanwhile it is in `pending` too. */
  let current: string | undefined;
  let failures = 0;
  let failuresTotal = 0;
  let news = Promise.withResolvers<void>();
  let working: Promise<void> | undefined;

  const changed = (tree: KeptTree): void => {
    pending.set(nameOf(prefix, tree), tree);
    news.resolve();
  };

  /** Asks the node what is pinned, and finds what differs from what is kept. */
  const compare = async (): Promise<Map<string, CID>> => {
    const version = await kubo.version();
    const found = new Map((await kubo.pins(prefix)).map(({ name, root }) => [name, root]));
    for (const tree of chunks.trees()) if (!found.has(nameOf(prefix, tree))) changed(tree);
    for (const name of found.keys()) {
      const tree = treeOf(prefix, name);
      if (tree !== undefined && !chunks.keeps(tree)) changed(tree);
    }
    logger.info({ event: "kubo_ready", version, pinned: found.size, pending: pending.size }, "Kubo can be reached");
    return found;
  };

  const pin = async (name: string, tree: KeptTree): Promise<CID> => {
    const stored = (await chunks.blocks.ofTree(tree.accountId, tree.manifestCid)).map((block) => block.stored);
    const names = await nameSealed(stored);
    await inParallel(stored, BLOCKS_AT_ONCE, async (each) => {
      const cid = CID.parse(each);
      if (await kubo.has(cid)) return;
      const bytes = await chunks.blocks.get(tree.accountId, each);
      if (bytes === undefined) throw lost(each);
      await kubo.put({ cid, bytes });
    });
    for (const block of names) await kubo.put(block);
    await kubo.pin(names[0].cid, name);
    return names[0].cid;
  };

  const settle = async (roots: Map<string, CID>, name: string, tree: KeptTree): Promise<void> => {
    const root = roots.get(name);
    if (chunks.keeps(tree)) {
      if (root === undefined) roots.set(name, await pin(name, tree));
    } else if (root !== undefined) {
      await kubo.unpin(root);
      roots.delete(name);
    }
  };

  const step = async (): Promise<void> => {
    pinned ??= await compare();
    const [next] = pending;
    if (next === undefined) return await rest();
    const [name, tree] = next;
    // What happens to it from here on is another change.
    pending.delete(name);
    current = name;
    try {
      await settle(pinned, name, tree);
    } catch (error) {
      // Behind the others: one that cannot be pinned holds up none of them.
      if (!pending.has(name)) pending.set(name, tree);
      throw error;
    } finally {
      current = undefined;
    }
    failures = 0;
  };

  const rest = async (): Promise<void> => {
    const timer = setTimeout(() => {
      pinned = undefined;
      news.resolve();
    }, compareMs);
    timer.unref();
    await news.promise;
    clearTimeout(timer);
  };

  const work = async (): Promise<void> => {
    while (!leaving.signal.aborted) {
      if (pending.size === 0) news = Promise.withResolvers();
      try {
        await step();
      } catch (error) {
        if (leaving.signal.aborted) return;
        failures += 1;
        failuresTotal += 1;
        const ms = Math.min(RETRY_MS * 2 ** (failures - 1), RETRY_MS_MAX) * (0.5 + random() / 2);
        logger.warn({ event: "kubo_failed", err: error, pending: pending.size, retryMs: ms }, "Kubo: trying again");
        await sleep(ms, undefined, { signal: leaving.signal, ref: false }).catch(() => {});
      }
    }
  };

  return {
    start: () => void (working ??= work()),
    changed,
    fetch: (stored) =>
      kubo.get(stored).catch((error: unknown) => {
        logger.warn({ event: "kubo_fetch_failed", stored, err: error }, "a lost file could not be had from Kubo");
        return undefined;
      }),
    gauges: () => ({
      ipfsPinsPending: pending.size + (current === undefined || pending.has(current) ? 0 : 1),
      ipfsPins: pinned?.size ?? 0,
      ipfsPinFailuresTotal: failuresTotal,
    }),
    async stop() {
      leaving.abort();
      news.resolve();
      await working;
    },
  };
}

function nameOf(prefix: string, { accountId, manifestCid }: KeptTree): string {
  return `${prefix}${accountId}/${manifestCid}`;
}

function treeOf(prefix: string, name: string): KeptTree | undefined {
  const [accountId, manifestCid, ...rest] = name.slice(prefix.length).split("/");
  if (accountId === undefined || manifestCid === undefined || rest.length > 0) return undefined;
  return { accountId: accountId as AccountId, manifestCid: manifestCid as ChunkCid };
}

/** The first failure is that of all; none is begun after it, and all have ended when it is told. */
async function inParallel<Item>(
  items: readonly Item[],
  countMax: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const item of rest) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: countMax }, lane));
  const broken = lanes.find((each) => each.status === "rejected");
  if (broken !== undefined) throw broken.reason;
}
