// What is asked of a Kubo node, through its RPC (https://docs.ipfs.tech/reference/kubo/rpc/), each call with an end.
import { create } from "kubo-rpc-client";
import { CID } from "multiformats/cid";
import type { StoredCid } from "../checkpoints/index.ts";
import type { Block } from "./car.ts";

/** A block of a MiB, over a slow line. */
const CALL_MS = 30_000;
/** Kubo walks the whole tree, which lies on its disk. */
const PIN_MS = 300_000;
const LIST_MS = 300_000;
const CODECS: ReadonlyMap<number, string> = new Map([
  [0x55, "raw"],
  [0x71, "dag-cbor"],
]);
/** Of commands and answers alike; Kubo knows it, the client's types do not. Without it a node looks all over the network for what it has not. */
const OFFLINE = { offline: true };

export interface NamedPin {
  readonly name: string;
  readonly root: CID;
}

export interface Kubo {
  version(): Promise<string>;
  /** On its own disk. */
  has(cid: CID): Promise<boolean>;
  put(block: Block): Promise<void>;
  /** Undefined where its disk has it not. */
  get(stored: StoredCid): Promise<Uint8Array | undefined>;
  /** With everything below it. */
  pin(root: CID, name: string): Promise<void>;
  /** Also when it was not pinned. */
  unpin(root: CID): Promise<void>;
  /** Those whose name begins so. */
  pins(prefix: string): Promise<readonly NamedPin[]>;
}

/** `leaving` ends every call. Calls reject with what the client throws. */
export function createKubo(url: string, leaving: AbortSignal): Kubo {
  const client = create({ url });
  const within = (ms: number) => ({ signal: AbortSignal.any([leaving, AbortSignal.timeout(ms)]) });
  return {
    version: async () => (await client.version(within(CALL_MS))).version,
    has: (cid) =>
      client.block.stat(cid, { ...OFFLINE, ...within(CALL_MS) }).then(
        () => true,
        (error: unknown) => {
          if (isAnswer(error)) return false;
          throw error;
        },
      ),
    async put({ cid, bytes }) {
      // Stored files are a little larger than the MiB up to which Kubo takes blocks unasked; bitswap carries 2 MiB.
      const codec = { cidCodec: CODECS.get(cid.code), mhtype: "sha2-256", allowBigBlock: true };
      const got = (await client.block.put(bytes, { ...codec, ...within(CALL_MS) })).toString();
      if (got !== cid.toString()) throw new Error(`Kubo stored ${got} where ${cid.toString()} was sent`);
    },
    get: (stored) =>
      client.block.get(CID.parse(stored), { ...OFFLINE, ...within(CALL_MS) }).catch((error: unknown) => {
        if (isAnswer(error)) return undefined;
        throw error;
      }),
    pin: async (root, name) =>
      void (await client.pin.add(root, { name, recursive: true, ...OFFLINE, ...within(PIN_MS) })),
    unpin: (root) =>
      client.pin.rm(root, { recursive: true, ...within(CALL_MS) }).then(
        () => {},
        (error: unknown) => {
          if (!(isAnswer(error) && /not pinned/.test(String(error)))) throw error;
        },
      ),
    async pins(prefix) {
      const found: NamedPin[] = [];
      for await (const { cid, name } of client.pin.ls({ type: "recursive", name: prefix, ...within(LIST_MS) })) {
        if (name?.startsWith(prefix) === true) found.push({ name, root: cid });
      }
      return found;
    },
  };
}

/** Kubo answered, and said no: it cannot be reached otherwise. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && error.name === "HTTPError";
}
