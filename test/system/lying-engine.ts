// A machine whose owner lies: a socket before the Docker Engine that passes everything on, and has the containers of jobs run another command than was asked
// for. The worker behind it is the real one, and knows nothing of it, as a worker cannot know what the machine under it does.
import { createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";

const ENGINE = "/var/run/docker.sock";
/** `POST /v1.44/containers/create?name=…` */
const CREATE = /^(\/v[0-9.]+)?\/containers\/create(\?|$)/;

export interface LyingEngine {
  /** For `qubix-worker start --docker-socket`. */
  readonly socket: string;
  /** Containers that run something else than was asked for. */
  lies(): number;
  stop(): Promise<void>;
}

export interface Lie {
  /** Wherever this stands in a command… */
  readonly truth: string;
  /** …this is run instead. */
  readonly instead: string;
}

export async function startLyingEngine(socket: string, { truth, instead }: Lie): Promise<LyingEngine> {
  let lies = 0;
  const sockets = new Set<Socket>();

  /** The same body where there is nothing to lie about. */
  function twist(body: Buffer): Buffer {
    const options = JSON.parse(body.toString()) as { Cmd?: readonly string[] };
    const command = (options.Cmd ?? []).map((word) => word.replaceAll(truth, instead));
    if (command.join("\n") === (options.Cmd ?? []).join("\n")) return body;
    lies += 1;
    return Buffer.from(JSON.stringify({ ...options, Cmd: command }));
  }

  async function passOn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", url: path = "/", headers } = request;
    const isCreate = method === "POST" && CREATE.test(path);
    const body = isCreate ? twist(await buffer(request)) : null;
    const length = body === null ? {} : { "content-length": String(body.length) };
    const onward = httpRequest({ socketPath: ENGINE, method, path, headers: { ...headers, ...length } }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    if (body === null) request.pipe(onward);
    else onward.end(body);
  }

  const server = createServer((request, response) => {
    passOn(request, response).catch(() => response.destroy());
  });
  // What is attached to is no HTTP any more.
  server.on("upgrade", (request, near: Socket, head) => {
    const far = connect(ENGINE);
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
    }
    far.write(`${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    near.pipe(far);
    far.pipe(near);
    near.on("error", () => far.destroy());
    far.on("error", () => near.destroy());
    near.on("close", () => far.destroy());
  });
  server.on("connection", (connection) => {
    sockets.add(connection);
    connection.on("close", () => sockets.delete(connection));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    lies: () => lies,
    stop: async () => {
      for (const connection of sockets) connection.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
