// The limit beside the heartbeats: a `ws` server that parses each heartbeat, validates it with the protocol's own schema, acknowledges it, and does nothing else.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { workerMessageSchema } from "@qubix/shared/protocol";
import { WebSocketServer } from "ws";
import { serveRole } from "../harness/roles.ts";

const handlers = {
  /** Returns the address. */
  listen(): Promise<string> {
    const server = createServer();
    const sockets = new WebSocketServer({ server, perMessageDeflate: false });
    sockets.on("connection", (socket) => {
      socket.on("message", (data: Buffer) => {
        const message = workerMessageSchema.parse(JSON.parse(data.toString("utf8")));
        socket.send(`{"kind":"ack","re":${message.msg}}`);
      });
    });
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
    });
  },
};
export type BareServerRole = typeof handlers;

serveRole(handlers);
