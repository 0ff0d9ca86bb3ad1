// Qubic identities: a public key as 56 capital letters and four of a sum.
import { k12 } from "./sign.ts";

export const KEY_BYTES = 32;
const LETTERS = 26n;
const WORD_BYTES = 8;
const WORD_LETTERS = 14;
const SUM_BYTES = 3;
const SUM_LETTERS = 4;
const SUM_MASK = 0x3ffffn;
const IDENTITY = /^[A-Z]{60}$/;
const FIRST = "A".charCodeAt(0);

export function identityOf(publicKey: Uint8Array): string {
  const words = Array.from({ length: KEY_BYTES / WORD_BYTES }, (_, n) =>
    lettersOf(numberOf(publicKey.subarray(n * WORD_BYTES, (n + 1) * WORD_BYTES)), WORD_LETTERS),
  );
  return words.join("") + lettersOf(numberOf(k12(publicKey, SUM_BYTES)) & SUM_MASK, SUM_LETTERS);
}

/** The public key of an identity; `undefined` where its letters or its sum are wrong. */
export function publicKeyOf(identity: string): Uint8Array | undefined {
  if (!IDENTITY.test(identity)) return undefined;
  const key = new Uint8Array(KEY_BYTES);
  for (let word = 0; word < KEY_BYTES / WORD_BYTES; word += 1) {
    let value = 0n;
    for (let at = WORD_LETTERS - 1; at >= 0; at -= 1) {
      value = value * LETTERS + BigInt(identity.charCodeAt(word * WORD_LETTERS + at) - FIRST);
    }
    if (value >> 64n !== 0n) return undefined;
    for (let at = 0; at < WORD_BYTES; at += 1) key[word * WORD_BYTES + at] = Number((value >> BigInt(8 * at)) & 0xffn);
  }
  return identityOf(key) === identity ? key : undefined;
}

function lettersOf(value: bigint, count: number): string {
  let [text, rest] = ["", value];
  for (let n = 0; n < count; n += 1) {
    text += String.fromCharCode(FIRST + Number(rest % LETTERS));
    rest /= LETTERS;
  }
  return text;
}

function numberOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let at = bytes.length - 1; at >= 0; at -= 1) value = (value << 8n) | BigInt(bytes[at] ?? 0);
  return value;
}
