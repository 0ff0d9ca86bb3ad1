// A SIMULATOR of Qubic's network, for tests alone: ticks that pass by themselves, the compiled contract, and the documented RPC in front. Requests with
// fields that the documentation does not have are refused. It can lose transactions, and its archive lags behind, as the real ones do.
import { createServer, type Server } from "node:http";
import { z } from "zod";
import { identityOf, KEY_BYTES, publicKeyOf } from "../identity.ts";
import { k12, verifyDigest } from "../sign.ts";
import type { QubicLab } from "./lab.ts";

const HEAD_BYTES = 80;
const SIGNATURE_BYTES = 64;
const ARCHIVE_LAG_TICKS = 3;
const encoded = z.string().regex(/^[A-Za-z0-9+/]*={0,2}$/);
const requests = {
  "live/v1/broadcast-transaction": z.strictObject({ encodedTransaction: encoded }),
  "live/v1/querySmartContract": z.strictObject({
    contractIndex: z.number().int(),
    inputType: z.number().int(),
    inputSize: z.number().int(),
    requestData: encoded,
  }),
  "query/v1/getTransactionByHash": z.strictObject({ hash: z.string().regex(/^[a-z]{60}$/) }),
} as const;

export interface QubicNetwork {
  readonly url: string;
  /** The next so many transactions that are broadcast get lost. */
  lose(count: number): void;
  /** Transactions that were included, by hash. */
  included(): readonly string[];
  stop(): Promise<void>;
}

/** The contract of `lab` under that index. */
export async function startQubicNetwork(lab: QubicLab, contractIndex: number, tickMs: number): Promise<QubicNetwork> {
  let tick = 1_000;
  let losing = 0;
  const waiting = new Map<number, Map<string, Uint8Array>>();
  const archive = new Map<string, number>();
  let turn = Promise.resolve();

  async function pass(): Promise<void> {
    tick += 1;
    for (const [hash, bytes] of waiting.get(tick - 1) ?? []) {
      await include(bytes, tick - 1);
      archive.set(hash, tick - 1);
    }
    waiting.delete(tick - 1);
  }
  const timer = setInterval(() => {
    turn = turn.then(pass);
  }, tickMs);

  async function include(bytes: Uint8Array, at: number): Promise<void> {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const input = bytes.subarray(HEAD_BYTES, bytes.length - SIGNATURE_BYTES);
    await lab.raw(`tick ${at}`);
    const [caller, amount, procedure] = [
      hex(bytes.subarray(0, KEY_BYTES)),
      view.getBigInt64(64, true),
      view.getUint16(76, true),
    ];
    await lab.raw(`call ${procedure} ${caller} ${amount} ${hex(input)}`);
  }

  function accept(bytes: Uint8Array): string {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (bytes.length < HEAD_BYTES + SIGNATURE_BYTES) throw new Error("a transaction is longer");
    if (view.getUint16(78, true) !== bytes.length - HEAD_BYTES - SIGNATURE_BYTES)
      throw new Error("its input has another size");
    if (view.getBigUint64(32, true) !== BigInt(contractIndex)) throw new Error("no such contract");
    const signed = bytes.subarray(0, bytes.length - SIGNATURE_BYTES);
    const isSigned = verifyDigest(bytes.subarray(0, KEY_BYTES), k12(signed, 32), bytes.subarray(signed.length));
    if (!isSigned) throw new Error("its signature is wrong");
    const hash = identityOf(k12(bytes, KEY_BYTES)).toLowerCase();
    const at = view.getUint32(72, true);
    if (losing > 0) losing -= 1;
    else if (at > tick) waiting.set(at, (waiting.get(at) ?? new Map()).set(hash, bytes));
    return hash;
  }

  async function answer(path: string, body: unknown): Promise<unknown> {
    if (path === "live/v1/tick-info") return { tickInfo: { tick, duration: 1, epoch: 100, initialTick: 1 } };
    if (path === "query/v1/getLastProcessedTick") return { tickNumber: tick - 1 - ARCHIVE_LAG_TICKS, epoch: 100 };
    if (path === "live/v1/broadcast-transaction") {
      const { encodedTransaction } = requests[path].parse(body);
      const transactionId = accept(Uint8Array.from(Buffer.from(encodedTransaction, "base64")));
      return { peersBroadcasted: 3, encodedTransaction, transactionId };
    }
    if (path === "live/v1/querySmartContract") {
      const { contractIndex: index, inputType, inputSize, requestData } = requests[path].parse(body);
      const input = Buffer.from(requestData, "base64");
      if (index !== contractIndex || input.length !== inputSize) throw new Error("no such contract, or another size");
      const { output } = await lab.raw(`ask ${inputType} ${hex(input)}`);
      return { responseData: Buffer.from(String(output), "hex").toString("base64") };
    }
    if (path.startsWith("live/v1/balances/")) {
      const id = path.slice("live/v1/balances/".length);
      const key = publicKeyOf(id);
      if (key === undefined) throw new Error("no such identity");
      const { balance } = await lab.raw(`balance ${hex(key)}`);
      return { balance: { id, balance: String(balance), validForTick: tick } };
    }
    if (path === "query/v1/getTransactionByHash") {
      const { hash } = requests[path].parse(body);
      const at = archive.get(hash);
      return at === undefined || at > tick - 1 - ARCHIVE_LAG_TICKS ? null : { hash, tickNumber: at };
    }
    return null;
  }

  const server: Server = createServer((request, response) => {
    let text = "";
    request.on("data", (part: Buffer) => (text += part.toString()));
    request.on("end", () => {
      const path = (request.url ?? "/").slice(1);
      answer(path, text === "" ? undefined : JSON.parse(text)).then(
        (found) =>
          response
            .writeHead(found === null ? 404 : 200)
            .end(JSON.stringify(found ?? { code: 5, message: "not found" })),
        (error: Error) => response.writeHead(400).end(JSON.stringify({ code: 3, message: error.message })),
      );
    });
  });
  await new Promise<void>((go) => server.listen(0, "127.0.0.1", go));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    lose: (count) => void (losing = count),
    included: () => [...archive.keys()],
    async stop() {
      clearInterval(timer);
      await turn;
      server.closeAllConnections();
      await new Promise((go) => server.close(go));
    },
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
