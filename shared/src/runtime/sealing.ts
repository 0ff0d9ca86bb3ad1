// Boxes that one worker alone can open, for one use alone: X25519 with a key of the moment, HKDF-SHA256, AES-256-GCM, by `node:crypto`.
// A box says nothing of who made it. That it comes from the orchestrator is the connection's business.
import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import type { Sealed } from "../protocol/worker-messages.ts";
import { QubixError } from "./errors.ts";

/** What a box is for. Opened for anything else it does not open: another worker, job, epoch or standby has no use for it. */
export interface SealingContext {
  readonly orchestratorId: string;
  readonly workerId: string;
  /** The message that carries it. */
  readonly purpose: "assign" | "prepare" | "promote";
  readonly jobId: string;
  /** An attempt is named by replica and epoch, a standby by its id. */
  readonly of: { readonly replica: number; readonly epoch: number } | { readonly standbyId: string };
}

const VERSION = 1;
const CIPHER = "aes-256-gcm";
const CIPHER_KEY_BYTES = 32;
/** NIST SP 800-38D; each key is used once, so that a nonce cannot come twice. */
const NONCE_BYTES = 12;
/** Named at every call: without it Node takes tags of 4 bytes, which can be guessed. */
const TAG_BYTES = 16;
const RAW_KEY_BYTES = 32;

/** The raw 32-byte public key, base64url, of an X25519 key (private or public). */
export function rawSealingKey(key: KeyObject): string {
  const { x } = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  if (key.asymmetricKeyType !== "x25519" || x === undefined) throw new TypeError("not an X25519 key");
  return x;
}

/** Seals for the holder of this key (raw 32-byte X25519, base64url). Throws `sealing_key_invalid`. */
export function seal(publicKey: string, plaintext: Uint8Array, context: SealingContext): Sealed {
  const ephemeral = generateKeyPairSync("x25519");
  return sealWith(ephemeral.privateKey, randomBytes(NONCE_BYTES), publicKey, plaintext, context);
}

/** {@link seal} with the chance of the moment given, for test vectors. Never use a key twice. */
export function sealWith(
  ephemeral: KeyObject,
  nonce: Uint8Array,
  publicKey: string,
  plaintext: Uint8Array,
  context: SealingContext,
): Sealed {
  const ephemeralKey = rawSealingKey(ephemeral);
  const secret = agree(ephemeral, publicKey);
  const aad = contextText(context);
  const cipher = createCipheriv(CIPHER, keyOf(secret, ephemeralKey, publicKey, aad), nonce, {
    authTagLength: TAG_BYTES,
  });
  cipher.setAAD(aad);
  const box = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return {
    version: VERSION,
    ephemeralKey,
    nonce: Buffer.from(nonce).toString("base64url"),
    box: box.toString("base64url"),
  };
}

/** Opens a box. Throws `sealed_unreadable` for one that was made for another key or context, or was changed. */
export function open(privateKey: KeyObject, sealed: Sealed, context: SealingContext): Buffer {
  try {
    const nonce = Buffer.from(sealed.nonce, "base64url");
    const box = Buffer.from(sealed.box, "base64url");
    if (nonce.length !== NONCE_BYTES) throw new Error(`a nonce has ${NONCE_BYTES} bytes`);
    if (box.length < TAG_BYTES) throw new Error("it is too short to have a tag");
    const aad = contextText(context);
    const key = keyOf(agree(privateKey, sealed.ephemeralKey), sealed.ephemeralKey, rawSealingKey(privateKey), aad);
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(aad);
    decipher.setAuthTag(box.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(box.subarray(0, -TAG_BYTES)), decipher.final()]);
  } catch (cause) {
    throw new QubixError(
      "sealed_unreadable",
      "The sealed secrets were made for another key, worker or attempt, or were changed on the way.",
      { category: "platform", cause },
    );
  }
}

function agree(own: KeyObject, other: string): Buffer {
  const raw = Buffer.from(other, "base64url");
  if (raw.length !== RAW_KEY_BYTES || raw.toString("base64url") !== other) throw keyInvalid();
  try {
    const publicKey = createPublicKey({ key: { kty: "OKP", crv: "X25519", x: other }, format: "jwk" });
    // Fails for points of low order, whose secret everybody knows.
    return diffieHellman({ privateKey: own, publicKey });
  } catch (cause) {
    throw keyInvalid(cause);
  }
}

/** Both public keys go in, as in HPKE (RFC 9180): a box cannot be turned into one for another key. */
function keyOf(secret: Buffer, ephemeralKey: string, publicKey: string, info: Buffer): Buffer {
  const salt = Buffer.concat([Buffer.from(ephemeralKey, "base64url"), Buffer.from(publicKey, "base64url")]);
  return Buffer.from(hkdfSync("sha256", secret, salt, info, CIPHER_KEY_BYTES));
}

/** JSON of an array: no two contexts have the same text. */
function contextText({ orchestratorId, workerId, purpose, jobId, of }: SealingContext): Buffer {
  const subject = "standbyId" in of ? ["standby", of.standbyId] : ["attempt", of.replica, of.epoch];
  return Buffer.from(JSON.stringify(["qubix-sealed-v1", orchestratorId, workerId, purpose, jobId, ...subject]));
}

function keyInvalid(cause?: unknown): QubixError {
  return new QubixError("sealing_key_invalid", "This is no X25519 key that secrets can be sealed to.", {
    category: "provider",
    cause,
  });
}
