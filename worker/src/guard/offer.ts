// Offers exclusive jobs a place once the guard was seen to run.
import type { OfferKeeper } from "../app/offer.ts";
import type { Logger } from "@qubix/shared/runtime";
import type { Guard } from "./guard.ts";
import { whyUnguarded } from "./open.ts";

/** Adds the feature `exclusive` where it works. Never throws. */
export async function offerExclusive(
  { guard, keeper, logger }: { readonly guard: Guard | null; readonly keeper: OfferKeeper; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  if (guard === null) {
    const why = whyUnguarded() ?? "no folder lies in memory";
    return logger.info({ event: "exclusive_not_offered", why }, "exclusive jobs are not offered");
  }
  try {
    await guard.check(signal);
    if (!signal.aborted) keeper.update({ features: new Set([...keeper.parts().features, "exclusive"]) });
  } catch (error) {
    logger.warn({ event: "exclusive_not_offered", err: error }, "exclusive jobs are not offered; see doctor");
  }
}
