// The other end of the WebSocket way in the benchmark of the direct path: answers `get` of the bulk protocol from memory, as fast as a socket goes. No store, no
// disk, no encryption at rest, no TLS: the most that the way over an orchestrator could be.
import { randomBytes } from "node:crypto";
import type { ChunkCid } from "@qubix/shared/domain";
import { BULK_FRAME_BYTES_MAX } from "@qubix/shared/protocol";
import { cidOf } from "@qubix/shared/chunks";
import { ORCHESTRATOR_ID, startTestOrchestrator } from "../../worker/src/link/testing.ts";
import { serveRole } from "../harness/roles.ts";

const CHUNK_BYTES = 1024 * 1024;

const handlers = {
  async start({ publicKey, mib }: { publicKey: string; mib: number }) {
    const server = await startTestOrchestrator(publicKey);
    const chunks = new Map<string, Buffer>();
    for (let index = 0; index < mib; index += 1) {
      const bytes = randomBytes(CHUNK_BYTES);
      chunks.set(cidOf(bytes), bytes);
    }
    server.onRequest = (request, socket) => {
      if (request.kind !== "get") return false;
      const bytes = chunks.get(request.cid);
      if (bytes === undefined) return false;
      socket.send(JSON.stringify({ kind: "data", req: request.req, stored: bytes.length }));
      for (let at = 0; at < bytes.length; at += BULK_FRAME_BYTES_MAX) {
        socket.send(bytes.subarray(at, at + BULK_FRAME_BYTES_MAX));
      }
      return true;
    };
    return { url: server.url, orchestratorId: ORCHESTRATOR_ID, cids: [...chunks.keys()] as ChunkCid[] };
  },
};
export type SocketHandlers = typeof handlers;

serveRole(handlers);
