// Signatures of workers, where the gateway looks for them.
export { verifySignature } from "@qubix/shared/runtime";
