// The worker side of the heartbeats benchmark: thousands of connections in this one process, each heard once per interval, spread evenly.
import { HEARTBEAT_IDLE_MS } from "@qubix/shared/protocol";
import { WebSocket } from "ws";
import { monotonicMs } from "../harness/clock.ts";
import { createApi, type EnrolledWorker, enrolWorkers } from "../harness/network.ts";
import { authOf } from "../harness/null-worker.ts";
import { serveRole } from "../harness/roles.ts";

/** Connections being opened at a time: enough to be quick, few enough not to overrun the listen queue. */
const OPENING_MAX = 100;
const TICK_MS = 10;

interface Line {
  readonly socket: WebSocket;
  messages: number;
}

let enrolled: readonly EnrolledWorker[] = [];
let lines: Line[] = [];
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
  /** Connects every enrolled worker, through authentication and hello where `greet`; returns the seconds it took. */
  async connect(input: { readonly url: string; readonly greet: boolean; readonly count: number }): Promise<number> {
    const begun = monotonicMs();
    [answers, closed, lines] = [0, 0, []];
    let opened = 0;
    const openNext = async () => {
      while (opened < input.count) {
        const worker = enrolled[opened++];
        lines.push(await open(input.url, input.greet ? worker : undefined));
      }
    };
    await Promise.all(Array.from({ length: OPENING_MAX }, openNext));
    return (monotonicMs() - begun) / 1000;
  },
  /** Begins to send one heartbeat per worker and interval. */
  beat(): void {
    const begun = monotonicMs();
    let sent = 0;
    beating = setInterval(() => {
      const due = Math.floor(((monotonicMs() - begun) / HEARTBEAT_IDLE_MS) * lines.length);
      for (; sent < due; sent++) {
        const line = lines[sent % lines.length];
        line?.socket.send(`{"msg":${line.messages++},"kind":"heartbeat"}`);
      }
    }, TICK_MS);
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
            socket.once("close", () => resolve());
            socket.terminate();
          }),
      ),
    );
  },
};
export type FleetRole = typeof handlers;

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

const HELLO = JSON.stringify({
  msg: 0,
  kind: "hello",
  offer: {
    gpus: [],
    cpus: 4,
    memoryMiB: 8192,
    diskMiB: 65_536,
    region: "bench",
    pricePerCpuHour: { amount: "100000", currency: "USD" },
  },
  attempts: [],
  standbys: [],
});

serveRole(handlers);
