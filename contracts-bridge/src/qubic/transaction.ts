// A Qubic transaction: bound to the tick that it names, signed, 64 bytes of signature last. Source: qubic/core, network_messages/transactions.h (layout).
import { KEY_BYTES } from "./identity.ts";
import { type KeyPair, k12, DIGEST_BYTES, signDigest, SIGNATURE_BYTES } from "./sign.ts";

/** Least that a transaction has: keys, amount, tick, type and size of its input. */
const HEAD_BYTES = KEY_BYTES + KEY_BYTES + 8 + 4 + 2 + 2;
export const INPUT_BYTES_MAX = 1_024;
/** What a contract call or a transfer may carry, in qu. */
export const AMOUNT_MAX = 1_000_000_000_000_000n;

export interface QubicCall {
  /** Of a contract: its index in the first 8 bytes. */
  readonly destination: Uint8Array;
  readonly amount: bigint;
  readonly tick: number;
  /** Number of the contract's procedure. */
  readonly inputType: number;
  readonly input: Uint8Array;
}

export interface SignedTransaction {
  readonly bytes: Uint8Array;
  /** K12 of all of it; its letters are the transaction's name. */
  readonly digest: Uint8Array;
}

/** Signs a call. Throws a RangeError for what a transaction cannot say. */
export function signTransaction(pair: KeyPair, call: QubicCall): SignedTransaction {
  const { destination, amount, tick, inputType, input } = call;
  if (destination.length !== KEY_BYTES) throw new RangeError("a destination has 32 bytes");
  if (amount < 0n || amount > AMOUNT_MAX) throw new RangeError(`an amount is between 0 and ${AMOUNT_MAX} qu`);
  if (input.length > INPUT_BYTES_MAX) throw new RangeError(`an input has at most ${INPUT_BYTES_MAX} bytes`);
  const bytes = Buffer.alloc(HEAD_BYTES + input.length + SIGNATURE_BYTES);
  bytes.set(pair.publicKey, 0);
  bytes.set(destination, KEY_BYTES);
  let at = 2 * KEY_BYTES;
  at = bytes.writeBigInt64LE(amount, at);
  at = bytes.writeUInt32LE(tick, at);
  at = bytes.writeUInt16LE(inputType, at);
  at = bytes.writeUInt16LE(input.length, at);
  bytes.set(input, at);
  const signed = bytes.subarray(0, HEAD_BYTES + input.length);
  bytes.set(signDigest(pair, k12(signed, DIGEST_BYTES)), signed.length);
  return { bytes: Uint8Array.from(bytes), digest: k12(bytes, DIGEST_BYTES) };
}

/** The address of a contract. */
export function contractAddress(index: number): Uint8Array {
  const bytes = Buffer.alloc(KEY_BYTES);
  bytes.writeBigUInt64LE(BigInt(index));
  return Uint8Array.from(bytes);
}
