// API keys and enrolment tokens: made from random bytes, shown once, kept only as SHA-256. A hash without salt is enough: nobody can search 256 random bits.
import { createHash } from "node:crypto";
import type { ApiKeyId, EnrolmentId } from "@qubix/shared/domain";
import type { RandomSource } from "@qubix/shared/runtime";

export const API_KEY_PREFIX = "qbx_";
export const ENROLMENT_TOKEN_PREFIX = "qbe_";
const SECRET_BYTES = 32;
const ID_BYTES = 10;
/** Longer than any secret of ours; what is longer is not hashed at all. */
const SECRET_LENGTH_MAX = 200;

/** A secret with its hash; the secret is to be shown once and forgotten. */
export interface Secret<Id> {
  readonly id: Id;
  readonly secret: string;
  readonly hash: string;
}

export function createApiKey(random: RandomSource): Secret<ApiKeyId> {
  return createSecret("key-", API_KEY_PREFIX, random);
}

export function createEnrolmentToken(random: RandomSource): Secret<EnrolmentId> {
  return createSecret("enr-", ENROLMENT_TOKEN_PREFIX, random);
}

/** SHA-256 in hexadecimal, as the tables keep it; `undefined` for what cannot be one of our secrets. */
export function hashSecret(secret: string): string | undefined {
  if (secret.length === 0 || secret.length > SECRET_LENGTH_MAX) return undefined;
  return createHash("sha256").update(secret).digest("hex");
}

function createSecret<Id extends string>(idPrefix: string, prefix: string, random: RandomSource): Secret<Id> {
  const secret = `${prefix}${Buffer.from(random.bytes(SECRET_BYTES)).toString("base64url")}`;
  const id = `${idPrefix}${Buffer.from(random.bytes(ID_BYTES)).toString("hex")}` as Id;
  return { id, secret, hash: createHash("sha256").update(secret).digest("hex") };
}
