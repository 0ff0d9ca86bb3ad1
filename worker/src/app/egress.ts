// Offers jobs with egress as long as the machine can keep them apart from itself and its network.
import type { Logger } from "@qubix/shared/runtime";
import type { Engine } from "../runner/engine.ts";
import { checkEgress } from "../runner/network/check.ts";
import type { OfferKeeper } from "./offer.ts";

/** A firewall that its owner has broken is noticed within this, where no job's start does so before. */
const CHECK_EVERY_MS = 10 * 60_000;
/** And one that is mended within this. */
const CHECK_AGAIN_MS = 60_000;

export interface EgressOffer {
  /** Checks now, beside everything else, and from then on now and then. */
  start(): void;
  /** A job's network could not be made safe: checks at once whether others would be. */
  doubt(): void;
  stop(): void;
}

/** Nothing is checked or offered where the owner does not allow it. */
export function createEgressOffer(
  ports: { readonly engine: Engine; readonly logger: Logger; readonly keeper: OfferKeeper },
  workerId: string,
  isAllowed: boolean,
): EgressOffer {
  const { keeper, logger } = ports;
  let timer: NodeJS.Timeout | null = null;
  let running = false;
  let checking = false;
  let told = "";

  async function look(): Promise<void> {
    if (checking || !running) return;
    checking = true;
    const { ok, found, remedy } = await checkEgress(ports, workerId);
    checking = false;
    if (!running) return;
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(() => void look(), ok ? CHECK_EVERY_MS : CHECK_AGAIN_MS);
    if (!ok && found !== told) logger.warn({ event: "egress_not_offered", found, remedy }, "no jobs with egress");
    told = ok ? "" : found;
    const others = [...keeper.parts().features].filter((feature) => feature !== "egress");
    keeper.update({ features: new Set(ok ? [...others, "egress"] : others) });
  }

  return {
    start() {
      if (!isAllowed || running) return;
      running = true;
      void look();
    },
    doubt: () => void look(),
    stop() {
      running = false;
      if (timer !== null) clearTimeout(timer);
      timer = null;
    },
  };
}
