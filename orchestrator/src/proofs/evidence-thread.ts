// One piece of evidence worked out again, in a thread that lives for it alone.
import { parentPort, workerData } from "node:worker_threads";
import { failedProofFault } from "@qubix/shared/proof";
import type { EvidenceCase } from "./evidence.ts";

const { publicKey, evidence } = workerData as EvidenceCase;
parentPort?.postMessage(failedProofFault(publicKey, evidence), []);
