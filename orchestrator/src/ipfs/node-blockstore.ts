// The stored files as an IPFS node wants to see them: read-only, nothing copied, nothing kept.
import type { HeliaInit } from "helia";
import type { CID } from "multiformats/cid";
import type { StoredBlocks, StoredCid } from "../checkpoints/index.ts";

type Blockstore = NonNullable<HeliaInit["blockstore"]>;

const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;

/** `isAbsent`: files that are being asked for elsewhere, because what lies here is not as it should be. */
export function createNodeBlockstore(blocks: StoredBlocks, isAbsent: (stored: StoredCid) => boolean): Blockstore {
  const find = (cid: CID) => {
    const stored = nameOf(cid);
    if (stored === undefined || isAbsent(stored)) return undefined;
    const found = blocks.find(stored);
    return found === undefined ? undefined : { stored, accountId: found.accountId };
  };
  const get: Blockstore["get"] = async function* (cid) {
    const found = find(cid);
    const bytes = found === undefined ? undefined : await blocks.get(found.accountId, found.stored);
    if (bytes === undefined) throw new BlockNotFound(cid);
    yield bytes;
  };
  return {
    has: (cid) => find(cid) !== undefined,
    get,
    async *getMany(cids) {
      for await (const cid of cids) yield { cid, bytes: get(cid) as AsyncGenerator<Uint8Array> };
    },
    // What was fetched is checked and written by the chunk store that asked for it.
    put: (cid) => cid,
    async *putMany(pairs) {
      for await (const { cid } of pairs) yield cid;
    },
    delete() {},
    async *deleteMany(cids) {
      yield* cids;
    },
    async *getAll() {},
  };
}

/** Only raw blocks under SHA-256 lie here; a CID of version 0 or of another codec that has the same digest is another name. */
function nameOf(cid: CID): StoredCid | undefined {
  if (cid.version !== 1 || cid.code !== RAW_CODEC || cid.multihash.code !== SHA2_256) return undefined;
  return cid.toString() as StoredCid;
}

class BlockNotFound extends Error {
  /** By which bitswap tells that there is none from a fault. */
  override readonly name = "NotFoundError";
  constructor(cid: CID) {
    super(`${cid.toString()} is not stored here`);
  }
}
