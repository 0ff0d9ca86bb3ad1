// A worker for tests whose messages are given to the writer in place of its sockets: enrolled over HTTP, then speaking the protocol's own messages.
import { generateKeyPairSync, sign } from "node:crypto";
import { attemptId, type AttemptRef, type SessionId, type WorkerId } from "@qubix/shared/domain";
import {
  enrolText,
  type OrchestratorMessage,
  type TreeRef,
  type WorkerMessage,
  type WorkerOffer,
} from "@qubix/shared/protocol";
import type { Writer } from "../../app/writer-port.ts";
import type { Call } from "./http.ts";

type Body<M> = M extends unknown ? Omit<M, "msg"> : never;

export interface DrivenWorker {
  readonly id: WorkerId;
  readonly received: OrchestratorMessage[];
  say(message: Body<WorkerMessage>): Promise<void>;
  /** The next `assign` that was not taken yet. */
  nextAssign(): Promise<AttemptRef>;
  start(attempt: AttemptRef): Promise<void>;
  log(attempt: AttemptRef, text: string): Promise<void>;
  checkpoint(attempt: AttemptRef, seq: number, tree: TreeRef): Promise<void>;
  end(attempt: AttemptRef, outputs: TreeRef | null): Promise<void>;
  /** Its socket closed. */
  close(): Promise<void>;
}

const OFFER = {
  gpus: [],
  cpus: 8,
  memoryMiB: 16_384,
  diskMiB: 100_000,
  region: "eu-west",
  pricePerCpuHour: { amount: 60_000n, currency: "USD" },
  standbyPercent: 25,
  localImages: [],
  draining: false,
};
const ASSIGN_WAIT_MS = 5_000;
const LOOK_MS = 2;
const ALIVE_MS = 500;

/** Enrols with a token made by `provider`, connects and says hello. `inbox` is where the writer's sink puts what it sends. */
export async function driveWorker(
  writer: Writer,
  provider: Call,
  inbox: Map<string, OrchestratorMessage[]>,
  name = "worker",
  offer: Partial<WorkerOffer> = {},
): Promise<DrivenWorker> {
  const id = await enrol(provider, name);
  const sessionId = `ses-${id}` as SessionId;
  const received: OrchestratorMessage[] = [];
  inbox.set(id, received);
  let msg = 0;
  let taken = 0;
  const offsets = new Map<string, number>();
  const say: DrivenWorker["say"] = async (message) => {
    msg += 1;
    await writer.submit({
      kind: "worker.message",
      workerId: id,
      sessionId,
      message: { ...message, msg },
    });
  };
  await writer.submit({ kind: "worker.opened", workerId: id, sessionId });
  await say({ kind: "hello", offer: { ...OFFER, ...offer }, attempts: [], standbys: [] });
  // Alive until it is closed: a slow machine must not make it look silent. A writer that has stopped hears nothing more.
  const alive = setInterval(() => writer.submitVolatile({ kind: "worker.heard", workerId: id, sessionId }), ALIVE_MS);
  alive.unref();
  return {
    id,
    received,
    say,
    async nextAssign() {
      for (let waitedMs = 0; waitedMs < ASSIGN_WAIT_MS; waitedMs += LOOK_MS) {
        const next = received.slice(taken).findIndex((message) => message.kind === "assign");
        const message = received[taken + next];
        if (next >= 0 && message?.kind === "assign") {
          taken += next + 1;
          return message.attempt;
        }
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
      throw new Error(`no assign came; received ${received.map((message) => message.kind).join(", ")}`);
    },
    start: (attempt) => say({ kind: "started", attempt, fromSeq: 0 }),
    async log(attempt, text) {
      const key = attemptId(attempt);
      const offset = offsets.get(key) ?? 0;
      offsets.set(key, offset + Buffer.byteLength(text));
      await say({ kind: "log", attempt, stream: "stdout", offset, text, time: "2026-01-01T00:00:00Z" });
    },
    checkpoint: (attempt, seq, tree) =>
      say({ kind: "checkpoint", attempt, seq, parentSeq: seq - 1, tree, ranMs: 1, progress: 0.5, signature: "AA" }),
    async end(attempt, outputs) {
      await say({ kind: "exited", attempt, ranMs: 2 });
      await say({ kind: "ended", attempt, ranMs: 2, outcome: { kind: "succeeded", outputs } });
    },
    close: async () => {
      clearInterval(alive);
      await writer.submit({ kind: "worker.closed", workerId: id, sessionId });
    },
  };
}

/** Goes the whole way of a new machine: token, key pair, proof. */
export async function enrol(provider: Call, name: string): Promise<WorkerId> {
  const made = await provider("POST /v1/enrolments", {});
  const answer = await provider("POST /v1/enrolments/redeem", enrolment(String(made.body["token"]), name));
  if (answer.status !== 201) throw new Error(answer.text);
  return answer.body["workerId"] as WorkerId;
}

/** A redeem request that is in order. */
export function enrolment(token: string, name = "worker") {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ format: "jwk" }).x ?? "";
  return {
    token,
    name,
    publicKey: raw,
    signature: sign(null, Buffer.from(enrolText(token)), privateKey).toString("base64url"),
  };
}
