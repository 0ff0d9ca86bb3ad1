// Whether this machine can keep jobs with `egress` apart: tried out with a network and rules that go again at once.
import type { Logger } from "@qubix/shared/runtime";
import type { SlotId } from "../../core/index.ts";
import type { Engine } from "../engine.ts";
import { createJobNetworks } from "./job-networks.ts";

/** In words for the machine's owner; `remedy` is "" where nothing is to be done. */
export interface EgressCheck {
  readonly ok: boolean;
  readonly found: string;
  readonly needed: string;
  readonly remedy: string;
}

const NEEDED = "a bridge of the Docker Engine on this machine, and the right to set firewall rules around it";
const SLOT: SlotId = "check";

/**
 * Makes a network, sets the rules around it, reads them back, and removes both. `owner` tells the check of one program from that of another:
 * both may be at it at the same time. Never throws.
 */
export async function checkEgress(
  ports: { readonly engine: Engine; readonly logger: Logger },
  owner: string,
): Promise<EgressCheck> {
  const networks = createJobNetworks(ports, `${owner}.check`);
  try {
    // What a check that was killed has left.
    await networks.reap(new Set());
    try {
      await networks.prepare(SLOT);
      await networks.secure(SLOT);
    } finally {
      await networks.remove(SLOT);
    }
    return { ok: true, found: "a network was made, closed off and removed", needed: NEEDED, remedy: "" };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const found = cause instanceof Error ? cause.message : String(cause);
    return { ok: false, found, needed: NEEDED, remedy: remedyFor(found) };
  }
}

function remedyFor(found: string): string {
  if (process.platform !== "linux") return "Jobs with egress run on Linux only; others are not affected";
  if (/permission denied|not permitted|you must be root/i.test(found)) {
    return "Run the worker as root (or with the capability NET_ADMIN); or refuse such jobs with --no-egress";
  }
  if (/not on this machine|DOCKER-USER/.test(found)) {
    return "Install iptables and iproute2 (apt-get install iptables iproute2), and let the Docker Engine use iptables (its setting `iptables`); or refuse such jobs with --no-egress";
  }
  return "Mend what is named, or refuse such jobs with --no-egress; jobs without a network are not affected";
}
