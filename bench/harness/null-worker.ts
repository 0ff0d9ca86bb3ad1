// A worker that speaks the whole control protocol and runs nothing: every attempt starts and succeeds at once, without outputs.
// It keeps a journal as a real one does: an end that was not acknowledged is told again after a reconnection.
import {
  authText,
  HEARTBEAT_BUSY_MS,
  type OrchestratorMessage,
  PROTOCOL_VERSION,
  type WorkerMessage,
} from "@qubix/shared/protocol";
import { WebSocket } from "ws";
import { monotonicMs } from "./clock.ts";
import type { EnrolledWorker } from "./network.ts";

const RECONNECT_MS = 100;
/** The shortest time there is to pay for, so that money moves. */
const NULL_RUN_MS = 1;

export interface NullWorkerOptions {
  readonly url: URL;
  readonly worker: EnrolledWorker;
  /** Cores offered; a job of the benchmark takes one. */
  readonly cpus: number;
  /** Micro-units an hour for a core. */
  readonly pricePerCpuHour: bigint;
  readonly currency?: string;
  /** The null runner's start of a job, on the monotonic clock. */
  onStart(jobId: string, atMs: number): void;
}

export interface NullWorker {
  /** Until the first hello is acknowledged. */
  readonly online: Promise<void>;
  /** Ends that the orchestrator has not acknowledged. */
  unacknowledged(): number;
  stop(): void;
}

type Sent = Extract<WorkerMessage, { kind: "started" | "ended" }>;
type Ended = Extract<WorkerMessage, { kind: "ended" }>;

export function createNullWorker(options: NullWorkerOptions): NullWorker {
  /** Started and ended messages that are not acknowledged, by message number: the journal. */
  const journal = new Map<number, Sent>();
  let messages = 0;
  let stopped = false;
  let socket: WebSocket | undefined;
  let helloMsg = -1;
  let beat: NodeJS.Timeout | undefined;
  const online = Promise.withResolvers<void>();

  const connect = () => {
    if (stopped) return;
    const opened = new WebSocket(new URL("/v1/worker", options.url.href.replace("http", "ws")), {
      perMessageDeflate: false,
    });
    socket = opened;
    opened.on("message", (data: Buffer) => receive(opened, JSON.parse(data.toString("utf8")) as OrchestratorMessage));
    opened.on("error", () => undefined);
    opened.on("close", () => {
      clearInterval(beat);
      if (!stopped) setTimeout(connect, RECONNECT_MS);
    });
  };
  const send = (message: unknown) => socket?.send(JSON.stringify(message));

  const receive = (from: WebSocket, message: OrchestratorMessage) => {
    if (from !== socket) return;
    switch (message.kind) {
      case "challenge":
        return send(authOf(options.worker, message));
      case "welcome":
        return greet();
      case "ack":
      case "refused":
        if (message.re === helloMsg) online.resolve();
        journal.delete(message.re);
        return;
      case "assign":
        return run(message.attempt);
      // Nothing runs here, so there is nothing to adopt, stop, save, fence, prepare or prove.
      case "adopt":
      case "stop":
      case "save":
      case "fence":
      case "prepare":
      case "standby.checkpoint":
      case "promote":
      case "release":
      case "prove":
      case "earnings":
      case "direct.peer":
        return;
    }
  };
  const greet = () => {
    helloMsg = messages++;
    send({
      msg: helloMsg,
      kind: "hello",
      offer: {
        gpus: [],
        cpus: options.cpus,
        memoryMiB: options.cpus * 1024,
        diskMiB: options.cpus * 4096,
        region: "bench",
        pricePerCpuHour: { amount: options.pricePerCpuHour.toString(), currency: options.currency ?? "USD" },
      },
      attempts: [...journal.values()].filter(isEnded).map(({ attempt, ranMs }) => ({
        attempt,
        phase: "ended",
        ranMs,
        checkpointSeq: 0,
        progress: null,
      })),
      standbys: [],
    });
    for (const message of journal.values()) send(message);
    clearInterval(beat);
    beat = setInterval(() => send({ msg: messages++, kind: "heartbeat" }), HEARTBEAT_BUSY_MS);
  };
  const run = (attempt: Sent["attempt"]) => {
    // An assignment told twice is one already under way: its end is in the journal.
    for (const message of journal.values()) if (isEnded(message) && sameAttempt(message, attempt)) return;
    options.onStart(attempt.jobId, monotonicMs());
    const started: Sent = { msg: messages++, kind: "started", attempt, fromSeq: 0 };
    const outcome = { kind: "succeeded", outputs: null } as const;
    const ended: Sent = { msg: messages++, kind: "ended", attempt, ranMs: NULL_RUN_MS, outcome };
    journal.set(started.msg, started);
    journal.set(ended.msg, ended);
    send(started);
    send(ended);
  };

  connect();
  return {
    online: online.promise,
    unacknowledged: () => journal.size,
    stop() {
      stopped = true;
      clearInterval(beat);
      socket?.close();
    },
  };
}

/** The first frame of a worker: its signature over the orchestrator's challenge. */
export function authOf(worker: EnrolledWorker, challenge: { readonly orchestratorId: string; readonly nonce: string }) {
  return {
    kind: "auth",
    protocol: PROTOCOL_VERSION,
    workerId: worker.workerId,
    signature: worker.key.sign(authText("control", challenge.orchestratorId, challenge.nonce, worker.workerId)),
    agentVersion: "bench",
  };
}

function isEnded(message: Sent): message is Ended {
  return message.kind === "ended";
}

function sameAttempt(message: Sent, attempt: Sent["attempt"]): boolean {
  return message.attempt.jobId === attempt.jobId && message.attempt.epoch === attempt.epoch;
}
