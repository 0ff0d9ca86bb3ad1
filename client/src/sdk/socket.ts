// How the live-events socket is opened. The default is the standard WebSocket; Node programs may give one that sets headers (`@qubix/client/node`).

export interface SocketHandlers {
  readonly onOpen: () => void;
  readonly onMessage: (text: string) => void;
  /** Called once. `status` and `body` are known only where the server refused the upgrade and the socket could see its answer. */
  readonly onClose: (end: SocketEnd) => void;
}

export interface SocketEnd {
  readonly code: number;
  readonly reason: string;
  readonly status?: number;
  readonly body?: string;
  readonly error?: unknown;
}

export interface Socket {
  close(): void;
}

export type SocketFactory = (url: string, apiKey: string | undefined, handlers: SocketHandlers) => Socket;

/** A browser cannot set headers: it hands over its key as a subprotocol. Equal to the names in `@qubix/shared/protocol`, which is not loaded here. */
export const EVENTS_PROTOCOL = "qubix.events.v1";
export const KEY_PROTOCOL_PREFIX = "qubix.key.";

/** The standard WebSocket of browsers and Node. */
export const openWebSocket: SocketFactory = (url, apiKey, handlers) => {
  const protocols = apiKey === undefined ? [] : [EVENTS_PROTOCOL, `${KEY_PROTOCOL_PREFIX}${apiKey}`];
  const socket = new WebSocket(url, protocols);
  socket.addEventListener("open", handlers.onOpen);
  socket.addEventListener("message", (message: MessageEvent) => handlers.onMessage(String(message.data)));
  socket.addEventListener("close", (end: CloseEvent) => handlers.onClose({ code: end.code, reason: end.reason }), {
    once: true,
  });
  return { close: () => socket.close(1000) };
};
