// A WebSocket proxy between workers and their orchestrator that keeps no promise of TCP: on the control socket it sends messages twice, sends again what was
// said up to a hundred messages before, and lets two neighbours change places. The first frames of a session, by which both sides prove who they are, pass
// as they are; so does the bulk socket, whose frames are parts of streams.
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { createRng, type Rng } from "../sim/random.ts";

const DUPLICATE_SHARE = 0.4;
const REPLAY_SHARE = 0.3;
const SWAP_SHARE = 0.3;
const REMEMBERED_MAX = 100;
/** A message that waits for a neighbour to pass it waits no longer than this. */
const SWAP_WAIT_MS = 500;
/** By these a session begins: they are not idempotent, and each belongs to one connection. */
const GREETINGS: ReadonlySet<string> = new Set(["challenge", "auth", "welcome", "hello"]);
/** What a worker says again in earnest after a cut line, and so may come late: the same list as in the simulator, and its output. */
const REPEATABLE: ReadonlySet<string> = new Set([
  "started",
  "checkpoint",
  "exited",
  "ended",
  "standby.ready",
  "standby.failed",
  "log",
  "heartbeat",
]);

/** A stream, whose pieces are numbered by where they begin: one that another has passed is taken for a repetition. */
const STREAMED = "log";

export interface ProxyCounts {
  readonly duplicated: number;
  readonly replayed: number;
  readonly swapped: number;
}

export interface UnfaithfulProxy {
  readonly url: string;
  counts(): ProxyCounts;
  stop(): Promise<void>;
}

type Counts = { -readonly [Name in keyof ProxyCounts]: number };

/** `target`: the orchestrator's address. */
export async function startUnfaithfulProxy(target: string, seed: number): Promise<UnfaithfulProxy> {
  const random = createRng(seed);
  const counts: Counts = { duplicated: 0, replayed: 0, swapped: 0 };
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", (worker, request) => join(worker, request, target, random, counts));
  await listen(server);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    counts: () => ({ ...counts }),
    stop: async () => {
      for (const client of sockets.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function join(worker: WebSocket, request: IncomingMessage, target: string, random: Rng, counts: Counts): void {
  const path = request.url ?? "/";
  const orchestrator = new WebSocket(new URL(path, target.replace(/^http/, "ws")), { perMessageDeflate: false });
  const isControl = new URL(path, target).pathname === "/v1/worker";
  const pass = (from: WebSocket, to: WebSocket) => {
    const waiting: (() => void)[] = [];
    const send = (data: RawData, isBinary: boolean) => {
      if (to.readyState === to.OPEN) to.send(data, { binary: isBinary });
    };
    if (to.readyState === to.CONNECTING) {
      to.once("open", () => {
        for (const late of waiting.splice(0)) late();
      });
    }
    const unfaithful = isControl ? distort((data) => send(data, false), random, counts) : undefined;
    from.on("message", (data, isBinary) => {
      const give = () => (unfaithful === undefined || isBinary ? send(data, isBinary) : unfaithful(data));
      if (to.readyState === to.CONNECTING) waiting.push(give);
      else give();
    });
    from.on("ping", (data: Buffer) => to.readyState === to.OPEN && to.ping(data));
    from.on("close", () => (to.readyState === to.CONNECTING ? to.terminate() : to.close()));
    from.on("error", () => to.terminate());
  };
  pass(worker, orchestrator);
  pass(orchestrator, worker);
}

/** One direction of one control socket. */
function distort(send: (data: RawData) => void, random: Rng, counts: Counts): (data: RawData) => void {
  const remembered: RawData[] = [];
  let held: RawData | undefined;
  let timer: NodeJS.Timeout | undefined;
  const release = () => {
    clearTimeout(timer);
    const late = held;
    held = undefined;
    if (late !== undefined) send(late);
  };
  return (data) => {
    const { kind } = JSON.parse((data as Buffer).toString("utf8")) as { readonly kind: string };
    if (GREETINGS.has(kind)) {
      release();
      return send(data);
    }
    if (REPEATABLE.has(kind)) {
      remembered.push(data);
      if (remembered.length > REMEMBERED_MAX) remembered.shift();
    }
    if (held === undefined && kind !== STREAMED && random.next() < SWAP_SHARE) {
      held = data;
      timer = setTimeout(release, SWAP_WAIT_MS);
      return;
    }
    send(data);
    if (held !== undefined) {
      counts.swapped += 1;
      release();
    }
    if (random.next() < DUPLICATE_SHARE) {
      counts.duplicated += 1;
      send(data);
    }
    const old = remembered[Math.floor(random.next() * remembered.length)];
    if (old !== undefined && random.next() < REPLAY_SHARE) {
      counts.replayed += 1;
      send(old);
    }
  };
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
}
