// Where workers may connect to each other. What another worker says of itself is the word of a stranger: it must not make this agent knock at doors of its own
// machine or at well-known services.
import { isIP } from "node:net";
import { DIRECT_ADDRESSES_MAX } from "@qubix/shared/protocol";

export interface ListenAt {
  readonly host: string;
  readonly port: number;
}

/** Below are the services of a system. */
const PORT_LEAST = 1024;

export function listenMultiaddr({ host, port }: ListenAt): string {
  return `/ip${isIP(host) === 6 ? 6 : 4}/${host}/tcp/${port}`;
}

/** Of what a peer says of itself: what may be dialled from here. An agent that itself listens on the loopback (for tests, for workers that share a machine) dials there too. */
export function dialable(addresses: readonly string[], listen: ListenAt): readonly string[] {
  const ownLoopback = isLoopback(listen.host);
  return addresses.slice(0, DIRECT_ADDRESSES_MAX).filter((text) => {
    const match = /^\/ip([46])\/([0-9a-f.:]+)\/tcp\/(\d{1,5})(\/p2p\/[a-zA-Z0-9]+\/p2p-circuit)?$/.exec(text);
    const [, family, host = "", port, circuit] = match ?? [];
    // A relay's own address is not dialled for a peer's word: only the orchestrator's relays are.
    const portLeast = circuit === undefined ? PORT_LEAST : 1;
    if (isIP(host) !== Number(family) || Number(port) < portLeast || Number(port) > 65_535) return false;
    if (isLoopback(host)) return ownLoopback;
    return !isNeverAPeer(host);
  });
}

function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}

/** This network, link-local (where clouds answer with credentials), multicast and reserved; IPv4 in IPv6's clothes. */
function isNeverAPeer(host: string): boolean {
  if (isIP(host) === 4)
    return host.startsWith("0.") || host.startsWith("169.254.") || Number(host.split(".")[0]) >= 224;
  return /^(fe[89ab]|ff|::)/.test(host);
}
