// Qubic's public RPC, as much of it as settling needs. Source: Qubic's API documentation (live/v1 of a node, query/v1 of the archive).
import { z } from "zod";
import { QubixError } from "@qubix/shared/runtime";

const TIMEOUT_MS = 15_000;
const NOT_FOUND = 404;
/** Answers are small; more than this is none of ours. */
const ANSWER_BYTES_MAX = 1024 * 1024;

const tickInfoSchema = z.object({ tickInfo: z.object({ tick: z.number().int(), epoch: z.number().int() }) });
const broadcastSchema = z.object({ peersBroadcasted: z.number().int(), transactionId: z.string() });
const querySchema = z.object({ responseData: z.string() });
const processedSchema = z.object({ tickNumber: z.number().int() });
/** A balance of qu, which needs more than 32 bits: a decimal string, as the documentation has it. */
const balanceSchema = z.object({ balance: z.object({ balance: z.string().regex(/^[0-9]{1,20}$/) }) });
const transactionSchema = z.object({ hash: z.string(), tickNumber: z.number().int() });

export interface QubicRpc {
  /** The tick that the network works on. */
  tick(): Promise<number>;
  /** The last tick of which the archive knows every transaction. */
  lastProcessedTick(): Promise<number>;
  /** What an identity has, in qu. */
  balance(identity: string): Promise<bigint>;
  broadcast(transaction: Uint8Array): Promise<void>;
  /** What a contract's function answers. */
  query(contractIndex: number, inputType: number, input: Uint8Array): Promise<Uint8Array>;
  /** Whether the archive has it; that it has not yet says nothing before {@link lastProcessedTick} is past its tick. */
  hasTransaction(hash: string): Promise<boolean>;
}

/** `url`: where live/v1 and query/v1 lie. Every call throws `qubic_unreachable` where the answer is none. */
export function createQubicRpc(url: string): QubicRpc {
  async function call<T>(schema: z.ZodType<T>, path: string, body?: unknown): Promise<T | null> {
    try {
      const response = await fetch(new URL(path, url.endsWith("/") ? url : `${url}/`), {
        ...(body === undefined
          ? {}
          : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        redirect: "error",
      });
      const text = await response.text();
      if (response.status === NOT_FOUND) return null;
      if (!response.ok || text.length > ANSWER_BYTES_MAX) throw new Error(`it answers ${response.status}`);
      return schema.parse(JSON.parse(text));
    } catch (cause) {
      const message = `Qubic's RPC at ${url} did not answer ${path} as documented. Check the address; it is asked again.`;
      throw new QubixError("qubic_unreachable", message, { category: "platform", retryable: true, cause });
    }
  }

  async function must<T>(schema: z.ZodType<T>, path: string, body?: unknown): Promise<T> {
    const answer = await call(schema, path, body);
    if (answer !== null) return answer;
    throw new QubixError("qubic_unreachable", `Qubic's RPC at ${url} has no ${path}.`, { category: "platform" });
  }

  return {
    tick: async () => (await must(tickInfoSchema, "live/v1/tick-info")).tickInfo.tick,
    lastProcessedTick: async () => (await must(processedSchema, "query/v1/getLastProcessedTick")).tickNumber,
    balance: async (identity) => BigInt((await must(balanceSchema, `live/v1/balances/${identity}`)).balance.balance),
    async broadcast(transaction) {
      await must(broadcastSchema, "live/v1/broadcast-transaction", { encodedTransaction: base64(transaction) });
    },
    async query(contractIndex, inputType, input) {
      const body = { contractIndex, inputType, inputSize: input.length, requestData: base64(input) };
      const { responseData } = await must(querySchema, "live/v1/querySmartContract", body);
      return Uint8Array.from(Buffer.from(responseData, "base64"));
    },
    hasTransaction: async (hash) => (await call(transactionSchema, "query/v1/getTransactionByHash", { hash })) !== null,
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
