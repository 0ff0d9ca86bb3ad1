// Another IPFS node for tests: Helia with blocks in memory, that dials and is dialled.
import { withBitswap } from "@helia/bitswap";
import { withLibp2pLight } from "@helia/libp2p";
import { identify } from "@libp2p/identify";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createHeliaLight } from "helia";
import { CID } from "multiformats/cid";

export interface OtherNode extends AsyncDisposable {
  readonly address: string;
  dial(address: string): Promise<void>;
  put(cid: string, bytes: Uint8Array): Promise<void>;
  /** Rejects when nobody gives it within that time. */
  get(cid: string, timeoutMs: number): Promise<Buffer>;
}

export async function startOtherNode(): Promise<OtherNode> {
  const helia = withBitswap(
    withLibp2pLight(createHeliaLight(), {
      addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify() },
    }),
  );
  await helia.start();
  return {
    address: String(helia.libp2p.getMultiaddrs()[0]),
    dial: async (address) => void (await helia.libp2p.dial(multiaddr(address))),
    put: async (cid, bytes) => void (await helia.blockstore.put(CID.parse(cid), bytes)),
    async get(cid, timeoutMs) {
      const parts: Uint8Array[] = [];
      const signal = AbortSignal.timeout(timeoutMs);
      for await (const part of helia.blockstore.get(CID.parse(cid), { signal })) parts.push(part);
      return Buffer.concat(parts);
    },
    [Symbol.asyncDispose]: async () => void (await helia.stop()),
  };
}
