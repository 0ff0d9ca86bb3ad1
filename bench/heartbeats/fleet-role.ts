// The worker side of the heartbeats benchmark: thousands of connections in this one process, each heard once per interval, spread evenly.
import { HEARTBEAT_IDLE_MS } from "@qubix/shared/protocol";
import { WebSocket } from "ws";
import { monotonicMs } from "../harness/clock.ts";
import { createApi, type EnrolledWorker, enrolWorkers } from "../harness/network.ts";
import { authOf } from "../harness/null-worker.ts";
import { serveRole } from "../harness/roles.ts";
import { HELLO } from "./hello.ts";

/** Connections being opened at a time: enough to be quick, few enough not to overrun the listen queue. */
const OPENING_MAX = 100;
const TICK_MS = 10;
const SLOTS = HEARTBEAT_IDLE_MS / TICK_MS;

interface Line {
  readonly socket: WebSocket;
  messages: number;
}

let enrolled: readonly EnrolledWorker[] = [];
let lines: Line[] = [];
/** The lines that speak in each tick of an interval. */
let slots: Line[][] = [];
let answers = 0;
let closed = 0;
let beating: NodeJS.Timeout | undefined;

const handlers = {
  /** Enrols `count` workers by the API; returns the seconds it took. */
  async enrol(input: {
    readonly url: string;
    readonly adminKey: string;
    readonly providerId: string;
    readonly count: number;
  }) {
    const begun = monotonicMs();
    const admin = createApi(new URL(input.url), input.adminKey);
    enrolled = await enrolWorkers(admin, input.providerId, input.count);
    admin.close();
    return (monotonicMs() - begun) / 1000;
  },
  /** Connects every enrolled worker, through authentication and hello where `greet`, and lets it send a heartbeat each interval from then on; returns the seconds it took. */
  async connect(input: { readonly url: string; readonly greet: boolean; readonly count: number }): Promise<number> {
    const begun = monotonicMs();
    [answers, closed, lines] = [0, 0, []];
    slots = Array.from({ length: SLOTS }, () => []);
    beating = beat();
    let opened = 0;
    const openNext = async () => {
      while (opened < input.count) {
        const worker = enrolled[opened++];
        const line = await open(input.url, input.greet ? worker : undefined);
        slots[lines.length % SLOTS]?.push(line);
        lines.push(line);
      }
    };
    await Promise.all(Array.from({ length: OPENING_MAX }, openNext));
    return (monotonicMs() - begun) / 1000;
  },
  /** Heartbeats answered and connections lost since the connections were opened. */
  count(): { readonly answers: number; readonly closed: number } {
    return { answers, closed };
  },
  async disconnect(): Promise<void> {
    clearInterval(beating);
    await Promise.all(
      lines.map(
        ({ socket }) =>
          new Promise<void>((resolve) => {
            if (socket.readyState === WebSocket.CLOSED) return resolve();
            socket.once("close", () => resolve());
            socket.terminate();
          }),
      ),
    );
  },
};
export type FleetRole = typeof handlers;

function beat(): NodeJS.Timeout {
  const begun = monotonicMs();
  let slot = 0;
  return setInterval(() => {
    for (const due = (monotonicMs() - begun) / TICK_MS; slot < due; slot++) {
      for (const line of slots[slot % SLOTS] ?? []) {
        line.socket.send(`{"msg":${line.messages++},"kind":"heartbeat"}`);
      }
    }
  }, TICK_MS);
}

/** Resolves when the hello is acknowledged; without a worker, when the socket is open. */
function open(url: string, worker: EnrolledWorker | undefined): Promise<Line> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(new URL("/v1/worker", url.replace("http", "ws")), { perMessageDeflate: false });
    const line: Line = { socket, messages: 1 };
    socket.once("error", reject);
    socket.on("close", () => closed++);
    if (worker === undefined) socket.once("open", () => resolve(line));
    let greeted = worker === undefined;
    socket.on("message", (data: Buffer) => {
      if (greeted) {
        answers++;
        return;
      }
      const message = JSON.parse(data.toString("utf8")) as { kind: string; orchestratorId: string; nonce: string };
      if (message.kind === "challenge" && worker !== undefined) socket.send(JSON.stringify(authOf(worker, message)));
      if (message.kind === "welcome") socket.send(HELLO);
      if (message.kind !== "ack") return;
      greeted = true;
      resolve(line);
    });
  });
}

serveRole(handlers);
