// What the gateway finds out about a metering tick before the core judges it: whether its worker signed it, and what is stored under its number.
import { tickText, type WorkerMessage } from "@qubix/shared/protocol";
import type { TickFacts } from "../core/index.ts";
import type { EventWriter } from "./port.ts";
import { verifySignature } from "./signatures.ts";

/** One look by an index: nearly always nothing is there. */
export function tickFacts(
  writer: Pick<EventWriter, "store">,
  publicKey: string,
  message: Extract<WorkerMessage, { kind: "tick" }>,
): TickFacts {
  const signed = verifySignature(publicKey, tickText(message), message.signature);
  const { jobId, replica, epoch } = message.attempt;
  const known = signed ? writer.store.tick({ jobId, replica, epoch, n: message.n }) : undefined;
  return { signed, ...(known === undefined ? {} : { known }) };
}
