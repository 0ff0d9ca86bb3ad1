// What of IPFS the configuration asks for: the embedded node, copies on a Kubo node, both, or nothing. It is loaded only where it is wanted: the node takes
// some 95 MB and a second.
import type { ChunkStore, ChunkStorePorts, StoredCid } from "../checkpoints/index.ts";
import type { IpfsNode, KuboPins } from "../ipfs/index.ts";
import type { Logger } from "@qubix/shared/runtime";
import type { OrchestratorConfig } from "./config.ts";

export interface Ipfs {
  /** For the chunk store, which comes before. */
  readonly hooks: Pick<ChunkStorePorts, "fetchLost" | "onTree">;
  /** Rejects with `ipfs_listen_failed` or `ipfs_key_unusable`; a Kubo node that is down is waited for in the background. */
  start(chunks: ChunkStore): Promise<void>;
  gauges(): Readonly<Record<string, number>>;
  /** Before the chunk store. Callable twice. */
  stop(): Promise<void>;
}

interface IpfsPorts {
  readonly config: OrchestratorConfig;
  readonly orchestratorId: string;
  readonly logger: Logger;
}

export function createIpfs({ config, orchestratorId, logger }: IpfsPorts): Ipfs {
  const { dataDir, ipfsListen: listen, ipfsPeer: peers } = config;
  const hasNode = listen !== undefined || peers.length > 0;
  const hasKubo = config.storage === "kubo";
  let node: IpfsNode | undefined;
  let kubo: KuboPins | undefined;

  const startKubo = async (chunks: ChunkStore): Promise<KuboPins> => {
    const { createKubo, createKuboPins } = await import("../ipfs/kubo.ts");
    const leaving = new AbortController();
    const client = createKubo(config.kuboUrl, leaving.signal);
    const pins = createKuboPins({ kubo: client, chunks, leaving, orchestratorId, random: Math.random, logger });
    pins.start();
    return pins;
  };

  return {
    hooks: {
      ...(hasKubo || peers.length > 0
        ? { fetchLost: async (stored: StoredCid) => (await kubo?.fetch(stored)) ?? (await node?.fetch(stored)) }
        : {}),
      ...(hasKubo ? { onTree: (tree) => kubo?.changed(tree) } : {}),
    },
    async start(chunks) {
      if (hasNode) {
        const { startIpfsNode } = await import("../ipfs/node.ts");
        node = await startIpfsNode({ blocks: chunks.blocks, dataDir, listen, peers, logger });
      }
      if (hasKubo) kubo = await startKubo(chunks);
    },
    gauges: () => ({ ...node?.gauges(), ...kubo?.gauges() }),
    stop: async () => void (await Promise.all([node?.stop(), kubo?.stop()])),
  };
}
