// A lean HTTP/1.1 client over keep-alive connections. The load generator shares the machine with what it measures; Node's own client would take
// several times the CPU of the requests themselves. One request at a time on each connection, no pipelining.
import { connect, type Socket } from "node:net";

const HEADER_END = Buffer.from("\r\n\r\n");
const EMPTY = Buffer.alloc(0);

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

export interface HttpPool {
  request(method: string, path: string, body?: string): Promise<HttpAnswer>;
  close(): void;
}

/** `headers` go with every request. At most `connectionsMax` connections are opened; more requests than that at a time are refused as a bug of the caller. */
export function createHttpPool(url: URL, headers: Readonly<Record<string, string>>, connectionsMax: number): HttpPool {
  const free: Connection[] = [];
  const all: Connection[] = [];
  const fixed = Object.entries({ host: url.host, ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  const take = (): Connection => {
    for (let connection = free.pop(); connection !== undefined; connection = free.pop()) {
      if (connection.usable()) return connection;
      all.splice(all.indexOf(connection), 1);
    }
    if (all.length >= connectionsMax) throw new Error(`more than ${connectionsMax} requests at a time`);
    const connection = createConnection(url);
    all.push(connection);
    return connection;
  };
  return {
    async request(method, path, body) {
      const connection = take();
      const text =
        body === undefined
          ? `${method} ${path} HTTP/1.1\r\n${fixed}\r\n`
          : `${method} ${path} HTTP/1.1\r\n${fixed}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
      try {
        return await connection.exchange(text);
      } finally {
        free.push(connection);
      }
    },
    close() {
      for (const connection of all) connection.close();
    },
  };
}

interface Connection {
  usable(): boolean;
  exchange(request: string): Promise<HttpAnswer>;
  close(): void;
}

function createConnection(url: URL): Connection {
  const socket: Socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  let received = EMPTY;
  let waiting: { resolve: (answer: HttpAnswer) => void; reject: (error: Error) => void } | undefined;
  socket.on("data", (data) => {
    received = received.length === 0 ? data : Buffer.concat([received, data]);
    const parsed = parseAnswer(received);
    if (parsed === undefined) return;
    received = received.subarray(parsed.length);
    const { resolve } = waiting ?? {};
    waiting = undefined;
    resolve?.(parsed.answer);
  });
  const fail = (error: Error) => {
    socket.destroy();
    const { reject } = waiting ?? {};
    waiting = undefined;
    reject?.(error);
  };
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the connection was closed")));
  return {
    usable: () => !socket.destroyed,
    exchange: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(request);
      }),
    close: () => socket.destroy(),
  };
}

/** The first answer in `data` and how many bytes it takes; `undefined` while it is not complete. */
function parseAnswer(data: Buffer): { readonly answer: HttpAnswer; readonly length: number } | undefined {
  const end = data.indexOf(HEADER_END);
  if (end < 0) return undefined;
  const head = data.toString("latin1", 0, end);
  const bodyLength = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (bodyLength === undefined) throw new Error(`an answer without content-length: ${head.slice(0, 200)}`);
  const length = end + HEADER_END.length + Number(bodyLength);
  if (data.length < length) return undefined;
  const answer = { status: Number(head.slice(9, 12)), body: data.toString("utf8", end + HEADER_END.length, length) };
  return { answer, length };
}
