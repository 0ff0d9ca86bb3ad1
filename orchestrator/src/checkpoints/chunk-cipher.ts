// Chunks as they lie on the disk: `version (1) ‖ id (32) ‖ ciphertext ‖ tag (16)`, AES-256-GCM. All of it follows from the consumer's key and the plain
// bytes, so equal chunks of one consumer are equal files and those of two consumers never are; with the key alone a file can be read again.
//
//   id    = HMAC-SHA256(consumer key, "id" ‖ SHA-256(plain))
//   key   = HMAC-SHA256(consumer key, "key" ‖ id)
//   nonce = HMAC-SHA256(consumer key, "nonce" ‖ id), its first 12 bytes
//
// A key encrypts one text only, that of its id: a nonce never meets two texts under one key.
import { createCipheriv, createDecipheriv, createHash, createHmac, createSecretKey } from "node:crypto";

export interface ChunkCipher {
  /** The plain bytes, in `into` where there is one; undefined unless the file is, bit for bit, the one of a chunk with this SHA-256. */
  open(file: Uint8Array, sum: Uint8Array, into?: ArrayBuffer): Buffer | undefined;
  /** The plain bytes of whatever chunk the file is of; undefined unless it is whole. They are to be hashed: only that tells which chunk it is. */
  openAny(file: Uint8Array): Buffer | undefined;
}

const CIPHER = "aes-256-gcm";
const VERSION = 1;
const ID_AT = 1;
/** Where the ciphertext begins. */
export const BODY_AT = 33;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
/** Encrypted at a time: the ciphertext of a whole chunk would be fresh memory each time, which takes longer than encrypting it. */
const STEP_BYTES = 16 * 1024;
/** A file is larger than its chunk by this. */
export const SEAL_BYTES = BODY_AT + TAG_BYTES;

/**
 * Makes the file of a chunk of which `memory` has the plain bytes, from {@link BODY_AT} on, in the same place. Returns the file's SHA-256; undefined
 * when the bytes have another SHA-256 than was said.
 */
export function sealInPlace(
  memory: Uint8Array,
  bytes: number,
  consumerKey: Uint8Array,
  sum: Uint8Array,
): Uint8Array | undefined {
  const body = memory.subarray(BODY_AT, BODY_AT + bytes);
  if (!sha256(body).equals(sum)) return undefined;
  const mac = createMac(consumerKey);
  const id = mac("id", sum);
  const { key, nonce } = keysOf(mac, id);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  memory[0] = VERSION;
  memory.set(id, ID_AT);
  for (let at = 0; at < bytes; at += STEP_BYTES) {
    copyInto(memory, BODY_AT + at, cipher.update(body.subarray(at, at + STEP_BYTES)));
  }
  // The mode has no bytes left to give.
  cipher.final();
  memory.set(cipher.getAuthTag(), BODY_AT + bytes);
  return sha256(memory.subarray(0, bytes + SEAL_BYTES));
}

/** As `set` does. That goes byte by byte where memory is shared, which takes twenty times as long. */
export function copyInto(memory: Uint8Array, at: number, bytes: Uint8Array): void {
  if (bytes.length > 0) Buffer.from(memory.buffer, memory.byteOffset + at, bytes.length).fill(bytes);
}

export function createChunkCipher(consumerKey: Uint8Array): ChunkCipher {
  const mac = createMac(consumerKey);

  const decrypt = (file: Uint8Array, id: Uint8Array, into?: ArrayBuffer): Buffer | undefined => {
    const { key, nonce } = keysOf(mac, id);
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAuthTag(file.subarray(-TAG_BYTES));
    const body = file.subarray(BODY_AT, -TAG_BYTES);
    const plain = into === undefined ? Buffer.allocUnsafeSlow(body.length) : Buffer.from(into, 0, body.length);
    for (let at = 0; at < body.length; at += STEP_BYTES) {
      plain.set(decipher.update(body.subarray(at, at + STEP_BYTES)), at);
    }
    try {
      decipher.final();
      return plain;
    } catch {
      return undefined;
    }
  };

  return {
    open(file, sum, into) {
      const id = mac("id", sum);
      return isSealed(file) && id.equals(file.subarray(ID_AT, BODY_AT)) ? decrypt(file, id, into) : undefined;
    },
    openAny: (file) => (isSealed(file) ? decrypt(file, file.subarray(ID_AT, BODY_AT)) : undefined),
  };
}

type Mac = (label: string, bytes: Uint8Array) => Buffer;

function createMac(consumerKey: Uint8Array): Mac {
  const secret = createSecretKey(consumerKey);
  return (label, bytes) => createHmac("sha256", secret).update(label).update(bytes).digest();
}

function keysOf(mac: Mac, id: Uint8Array): { readonly key: Buffer; readonly nonce: Buffer } {
  return { key: mac("key", id), nonce: mac("nonce", id).subarray(0, NONCE_BYTES) };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function isSealed(file: Uint8Array): boolean {
  return file.length >= SEAL_BYTES && file[0] === VERSION;
}
