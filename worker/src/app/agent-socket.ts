// How `status` and `drain` reach the running agent: a Unix socket in its data directory that only its owner can open. One line of JSON each way.
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { QubixError } from "@qubix/shared/runtime";

export type AgentRequest =
  | { readonly command: "status" }
  /** `deadlineMs`: what runs is moved away, and stopped after that time. */
  | { readonly command: "drain"; readonly draining: boolean; readonly deadlineMs?: number }
  | {
      readonly command: "set";
      readonly values: Readonly<Record<string, unknown>>;
      readonly reset: readonly string[] | "all";
    };

/** The longest path a Unix socket may have is about 104 bytes. */
const SOCKET_PATH_BYTES_MAX = 100;
/** A list of local images is the longest that a command sends. */
const REQUEST_BYTES_MAX = 256 * 1024;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 16;
/** Others on the machine. */
const OTHERS = 0o077;

/** Where the socket of a data directory lies; a directory with a long name gets one under the system's folder for temporary files. */
export function agentSocketPath(dataDir: string): string {
  const near = join(resolve(dataDir), "agent.sock");
  if (Buffer.byteLength(near) <= SOCKET_PATH_BYTES_MAX) return near;
  const name = createHash("sha256").update(resolve(dataDir)).digest("hex").slice(0, 16);
  return join(tmpdir(), `qubix-worker-${name}`, "agent.sock");
}

/** Listens; the caller holds the journal's lock, so a socket that is already there is a dead agent's. */
export async function serveAgent(dataDir: string, answer: (request: AgentRequest) => unknown): Promise<Server> {
  const path = agentSocketPath(dataDir);
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (folder !== resolve(dataDir)) refuseOthers(folder);
  rmSync(path, { force: true });
  const server = createServer((socket) => serveOne(socket, answer));
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((done, failed) => {
    server.once("error", failed);
    server.listen(path, () => done());
  });
  chmodSync(path, 0o600);
  return server;
}

/** Its name can be guessed, and everybody may make folders there: in somebody else's our owner would be talking to him. */
function refuseOthers(folder: string): void {
  const stat = lstatSync(folder);
  const isOwn = stat.isDirectory() && (process.geteuid === undefined || stat.uid === process.geteuid());
  if (isOwn && (stat.mode & OTHERS) === 0) return;
  throw new QubixError(
    "data_dir_unusable",
    `${folder}, where the agent's socket would lie, is somebody else's or open to others. Remove it, or name a data directory with a shorter path.`,
    { category: "user" },
  );
}

function serveOne(socket: Socket, answer: (request: AgentRequest) => unknown): void {
  let text = "";
  let isAnswered = false;
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  // A letter may come in two parts.
  socket.setEncoding("utf8");
  socket.on("data", (part: string) => {
    if (isAnswered) return;
    text += part;
    const end = text.indexOf("\n");
    if (text.length > REQUEST_BYTES_MAX) {
      socket.destroy();
      return;
    }
    if (end < 0) return;
    isAnswered = true;
    socket.end(`${JSON.stringify(respond(text.slice(0, end), answer))}\n`);
  });
}

function respond(line: string, answer: (request: AgentRequest) => unknown): unknown {
  try {
    return { ok: true, value: answer(JSON.parse(line) as AgentRequest) };
  } catch (error) {
    const code = error instanceof QubixError ? error.code : undefined;
    return { ok: false, code, message: error instanceof Error ? error.message : String(error) };
  }
}

/** Asks the running agent. Throws `not_running` where there is none. */
export async function askAgent(dataDir: string, request: AgentRequest): Promise<unknown> {
  const text = await exchange(agentSocketPath(dataDir), `${JSON.stringify(request)}\n`, dataDir);
  const answer = JSON.parse(text) as { ok: boolean; value?: unknown; code?: string; message?: string };
  if (answer.ok) return answer.value;
  throw new QubixError(answer.code ?? "agent_refused", answer.message ?? "The agent refused.", {
    category: "provider",
  });
}

function exchange(path: string, request: string, dataDir: string): Promise<string> {
  return new Promise((done, failed) => {
    const socket = createConnection(path);
    let text = "";
    const fail = (cause: Error) => {
      socket.destroy();
      const message = `No qubix-worker runs for ${dataDir} (${cause.message}). Start it with: qubix-worker start --data-dir ${dataDir}`;
      failed(new QubixError("not_running", message, { category: "user", cause }));
    };
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => fail(new Error("it does not answer")));
    socket.on("connect", () => socket.write(request));
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => {
      text += part;
      if (text.length > ANSWER_BYTES_MAX) fail(new Error("its answer is too long"));
    });
    socket.on("error", fail);
    socket.on("end", () => (text.endsWith("\n") ? done(text) : fail(new Error("it hung up"))));
  });
}
