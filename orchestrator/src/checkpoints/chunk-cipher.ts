// Chunks as they lie on the disk: `version (1) ‖ id (32) ‖ ciphertext ‖ tag (16)`, AES-256-GCM. All of it follows from the consumer's key and the plain
// bytes, so equal chunks of one consumer are equal files and those of two consumers never are; with the key alone a file can be read again.
//
//   id    = HMAC-SHA256(consumer key, "id" ‖ SHA-256(plain))
//   key   = HMAC-SHA256(consumer key, "key" ‖ id)
//   nonce = HMAC-SHA256(consumer key, "nonce" ‖ id), its first 12 bytes
//
// A key encrypts one text only, that of its id: a nonce never meets two texts under one key.
import { createCipheriv, createDecipheriv, createHmac, createSecretKey } from "node:crypto";

export interface ChunkCipher {
  /** The file for a chunk of which the SHA-256 is known. */
  seal(sum: Uint8Array, plain: Uint8Array): Buffer;
  /** The plain bytes; undefined unless the file is, bit for bit, the one of a chunk with this SHA-256. */
  open(file: Uint8Array, sum: Uint8Array): Buffer | undefined;
  /** The plain bytes of whatever chunk the file is of; undefined unless it is whole. They are to be hashed: only that tells which chunk it is. */
  openAny(file: Uint8Array): Buffer | undefined;
}

const CIPHER = "aes-256-gcm";
const VERSION = 1;
const ID_AT = 1;
const BODY_AT = 33;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
/** A file is larger than its chunk by this. */
export const SEAL_BYTES = BODY_AT + TAG_BYTES;

export function createChunkCipher(consumerKey: Uint8Array): ChunkCipher {
  const secret = createSecretKey(consumerKey);
  const mac = (label: string, bytes: Uint8Array): Buffer =>
    createHmac("sha256", secret).update(label).update(bytes).digest();
  const keysOf = (id: Uint8Array) => ({ key: mac("key", id), nonce: mac("nonce", id).subarray(0, NONCE_BYTES) });

  const decrypt = (file: Uint8Array, id: Uint8Array): Buffer | undefined => {
    const { key, nonce } = keysOf(id);
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAuthTag(file.subarray(-TAG_BYTES));
    const plain = decipher.update(file.subarray(BODY_AT, -TAG_BYTES));
    try {
      // Checks the tag; the mode has no bytes left to give.
      decipher.final();
      return plain;
    } catch {
      return undefined;
    }
  };

  return {
    seal(sum, plain) {
      const id = mac("id", sum);
      const { key, nonce } = keysOf(id);
      const file = Buffer.allocUnsafeSlow(plain.length + SEAL_BYTES);
      file[0] = VERSION;
      id.copy(file, ID_AT);
      const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
      cipher.update(plain).copy(file, BODY_AT);
      cipher.final();
      cipher.getAuthTag().copy(file, BODY_AT + plain.length);
      return file;
    },
    open(file, sum) {
      const id = mac("id", sum);
      return isSealed(file) && id.equals(file.subarray(ID_AT, BODY_AT)) ? decrypt(file, id) : undefined;
    },
    openAny: (file) => (isSealed(file) ? decrypt(file, file.subarray(ID_AT, BODY_AT)) : undefined),
  };
}

function isSealed(file: Uint8Array): boolean {
  return file.length >= SEAL_BYTES && file[0] === VERSION;
}
