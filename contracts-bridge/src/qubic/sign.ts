// SchnorrQ signatures over FourQ with K12, as Qubic signs: deterministic, 64 bytes. Written anew after its published description (FourQlib's SchnorrQ).
import { kt128 } from "@noble/hashes/sha3-addons.js";
import { BASE, decodePoint, encodePoint, ORDER, plus, POINT_BYTES, times } from "./curve.ts";

export const DIGEST_BYTES = 32;
export const SIGNATURE_BYTES = 64;
const SUBSEED_BYTES = 32;
const WIDE_BYTES = 64;
const SEED = /^[a-z]{55}$/;

export interface KeyPair {
  readonly subseed: Uint8Array;
  readonly publicKey: Uint8Array;
}

export function k12(bytes: Uint8Array, length: number): Uint8Array {
  return kt128(bytes, { dkLen: length });
}

/** From the 55 small letters that are a Qubic seed. Throws where they are not. */
export function keyPairOf(seed: string): KeyPair {
  if (!SEED.test(seed)) throw new Error("A Qubic seed is 55 letters from a to z");
  const letters = Uint8Array.from(seed, (letter) => letter.charCodeAt(0) - "a".charCodeAt(0));
  const subseed = k12(letters, SUBSEED_BYTES);
  const secret = k12(subseed, SUBSEED_BYTES);
  return { subseed, publicKey: encodePoint(times(scalarOf(secret), BASE)) };
}

/** Signs a digest of 32 bytes. */
export function signDigest({ subseed, publicKey }: KeyPair, digest: Uint8Array): Uint8Array {
  const wide = k12(subseed, WIDE_BYTES);
  const secret = scalarOf(wide.subarray(0, POINT_BYTES));
  const nonce = scalarOf(k12(joined(wide.subarray(POINT_BYTES), digest), WIDE_BYTES));
  const r = encodePoint(times(nonce, BASE));
  const challenge = scalarOf(k12(joined(r, publicKey, digest), WIDE_BYTES));
  const s = (((nonce - secret * challenge) % ORDER) + ORDER) % ORDER;
  return joined(r, bytesOf(s));
}

export function verifyDigest(publicKey: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  const key = decodePoint(publicKey);
  if (key === undefined || signature.length !== SIGNATURE_BYTES) return false;
  const r = signature.subarray(0, POINT_BYTES);
  const s = numberOf(signature.subarray(POINT_BYTES));
  if (s >= ORDER) return false;
  const challenge = scalarOf(k12(joined(r, publicKey, digest), WIDE_BYTES));
  const found = encodePoint(plus(times(s, BASE), times(challenge, key)));
  return found.every((byte, at) => byte === r[at]);
}

/** The first 32 bytes as a number of the group. */
function scalarOf(bytes: Uint8Array): bigint {
  return numberOf(bytes.subarray(0, POINT_BYTES)) % ORDER;
}

function numberOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let at = bytes.length - 1; at >= 0; at -= 1) value = (value << 8n) | BigInt(bytes[at] ?? 0);
  return value;
}

function bytesOf(value: bigint): Uint8Array {
  return Uint8Array.from({ length: POINT_BYTES }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
