// What the SDK can do more of in Node: keep-alive HTTP, uploads from and downloads to the disk.
import { type Client, type ClientConfig, createClient } from "../sdk/index.ts";
import { createHttpTransport } from "./http-transport.ts";
import { openNodeSocket } from "./socket.ts";

export * from "./cid.ts";
export * from "./download.ts";
export { createHttpTransport, type HttpTransport } from "./http-transport.ts";
export { openNodeSocket } from "./socket.ts";
export * from "./upload.ts";

export interface NodeClient extends Client {
  /** Closes idle connections, so that the program can end at once. */
  close(): void;
}

/** A client over node:http with a keep-alive agent, and `ws` for live events. */
export function createNodeClient(config: Omit<ClientConfig, "transport" | "openSocket" | "fetch">): NodeClient {
  const http = createHttpTransport();
  const client = createClient({ ...config, transport: http.transport, openSocket: openNodeSocket });
  return { ...client, close: () => http.close() };
}
