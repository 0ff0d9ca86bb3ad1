// Ed25519 signatures of workers.
export { verifySignature } from "@qubix/shared/ed25519";
