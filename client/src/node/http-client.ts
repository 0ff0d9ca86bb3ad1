// The client for Node programs: node:http with a keep-alive agent, `ws` for live events.
import { type Client, type ClientConfig, createClient } from "../sdk/client.ts";
import { createHttpTransport } from "./http-transport.ts";
import { openNodeSocket } from "./socket.ts";

export interface NodeClient extends Client {
  /** Closes idle connections, so that the program can end at once. */
  close(): void;
}

/** Creates the client; does no I/O. */
export function createNodeClient(config: Omit<ClientConfig, "transport" | "openSocket" | "fetch">): NodeClient {
  const http = createHttpTransport();
  const client = createClient({ ...config, transport: http.transport, openSocket: openNodeSocket });
  return { ...client, close: () => http.close() };
}
