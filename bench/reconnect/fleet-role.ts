// The worker side of the reconnect benchmark: thousands of workers in this one process, each of which connects again as the agent does, with its very
// pauses, and is served when its hello is acknowledged.
import { AUTH_TIMEOUT_MS, HEARTBEAT_IDLE_MS } from "@qubix/shared/protocol";
import { WebSocket } from "ws";
import { type Backoff, createBackoff } from "../../worker/src/link/backoff.ts";
import { HELLO } from "../heartbeats/hello.ts";
import { monotonicMs } from "../harness/clock.ts";
import { createApi, type EnrolledWorker, enrolWorkers } from "../harness/network.ts";
import { authOf } from "../harness/null-worker.ts";
import { serveRole } from "../harness/roles.ts";

/** Connections being opened at a time when the fleet first comes: that is not what is measured. */
const OPENING_MAX = 100;
/** As the agent has it: a session that ends sooner does not count as one. */
const SESSION_STEADY_MS = 5_000;

interface Line {
  readonly worker: EnrolledWorker;
  readonly backoff: Backoff;
  socket: WebSocket | undefined;
  messages: number;
  /** When its hello was acknowledged; undefined without a session. */
  servedAtMs: number | undefined;
  beat: NodeJS.Timeout | undefined;
}

let url = "";
let lines: Line[] = [];
let stopped = false;
const counts = { served: 0, lastServedAtMs: 0, tries: 0, refused: 0 };

const handlers = {
  /** Enrols `count` workers by the API and connects them; returns the seconds the connecting took. */
  async start(input: {
    readonly url: string;
    readonly adminKey: string;
    readonly providerId: string;
    readonly count: number;
  }): Promise<number> {
    url = input.url;
    const admin = createApi(new URL(url), input.adminKey);
    const enrolled = await enrolWorkers(admin, input.providerId, input.count);
    admin.close();
    const begun = monotonicMs();
    lines = enrolled.map((worker) => ({
      worker,
      backoff: createBackoff(Math.random),
      socket: undefined,
      messages: 0,
      servedAtMs: undefined,
      beat: undefined,
    }));
    let next = 0;
    const openNext = async () => {
      for (let line = lines[next++]; line !== undefined; line = lines[next++]) await connect(line);
    };
    await Promise.all(Array.from({ length: OPENING_MAX }, openNext));
    return (monotonicMs() - begun) / 1000;
  },
  /** Workers with a session, when the last of them got it (CLOCK_MONOTONIC, milliseconds), and tries to connect since the last call. */
  count() {
    const now = { ...counts };
    [counts.tries, counts.refused] = [0, 0];
    return now;
  },
  stop(): void {
    stopped = true;
    for (const { beat, socket } of lines) {
      clearInterval(beat);
      socket?.terminate();
    }
  },
};
export type ReconnectFleetRole = typeof handlers;

/** Tries once; resolves when it is served or it failed. Whatever ends the session, the next try comes by itself. */
function connect(line: Line): Promise<void> {
  counts.tries += 1;
  return new Promise((resolve) => {
    const socket = new WebSocket(new URL("/v1/worker", url.replace("http", "ws")), {
      perMessageDeflate: false,
      handshakeTimeout: AUTH_TIMEOUT_MS,
    });
    line.socket = socket;
    const late = setTimeout(() => socket.terminate(), AUTH_TIMEOUT_MS);
    socket.on("error", () => {
      counts.refused += 1;
    });
    socket.once("close", () => {
      clearTimeout(late);
      ended(line);
      resolve();
    });
    socket.on("message", (data: Buffer) => {
      if (line.servedAtMs !== undefined) return;
      const message = JSON.parse(data.toString("utf8")) as { kind: string; orchestratorId: string; nonce: string };
      if (message.kind === "challenge") return socket.send(JSON.stringify(authOf(line.worker, message)));
      if (message.kind === "welcome") {
        // The agent's own limit is on the welcome.
        clearTimeout(late);
        return socket.send(HELLO);
      }
      if (message.kind !== "ack") return undefined;
      serve(line, socket);
      return resolve();
    });
  });
}

function serve(line: Line, socket: WebSocket): void {
  line.servedAtMs = monotonicMs();
  counts.served += 1;
  counts.lastServedAtMs = line.servedAtMs;
  line.messages = 1;
  line.beat = setInterval(() => socket.send(`{"msg":${line.messages++},"kind":"heartbeat"}`), HEARTBEAT_IDLE_MS);
}

function ended(line: Line): void {
  clearInterval(line.beat);
  const { servedAtMs } = line;
  if (servedAtMs !== undefined) {
    counts.served -= 1;
    line.servedAtMs = undefined;
    if (monotonicMs() - servedAtMs >= SESSION_STEADY_MS) line.backoff.reset();
  }
  if (!stopped) setTimeout(() => void connect(line), line.backoff.next());
}

serveRole(handlers);
