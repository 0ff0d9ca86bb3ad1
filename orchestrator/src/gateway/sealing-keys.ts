// The key that a worker wants secrets sealed to counts only with the signature of the key it was enrolled with. Without one it is sent no secrets,
// and no job that has some.
import { sealingKeyText, type WorkerFeature, type WorkerMessage, type WorkerOffer } from "@qubix/shared/protocol";
import { verifySignature } from "./signatures.ts";

const NEEDS_KEY: WorkerFeature = "secrets";

export interface CheckedMessage {
  readonly message: WorkerMessage;
  /** It had a key that was not signed, which was taken out. */
  readonly forged: boolean;
}

/** The message with an offer that promises only what its key can hold. */
export function checkSealingKey(
  message: WorkerMessage,
  worker: { readonly id: string; readonly publicKey: string },
): CheckedMessage {
  if (message.kind !== "hello" && message.kind !== "offer") return { message, forged: false };
  const { offer } = message;
  const signed = isSigned(offer, worker);
  if (signed || (offer.sealingKey === undefined && !offer.features?.includes(NEEDS_KEY))) {
    return { message, forged: false };
  }
  return { message: { ...message, offer: withoutKey(offer) }, forged: offer.sealingKey !== undefined };
}

function isSigned({ sealingKey }: WorkerOffer, { id, publicKey }: { readonly id: string; readonly publicKey: string }) {
  if (sealingKey === undefined) return false;
  return verifySignature(publicKey, sealingKeyText(id, sealingKey.publicKey), sealingKey.signature);
}

function withoutKey({ sealingKey: _sealingKey, features, ...offer }: WorkerOffer): WorkerOffer {
  const left = features?.filter((feature) => feature !== NEEDS_KEY);
  return { ...offer, ...(left === undefined ? {} : { features: left }) };
}
